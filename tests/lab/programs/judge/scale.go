package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// The real node whose kubelet makes way for kwok: Hostler drains no node that is not in its fleet.
const crowded = "w3"

// Scale drains a node with a thousand pods and more. The API server, scheduler and controllers are the lab's; the pods
// and the nodes that take them are objects that kwok keeps alive.
func scale(b *bench, args []string) (err error) {
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	pods := flags.Int("pods", 1000, "pods on the node that is drained, a multiple of 10")
	nodes := flags.Int("nodes", 200, "nodes that are objects only")
	budgets := flags.Int("budgets", 2000, "budgets in the cluster; the first count ten pods each, the others none")
	commands := flags.String("commands", "hostler kubectl", "who drains, in this order")
	if err := flags.Parse(args); err != nil {
		return err
	}
	end, err := b.kwok()
	if err != nil {
		return err
	}
	defer end()
	for _, command := range strings.Fields(*commands) {
		if err := b.crowd(command, *pods, *nodes, *budgets); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
	}
	return nil
}

// Kwok takes the crowded node over from its kubelet, and gives it back.
func (b *bench) kwok() (func(), error) {
	if err := b.must(b.exec(crowded, "systemctl", "stop", "kubelet.service")); err != nil {
		return nil, err
	}
	log, err := os.Create(b.work + "/log/kwok.log")
	if err != nil {
		return nil, err
	}
	flags := []string{"--kubeconfig", b.work + "/admin.conf", "--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--node-lease-duration-seconds=40"}
	stages, err := filepath.Glob(b.work + "/kwok/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, stage := range stages {
		flags = append(flags, "--config", stage)
	}
	command := exec.Command(b.work+"/bin/kwok", flags...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return nil, err
	}
	end := func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = b.api.Patch("/api/v1/nodes/"+crowded, taken(nil, nil))
		b.exec(crowded, "systemctl", "start", "kubelet.service")
	}
	err = b.api.Patch("/api/v1/nodes/"+crowded, taken("fake", "fake"))
	if err == nil {
		err = b.quicker()
	}
	if err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// Taken is the change of a node that kwok keeps alive and that the crowd may run on.
func taken(annotation, label any) object {
	return object{"metadata": object{
		"annotations": object{"kwok.x-k8s.io/node": annotation}, "labels": object{"judge": label},
	}}
}

// Quicker lets controllers and scheduler ask as often as thousands of pods need: with their defaults of 20 and 50
// requests a second it is them who would be measured.
func (b *bench) quicker() error {
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		path := b.root("cp1") + "/etc/kubernetes/manifests/" + name + ".yaml"
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "--kube-api-qps") {
			continue
		}
		flags := "    - --kube-api-qps=400\n    - --kube-api-burst=800\n"
		changed := strings.Replace(string(text), "    - --kubeconfig=", flags+"    - --kubeconfig=", 1)
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			return err
		}
	}
	time.Sleep(10 * time.Second)
	return nil
}

// Crowd fills the node, makes the others, drains, and clears away.
func (b *bench) crowd(command string, pods, nodes, budgets int) error {
	namespace := "crowd-" + command
	var things []thing
	for i := range pods / 10 {
		app := fmt.Sprintf("app%d", i)
		things = append(things, thing{"deployment", app, like("replicas=10 crowd")})
		if i < budgets {
			things = append(things, thing{"budget", app, like("max=2")})
		}
	}
	for i := pods / 10; i < budgets; i++ {
		things = append(things, thing{"budget", fmt.Sprintf("app%d", i), like("max=2")})
	}
	room := object{"cpu": "1000", "memory": "1000Gi", "pods": "20000"}
	roomy := object{"status": object{"capacity": room, "allocatable": room}}
	fill := func() error {
		path, kind := "/api/v1/nodes/"+crowded+"/status", "application/merge-patch+json"
		code, text, err := b.api.Ask("PATCH", path, kind, []byte(asJSON(roomy)))
		if err == nil && code >= 300 {
			err = fmt.Errorf("%d: %s", code, text)
		}
		return err
	}
	if err := fill(); err != nil {
		return err
	}
	idle, err := b.usage("cp1", "hostler-executor")
	if err != nil {
		return err
	}
	began := time.Now()
	namespaced := object{"apiVersion": "v1", "kind": "Namespace", "metadata": meta(namespace)}
	if err := b.api.Post("/api/v1/namespaces", namespaced); err != nil {
		return err
	}
	defer b.disperse(namespace, nodes, pods)
	if err := b.postAll(namespace, things); err != nil {
		return err
	}
	ready := func(want int) func() (bool, error) {
		return func() (bool, error) {
			time.Sleep(time.Second)
			all, err := b.podsWithin(namespace, time.Minute)
			count := 0
			for i := range all {
				if all[i].ready() {
					count++
				}
			}
			return count >= want, err
		}
	}
	if err := until(10*time.Minute, "Ready pods", ready(pods)); err != nil {
		return err
	}
	if err := b.fakes(nodes); err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	fmt.Printf("%s: %d pods on %s, %d nodes, %d budgets, made in %s; load %s\n",
		command, pods, crowded, nodes+4, budgets, time.Since(began).Round(time.Second), loadAverage())
	return b.drainCrowd(command, pods, idle)
}

func (b *bench) drainCrowd(command string, pods int, idle usage) error {
	before, err := b.usage("cp1", "hostler-executor")
	if err != nil {
		return err
	}
	mark, most := b.mark(), b.highest("cp1", "hostler-executor")
	var did ran
	if command == "kubectl" {
		did = b.kubectl("drain", crowded, "--ignore-daemonsets", "--timeout=900s")
	} else {
		did = b.hostler("drain", crowded, "--yes", "--timeout", "900s")
	}
	highest := most()
	requests, err := b.since(mark)
	if err != nil {
		return err
	}
	asked, evicted, refused := 0, 0, 0
	for i := range requests {
		one := &requests[i]
		if one.asker() != command {
			continue
		}
		asked++
		if one.evicted() {
			evicted++
		}
		if one.ResponseStatus.Code == 429 {
			refused++
		}
	}
	fmt.Printf("    exit code %d after %.1f s: %d requests, %.2f a pod; %d evictions accepted, %d refused\n",
		did.code, did.took.Seconds(), asked, float64(asked)/float64(pods), evicted, refused)
	if command == "hostler" {
		after, err := b.usage("cp1", "hostler-executor")
		if err != nil {
			return err
		}
		fmt.Printf("    executor: PSS %.1f MiB without the crowd, %.1f with it, %.1f in the drain at most, %.1f after it; "+
			"CPU %.1f s\n", mib(idle.pss), mib(before.pss), mib(highest), mib(after.pss),
			float64(after.ticks-before.ticks)/100)
	}
	if did.code != 0 {
		return fmt.Errorf("%s", last(did.text))
	}
	return nil
}

// Highest looks at a program's PSS every second until it is asked for the highest.
func (b *bench) highest(machine, unit string) func() int {
	found, end := 0, make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			if now, err := b.usage(machine, unit); err == nil {
				found = max(found, now.pss)
			}
			select {
			case <-end:
				return
			case <-time.After(time.Second):
			}
		}
	})
	return func() int { close(end); wait.Wait(); return found }
}

func mib(kib int) float64 { return float64(kib) / 1024 }

// PostAll makes the objects of all things, sixteen at a time.
func (b *bench) postAll(namespace string, things []thing) error {
	work, failed := make(chan placed), make(chan error, 1)
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			for one := range work {
				if err := b.api.Post(one.path, one.object); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for i := range things {
		made, err := things[i].objects(namespace)
		if err != nil {
			return err
		}
		for _, one := range made {
			work <- one
		}
	}
	close(work)
	wait.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// Fakes are nodes that are nothing but their objects.
func (b *bench) fakes(count int) error {
	for i := range count {
		room := object{"cpu": "64", "memory": "256Gi", "pods": "110"}
		name := fmt.Sprintf("fake-%d", i)
		err := b.api.Post("/api/v1/nodes", object{"apiVersion": "v1", "kind": "Node",
			"metadata": object{"name": name, "annotations": object{"kwok.x-k8s.io/node": "fake"},
				"labels": object{"kubernetes.io/hostname": name, "judge": "fake"}},
			"status": object{"capacity": room, "allocatable": room}})
		if err != nil {
			return err
		}
	}
	return nil
}

// Disperse takes the crowd away again.
func (b *bench) disperse(namespace string, nodes, pods int) {
	for i := range nodes {
		_ = b.api.Delete(fmt.Sprintf("/api/v1/nodes/fake-%d", i), 0)
	}
	_ = b.api.Delete("/api/v1/namespaces/"+namespace, -1)
	patience := b.api.Within(time.Minute)
	_ = patience.Delete("/apis/apps/v1/namespaces/"+namespace+"/deployments", 0)
	_ = patience.Delete("/api/v1/namespaces/"+namespace+"/pods", 0)
	_ = until(time.Duration(pods/10+60)*time.Second, "end of the crowd", func() (bool, error) {
		time.Sleep(time.Second)
		all, err := b.podsWithin(namespace, time.Minute)
		return len(all) == 0, err
	})
	_ = b.reset(crowded)
}
