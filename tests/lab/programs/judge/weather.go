package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
)

// The address at which bad weather is made: it stands between Hostler and the API server.
const weatherAddress = "10.87.0.1:9444"

// Weather is a way in which an API server is not well.
type weather struct {
	name string
	// What Hostler must say of it.
	says string
	// Whether it may pass: then the drain waits and goes through once the weather is fair. Else it ends at once.
	passes  bool
	expired bool
	// What it answers; nothing where that is what the API server says.
	answers func(w http.ResponseWriter, r *http.Request) bool
}

func always(code int, body string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
		return true
	}
}

var weathers = []weather{
	{name: "its certificate has expired", says: "(?i)certificate.*expired", passes: true, expired: true},
	{name: "it answers after 45 s", says: "no answer in [0-9]+ s", passes: true,
		answers: func(_ http.ResponseWriter, r *http.Request) bool {
			select {
			case <-time.After(45 * time.Second):
			case <-r.Context().Done():
			}
			return false
		}},
	{name: "it answers 500", says: "500 etcdserver: request timed out", passes: true,
		answers: always(500, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"etcdserver: request timed out","code":500}`)},
	{name: "a proxy before it answers 503", says: "503", passes: true,
		answers: always(503, "<html><body>Service Unavailable</body></html>")},
	{name: "it hangs up", says: "(?i)closed|reset|EOF|incomplete", passes: true,
		answers: func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }},
	{name: "it answers half a document", says: "cannot be read.*EOF", answers: always(200, `{"apiVersion":"v1","metadata":{"name":"w`)},
	{name: "it forbids everything", says: "apply /usr/share/hostler/cluster-access.yaml|does not allow",
		answers: func(w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path != "/readyz" && always(403, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden",`+
				`"message":"nodes is forbidden: User cannot do that","code":403}`)(w, r)
		}},
}

// RunWeather drains while the API server is not well: Hostler must say what is wrong, touch nothing, and go on by itself
// where it passes.
func runWeather(b *bench, args []string) error {
	flags := flag.NewFlagSet("weather", flag.ContinueOnError)
	only := flags.String("only", "", "only weathers whose name contains this")
	if err := flags.Parse(args); err != nil {
		return err
	}
	sky, err := b.sky()
	if err != nil {
		return err
	}
	defer sky.clear()
	if err := b.prefer(); err != nil {
		return err
	}
	defer b.preferNo()
	failed := 0
	for number := range weathers {
		one := &weathers[number]
		if !strings.Contains(one.name, *only) {
			continue
		}
		faults, err := b.endure(sky, one, fmt.Sprintf("weather%d", number))
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		if len(faults) > 0 {
			failed++
			fmt.Printf("FAILED %s: %s\n", one.name, strings.Join(faults, "; "))
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d weathers", failed)
	}
	return nil
}

// Endure drains in that weather.
func (b *bench) endure(sky *sky, one *weather, namespace string) ([]string, error) {
	stage := stage{b: b, namespace: namespace, scenario: scenario{things: []thing{{"deployment", "web", like("replicas=2")}}}}
	defer stage.clear()
	if err := stage.set(); err != nil {
		return nil, err
	}
	mark := b.mark()
	sky.turn(one)
	defer sky.turn(&weather{})
	done := make(chan ran, 1)
	go func() { done <- b.hostler("drain", subject, "--yes", "--timeout", "300s") }()
	var faults []string
	var did ran
	said := ""
	if one.passes {
		// What is wrong stands in what it waits for.
		told := until(2*time.Minute, one.says, func() (bool, error) {
			time.Sleep(2 * time.Second)
			said = b.hostler("why", subject).text
			return regexp.MustCompile(one.says).MatchString(said), nil
		})
		if told != nil {
			faults = append(faults, told.Error()+": "+last(said))
		}
	} else {
		did = <-done
		said = did.text
		if did.code == 0 || !regexp.MustCompile(one.says).MatchString(said) {
			faults = append(faults, fmt.Sprintf("expected %s, found exit code %d: %s", one.says, did.code, last(said)))
		}
	}
	if line := regexp.MustCompile(`(?m)^.*(` + one.says + `).*$`).FindString(said); line != "" {
		fmt.Printf("%s: %s\n", one.name, strings.TrimSpace(line))
	}
	faults = append(faults, b.touched(mark, namespace)...)
	sky.turn(&weather{})
	if one.passes {
		if did = <-done; did.code != 0 {
			faults = append(faults, fmt.Sprintf("fair again, and exit code %d: %s", did.code, last(did.text)))
		} else {
			fmt.Printf("    fair again: drained after %.0f s in all\n", did.took.Seconds())
			return faults, b.must(b.hostler("uncordon", subject, "--yes"))
		}
	}
	return faults, nil
}

// Touched is what a drain did that should not have done anything.
func (b *bench) touched(mark int64, namespace string) []string {
	var faults []string
	if at, err := b.node(subject); err != nil || at.Spec.Unschedulable || len(at.traces()) > 0 {
		faults = append(faults, fmt.Sprintf("touched the node: unschedulable %t, %v", at.Spec.Unschedulable, at.traces()))
	}
	requests, err := b.since(mark)
	if err != nil {
		return append(faults, err.Error())
	}
	for i := range requests {
		if one := &requests[i]; one.evicted() && one.ObjectRef.Namespace == namespace {
			faults = append(faults, "evicted "+one.ObjectRef.Name)
		}
	}
	return faults
}

// Sky stands before the API server of cp1, under its name and authority, and is what the weather says.
type sky struct {
	now    atomic.Pointer[day]
	asked  atomic.Int64
	server *http.Server
	file   string // Hostler's way to the API server
	was    []byte
}

// Day is a weather until it turns.
type day struct {
	*weather
	over chan struct{}
}

// Sky leads Hostler's requests through it until it is cleared.
func (b *bench) sky() (*sky, error) {
	keys := b.root("cp1") + "/etc/kubernetes/pki/"
	authority, err := tls.LoadX509KeyPair(keys+"ca.crt", keys+"ca.key")
	if err != nil {
		return nil, err
	}
	fresh, err := leaf(authority, time.Now().Add(time.Hour))
	if err != nil {
		return nil, err
	}
	stale, err := leaf(authority, time.Now().Add(-time.Hour))
	if err != nil {
		return nil, err
	}
	s := &sky{file: b.root("cp1") + "/etc/kubernetes/admin.conf"}
	s.now.Store(&day{&weather{}, make(chan struct{})})
	if s.was, err = os.ReadFile(s.file); err != nil {
		return nil, err
	}
	behind, err := b.behind()
	if err != nil {
		return nil, err
	}
	s.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			today := s.now.Load()
			s.asked.Add(1)
			within, cancel := context.WithCancel(r.Context())
			defer cancel()
			go func() {
				select {
				case <-today.over:
					cancel()
				case <-within.Done():
				}
			}()
			if r = r.WithContext(within); today.answers == nil || !today.answers(w, r) {
				behind.ServeHTTP(w, r)
			}
		})}
	// Each request is greeted with the certificate of its weather.
	s.server.SetKeepAlivesEnabled(false)
	listener, err := tls.Listen("tcp", weatherAddress, &tls.Config{MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			if s.now.Load().expired {
				return &stale, nil
			}
			return &fresh, nil
		}})
	if err != nil {
		return nil, err
	}
	go func() { _ = s.server.Serve(listener) }()
	leads := regexp.MustCompile(`server: \S+`).ReplaceAll(s.was, []byte("server: https://"+weatherAddress))
	if err := os.WriteFile(s.file, leads, 0o600); err != nil {
		return nil, err
	}
	// Nothing that it holds leads past the sky.
	if err := b.must(b.exec("cp1", "systemctl", "restart", "hostler-executor.service")); err != nil {
		s.clear()
		return nil, err
	}
	return s, until(time.Minute, "requests through the sky", func() (bool, error) { return s.asked.Load() > 3, nil })
}

// Behind is the real API server: asked with the requests' own tokens, or with the administrator's certificate, which
// ends here as every client's does.
func (b *bench) behind() (http.Handler, error) {
	address, config := b.api.Way()
	byCertificate := &http.Transport{TLSClientConfig: config}
	byToken := &http.Transport{TLSClientConfig: config.Clone()}
	byToken.TLSClientConfig.Certificates = nil
	target, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Authorization") == "" {
				return byCertificate.RoundTrip(r)
			}
			return byToken.RoundTrip(r)
		})}, nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Leaf is a server's certificate for the weather's address, by that authority.
func leaf(authority tls.Certificate, ends time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	host, _, _ := net.SplitHostPort(weatherAddress)
	about := x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: ends.Add(-2 * time.Hour), NotAfter: ends,
		IPAddresses: []net.IP{net.ParseIP(host)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, &about, authority.Leaf, &key.PublicKey, authority.PrivateKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Turn changes the weather; whoever is connected has to come again.
func (s *sky) turn(to *weather) {
	close(s.now.Swap(&day{to, make(chan struct{})}).over)
}

// Clear takes the sky away.
func (s *sky) clear() {
	_ = os.WriteFile(s.file, s.was, 0o600)
	_ = s.server.Close()
}
