// Command judge holds `hostler drain` beside stock `kubectl drain` on the lab's cluster. The API server's audit log is
// the witness of who evicted what; tests/lab/judge makes the cluster and calls it.
package main

import (
	"fmt"
	"log"
	"os"
	"time"

	"hostler/tests/lab/programs/kube"
)

// Parts by their names.
var parts = map[string]func(*bench, []string) error{
	"availability": availability,
	"parity":       parity,
	"races":        runRaces,
	"dead":         dead,
	"idle":         idle,
	"scale":        scale,
	"transcripts":  transcripts,
	"weather":      runWeather,
	"pace":         pace,
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("judge: ")
	if len(os.Args) < 6 || os.Args[2] != "-lab" || os.Args[4] != "-work" {
		log.Fatal("expected PART -lab FOLDER -work FOLDER and the part's own flags; tests/lab/judge gives them")
	}
	part, known := parts[os.Args[1]]
	if !known {
		log.Fatalf("there is no part %s", os.Args[1])
	}
	b := &bench{lab: os.Args[3], work: os.Args[5]}
	var err error
	if b.api, err = kube.Connect(b.work+"/admin.conf", "judge", 10*time.Second); err != nil {
		log.Fatal(err)
	}
	if err := b.company(); err != nil {
		log.Fatal(err)
	}
	if err := part(b, os.Args[6:]); err != nil {
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
}
