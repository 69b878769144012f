package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func written(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "table.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheTableIsRead(t *testing.T) {
	scenarios, differences, err := read("../../drains/parity.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(scenarios) < 60 {
		t.Fatalf("expected at least 60 scenarios, found %d", len(scenarios))
	}
	used := map[string]bool{}
	names := map[string]bool{}
	for _, one := range scenarios {
		if names[one.name] {
			t.Errorf("%s is there twice", one.name)
		}
		names[one.name] = true
		for _, name := range one.differs {
			used[name] = true
		}
	}
	for _, one := range differences {
		if !used[one.name] {
			t.Errorf("no scenario shows the difference %s", one.name)
		}
	}
}

func TestALineThatBelongsNowhereIsRefused(t *testing.T) {
	for _, text := range []string{"  deployment web\n", "scenery x\n", "difference only-a-name\n"} {
		if _, _, err := read(written(t, text)); err == nil || !strings.Contains(err.Error(), "table.txt:1") {
			t.Errorf("expected %q to be refused with its line, found %v", text, err)
		}
	}
}

func TestADifferenceIsNamedOrAFault(t *testing.T) {
	differences := []difference{{"cordon", "why", []string{"cordon"}}}
	kubectl := result{outcome: "refused", evicted: "none", cordon: "cordoned"}
	hostler := result{outcome: "blocked", evicted: "none", cordon: "schedulable"}
	at := func(differs ...string) []string {
		return judge(scenario{expect: "blocked", differs: differs}, kubectl, hostler, differences)
	}
	if faults := at("cordon"); len(faults) != 0 {
		t.Errorf("expected none, found %v", faults)
	}
	if faults := at(); len(faults) != 1 || !strings.Contains(faults[0], "cordon differs") {
		t.Errorf("expected the cordon, found %v", faults)
	}
	if faults := at("cordon", "other"); len(faults) != 1 {
		t.Errorf("expected the unknown name, found %v", faults)
	}
	kubectl.cordon = "schedulable"
	if faults := at("cordon"); len(faults) != 1 || !strings.Contains(faults[0], "does not show") {
		t.Errorf("expected that it does not show, found %v", faults)
	}
	hostler.outcome = "drained"
	if faults := at(); len(faults) != 2 {
		t.Errorf("expected the outcome twice, found %v", faults)
	}
}

func TestEvictionsAreCountedByApp(t *testing.T) {
	line := func(name string, code int) request {
		one := request{Verb: "create", UserAgent: "kubectl/v1"}
		one.ObjectRef.Namespace, one.ObjectRef.Name, one.ObjectRef.Subresource = "n", name, "eviction"
		one.ResponseStatus.Code = code
		return one
	}
	web := pod{}
	web.Metadata.Name, web.Metadata.Labels = "web-1", map[string]string{"app": "web"}
	requests := []request{line("web-1", 201), line("web-1", 201), line("bare", 201), line("no", 429)}
	evicted, twice := evictions(requests, "kubectl", "n", []pod{web})
	if evicted != "1 bare, 1 web" || len(twice) != 1 || twice[0] != "web-1" {
		t.Errorf("found %q and %v", evicted, twice)
	}
}
