package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// How often everything is looked at.
const lookEvery = 100 * time.Millisecond

// The apps of the rolling reboot. Least is what must always answer beside Hostler; the others have nobody to stand in.
var crew = []struct {
	thing thing
	least int
	about string
}{
	{thing{"deployment", "web", like("replicas=3 start=2 stop=1 grace=5 spread")}, 2, "3 replicas, budget: 2 must stay"},
	{thing{"deployment", "wide", like("replicas=30 start=2 stop=1 grace=5")}, 22, "30 replicas, no budget"},
	{thing{"statefulset", "db", like("replicas=2 start=2 stop=1 grace=5 spread")}, 1, "stateful set of 2, no budget"},
	{thing{"deployment", "one", like("start=2 stop=1 grace=5")}, 0, "1 replica"},
	{thing{"job", "work", like("start=1")}, 0, "job"},
	{thing{"daemonset", "agent", like("start=1")}, 0, "DaemonSet on 3 workers"},
	{thing{"pod", "lone", like("start=1")}, 0, "bare pod"},
}

func like(words string) map[string]string {
	is := map[string]string{}
	for word := range strings.FieldsSeq(words) {
		key, value, _ := strings.Cut(word, "=")
		is[key] = value
	}
	return is
}

// Look is how many pods of each app answered at a moment, and whether a node was cordoned or down.
type look struct {
	at      time.Duration
	answers []int
	nodes   int // of the four, how many are Ready and schedulable
	api     bool
}

// Availability drains and reboots every node, once with Hostler and once with a loop of kubectl, and plots who answered.
func availability(b *bench, args []string) error {
	flags := flag.NewFlagSet("availability", flag.ContinueOnError)
	out := flags.String("out", b.lab+"/../../docs/availability.svg", "file to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var series [2][]look
	for i, command := range []string{"hostler", "kubectl"} {
		found, err := b.roll(command)
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		series[i] = found
	}
	fmt.Println("| app | fewest that answered: Hostler | kubectl | seconds with none: Hostler | kubectl |")
	fmt.Println("|---|---|---|---|---|")
	var below []string
	for app, one := range crew {
		h, k := summary(series[0], app), summary(series[1], app)
		fmt.Printf("| %s | %d | %d | %.1f | %.1f |\n", one.about, h.fewest, k.fewest, h.none.Seconds(), k.none.Seconds())
		if h.fewest < one.least {
			below = append(below, fmt.Sprintf("%s fell to %d, at least %d must answer", one.about, h.fewest, one.least))
		}
	}
	for i, command := range []string{"hostler", "kubectl"} {
		looks := series[i]
		fmt.Printf("%s: %d looks in %.0f s\n", command, len(looks), looks[len(looks)-1].at.Seconds())
	}
	if err := os.WriteFile(*out, []byte(plot(series)), 0o644); err != nil {
		return err
	}
	if len(below) > 0 {
		return fmt.Errorf("%s", strings.Join(below, "; "))
	}
	return nil
}

type sum struct {
	fewest int
	none   time.Duration
}

func summary(looks []look, app int) sum {
	found := sum{fewest: 1 << 30}
	for i, one := range looks {
		found.fewest = min(found.fewest, one.answers[app])
		if i > 0 && looks[i-1].answers[app] == 0 {
			found.none += one.at - looks[i-1].at
		}
	}
	return found
}

// Roll makes the apps, reboots all nodes with one of the commands while it looks on, and clears away.
func (b *bench) roll(command string) ([]look, error) {
	s := scenario{name: "rolling reboot"}
	for _, one := range crew {
		s.things = append(s.things, one.thing)
	}
	s.things = append(s.things, thing{"budget", "web", like("min=2")})
	stage := stage{b: b, namespace: "roll-" + command, scenario: s}
	defer stage.clear()
	if err := stage.set(); err != nil {
		return nil, err
	}
	end := b.looking(stage.namespace)
	time.Sleep(3 * time.Second)
	var err error
	if command == "hostler" {
		did := b.hostler("reboot", "--all", "--accept-outage", "cp1", "--force-unmanaged", "--yes")
		if did.code != 0 {
			err = fmt.Errorf("exit code %d: %s", did.code, last(did.text))
		}
	} else {
		err = b.rebootByHand()
	}
	time.Sleep(10 * time.Second)
	return end(), err
}

// RebootByHand is what people write around kubectl.
func (b *bench) rebootByHand() error {
	for _, name := range []string{"cp1", "w1", "w2", "w3"} {
		boot := strings.TrimSpace(b.exec(name, "cat", "/proc/sys/kernel/random/boot_id").text)
		did := b.kubectl("drain", name, "--ignore-daemonsets", "--force", "--timeout=180s")
		if did.code != 0 {
			return fmt.Errorf("drain %s: %s", name, last(did.text))
		}
		b.exec(name, "systemctl", "reboot")
		ready := func() (bool, error) {
			now := strings.TrimSpace(b.exec(name, "cat", "/proc/sys/kernel/random/boot_id").text)
			said := b.kubectl("get", "node", name, "--request-timeout=5s", "-o",
				`jsonpath={.status.nodeInfo.bootID} {.status.conditions[?(@.type=="Ready")].status}`)
			return now != boot && said.text == now+" True", nil
		}
		if err := until(2*time.Minute, name+" Ready in its new boot", ready); err != nil {
			return err
		}
		if did := b.kubectl("uncordon", name); did.code != 0 {
			return fmt.Errorf("uncordon %s: %s", name, did.text)
		}
	}
	return nil
}

// Looking asks every pod that is known, ten times a second, until it is told to stop.
func (b *bench) looking(namespace string) func() []look {
	end := make(chan struct{})
	var looks []look
	var wait sync.WaitGroup
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}}
	began := time.Now()
	wait.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		var known []pod
		nodes := 4
		for {
			found := look{at: time.Since(began), answers: make([]int, len(crew))}
			if now, err := b.podsWithin(namespace, time.Second); err == nil {
				known, found.api = now, true
			}
			if len(looks)%5 == 0 {
				if count, err := b.serving(); err == nil {
					nodes = count
				}
			}
			found.nodes = nodes
			answering(&client, known, found.answers)
			looks = append(looks, found)
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	})
	return func() []look { close(end); wait.Wait(); return looks }
}

// Answering counts by app the pods that answer HTTP. A stopping one counts as long as it does.
func answering(client *http.Client, pods []pod, counts []int) {
	within, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var wait sync.WaitGroup
	var lock sync.Mutex
	for i := range pods {
		address, app := pods[i].Status.PodIP, pods[i].Metadata.Labels["app"]
		if address == "" || pods[i].Status.Phase != "Running" || !wasReady(&pods[i]) {
			continue
		}
		wait.Go(func() {
			request, err := http.NewRequestWithContext(within, http.MethodGet, "http://"+address+":8080/", nil)
			if err != nil {
				return
			}
			reply, err := client.Do(request)
			if err != nil {
				return
			}
			_ = reply.Body.Close()
			lock.Lock()
			defer lock.Unlock()
			for at := range crew {
				if crew[at].thing.name == app && reply.StatusCode == http.StatusOK {
					counts[at]++
				}
			}
		})
	}
	wait.Wait()
}

// WasReady: a service would send requests there, also while it stops.
func wasReady(p *pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// Serving is how many nodes are Ready and schedulable.
func (b *bench) serving() (int, error) {
	var list struct{ Items []node }
	if _, err := b.api.Get("/api/v1/nodes", &list); err != nil {
		return 0, err
	}
	count := 0
	for _, one := range list.Items {
		for _, c := range one.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" && !one.Spec.Unschedulable {
				count++
			}
		}
	}
	return count, nil
}
