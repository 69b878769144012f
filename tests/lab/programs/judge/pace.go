package main

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Load is a number of apps alike on the subject.
type load struct {
	name           string
	apps, replicas int
	budget         string // maxUnavailable; empty is no budget
	// How much slower than kubectl Hostler may be; zero where kubectl takes apps down and Hostler does not.
	most float64
}

var loads = []load{
	{"10 x 3, budgets: one away", 10, 3, "1", 1.05},
	{"1 x 30, budget: 25 % away", 1, 30, "25%", 1.05},
	{"30 x 1, budgets: one away", 30, 1, "1", 1.05},
	{"10 x 3, no budgets", 10, 3, "", 0},
	{"1 x 30, no budget", 1, 30, "", 0},
	{"30 x 1, no budgets", 30, 1, "", 0},
}

// Paced is one drain, measured.
type paced struct {
	took     time.Duration
	requests int
	weakest  int // the lowest number of Ready pods of any app at any look
}

// Pace drains the same loads with both, in turns, and compares time, requests and what was left of the apps.
func pace(b *bench, args []string) error {
	flags := flag.NewFlagSet("pace", flag.ContinueOnError)
	rounds := flags.Int("rounds", 3, "drains of each load with each command")
	start := flags.Int("start", 2, "seconds until a new pod is Ready")
	only := flags.String("only", "", "only loads whose name contains this")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := b.prefer(); err != nil {
		return err
	}
	defer b.preferNo()
	fmt.Printf("a pod is Ready %d s after its start and stops in 1 s; the middle of %d rounds each, in turns; load %s\n\n",
		*start, *rounds, loadAverage())
	fmt.Println("| load | kubectl (s) | Hostler (s) | ratio | requests a pod: kubectl | Hostler " +
		"| fewest Ready of an app: kubectl | Hostler |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	slow := 0
	for number, one := range loads {
		if !strings.Contains(one.name, *only) {
			continue
		}
		found := map[string][]paced{}
		for round := range *rounds {
			order := []string{"kubectl", "hostler"}
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, command := range order {
				did, err := b.pace(one, fmt.Sprintf("r%d%d%c", number, round, command[0]), command, *start)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", one.name, command, err)
				}
				found[command] = append(found[command], did)
			}
		}
		k, h := middle(found["kubectl"]), middle(found["hostler"])
		ratio, pods := h.took.Seconds()/k.took.Seconds(), float64(one.apps*one.replicas)
		verdict := ""
		if one.most > 0 && ratio > one.most {
			slow++
			verdict = fmt.Sprintf(" **goal %.2f missed**", one.most)
		}
		fmt.Printf("| %s | %.1f | %.1f | %.2f%s | %.1f | %.1f | %d of %d | %d of %d |\n", one.name, k.took.Seconds(),
			h.took.Seconds(), ratio, verdict, float64(k.requests)/pods, float64(h.requests)/pods,
			k.weakest, one.replicas, h.weakest, one.replicas)
	}
	fmt.Printf("\nload %s at the end\n", loadAverage())
	if slow > 0 {
		return fmt.Errorf("%d loads slower than they may be", slow)
	}
	return nil
}

// Middle of the rounds by time; the weakest moment is that of all rounds.
func middle(all []paced) paced {
	slices.SortFunc(all, func(a, b paced) int { return int(a.took - b.took) })
	found := all[len(all)/2]
	for _, one := range all {
		found.weakest = min(found.weakest, one.weakest)
	}
	return found
}

func (b *bench) pace(one load, namespace, command string, start int) (paced, error) {
	s := scenario{name: one.name}
	for i := range one.apps {
		app := fmt.Sprintf("app%d", i)
		is := like(fmt.Sprintf("replicas=%d start=%d stop=1 grace=5", one.replicas, start))
		s.things = append(s.things, thing{"deployment", app, is})
		if one.budget != "" {
			s.things = append(s.things, thing{"budget", app, map[string]string{"max": one.budget}})
		}
	}
	stage := stage{b: b, namespace: namespace, scenario: s}
	defer stage.clear()
	if err := stage.set(); err != nil {
		return paced{}, err
	}
	time.Sleep(time.Second)
	watch := b.weakest(namespace, one.apps)
	mark := b.mark()
	var did ran
	if command == "kubectl" {
		did = b.kubectl("drain", subject, "--ignore-daemonsets", "--timeout=180s")
	} else {
		did = b.hostler("drain", subject, "--yes", "--timeout", "180s")
	}
	weakest := watch()
	if did.code != 0 {
		return paced{}, fmt.Errorf("exit code %d: %s", did.code, last(did.text))
	}
	requests, err := b.since(mark)
	if err != nil {
		return paced{}, err
	}
	found := paced{took: did.took, weakest: weakest}
	for i := range requests {
		if requests[i].asker() == command {
			found.requests++
		}
	}
	return found, nil
}

// Weakest counts Ready pods by app ten times a second until it is asked for the lowest count.
func (b *bench) weakest(namespace string, apps int) func() int {
	lowest, end := 1<<30, make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			if pods, err := b.pods(namespace); err == nil {
				ready := map[string]int{}
				for i := range pods {
					if pods[i].ready() {
						ready[pods[i].Metadata.Labels["app"]]++
					}
				}
				for i := range apps {
					lowest = min(lowest, ready[fmt.Sprintf("app%d", i)])
				}
			}
			select {
			case <-end:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() int { close(end); wait.Wait(); return lowest }
}
