package main

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Usage of one program in a machine.
type usage struct {
	ticks int // of processor time, 10 ms each
	pss   int // KiB
}

// Usage of a unit's main process, from its machine's /proc.
func (b *bench) usage(machine, unit string) (usage, error) {
	script := `pid=$(systemctl show -p MainPID --value "$1"); cut -d " " -f 14,15 /proc/$pid/stat
		awk '/^Pss:/ {print $2}' /proc/$pid/smaps_rollup`
	did := b.exec(machine, "sh", "-c", script, "usage", unit+".service")
	var found []int
	for word := range strings.FieldsSeq(did.text) {
		if n, err := strconv.Atoi(word); err == nil {
			found = append(found, n)
		}
	}
	if len(found) != 3 {
		return usage{}, fmt.Errorf("usage of %s on %s: %s", unit, machine, did.text)
	}
	return usage{found[0] + found[1], found[2]}, nil
}

// Idle compares what a node's programs cost while nothing is to be done.
func idle(b *bench, args []string) error {
	flags := flag.NewFlagSet("idle", flag.ContinueOnError)
	seconds := flags.Int("seconds", 180, "how long to look")
	if err := flags.Parse(args); err != nil {
		return err
	}
	machines := []string{"cp1", "w1"}
	units := []string{"hostler-executor", "hostler-agent", "kubelet"}
	read := func() (map[string]usage, error) {
		found := map[string]usage{}
		for _, machine := range machines {
			for _, unit := range units {
				one, err := b.usage(machine, unit)
				if err != nil {
					return nil, err
				}
				found[machine+unit] = one
			}
		}
		return found, nil
	}
	before, err := read()
	if err != nil {
		return err
	}
	mark, began := b.mark(), time.Now()
	time.Sleep(time.Duration(*seconds) * time.Second)
	after, err := read()
	if err != nil {
		return err
	}
	minutes := time.Since(began).Minutes()
	requests, err := b.since(mark)
	if err != nil {
		return err
	}
	asked := map[string]int{}
	for i := range requests {
		one := &requests[i]
		switch {
		case one.asker() == "hostler":
			asked["cp1hostler-executor"]++
		case strings.HasPrefix(one.UserAgent, "kubelet/"):
			asked[strings.TrimPrefix(one.User.Username, "system:node:")+"kubelet"]++
		}
	}
	fmt.Printf("%.0f s, load %s\n\n", minutes*60, loadAverage())
	fmt.Print("| | requests a minute | CPU a minute (ms) | PSS (MiB) |\n|---|---|---|---|\n")
	for _, machine := range machines {
		for _, unit := range units {
			now, then := after[machine+unit], before[machine+unit]
			fmt.Printf("| %s on %s | %.1f | %.0f | %.1f |\n", unit, machine, float64(asked[machine+unit])/minutes,
				float64(now.ticks-then.ticks)*10/minutes, float64(now.pss)/1024)
		}
	}
	return nil
}
