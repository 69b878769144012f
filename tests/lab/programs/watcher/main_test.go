package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func listOf(ready int) []pod {
	var pods []pod
	for i := range ready {
		pods = append(pods, pod{name: fmt.Sprint(i), ready: true})
	}
	return pods
}

// looks runs watch over one answer of the API server per look; addresses are empty,
// so nothing answers and only the count of least 0 can hold for it.
func looks(least int, answers ...[]pod) Summary {
	end, stop := context.WithCancel(context.Background())
	i := 0
	return watch(end, least, interval, patience, func() ([]pod, error) {
		answer := answers[i]
		if i++; i == len(answers) {
			stop()
		}
		if answer == nil {
			return nil, errors.New("away")
		}
		return answer, nil
	})
}

func TestOneLookBelowIsEnoughToFail(t *testing.T) {
	s := looks(0, listOf(3), listOf(2))
	if !s.Held || s.MinReady != 2 {
		t.Fatalf("expected held with 2, found %+v", s)
	}
	s = looks(1, listOf(3))
	if s.Held || s.Below != 1 {
		t.Fatalf("ready but not answering: expected below once, found %+v", s)
	}
}

func TestAnAbsentServerCountsTheKnownPodsOnly(t *testing.T) {
	s := looks(0, listOf(3), nil)
	if s.MinReady != 3 || s.Looks != 2 {
		t.Fatalf("expected the last known count to stay out of ready, found %+v", s)
	}
}

func TestNobodyIsAskedBeforeTheServerNamedThePods(t *testing.T) {
	if s := looks(0, nil, listOf(3)); !s.Held || s.Looks != 1 || s.MinReady != 3 {
		t.Fatalf("expected one look that holds, found %+v", s)
	}
	if s := looks(0, nil); s.Held || s.Looks != 0 {
		t.Fatalf("expected no look and nothing held, found %+v", s)
	}
}

func TestADeletedPodIsNotReady(t *testing.T) {
	pods, err := parse([]byte(`{"items":[
		{"metadata":{"name":"a"},"status":{"conditions":[{"type":"Ready","status":"True"}]}},
		{"metadata":{"name":"b","deletionTimestamp":"2026-01-01T00:00:00Z"},"status":{"conditions":[{"type":"Ready","status":"True"}]}},
		{"metadata":{"name":"c"},"status":{"conditions":[{"type":"Ready","status":"False"}]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if !pods[0].ready || pods[1].ready || pods[2].ready {
		t.Fatalf("expected a alone ready, found %+v", pods)
	}
}
