package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Stage is a scenario's state on the cluster, in a namespace of its own.
type stage struct {
	b         *bench
	namespace string
	scenario  scenario
	made      []placed
}

// Set makes everything, waits until it stands, and does what a person did before the drain.
func (s *stage) set() error {
	api := s.b.api
	pause, err := os.ReadFile(s.b.work + "/images/pause.name")
	if err != nil {
		return err
	}
	namespace := object{"apiVersion": "v1", "kind": "Namespace", "metadata": meta(s.namespace)}
	if err := api.Post("/api/v1/namespaces", namespace); err != nil {
		return err
	}
	// Bare pods are refused before it is there.
	account := "/api/v1/namespaces/" + s.namespace + "/serviceaccounts/default"
	there := func() (bool, error) { return api.Get(account, &object{}) }
	if err := until(20*time.Second, "service account", there); err != nil {
		return err
	}
	for i := range s.scenario.things {
		one := &s.scenario.things[i]
		one.is["pause"] = strings.TrimSpace(string(pause))
		if one.kind == "taint" {
			if err := s.b.taint(one.name, "judge", "NoSchedule"); err != nil {
				return err
			}
		}
		made, err := one.objects(s.namespace)
		if err != nil {
			return err
		}
		for _, object := range made {
			if err := api.Post(object.path, object.object); err != nil {
				return err
			}
			s.made = append(s.made, object)
		}
		if one.kind == "static" {
			if err := s.static(one); err != nil {
				return err
			}
		}
	}
	if err := until(2*time.Minute, "pods of the scenario", s.stands); err != nil {
		return err
	}
	for i := range s.scenario.things {
		if err := s.meanwhile(&s.scenario.things[i]); err != nil {
			return err
		}
	}
	return nil
}

// Meanwhile is what somebody does between the pods' start and the drain.
func (s *stage) meanwhile(one *thing) error {
	switch one.kind {
	case "cordon":
		return s.b.api.Patch("/api/v1/nodes/"+subject, object{"spec": object{"unschedulable": true}})
	case "delete":
		pods, err := s.b.pods(s.namespace)
		if err != nil {
			return err
		}
		for i := range pods {
			if at := &pods[i].Metadata; at.Labels["app"] == one.name {
				if one.has("on") && pods[i].Spec.NodeName != one.is["on"] {
					continue
				}
				if err := s.b.api.Delete(s.path(at.Name), -1); err != nil {
					return err
				}
			}
		}
	case "orphan":
		did := s.b.kubectl("-n", s.namespace, "delete", one.is["kind"], one.name, "--cascade=orphan")
		if did.code != 0 {
			return fmt.Errorf("orphan %s: %s", one.name, did.text)
		}
	case "wait":
		time.Sleep(time.Duration(one.number("seconds", 1)) * time.Second)
	}
	return nil
}

func (s *stage) path(pod string) string { return "/api/v1/namespaces/" + s.namespace + "/pods/" + pod }

func (s *stage) manifest(one *thing) string {
	return s.b.root(subject) + "/etc/kubernetes/manifests/" + s.namespace + "-" + one.name + ".json"
}

// Static is a pod that the subject's kubelet has from its own disk.
func (s *stage) static(one *thing) error {
	template := one.template()
	template["apiVersion"], template["kind"] = "v1", "Pod"
	about := template["metadata"].(object)
	about["name"], about["namespace"] = one.name, s.namespace
	return os.WriteFile(s.manifest(one), []byte(asJSON(template)), 0o600)
}

// Stands says whether every pod is there and as far as it will ever come, and every budget has been counted.
func (s *stage) stands() (bool, error) {
	pods, err := s.b.pods(s.namespace)
	if err != nil {
		return false, err
	}
	for i := range s.scenario.things {
		one := &s.scenario.things[i]
		wanted := one.number("replicas", 1)
		switch one.kind {
		case "deployment", "replicaset", "statefulset", "controller", "job", "pod", "static":
		case "daemonset":
			wanted = 3
		default:
			continue
		}
		count := 0
		for p := range pods {
			if pods[p].Metadata.Labels["app"] == one.name && settled(&pods[p], one) {
				count++
			}
		}
		if count < wanted {
			return false, nil
		}
	}
	return s.budgetsCounted()
}

// Settled: a pod that is Ready, or as far as the scenario lets it come.
func settled(p *pod, one *thing) bool {
	switch {
	case one.has("ends"):
		return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed"
	case one.has("unready"):
		return p.Status.Phase == "Running"
	case one.has("image"):
		return p.Spec.NodeName != "" && len(p.Status.ContainerStatuses) > 0 && p.Status.Phase == "Pending"
	case one.has("nowhere"):
		return p.Status.Phase == "Pending"
	case one.has("waits"):
		return p.Spec.NodeName != ""
	}
	return p.ready()
}

func (s *stage) budgetsCounted() (bool, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Generation int }
			Status   struct {
				ObservedGeneration, CurrentHealthy, ExpectedPods int
				Conditions                                       []struct{ Type, Reason string }
			}
		}
	}
	if _, err := s.b.api.Get("/apis/policy/v1/namespaces/"+s.namespace+"/poddisruptionbudgets", &list); err != nil {
		return false, err
	}
	for _, one := range list.Items {
		failed := false
		for _, c := range one.Status.Conditions {
			failed = failed || c.Reason == "SyncFailed"
		}
		if !failed && one.Status.ObservedGeneration < one.Metadata.Generation {
			return false, nil
		}
	}
	if len(list.Items) > 0 {
		// The counts follow the pods by a moment, and say nothing that tells whether they have.
		time.Sleep(400 * time.Millisecond)
	}
	return true, nil
}

// Clear takes everything away; what does not go at once goes while the next one is set.
func (s *stage) clear() {
	api := s.b.api
	for i := range s.scenario.things {
		switch one := &s.scenario.things[i]; one.kind {
		case "static":
			_ = os.Remove(s.manifest(one))
		case "taint":
			s.b.untaint(one.name, "judge")
		}
	}
	for i := len(s.made) - 1; i >= 0; i-- {
		path := s.made[i].path + "/" + s.made[i].name()
		if s.made[i].object["kind"] == "VolumeAttachment" {
			_ = api.Patch(path, object{"metadata": object{"finalizers": nil}})
		}
		_ = api.Delete(path, 0)
	}
	_ = api.Delete("/api/v1/namespaces/"+s.namespace, -1)
	_ = until(20*time.Second, "end of the scenario's pods", func() (bool, error) {
		pods, err := s.b.pods(s.namespace)
		for i := range pods {
			if len(pods[i].Metadata.Finalizers) > 0 {
				_ = api.Patch(s.path(pods[i].Metadata.Name), object{"metadata": object{"finalizers": nil}})
			}
			_ = api.Delete(s.path(pods[i].Metadata.Name), 0)
		}
		return len(pods) == 0, err
	})
	_ = s.b.reset(subject)
}
