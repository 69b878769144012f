package main

import (
	"flag"
	"fmt"
	"regexp"
	"sync"
	"time"
)

// The driver of the dead node's volume. Nobody runs it: the judge answers for it.
const driver = "csi.judge.example"

// Dead cuts a node's power and gives it up: its pods and the attachment of its volume must go at once, both must come up
// elsewhere, and the mark must go when the node is back. What gives up a node that lives must be refused.
func dead(b *bench, args []string) error {
	flags := flag.NewFlagSet("dead", flag.ContinueOnError)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := b.prefer(); err != nil {
		return err
	}
	defer b.preferNo()
	stage := stage{b: b, namespace: "dead", scenario: scenario{things: []thing{
		{"deployment", "web", like("replicas=2 start=1 grace=2")}, {"budget", "web", like("max=0")},
		{"pod", "lone", like("grace=2")}, {"volume", "disk", like("csi")},
		{"statefulset", "db", like("start=1 claim=disk waits")}}}}
	defer stage.clear()
	if err := stage.set(); err != nil {
		return err
	}
	if err := b.attached(subject); err != nil {
		return err
	}
	if err := b.refuses("is Ready, so it is not dead|is Ready|is connected", "a node that lives"); err != nil {
		return err
	}
	run(time.Minute, b.lab+"/lab", "kill", subject)
	start := sync.OnceFunc(func() { run(2*time.Minute, b.lab+"/lab", "start", subject) })
	defer start()
	if err := b.readyIs(subject, "Unknown"); err != nil {
		return err
	}
	if did := b.hostler("drain", subject, "--yes", "--force-unmanaged"); did.code != 5 && did.code != 7 {
		return fmt.Errorf("a drain of the silent node: expected exit code 5 or 7, found %d: %s", did.code, last(did.text))
	}
	began := time.Now()
	since := func() string { return time.Since(began).Round(100 * time.Millisecond).String() }
	did := b.hostler("drain", subject, "--dead", "--power-off-proof", "the judge cut it", "--yes")
	if did.code != 0 {
		return fmt.Errorf("--dead: exit code %d: %s", did.code, last(did.text))
	}
	fmt.Printf("given up after %s, with its own budget at maxUnavailable 0\n", since())
	gone := func() (bool, error) {
		pods, err := b.pods(stage.namespace)
		for i := range pods {
			if pods[i].Spec.NodeName == subject {
				return false, err
			}
		}
		return true, err
	}
	if err := until(2*time.Minute, "end of the dead node's pods", gone); err != nil {
		return err
	}
	fmt.Printf("its pods are gone after %s\n", since())
	elsewhere := func() (bool, error) {
		held, err := b.attachments()
		return len(held) == 1 && held[subject] == "", err
	}
	if err := until(8*time.Minute, "volume attached elsewhere alone", elsewhere); err != nil {
		return err
	}
	fmt.Printf("its volume is detached, and attached to another node, after %s\n", since())
	start()
	if err := b.readyIs(subject, "True"); err != nil {
		return err
	}
	back := time.Now()
	unmarked := func() (bool, error) {
		at, err := b.node(subject)
		for _, taint := range at.Spec.Taints {
			if taint["key"] == "node.kubernetes.io/out-of-service" {
				return false, err
			}
		}
		return true, err
	}
	if err := until(time.Minute, "end of the mark", unmarked); err != nil {
		return err
	}
	at, err := b.node(subject)
	if err != nil || !at.Spec.Unschedulable {
		return fmt.Errorf("expected it cordoned until it is uncordoned, found it schedulable (%v)", err)
	}
	fmt.Printf("the mark is gone %s after it was Ready again; it is cordoned\n", time.Since(back).Round(100*time.Millisecond))
	if did := b.hostler("uncordon", subject, "--yes"); did.code != 0 {
		return fmt.Errorf("uncordon: exit code %d: %s", did.code, last(did.text))
	}
	if at, err := b.node(subject); err != nil || at.Spec.Unschedulable || len(at.traces()) > 0 {
		return fmt.Errorf("left on the node after uncordon: unschedulable %t, %v (%v)", at.Spec.Unschedulable, at.traces(), err)
	}
	fmt.Println("uncordoned, and nothing of it is left")
	return nil
}

// Refuses: giving the node up must fail with such words and change nothing.
func (b *bench) refuses(words, whom string) error {
	did := b.hostler("drain", subject, "--dead", "--power-off-proof", "none", "--yes")
	at, err := b.node(subject)
	if err != nil {
		return err
	}
	if did.code == 0 || !regexp.MustCompile(words).MatchString(did.text) || at.Spec.Unschedulable || len(at.traces()) > 0 {
		return fmt.Errorf("giving up %s: expected a refusal with %q, found exit code %d, traces %v: %s",
			whom, words, did.code, at.traces(), last(did.text))
	}
	fmt.Printf("giving up %s is refused: %s\n", whom, regexp.MustCompile(`.*(`+words+`).*`).FindString(did.text))
	return nil
}

// Attachments of the judge's driver by node; as the driver's attacher would, it calls each one attached.
func (b *bench) attachments() (map[string]string, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ Attacher, NodeName string }
			Status   struct{ Attached bool }
		}
	}
	path := "/apis/storage.k8s.io/v1/volumeattachments"
	if _, err := b.api.Get(path, &list); err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, one := range list.Items {
		if one.Spec.Attacher != driver {
			continue
		}
		found[one.Spec.NodeName] = one.Metadata.Name
		if !one.Status.Attached {
			at := path + "/" + one.Metadata.Name + "/status"
			if err := b.api.Patch(at, object{"status": object{"attached": true}}); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// Attached waits until the controllers have attached the volume to that node.
func (b *bench) attached(node string) error {
	return until(time.Minute, "volume attached to "+node, func() (bool, error) {
		held, err := b.attachments()
		return held[node] != "", err
	})
}
