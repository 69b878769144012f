// Command app is the workload of the lab: it answers its pod's name and version on /
// and its readiness on /healthz. It becomes ready only after START_SECONDS, so that a
// replacement takes time as real ones do, and on SIGTERM it stays up, not ready, for
// STOP_SECONDS, so that nothing that still knows it is refused. With a URL as its only
// argument it asks that one and prints the answer, which shows from inside a pod
// whether a Service answers by its name.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Version of the app, replaced at link time.
var version = "1"

func main() {
	if len(os.Args) == 2 {
		if err := ask(os.Args[1]); err != nil {
			log.Fatal(err)
		}
		return
	}
	var ready atomic.Bool
	name, _ := os.Hostname()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s version %s\n", name, version)
	})
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	server := &http.Server{Addr: ":8080"}
	end, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	time.AfterFunc(seconds("START_SECONDS"), func() { ready.Store(true) })
	go func() {
		<-end.Done()
		ready.Store(false)
		time.Sleep(seconds("STOP_SECONDS"))
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatalf("serve on %s: %v", server.Addr, err)
	}
}

func ask(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	reply, err := client.Get(url)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, reply.Status)
	}
	_, err = io.Copy(os.Stdout, reply.Body)
	return err
}

// seconds reads a whole number of seconds from the environment; none is zero.
func seconds(key string) time.Duration {
	text := os.Getenv(key)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		log.Fatalf("%s: expected seconds as a whole number, found %q", key, text)
	}
	return time.Duration(n) * time.Second
}
