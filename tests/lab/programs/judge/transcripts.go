package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Act is a story of one drain, typed as an admin types it.
type act struct {
	title, about string
	things       []thing
	plays        func(*teller) error
}

// Teller types commands and writes down what they print.
type teller struct {
	b         *bench
	namespace string
	began     time.Time
	text      strings.Builder
}

var acts = []act{
	{"A drain that a budget forbids, explained and freed", `One replica of the cart, and one must stay. The drain says so
before anything is touched; with a second replica it goes through.`,
		[]thing{{"deployment", "cart", like("start=2 stop=1 grace=5")}, {"budget", "cart", like("min=1")},
			{"deployment", "cache", like("start=1 grace=2 memory")}, {"daemonset", "agent", like("")}},
		func(t *teller) error {
			t.hostler("drain", subject, "--yes")
			t.hostler("drain", subject, "--explain")
			t.kubectl("-n", t.namespace, "scale", "deployment/cart", "--replicas=2")
			t.b.kubectl("-n", t.namespace, "rollout", "status", "deployment/cart")
			t.hostler("drain", subject, "--yes", "--delete-emptydir-data=memory")
			t.hostler("uncordon", subject, "--yes")
			return nil
		}},
	{"A responder's drain in the middle of a rollout", `A rolling reboot of w2 and w3 runs. Somebody on call needs w1 empty, now.`,
		[]thing{{"deployment", "web", like("replicas=4 start=2 stop=1 grace=5")}, {"budget", "web", like("max=1")}},
		func(t *teller) error {
			t.hostler("reboot", "w2", "w3", "--yes", "--no-watch")
			time.Sleep(4 * time.Second)
			t.hostler("drain", subject, "--yes")
			t.hostler("rollouts")
			t.hostler("uncordon", subject, "--yes")
			return nil
		}},
	{"A dead node", `The power of w1 is cut. What replaces its pods runs five seconds after it is given up; the old
objects go within twenty.`,
		[]thing{{"deployment", "web", like("replicas=2 start=1 grace=2")}, {"statefulset", "db", like("start=1 grace=2")}},
		func(t *teller) error {
			t.lab("kill", subject)
			if err := t.b.readyIs(subject, "Unknown"); err != nil {
				return err
			}
			t.hostler("drain", subject, "--yes")
			t.hostler("why", subject)
			t.hostler("drain", subject, "--dead", "--power-off-proof", "the cord is in my hand", "--yes")
			time.Sleep(5 * time.Second)
			t.kubectl("-n", t.namespace, "get", "pods", "-o", "wide")
			t.lab("start", subject)
			if err := t.b.readyIs(subject, "True"); err != nil {
				return err
			}
			time.Sleep(5 * time.Second)
			t.kubectl("get", "node", subject, "-o", "jsonpath={.spec.taints}")
			t.hostler("nodes")
			t.hostler("uncordon", subject, "--yes")
			return nil
		}},
	{"A drain that a person takes over", `In the middle of a drain somebody makes the node schedulable again. The drain gives way.`,
		[]thing{{"deployment", "web", like("replicas=4 start=3 stop=1 grace=5")}, {"budget", "web", like("max=1")}},
		func(t *teller) error {
			done := make(chan ran)
			at := time.Now()
			go func() { done <- t.b.hostler("drain", subject, "--yes") }()
			time.Sleep(5 * time.Second)
			other := time.Now()
			did := t.b.kubectl("uncordon", subject)
			t.write(at, "hostler drain "+subject+" --yes", <-done)
			t.write(other, "kubectl uncordon "+subject+"    (meanwhile, in another terminal)", did)
			t.kubectl("get", "nodes")
			t.hostler("why", subject)
			return nil
		}},
}

// Transcripts plays the acts and writes down every word of them.
func transcripts(b *bench, args []string) error {
	flags := flag.NewFlagSet("transcripts", flag.ContinueOnError)
	out := flags.String("out", b.lab+"/../../docs/drain-transcripts.md", "file to write")
	only := flags.String("only", "", "play only acts whose title contains this, and write no file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var text strings.Builder
	text.WriteString(`# Drains, as they were typed

` + "`tests/lab/judge transcripts`" + ` makes this page on the lab's cluster. The seconds are those since an act began; ` + "`…`" + ` stands
for what is signed, which every command shows in full.
`)
	if err := b.prefer(); err != nil {
		return err
	}
	defer b.preferNo()
	for number, one := range acts {
		if !strings.Contains(one.title, *only) {
			continue
		}
		stage := stage{b: b, namespace: fmt.Sprintf("shop%d", number+1), scenario: scenario{things: one.things}}
		teller := teller{b: b, namespace: stage.namespace}
		err := stage.set()
		teller.began = time.Now()
		if err == nil {
			err = one.plays(&teller)
		}
		stage.clear()
		told := fmt.Sprintf("\n## %s\n\n%s\n\n```\n%s```\n", one.title, one.about, teller.text.String())
		text.WriteString(told)
		fmt.Println(told)
		if err != nil {
			return fmt.Errorf("%s: %w", one.title, err)
		}
	}
	if *only != "" {
		return nil
	}
	return os.WriteFile(*out, []byte(text.String()), 0o644)
}

func (t *teller) hostler(args ...string) { t.typed("hostler", t.b.hostler, args) }
func (t *teller) kubectl(args ...string) { t.typed("kubectl", t.b.kubectl, args) }

func (t *teller) lab(args ...string) {
	t.typed("tests/lab/lab", func(args ...string) ran { return run(2*time.Minute, t.b.lab+"/lab", args...) }, args)
}

func (t *teller) typed(name string, does func(...string) ran, args []string) {
	at := time.Now()
	typed := name
	for _, word := range args {
		if strings.Contains(word, " ") {
			word = "'" + word + "'"
		}
		typed += " " + word
	}
	t.write(at, typed, does(args...))
}

func (t *teller) write(at time.Time, command string, did ran) {
	fmt.Fprintf(&t.text, "[%5.1f s] $ %s\n", at.Sub(t.began).Seconds(), command)
	elided := false
	for line := range strings.Lines(did.text) {
		if signed(line) {
			if !elided {
				t.text.WriteString("…\n")
			}
			elided = true
			continue
		}
		elided = false
		for _, part := range folded(strings.TrimRight(line, "\n")) {
			t.text.WriteString(part + "\n")
		}
	}
	if did.code != 0 {
		fmt.Fprintf(&t.text, "(exit code %d)\n", did.code)
	}
}

// Signed: a line of what is to be signed, such as digests and validity, which tells nothing of the story.
func signed(line string) bool {
	starts := []string{"what is to be signed", "  digest", "  fleet ", "  before it", "  made ", "  valid ", "  beside",
		"  care ", "  performs ", "  ends:", "  steps ", "             kube.", "  task ", "held, by their signatures", "not proved since",
		"  tasks "}
	return slices.ContainsFunc(starts, func(start string) bool { return strings.HasPrefix(line, start) })
}

// Folded is a line in pieces of at most 120 columns.
func folded(line string) []string {
	var parts []string
	for len([]rune(line)) > 120 {
		at := strings.LastIndex(string([]rune(line)[:120]), " ")
		if at < 20 {
			break
		}
		parts = append(parts, line[:at])
		line = "    " + line[at+1:]
	}
	return append(parts, line)
}
