package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"hostler/tests/lab/programs/kube"
)

// The node that is drained; the other workers take what leaves it.
const subject = "w1"

// Bench is the lab with Hostler and kubectl on it.
type bench struct {
	api  *kube.Server
	lab  string // the folder of the lab's scripts
	work string // the folder of what it built
	// The workers beside the subject: w2 and w3, or w2 alone in the lab of tests/lab/run.
	others []string
}

// Company looks which workers there are beside the subject.
func (b *bench) company() error {
	var list struct{ Items []node }
	if _, err := b.api.Get("/api/v1/nodes", &list); err != nil {
		return err
	}
	for _, one := range list.Items {
		if name := one.Metadata.Name; strings.HasPrefix(name, "w") && name != subject {
			b.others = append(b.others, name)
		}
	}
	return nil
}

// Ran is what one command did.
type ran struct {
	code int
	text string
	took time.Duration
}

func run(limit time.Duration, name string, args ...string) ran {
	command := exec.Command(name, args...)
	var text bytes.Buffer
	command.Stdout, command.Stderr = &text, &text
	// What outlives the command, such as a machine's shell, must not hold it open.
	command.WaitDelay = time.Second
	began := time.Now()
	if err := command.Start(); err != nil {
		return ran{code: -1, text: err.Error()}
	}
	timer := time.AfterFunc(limit, func() { _ = command.Process.Kill() })
	defer timer.Stop()
	err := command.Wait()
	out := ran{text: text.String(), took: time.Since(began)}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		out.code = exit.ExitCode()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		out.code = -1
	}
	return out
}

// Exec runs a command in a machine.
func (b *bench) exec(machine string, args ...string) ran {
	return run(10*time.Minute, b.lab+"/lab", append([]string{"exec", machine, "--"}, args...)...)
}

func (b *bench) hostler(args ...string) ran {
	return b.exec("admin", append([]string{"hostler"}, args...)...)
}

func (b *bench) kubectl(args ...string) ran {
	flags := []string{"--kubeconfig", b.work + "/admin.conf"}
	return run(10*time.Minute, b.work+"/bin/kubectl", append(flags, args...)...)
}

func (b *bench) root(machine string) string { return filepath.Join(b.work, "roots", machine) }

// Request is a line of the audit log.
type request struct {
	Verb, UserAgent, RequestURI string
	User                        struct{ Username string }
	ObjectRef                   struct{ Resource, Namespace, Name, Subresource, UID string }
	ResponseStatus              struct{ Code int }
	RequestReceivedTimestamp    time.Time
}

// Asker is whose request it is: kubectl, hostler, or the empty word for everybody else.
func (r *request) asker() string {
	switch {
	case strings.HasPrefix(r.UserAgent, "kubectl/"):
		return "kubectl"
	case r.UserAgent == "", strings.HasPrefix(r.UserAgent, "hostler"), strings.Contains(r.User.Username, "hostler"):
		return "hostler"
	}
	return ""
}

func (r *request) evicted() bool {
	return r.Verb == "create" && r.ObjectRef.Subresource == "eviction" && r.ResponseStatus.Code == 201
}

// Mark is a place in the audit log.
func (b *bench) mark() int64 {
	info, err := os.Stat(b.auditLog())
	if err != nil {
		return 0
	}
	return info.Size()
}

func (b *bench) auditLog() string { return b.root("cp1") + "/var/log/kubernetes/audit.log" }

// Since are the requests after the mark.
func (b *bench) since(mark int64) ([]request, error) {
	// The API server writes a line when it has answered; what a command did last is there a moment later.
	time.Sleep(200 * time.Millisecond)
	file, err := os.Open(b.auditLog())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() < mark {
		// A new file was begun meanwhile.
		mark = 0
	}
	if _, err := file.Seek(mark, io.SeekStart); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	var found []request
	for line := range bytes.Lines(text) {
		var one request
		if json.Unmarshal(line, &one) == nil {
			found = append(found, one)
		}
	}
	return found, nil
}

// Pod is what the judge looks at of a pod.
type pod struct {
	Metadata struct {
		Name, Namespace, UID string
		DeletionTimestamp    *string
		Labels               map[string]string
		Annotations          map[string]string
		Finalizers           []string
	}
	Spec   struct{ NodeName string }
	Status struct {
		Phase             string
		PodIP             string
		Conditions        []struct{ Type, Status string }
		ContainerStatuses []struct{ State map[string]any }
	}
}

func (p *pod) ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True" && p.Metadata.DeletionTimestamp == nil
		}
	}
	return false
}

// Pods of a namespace, or of all where it is empty.
func (b *bench) pods(namespace string) ([]pod, error) { return b.podsWithin(namespace, 10*time.Second) }

func (b *bench) podsWithin(namespace string, patience time.Duration) ([]pod, error) {
	path := "/api/v1/pods"
	if namespace != "" {
		path = "/api/v1/namespaces/" + namespace + "/pods"
	}
	var list struct{ Items []pod }
	_, err := b.api.Within(patience).Get(path, &list)
	return list.Items, err
}

// Node is what the judge looks at of a node.
type node struct {
	Metadata struct {
		Name        string
		Annotations map[string]string
	}
	Spec struct {
		Unschedulable bool
		Taints        []kube.Object
	}
	Status struct {
		Conditions []struct{ Type, Status string }
	}
}

func (b *bench) node(name string) (node, error) {
	var found node
	is, err := b.api.Get("/api/v1/nodes/"+name, &found)
	if err == nil && !is {
		err = fmt.Errorf("the cluster has no node %s", name)
	}
	return found, err
}

// Traces are what Hostler left on a node that pods may run on: annotations, taints and conditions of its own.
func (n *node) traces() []string {
	var left []string
	for key := range n.Metadata.Annotations {
		if strings.HasPrefix(key, "hostler.dev/") {
			left = append(left, "annotation "+key)
		}
	}
	for _, taint := range n.Spec.Taints {
		if key, _ := taint["key"].(string); strings.HasPrefix(key, "hostler.dev/") {
			left = append(left, "taint "+key)
		}
	}
	for _, c := range n.Status.Conditions {
		if regexp.MustCompile(`^(DrainInProgress|Drained|Maintenance)`).MatchString(c.Type) && c.Status == "True" {
			left = append(left, "condition "+c.Type)
		}
	}
	sort.Strings(left)
	return left
}

// ReadyIs waits until the cluster says so of a node: True, False or Unknown.
func (b *bench) readyIs(name, status string) error {
	return until(2*time.Minute, fmt.Sprintf("Ready=%s of %s", status, name), func() (bool, error) {
		at, err := b.node(name)
		for _, c := range at.Status.Conditions {
			if c.Type == "Ready" {
				return c.Status == status, err
			}
		}
		return false, err
	})
}

// Reset makes the node schedulable and takes away what either command left on it.
func (b *bench) reset(name string) error {
	found, err := b.node(name)
	if err != nil {
		return err
	}
	annotations := kube.Object{}
	for key := range found.Metadata.Annotations {
		if strings.HasPrefix(key, "hostler.dev/") {
			annotations[key] = nil
		}
	}
	taints := []kube.Object{}
	for _, taint := range found.Spec.Taints {
		key, _ := taint["key"].(string)
		if !strings.HasPrefix(key, "hostler.dev/") && key != "judge" && key != "node.kubernetes.io/unschedulable" {
			taints = append(taints, taint)
		}
	}
	return b.api.Patch("/api/v1/nodes/"+name, kube.Object{
		"metadata": kube.Object{"annotations": annotations},
		"spec":     kube.Object{"unschedulable": nil, "taints": taints},
	})
}

// Until asks ten times a second; it fails with what was waited for.
func until(limit time.Duration, what string, holds func() (bool, error)) error {
	ends := time.Now().Add(limit)
	for {
		is, err := holds()
		if err == nil && is {
			return nil
		}
		if time.Now().After(ends) {
			if err != nil {
				return fmt.Errorf("no %s within %s: %w", what, limit, err)
			}
			return fmt.Errorf("no %s within %s", what, limit)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// The host's load, in its own words.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// Decode the JSON that a command printed.
func decode(did ran, out any) error {
	if did.code != 0 {
		return fmt.Errorf("exit code %d: %s", did.code, did.text)
	}
	return json.Unmarshal([]byte(did.text), out)
}
