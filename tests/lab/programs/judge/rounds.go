package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"time"
)

// Round is one round of a race as it was played: a line of the record.
type round struct {
	Seed   uint64   `json:"seed"`
	Race   string   `json:"race"`
	Round  int      `json:"round"`
	Ended  string   `json:"ended"`
	Faults []string `json:"faults"`
}

// RunRaces lets each race happen at a random moment of a drain, all races once before any of them twice. What has been
// played stands in the record, so that a run goes on where the last one with its seed ended.
func runRaces(b *bench, args []string) error {
	flags := flag.NewFlagSet("races", flag.ContinueOnError)
	rounds := flags.Int("rounds", 20, "rounds of each race")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the moments")
	only := flags.String("only", "", "only races whose name matches this expression")
	record := flags.String("record", b.work+"/races.jsonl", "file of the rounds that were played, which are not played again")
	limit := flags.Duration("for", 24*time.Hour, "begin no round later than this")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	played, err := playedWith(*record, *seed)
	if err != nil {
		return err
	}
	if err := b.prefer(); err != nil {
		return err
	}
	defer b.preferNo()
	fmt.Printf("seed %d, load %s\n", *seed, loadAverage())
	began := time.Now()
	for number := range *rounds {
		for lane := range races {
			one := &races[lane]
			if !wanted.MatchString(one.name) || time.Since(began) > *limit || hasPlayed(played, one.name, number) {
				continue
			}
			did := b.round(one, lane, number, *seed)
			if err := appendTo(*record, did); err != nil {
				return err
			}
			played = append(played, did)
		}
	}
	return tell(played, wanted, time.Since(began))
}

// Round plays one; its moments follow from the seed, whatever was played before it.
func (b *bench) round(one *race, lane, number int, seed uint64) round {
	random := rand.New(rand.NewPCG(seed, uint64(lane)<<32|uint64(number)))
	word, faults, err := b.heat(*one, fmt.Sprintf("x%d-%d", lane, number), random)
	if err != nil {
		faults = append(faults, err.Error())
	}
	if len(faults) > 0 {
		fmt.Printf("FAILED %s, round %d, seed %d: %s\n", one.name, number, seed, strings.Join(faults, "; "))
	}
	return round{seed, one.name, number, word, faults}
}

// Tell sums up every wanted race of the seed, this run's and those before it.
func tell(played []round, wanted *regexp.Regexp, took time.Duration) error {
	count, failed := 0, 0
	for i := range races {
		if !wanted.MatchString(races[i].name) {
			continue
		}
		ended, of := map[string]int{}, 0
		for _, one := range played {
			if one.Race != races[i].name {
				continue
			}
			of++
			ended[one.Ended]++
			if len(one.Faults) > 0 {
				failed++
			}
		}
		count += of
		fmt.Printf("%-52s %d rounds: %v\n", races[i].name, of, ended)
	}
	fmt.Printf("%d rounds, %d of them not as they should be; this run took %s; load %s\n",
		count, failed, took.Round(time.Second), loadAverage())
	if failed > 0 {
		return fmt.Errorf("%d rounds", failed)
	}
	return nil
}

func hasPlayed(played []round, race string, number int) bool {
	for _, one := range played {
		if one.Race == race && one.Round == number {
			return true
		}
	}
	return false
}

// PlayedWith are the rounds of a seed in the record; a file that is not there has none.
func playedWith(record string, seed uint64) ([]round, error) {
	file, err := os.Open(record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found []round
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var one round
		// A run that was killed may have left half a line: its round is played again.
		if json.Unmarshal(lines.Bytes(), &one) == nil && one.Seed == seed {
			found = append(found, one)
		}
	}
	return found, lines.Err()
}

func appendTo(record string, one round) error {
	file, err := os.OpenFile(record, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	// The line's end comes first: a line that a killed run left half must not swallow this one.
	_, err = fmt.Fprintf(file, "\n%s", asJSON(one))
	return errors.Join(err, file.Close())
}
