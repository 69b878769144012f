// Package kube asks an API server with the client certificate of a kubeconfig that kubeadm made.
package kube

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"time"
)

// Server is one API server, and who asks it.
type Server struct {
	url    string
	agent  string
	client http.Client
}

// Connect reads the three base64 fields and the address that kubeadm's admin.conf has. The agent is the name under which
// the audit log knows the requests; patience is the time for one of them.
func Connect(path, agent string, patience time.Duration) (*Server, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	field := func(name string) (string, error) {
		found := regexp.MustCompile(name + `:\s*(\S+)`).FindSubmatch(text)
		if found == nil {
			return "", fmt.Errorf("%s: no %s", path, name)
		}
		return string(found[1]), nil
	}
	decoded := map[string][]byte{}
	for _, name := range []string{"certificate-authority-data", "client-certificate-data", "client-key-data"} {
		value, err := field(name)
		if err != nil {
			return nil, err
		}
		if decoded[name], err = base64.StdEncoding.DecodeString(value); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, name, err)
		}
	}
	server, err := field("server")
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(decoded["client-certificate-data"], decoded["client-key-data"])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(decoded["certificate-authority-data"])
	return &Server{url: server, agent: agent, client: http.Client{
		Timeout: patience,
		Transport: &http.Transport{MaxIdleConnsPerHost: 16, TLSClientConfig: &tls.Config{
			RootCAs: authorities, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		}},
	}}, nil
}

// Within is the same server, with another patience.
func (s *Server) Within(patience time.Duration) *Server {
	other := *s
	other.client.Timeout = patience
	return &other
}

// Way is the server's address and how it is reached, for whoever stands before it.
func (s *Server) Way() (string, *tls.Config) {
	return s.url, s.client.Transport.(*http.Transport).TLSClientConfig.Clone()
}

// Ask sends one request; the kind is the body's content type, JSON when empty. An answer of any code is no error.
func (s *Server) Ask(verb, path, kind string, body []byte) (int, []byte, error) {
	request, err := http.NewRequest(verb, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if kind == "" {
		kind = "application/json"
	}
	request.Header.Set("Content-Type", kind)
	request.Header.Set("User-Agent", s.agent)
	reply, err := s.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer reply.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(reply.Body, 64<<20))
	return reply.StatusCode, answer, err
}

// Object is a Kubernetes object, or a part of one, as its JSON has it.
type Object = map[string]any

// Get reads what lies at the path into out. False where there is nothing.
func (s *Server) Get(path string, out any) (bool, error) {
	code, body, err := s.Ask("GET", path, "", nil)
	if err != nil || code == http.StatusNotFound {
		return false, err
	}
	if code != http.StatusOK {
		return false, fmt.Errorf("get %s: %d: %s", path, code, body)
	}
	return true, json.Unmarshal(body, out)
}

// Post makes an object; one that is there already is an error.
func (s *Server) Post(path string, object Object) error {
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return answered(s.Ask("POST", path, "", body))("make " + path + " " + fmt.Sprint(object["kind"]))
}

// Patch merges the change into the object at the path.
func (s *Server) Patch(path string, change Object) error {
	body, err := json.Marshal(change)
	if err != nil {
		return err
	}
	return answered(s.Ask("PATCH", path, "application/merge-patch+json", body))("patch " + path)
}

// Delete removes what lies at the path within so many seconds of grace; less than none leaves them to the object. Nothing
// there is no error.
func (s *Server) Delete(path string, grace int) error {
	options := Object{"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
	if grace >= 0 {
		options["gracePeriodSeconds"] = grace
	}
	body, err := json.Marshal(options)
	if err != nil {
		return err
	}
	code, answer, err := s.Ask("DELETE", path, "", body)
	if code == http.StatusNotFound || code == http.StatusConflict {
		return nil
	}
	return answered(code, answer, err)("delete " + path)
}

func answered(code int, body []byte, err error) func(what string) error {
	return func(what string) error {
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if code >= 300 {
			return fmt.Errorf("%s: %d: %s", what, code, body)
		}
		return nil
	}
}
