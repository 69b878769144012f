// Command watcher proves that an app never falls below its budget. Four times a second,
// or as often as -every says, it counts the app's pods twice, by independent witnesses:
//
//   - ready: what the API server says, Ready and not being deleted;
//   - answering: pods that answered HTTP on their own address, asked from outside the
//     cluster. This goes on while the API server is away, with the pods known last.
//
// How often the API server did not answer is counted too, by who asks it at the address
// of its kubeconfig. Each change is a line of JSON on standard output. On SIGTERM or SIGINT it prints the
// summary as its last line and exits 0 when both counts stayed at -least or above, 1
// when one did not, 2 when too little was seen to say anything.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"hostler/tests/lab/programs/kube"
)

const (
	// Short beside the seconds a replacement needs to become ready, so that no gap
	// hides between two looks.
	interval = 250 * time.Millisecond
	// Of one question to the API server, and to a pod unless told otherwise. A pod that needs longer is not serving.
	patience = time.Second
	// Fewer looks than this are no proof.
	fewestLooks = 20
)

// Look is one sample.
type Look struct {
	Time      string   `json:"time"`
	API       bool     `json:"api"`
	Ready     int      `json:"ready"`
	Answering int      `json:"answering"`
	Pods      []string `json:"pods"`
}

// Summary is the last line.
type Summary struct {
	Event          string  `json:"event"`
	Looks          int     `json:"looks"`
	Least          int     `json:"least_allowed"`
	MinReady       int     `json:"min_ready"`
	MinAnswering   int     `json:"min_answering"`
	Below          int     `json:"looks_below"`
	APIFailed      int     `json:"api_failed"`
	APIAwaySeconds float64 `json:"api_away_seconds"`
	PodsSeen       int     `json:"pods_seen"`
	Held           bool    `json:"held"`
}

type pod struct {
	name, node, address string
	ready               bool
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("watcher: ")
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig with client certificate")
	namespace := flag.String("namespace", "shop", "namespace of the app")
	selector := flag.String("selector", "app=web", "label selector of the app's pods")
	least := flag.Int("least", 2, "pods that must always be there")
	every := flag.Duration("every", interval, "time between two looks")
	podPatience := flag.Duration("patience", patience, "how long a pod may take to answer")
	flag.Parse()

	api, err := kube.Connect(*kubeconfig, "watcher", patience)
	if err != nil {
		log.Fatal(err)
	}
	path := "/api/v1/namespaces/" + *namespace + "/pods?labelSelector=" + url.QueryEscape(*selector)
	end, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	summary := watch(end, *least, *every, *podPatience, func() ([]pod, error) { return list(api, path) })
	line, _ := json.Marshal(summary)
	fmt.Println(string(line))
	switch {
	case summary.Looks < fewestLooks:
		os.Exit(2)
	case !summary.Held:
		os.Exit(1)
	}
}

// watch looks until end; list is asked for the pods at each look.
func watch(end context.Context, least int, every, podPatience time.Duration, list func() ([]pod, error)) Summary {
	s := Summary{Event: "summary", Least: least, Held: true, MinReady: 1 << 30, MinAnswering: 1 << 30}
	seen := map[string]bool{}
	var known []pod
	heard := false
	var last string
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		began := time.Now()
		now, err := list()
		if err == nil {
			known, heard = now, true
		}
		// Before the API server has named the pods once, nobody can be asked.
		if !heard {
			select {
			case <-end.Done():
				s.Held = false
				return s
			case <-tick.C:
				continue
			}
		}
		look := Look{API: err == nil, Pods: []string{}}
		for _, p := range known {
			seen[p.name] = true
			if p.ready {
				look.Ready++
			}
			look.Pods = append(look.Pods, fmt.Sprintf("%s on %s ready=%t", p.name, p.node, p.ready))
		}
		look.Answering = answering(known, podPatience)
		s.Looks++
		s.MinAnswering = min(s.MinAnswering, look.Answering)
		below := look.Answering < least
		if look.API {
			s.MinReady = min(s.MinReady, look.Ready)
			below = below || look.Ready < least
		}
		if below {
			s.Below++
			s.Held = false
		}
		if text, _ := json.Marshal(look); string(text) != last {
			last = string(text)
			look.Time = began.UTC().Format("15:04:05.000")
			text, _ = json.Marshal(look)
			fmt.Println(string(text))
		}
		select {
		case <-end.Done():
			s.PodsSeen = len(seen)
			return s
		case <-tick.C:
		}
		if !look.API {
			s.APIFailed++
			s.APIAwaySeconds += time.Since(began).Seconds()
		}
	}
}

// answering counts the pods that answer HTTP, a stopping one included: it serves on
// until it ends, and that is what a user of the app sees.
func answering(pods []pod, patience time.Duration) int {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	var wait sync.WaitGroup
	answers := make(chan struct{}, len(pods))
	for _, p := range pods {
		if p.address == "" {
			continue
		}
		wait.Go(func() {
			reply, err := client.Get("http://" + p.address + ":8080/")
			if err != nil {
				return
			}
			_ = reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				answers <- struct{}{}
			}
		})
	}
	wait.Wait()
	return len(answers)
}

func list(api *kube.Server, path string) ([]pod, error) {
	code, body, err := api.Ask("GET", path, "", nil)
	if err != nil {
		return nil, err
	}
	if code != http.StatusOK {
		return nil, fmt.Errorf("list pods: %d: %s", code, body)
	}
	return parse(body)
}

func parse(body []byte) ([]pod, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				Name              string
				DeletionTimestamp *string
			}
			Spec   struct{ NodeName string }
			Status struct {
				PodIP      string
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var pods []pod
	for _, item := range list.Items {
		p := pod{name: item.Metadata.Name, node: item.Spec.NodeName, address: item.Status.PodIP}
		for _, c := range item.Status.Conditions {
			if c.Type == "Ready" && c.Status == "True" && item.Metadata.DeletionTimestamp == nil {
				p.ready = true
			}
		}
		pods = append(pods, p)
	}
	return pods, nil
}
