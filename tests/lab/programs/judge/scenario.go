package main

import (
	"fmt"
	"os"
	"strings"
)

// Scenario is what stands on the cluster before a drain, and how the drain is asked for.
type scenario struct {
	name    string
	things  []thing
	kubectl []string // flags beside those every drain has
	hostler []string
	// What Hostler must say: drained, blocked or timed out.
	expect string
	// How long either command may take.
	limit string
	// Names of the argued differences from kubectl that this scenario shows.
	differs []string
}

// Thing is one line of a scenario: a kind, a name, and what it is like.
type thing struct {
	kind, name string
	is         map[string]string
}

// Difference is a way in which Hostler does not do as kubectl does, and why.
type difference struct {
	name, why string
	// What it may concern: outcome, evicted, cordon.
	concerns []string
}

// Read a table of scenarios. A line at the margin begins a difference or a scenario, indented ones belong to it.
func read(path string) ([]scenario, []difference, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	var scenarios []scenario
	var differences []difference
	for number, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		fails := func(what string) error { return fmt.Errorf("%s:%d: %s: %s", path, number+1, what, line) }
		rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), words[0]))
		if !strings.HasPrefix(line, " ") {
			switch {
			case words[0] == "difference" && len(words) > 3:
				differences = append(differences,
					difference{words[1], strings.Join(words[3:], " "), strings.Split(words[2], ",")})
			case words[0] == "scenario" && len(words) > 1:
				scenarios = append(scenarios, scenario{name: rest, expect: "drained", limit: drainLimit})
			default:
				return nil, nil, fails("expected difference NAME CONCERNS WHY or scenario NAME")
			}
			continue
		}
		if len(scenarios) == 0 {
			return nil, nil, fails("belongs to no scenario")
		}
		at := &scenarios[len(scenarios)-1]
		switch words[0] {
		case "kubectl":
			at.kubectl = words[1:]
		case "hostler":
			at.hostler = words[1:]
		case "expect":
			at.expect = rest
		case "limit":
			at.limit = rest
		case "differs":
			at.differs = words[1:]
		default:
			one := thing{kind: words[0], is: map[string]string{}}
			for _, word := range words[1:] {
				key, value, _ := strings.Cut(word, "=")
				if one.name == "" && value == "" {
					one.name = key
				} else {
					one.is[key] = value
				}
			}
			at.things = append(at.things, one)
		}
	}
	return scenarios, differences, nil
}

func (t *thing) has(key string) bool { _, is := t.is[key]; return is }
