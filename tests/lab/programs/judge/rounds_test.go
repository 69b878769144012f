package main

import (
	"os"
	"testing"
)

func TestARunGoesOnWhereTheLastOneWithItsSeedWasKilled(t *testing.T) {
	record := t.TempDir() + "/races.jsonl"
	if played, err := playedWith(record, 7); err != nil || len(played) != 0 {
		t.Fatalf("expected nothing of a file that is not there, found %v, %v", played, err)
	}
	write := func(one round) {
		if err := appendTo(record, one); err != nil {
			t.Fatal(err)
		}
	}
	write(round{7, "nothing happens", 0, "drained", nil})
	write(round{8, "nothing happens", 1, "drained", nil})
	whole, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(record, append(whole, "\n{\"seed\":7,\"race\":\"noth"...), 0o600); err != nil {
		t.Fatal(err)
	}
	write(round{7, "nothing happens", 2, "blocked", []string{"expected drained"}})
	played, err := playedWith(record, 7)
	if err != nil {
		t.Fatal(err)
	}
	for number, is := range []bool{true, false, true} {
		if hasPlayed(played, "nothing happens", number) != is {
			t.Errorf("expected round %d played: %t, found %v", number, is, played)
		}
	}
	if len(played) != 2 || len(played[1].Faults) != 1 {
		t.Errorf("expected two rounds, the second with its fault, found %v", played)
	}
}
