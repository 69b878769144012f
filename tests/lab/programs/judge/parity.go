package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// How long a drain may take unless the scenario says otherwise: not much, for those that cannot end.
const drainLimit = "6s"

// Result is what one command did with one scenario.
type result struct {
	outcome string
	evicted string
	cordon  string
	took    time.Duration
	said    string
	wrong   []string // what must never be, whatever the scenario
}

// Parity plays every scenario for both commands, one after the other, and writes the table.
func parity(b *bench, args []string) error {
	flags := flag.NewFlagSet("parity", flag.ContinueOnError)
	table := flags.String("table", b.lab+"/drains/parity.txt", "file with the scenarios")
	out := flags.String("out", b.lab+"/../../docs/drain-parity.md", "file to write; empty writes none")
	only := flags.String("only", "", "play only scenarios that match this expression")
	if err := flags.Parse(args); err != nil {
		return err
	}
	scenarios, differences, err := read(*table)
	if err != nil {
		return err
	}
	stop, err := webhook()
	if err != nil {
		return err
	}
	defer stop()
	if err := b.prefer(); err != nil {
		return err
	}
	defer b.preferNo()
	began, failed := time.Now(), 0
	var rows []row
	for number, one := range scenarios {
		if *only != "" && !regexp.MustCompile(*only).MatchString(one.name) {
			continue
		}
		kubectl, err := b.play(one, number, "kubectl")
		if err != nil {
			return fmt.Errorf("%s, kubectl: %w", one.name, err)
		}
		hostler, err := b.play(one, number, "hostler")
		if err != nil {
			return fmt.Errorf("%s, hostler: %w", one.name, err)
		}
		found := row{one.name, kubectl, hostler, one.differs, judge(one, kubectl, hostler, differences)}
		rows = append(rows, found)
		fmt.Println(found)
		if len(found.faults) > 0 {
			failed++
			fmt.Printf("    kubectl said: %s\n    hostler said: %s\n", last(kubectl.said), last(hostler.said))
		}
	}
	fmt.Printf("%d scenarios in %s, %d as they should not be\n", len(rows), time.Since(began).Round(time.Second), failed)
	if *out != "" && *only == "" {
		if err := os.WriteFile(*out, []byte(document(rows, differences)), 0o644); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d scenarios", failed)
	}
	return nil
}

// Row is a line of the table.
type row struct {
	name             string
	kubectl, hostler result
	differs          []string
	faults           []string
}

func (r row) String() string {
	side := func(one result) string {
		return fmt.Sprintf("%s, evicted %s, %s, %.1f s", one.outcome, one.evicted, one.cordon, one.took.Seconds())
	}
	verdict := "equal"
	if len(r.differs) > 0 {
		verdict = "differs: " + strings.Join(r.differs, " ")
	}
	if len(r.faults) > 0 {
		verdict = "FAILED: " + strings.Join(r.faults, "; ")
	}
	return fmt.Sprintf("%-52s kubectl %s | hostler %s | %s", r.name, side(r.kubectl), side(r.hostler), verdict)
}

// Judge compares both with each other and with what the scenario says.
func judge(one scenario, kubectl, hostler result, differences []difference) []string {
	faults := slices.Concat(kubectl.wrong, hostler.wrong)
	if hostler.outcome != one.expect {
		faults = append(faults, fmt.Sprintf("expected %s, found %s", one.expect, hostler.outcome))
	}
	unequal := map[string]bool{}
	// Words for the same: kubectl has one for everything that did not work.
	if (kubectl.outcome == "drained") != (hostler.outcome == "drained") ||
		(kubectl.outcome == "timed out") != (hostler.outcome == "timed out") {
		unequal["outcome"] = true
	}
	if kubectl.evicted != hostler.evicted {
		unequal["evicted"] = true
	}
	if kubectl.cordon != hostler.cordon {
		unequal["cordon"] = true
	}
	argued := map[string]bool{}
	for _, name := range one.differs {
		at := slices.IndexFunc(differences, func(d difference) bool { return d.name == name })
		if at < 0 {
			faults = append(faults, "no difference is named "+name)
			continue
		}
		shows := false
		for _, what := range differences[at].concerns {
			shows = shows || unequal[what]
			argued[what] = true
		}
		if !shows {
			faults = append(faults, "the difference "+name+" does not show any more")
		}
	}
	for _, what := range slices.Sorted(maps.Keys(unequal)) {
		if !argued[what] {
			faults = append(faults, what+" differs and nobody says why")
		}
	}
	return faults
}

// Play makes the scenario's state, drains with one of the commands, looks, and clears away.
func (b *bench) play(one scenario, number int, command string) (result, error) {
	namespace := fmt.Sprintf("p%d%c", number, command[0])
	stage := stage{b: b, namespace: namespace, scenario: one}
	defer stage.clear()
	if err := stage.set(); err != nil {
		return result{}, err
	}
	before, err := b.pods(namespace)
	if err != nil {
		return result{}, err
	}
	mark := b.mark()
	var did ran
	if command == "kubectl" {
		flags := append([]string{"drain", subject, "--timeout=" + one.limit}, one.kubectl...)
		if !slices.Contains(one.kubectl, "--ignore-daemonsets=false") {
			flags = append(flags, "--ignore-daemonsets")
		}
		did = b.kubectl(flags...)
	} else {
		flags := []string{"drain", subject, "--yes", "--timeout", one.limit}
		for _, flag := range one.hostler {
			flags = append(flags, strings.Replace(flag, "@/", namespace+"/", 1))
		}
		did = b.hostler(flags...)
	}
	found := result{outcome: outcome(command, did), took: did.took, said: did.text}
	requests, err := b.since(mark)
	if err != nil {
		return result{}, err
	}
	var twice []string
	found.evicted, twice = evictions(requests, command, namespace, before)
	if found.evicted != "none" {
		switch found.outcome {
		case "refused":
			found.outcome = "gave up"
		case "blocked":
			found.outcome = "blocked on the way"
		}
	}
	if command == "hostler" {
		for _, name := range twice {
			found.wrong = append(found.wrong, "hostler evicted "+name+" twice")
		}
	}
	at, err := b.node(subject)
	if err != nil {
		return result{}, err
	}
	found.cordon = "schedulable"
	if at.Spec.Unschedulable {
		found.cordon = "cordoned"
	} else if left := at.traces(); len(left) > 0 {
		found.wrong = append(found.wrong, "left on the node: "+strings.Join(left, ", "))
	}
	return found, nil
}

// Outcome in one word, from what the command prints and its exit code.
func outcome(command string, did ran) string {
	if command == "kubectl" {
		switch {
		case did.code == 0:
			return "drained"
		case regexp.MustCompile("global timeout reached|timed out|did not complete|deadline").MatchString(did.text):
			return "timed out"
		}
		return "refused"
	}
	switch did.code {
	case 0:
		return "drained"
	case 5:
		return "blocked"
	case 6:
		return "timed out"
	case 7:
		return "unreachable"
	case 8:
		return "taken over"
	}
	return fmt.Sprintf("failed with %d", did.code)
}

// Evictions that the API server accepted, by app, and pods that it was asked for twice.
func evictions(requests []request, command, namespace string, before []pod) (string, []string) {
	times, apps := map[string]int{}, map[string]int{}
	for i := range requests {
		if r := &requests[i]; r.asker() == command && r.evicted() && r.ObjectRef.Namespace == namespace {
			times[r.ObjectRef.Name]++
		}
	}
	var twice []string
	for name, count := range times {
		// Of a replacement that came when nobody looked, the deployment's part of its name.
		app := regexp.MustCompile(`-[a-z0-9]{8,10}-[a-z0-9]{5}$`).ReplaceAllString(name, "")
		for i := range before {
			if before[i].Metadata.Name == name && before[i].Metadata.Labels["app"] != "" {
				app = before[i].Metadata.Labels["app"]
			}
		}
		apps[app]++
		if count > 1 {
			twice = append(twice, name)
		}
	}
	var words []string
	for app, count := range apps {
		words = append(words, fmt.Sprintf("%d %s", count, app))
	}
	sort.Strings(words)
	if len(words) == 0 {
		return "none", twice
	}
	return strings.Join(words, ", "), twice
}

func last(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "\n        ")
}

func document(rows []row, differences []difference) string {
	var text strings.Builder
	text.WriteString(`# Drain: Hostler beside stock kubectl

` + "`tests/lab/judge parity`" + ` makes this page. It plays each scenario of [the table](../tests/lab/drains/parity.txt)
twice on the lab's cluster (Kubernetes 1.36.3, one control plane and three workers), once for ` + "`kubectl drain`" + `
and once for ` + "`hostler drain`" + `, both with the same patience (6 s unless the table says otherwise) and the state made anew.
What was evicted is read from the API server's audit log. The run fails where the two differ and nobody says why, and
where a difference is named that does not show. *cordoned* and *schedulable* say how the node was left.

`)
	equal := 0
	for _, one := range rows {
		if len(one.differs) == 0 {
			equal++
		}
	}
	fmt.Fprintf(&text, "%d scenarios: %d equal, %d with a difference that is argued below.\n\n", len(rows), equal, len(rows)-equal)
	text.WriteString("## Differences, and why\n\n")
	for _, one := range differences {
		text.WriteString(wrapped(fmt.Sprintf("- **%s**: %s", one.name, one.why)))
	}
	text.WriteString("\n## Scenarios\n\n| scenario | kubectl drain | hostler drain | |\n|---|---|---|---|\n")
	for _, one := range rows {
		verdict := "equal"
		if len(one.differs) > 0 {
			verdict = strings.Join(one.differs, ", ")
		}
		if len(one.faults) > 0 {
			verdict = "**" + strings.Join(one.faults, "; ") + "**"
		}
		cell := func(r result) string {
			return fmt.Sprintf("%s, evicted %s, %s, %.1f s", r.outcome, r.evicted, r.cordon, r.took.Seconds())
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", one.name, cell(one.kubectl), cell(one.hostler), verdict)
	}
	return text.String()
}

// Wrapped is an item of a list in lines of at most 120 columns.
func wrapped(item string) string {
	var text strings.Builder
	column := 0
	for word := range strings.FieldsSeq(item) {
		switch {
		case column == 0:
		case column+1+len(word) > 120:
			text.WriteString("\n  ")
			column = 2
		default:
			text.WriteString(" ")
			column++
		}
		text.WriteString(word)
		column += len(word)
	}
	return text.String() + "\n"
}

// Prefer makes the subject the node that takes whatever may run there.
func (b *bench) prefer() error {
	for _, name := range b.others {
		if err := b.taint(name, "judge-later", "PreferNoSchedule"); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) preferNo() {
	for _, name := range b.others {
		b.untaint(name, "judge-later")
	}
}

// Taint lays a taint on a node, beside those it has.
func (b *bench) taint(name, key, effect string) error {
	at, err := b.node(name)
	if err != nil {
		return err
	}
	for _, taint := range at.Spec.Taints {
		if taint["key"] == key {
			return nil
		}
	}
	taints := append(at.Spec.Taints, object{"key": key, "effect": effect})
	return b.api.Patch("/api/v1/nodes/"+name, object{"spec": object{"taints": taints}})
}

func (b *bench) untaint(name, key string) {
	at, err := b.node(name)
	if err != nil {
		return
	}
	taints := slices.DeleteFunc(at.Spec.Taints, func(taint object) bool { return taint["key"] == key })
	if taints == nil {
		taints = []object{}
	}
	_ = b.api.Patch("/api/v1/nodes/"+name, object{"spec": object{"taints": taints}})
}

func asJSON(what any) string { text, _ := json.Marshal(what); return string(text) }
