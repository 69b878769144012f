package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Race is something that happens at a random moment of a drain.
type race struct {
	name string
	// What the drain may end with; see outcome.
	ends []string
	does func(b *bench, r *heat) error
	// What must be put right again before the next one.
	after func(b *bench, r *heat) error
}

// Heat is one round of a race.
type heat struct {
	namespace string
	seq       string
	random    *rand.Rand
	happened  time.Time
	halted    time.Time
	mark      int64
}

func kill(machine, unit string) func(*bench, *heat) error {
	return func(b *bench, _ *heat) error {
		return b.must(b.exec(machine, "systemctl", "kill", "-s", "KILL", unit+".service"))
	}
}

func (b *bench) must(did ran) error {
	if did.code != 0 {
		return fmt.Errorf("exit code %d: %s", did.code, last(did.text))
	}
	return nil
}

var races = []race{
	{name: "nothing happens", ends: []string{"drained"}, does: func(*bench, *heat) error { return nil }},
	{name: "a person cordons the node", ends: []string{"drained"}, does: func(b *bench, _ *heat) error {
		return b.must(b.kubectl("cordon", subject))
	}},
	{name: "a person uncordons the node", ends: []string{"drained", "taken over"}, does: func(b *bench, _ *heat) error {
		return b.must(b.kubectl("uncordon", subject))
	}},
	{name: "a person deletes a pod", ends: []string{"drained"}, does: func(b *bench, r *heat) error {
		pods, err := b.pods(r.namespace)
		if err != nil || len(pods) == 0 {
			return err
		}
		chosen := pods[r.random.IntN(len(pods))].Metadata.Name
		return b.must(b.kubectl("-n", r.namespace, "delete", "pod", chosen, "--wait=false", "--ignore-not-found"))
	}},
	{name: "a person forbids every disruption", ends: []string{"drained", "blocked"}, does: func(b *bench, r *heat) error {
		return b.api.Patch("/apis/policy/v1/namespaces/"+r.namespace+"/poddisruptionbudgets/web",
			object{"spec": object{"maxUnavailable": 0}})
	}},
	{name: "a person allows every disruption", ends: []string{"drained"}, does: func(b *bench, r *heat) error {
		return b.api.Patch("/apis/policy/v1/namespaces/"+r.namespace+"/poddisruptionbudgets/web",
			object{"spec": object{"maxUnavailable": "100%"}})
	}},
	{name: "a person deletes the budget", ends: []string{"drained"}, does: func(b *bench, r *heat) error {
		return b.api.Delete("/apis/policy/v1/namespaces/"+r.namespace+"/poddisruptionbudgets/web", -1)
	}},
	{name: "a person scales to zero", ends: []string{"drained"}, does: func(b *bench, r *heat) error {
		return b.must(b.kubectl("-n", r.namespace, "scale", "deployment/web", "--replicas=0"))
	}},
	{name: "a person starts a rollout of the app", ends: []string{"drained"}, does: func(b *bench, r *heat) error {
		return b.must(b.kubectl("-n", r.namespace, "rollout", "restart", "deployment/web"))
	}},
	{name: "a person deletes the node", ends: []string{"failed with 3", "drained", "taken over"},
		does: func(b *bench, _ *heat) error { return b.must(b.kubectl("delete", "node", subject, "--wait=false")) },
		after: func(b *bench, _ *heat) error {
			// A kubelet registers when it starts.
			if err := b.must(b.exec(subject, "systemctl", "restart", "kubelet.service")); err != nil {
				return err
			}
			return b.allReady()
		}},
	{name: "the API server is killed", ends: []string{"drained"}, does: func(b *bench, _ *heat) error {
		return b.must(b.exec("cp1", "pkill", "-KILL", "-x", "kube-apiserver"))
	}, after: func(b *bench, _ *heat) error {
		// It waits longer each time before it starts a killed container again, and forgets that when it starts itself.
		if err := b.must(b.exec("cp1", "systemctl", "restart", "kubelet.service")); err != nil {
			return err
		}
		return b.allReady()
	}},
	{name: "the node is cut off from the network for 5 s", ends: []string{"drained"}, does: cut(subject),
		after: func(b *bench, _ *heat) error { return b.allReady() }},
	{name: "the coordinator is cut off from the network for 5 s", ends: []string{"drained"}, does: cut("admin")},
	{name: "the performing node's agent is killed", ends: []string{"drained"}, does: kill("cp1", "hostler-agent")},
	{name: "the performing node's executor is killed", ends: []string{"drained"}, does: kill("cp1", "hostler-executor")},
	{name: "agent and executor are killed", ends: []string{"drained"}, does: func(b *bench, r *heat) error {
		if err := kill("cp1", "hostler-executor")(b, r); err != nil {
			return err
		}
		return kill("cp1", "hostler-agent")(b, r)
	}},
	{name: "the coordinator is killed", ends: []string{"drained"}, does: kill("admin", "hostler-coordinator")},
	{name: "everything is stopped", ends: []string{"drained", "failed with 3"}, does: func(b *bench, r *heat) error {
		did := b.hostler("stop", "--all", "--yes")
		// From here on every node holds it, or the command would not have said so with success.
		r.halted = time.Now()
		return b.must(did)
	}},
}

// Cut takes the machine's end of the lab's bridge down for five seconds.
func cut(machine string) func(*bench, *heat) error {
	return func(*bench, *heat) error {
		// systemd-nspawn shortens the link's name, and keeps the whole one beside it.
		name := "vb-hostler-lab-" + machine
		if text, err := exec.Command("ip", "link", "set", name, "down").CombinedOutput(); err != nil {
			return fmt.Errorf("cut %s: %s", name, text)
		}
		time.Sleep(5 * time.Second)
		text, err := exec.Command("ip", "link", "set", name, "up").CombinedOutput()
		if err != nil {
			return fmt.Errorf("join %s: %s", name, text)
		}
		return nil
	}
}

// AllReady waits until every node is; a drained one stays cordoned.
func (b *bench) allReady() error {
	for _, name := range append([]string{"cp1", subject}, b.others...) {
		if err := b.readyIs(name, "True"); err != nil {
			return err
		}
	}
	return nil
}

// Heat is one drain of eight pods that leave two at a time, with the race's event in its middle.
func (b *bench) heat(one race, namespace string, random *rand.Rand) (string, []string, error) {
	s := scenario{things: []thing{
		{"deployment", "web", like("replicas=6 start=1 stop=1 grace=3")}, {"budget", "web", like("max=2")},
		{"statefulset", "db", like("replicas=2 start=1 grace=1")},
	}}
	stage := stage{b: b, namespace: namespace, scenario: s}
	defer stage.clear()
	if err := stage.set(); err != nil {
		return "not begun", nil, err
	}
	r := &heat{namespace: namespace, random: random, mark: b.mark()}
	did := b.hostler("drain", subject, "--yes", "--no-watch", "--timeout", "60s", "--output", "json")
	if did.code != 0 {
		return "not begun", nil, b.must(did)
	}
	seq, err := b.newest()
	if err != nil {
		return "not begun", nil, err
	}
	r.seq = seq
	delay := time.Duration(random.IntN(6000)) * time.Millisecond
	time.Sleep(delay)
	r.happened = time.Now()
	if err := one.does(b, r); err != nil {
		return "not begun", nil, fmt.Errorf("after %s: %w", delay, err)
	}
	word := b.ending(r.seq)
	var faults []string
	say := func(text string, args ...any) {
		faults = append(faults, fmt.Sprintf("after %s: ", delay)+fmt.Sprintf(text, args...))
	}
	if !slices.Contains(one.ends, word) {
		say("expected %s, found %s: %s", strings.Join(one.ends, " or "), word, b.reason(r.seq))
	}
	if one.after != nil {
		if err := one.after(b, r); err != nil {
			return word, faults, err
		}
	}
	b.inspect(r, word, say)
	return word, faults, nil
}

// Inspect asks the audit log and the node what must hold however it ended.
func (b *bench) inspect(r *heat, word string, say func(string, ...any)) {
	requests, err := b.since(r.mark)
	if err != nil {
		say("%v", err)
		return
	}
	times := map[string]int{}
	for i := range requests {
		one := &requests[i]
		if one.asker() != "hostler" || !one.evicted() || one.ObjectRef.Namespace != r.namespace {
			continue
		}
		times[one.ObjectRef.Name]++
		if !r.halted.IsZero() && one.RequestReceivedTimestamp.After(r.halted) {
			say("evicted %s %s after the stop", one.ObjectRef.Name, one.RequestReceivedTimestamp.Sub(r.halted))
		}
		if word == "taken over" && one.RequestReceivedTimestamp.After(r.happened.Add(3*time.Second)) {
			say("evicted %s %s after it was uncordoned", one.ObjectRef.Name, one.RequestReceivedTimestamp.Sub(r.happened))
		}
	}
	for name, count := range times {
		if count > 1 {
			say("evicted %s %d times", name, count)
		}
	}
	// A drain that succeeded keeps its cordon; one that a person lifted later leaves nothing of it.
	clean := func() (bool, error) {
		at, err := b.node(subject)
		if err != nil {
			return false, err
		}
		return at.Spec.Unschedulable == (word == "drained") || len(at.traces()) == 0 && !at.Spec.Unschedulable, nil
	}
	if err := until(15*time.Second, "node as the drain must leave it", clean); err != nil {
		at, _ := b.node(subject)
		say("%s, unschedulable %t, left %v", word, at.Spec.Unschedulable, at.traces())
	}
	if at, err := b.node(subject); err == nil && !at.Spec.Unschedulable && len(at.traces()) > 0 {
		say("left on a schedulable node: %v", at.traces())
	}
}

func (b *bench) newest() (string, error) {
	did := b.hostler("rollouts", "--output", "json")
	var list struct{ Rollouts []struct{ Seq int } }
	if err := decode(did, &list); err != nil {
		return "", err
	}
	highest := 0
	for _, one := range list.Rollouts {
		highest = max(highest, one.Seq)
	}
	return strconv.Itoa(highest), nil
}

// Ending waits for the end of a rollout, whoever is away meanwhile.
func (b *bench) ending(seq string) string {
	word := "never ended"
	for ends := time.Now().Add(2 * time.Minute); time.Now().Before(ends); time.Sleep(300 * time.Millisecond) {
		did := run(90*time.Second, b.lab+"/lab", "exec", "admin", "--", "hostler", "rollout", "watch", seq)
		if word = outcome("hostler", did); did.code == 0 || did.code == 3 || did.code >= 5 && did.code <= 8 {
			return word
		}
	}
	return "never ended, " + word
}

func (b *bench) reason(seq string) string { return last(b.hostler("rollout", "show", seq).text) }
