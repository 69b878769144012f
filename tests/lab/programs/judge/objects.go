package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"hostler/tests/lab/programs/kube"
)

type object = kube.Object

// Placed is an object and the path of its collection.
type placed struct {
	path   string
	object object
}

func (p *placed) name() string {
	return p.object["metadata"].(object)["name"].(string)
}

func meta(name string) object { return object{"name": name} }

func (t *thing) number(key string, otherwise int) int {
	if n, err := strconv.Atoi(t.is[key]); err == nil {
		return n
	}
	return otherwise
}

// Template is a pod as a thing describes it.
func (t *thing) template() object {
	environment := []object{}
	for key, name := range map[string]string{"start": "START_SECONDS", "stop": "STOP_SECONDS"} {
		if t.has(key) {
			environment = append(environment, object{"name": name, "value": t.is[key]})
		}
	}
	container := object{
		"name": "app", "image": "registry.lab/app:1", "imagePullPolicy": "Never", "env": environment,
		"readinessProbe": object{"httpGet": object{"path": "/healthz", "port": 8080}, "periodSeconds": 1},
	}
	spec := object{"terminationGracePeriodSeconds": t.number("grace", 1), "containers": []object{container}}
	labels := object{"app": t.name}
	about := object{"labels": labels}
	if t.has("image") {
		container["image"] = "registry.lab/" + t.is["image"] + ":1"
	}
	if ends := t.is["ends"]; ends != "" {
		delete(container, "readinessProbe")
		command := "/usr/local/bin/pause"
		if ends == "badly" {
			command = "/no/such/program"
		}
		container["image"], container["command"] = t.is["pause"], []string{command, "-v"}
		spec["restartPolicy"] = "Never"
	}
	mounts, volumes := []object{}, []object{}
	volume := func(source object) {
		name := fmt.Sprintf("v%d", len(volumes))
		source["name"] = name
		volumes = append(volumes, source)
		mounts = append(mounts, object{"name": name, "mountPath": "/" + name})
	}
	if t.has("disk") {
		volume(object{"emptyDir": object{}})
	}
	if t.has("memory") {
		volume(object{"emptyDir": object{"medium": "Memory", "sizeLimit": "1Mi"}})
	}
	if t.has("hostpath") {
		volume(object{"hostPath": object{"path": "/var/tmp"}})
	}
	if t.has("projected") {
		volume(object{"projected": object{"sources": []object{{"downwardAPI": object{"items": []object{
			{"path": "labels", "fieldRef": object{"fieldPath": "metadata.labels"}}}}}}}})
	}
	if t.has("claim") {
		volume(object{"persistentVolumeClaim": object{"claimName": t.is["claim"]}})
	}
	container["volumeMounts"], spec["volumes"] = mounts, volumes
	if t.has("only") {
		spec["nodeSelector"] = object{"kubernetes.io/hostname": t.is["only"]}
	}
	if t.has("crowd") {
		spec["nodeSelector"] = object{"judge": "fake"}
	}
	here := object{"matchLabels": labels}
	if t.has("spread") {
		spec["topologySpreadConstraints"] = []object{{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
			"whenUnsatisfiable": "DoNotSchedule", "labelSelector": here, "nodeTaintsPolicy": "Honor"}}
	}
	if t.has("apart") {
		spec["affinity"] = object{"podAntiAffinity": object{"requiredDuringSchedulingIgnoredDuringExecution": []object{
			{"topologyKey": "kubernetes.io/hostname", "labelSelector": here}}}}
	}
	if t.has("hostport") {
		container["ports"] = []object{{"containerPort": 8080, "hostPort": t.number("hostport", 0)}}
	}
	if t.has("cpu") {
		container["resources"] = object{"requests": object{"cpu": t.is["cpu"]}}
	}
	if t.has("critical") {
		spec["priorityClassName"] = "system-cluster-critical"
	}
	if t.has("tolerates") {
		// Not the taint of a cordon, or the pod would come back for ever.
		spec["tolerations"] = []object{{"key": "judge", "operator": "Exists"}}
	}
	if t.has("finalizer") {
		about["finalizers"] = []string{"judge.example/held"}
	}
	if t.has("label") {
		key, value, _ := strings.Cut(t.is["label"], ":")
		labels[key] = value
	}
	return object{"metadata": about, "spec": spec}
}

// Objects of a thing, in the order they are made. A thing that is no object gives none.
func (t *thing) objects(namespace string) ([]placed, error) {
	core, apps := "/api/v1/namespaces/"+namespace, "/apis/apps/v1/namespaces/"+namespace
	owns := object{"metadata": meta(t.name), "spec": object{
		"replicas": t.number("replicas", 1), "template": t.template(),
		"selector": object{"matchLabels": object{"app": t.name}},
	}}
	spec := owns["spec"].(object)
	kinded := func(version, kind string) object {
		owns["apiVersion"], owns["kind"] = version, kind
		return owns
	}
	switch t.kind {
	case "deployment":
		return []placed{{apps + "/deployments", kinded("apps/v1", "Deployment")}}, nil
	case "replicaset":
		return []placed{{apps + "/replicasets", kinded("apps/v1", "ReplicaSet")}}, nil
	case "statefulset":
		spec["serviceName"], spec["podManagementPolicy"] = t.name, "Parallel"
		return []placed{{apps + "/statefulsets", kinded("apps/v1", "StatefulSet")}}, nil
	case "daemonset":
		delete(spec, "replicas")
		return []placed{{apps + "/daemonsets", kinded("apps/v1", "DaemonSet")}}, nil
	case "controller":
		spec["selector"] = object{"app": t.name}
		return []placed{{core + "/replicationcontrollers", kinded("v1", "ReplicationController")}}, nil
	case "job":
		template := t.template()
		template["spec"].(object)["restartPolicy"] = "Never"
		job := object{"template": template, "backoffLimit": t.number("backoff", 6)}
		if t.has("forgives") {
			job["podFailurePolicy"] = object{"rules": []object{{"action": "Ignore", "onPodConditions": []object{
				{"type": "DisruptionTarget", "status": "True"}}}}}
		}
		return []placed{{"/apis/batch/v1/namespaces/" + namespace + "/jobs",
			object{"apiVersion": "batch/v1", "kind": "Job", "metadata": meta(t.name), "spec": job}}}, nil
	case "pod":
		return t.bare(core), nil
	case "budget":
		return []placed{{"/apis/policy/v1/namespaces/" + namespace + "/poddisruptionbudgets", t.budget()}}, nil
	case "scaler":
		return []placed{{"/apis/autoscaling/v2/namespaces/" + namespace + "/horizontalpodautoscalers", object{
			"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta(t.name),
			"spec": object{"minReplicas": 1, "maxReplicas": t.number("max", 3),
				"scaleTargetRef": object{"apiVersion": "apps/v1", "kind": "Deployment", "name": t.name}}}}}, nil
	case "volume":
		return t.volume(namespace), nil
	case "attachment":
		return t.attachment(), nil
	case "webhook", "policy":
		return t.guard(namespace)
	}
	return nil, nil
}

// Bare pods, several with numbers behind their name.
func (t *thing) bare(core string) []placed {
	var made []placed
	count := t.number("replicas", 1)
	for i := range count {
		one := t.template()
		one["apiVersion"], one["kind"] = "v1", "Pod"
		about := one["metadata"].(object)
		about["name"] = t.name
		if count > 1 {
			about["name"] = fmt.Sprintf("%s-%d", t.name, i)
		}
		if t.has("owner") {
			group, kind, _ := strings.Cut(t.is["owner"], ":")
			about["ownerReferences"] = []object{{"apiVersion": group + "/v1", "kind": kind, "name": "odd",
				"uid": "00000000-0000-0000-0000-000000000001", "controller": true}}
		}
		made = append(made, placed{core + "/pods", one})
	}
	return made
}

func (t *thing) budget() object {
	spec := object{}
	for key, field := range map[string]string{"min": "minAvailable", "max": "maxUnavailable"} {
		if text, is := t.is[key]; is {
			if n, err := strconv.Atoi(text); err == nil {
				spec[field] = n
			} else {
				spec[field] = text
			}
		}
	}
	if t.has("unhealthy") {
		spec["unhealthyPodEvictionPolicy"] = "AlwaysAllow"
	}
	of := t.name
	if t.has("of") {
		of = t.is["of"]
	}
	switch of {
	case "all":
		spec["selector"] = object{}
	case "none":
	default:
		spec["selector"] = object{"matchLabels": object{"app": of}}
	}
	return object{"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta(t.name), "spec": spec}
}

// Volume is a volume with its claim, made by hand: a local one of one node, or one of the judge's driver.
func (t *thing) volume(namespace string) []placed {
	full := namespace + "-" + t.name
	asked := object{"storage": "1Mi"}
	spec := object{"capacity": asked, "accessModes": []string{"ReadWriteOnce"}, "storageClassName": "by-hand",
		"persistentVolumeReclaimPolicy": "Delete", "claimRef": object{"namespace": namespace, "name": t.name}}
	if t.has("csi") {
		spec["persistentVolumeReclaimPolicy"] = "Retain"
		spec["csi"] = object{"driver": driver, "volumeHandle": full}
	} else {
		spec["local"] = object{"path": "/var/tmp"}
		spec["nodeAffinity"] = object{"required": object{"nodeSelectorTerms": []object{{"matchExpressions": []object{
			{"key": "kubernetes.io/hostname", "operator": "In", "values": []string{t.is["on"]}}}}}}}
	}
	return []placed{
		{"/api/v1/persistentvolumes", object{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta(full),
			"spec": spec}},
		{"/api/v1/namespaces/" + namespace + "/persistentvolumeclaims", object{
			"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta(t.name),
			"spec": object{"accessModes": []string{"ReadWriteOnce"}, "storageClassName": "by-hand", "volumeName": full,
				"resources": object{"requests": asked}}}},
	}
}

// Attachment is a CSI driver's volume that stays attached to a node: no driver is there to detach it.
func (t *thing) attachment() []placed {
	return []placed{
		{"/api/v1/persistentvolumes", object{"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta(t.name),
			"spec": object{"capacity": object{"storage": "1Mi"}, "accessModes": []string{"ReadWriteOnce"},
				"storageClassName": "by-hand", "csi": object{"driver": driver, "volumeHandle": t.name}}}},
		{"/apis/storage.k8s.io/v1/volumeattachments", object{"apiVersion": "storage.k8s.io/v1",
			"kind": "VolumeAttachment", "metadata": object{"name": t.name, "finalizers": []string{"judge.example/held"}},
			"spec": object{"attacher": driver, "nodeName": t.is["on"],
				"source": object{"persistentVolumeName": t.name}}}},
	}
}

// Guard is an admission webhook or policy that has a say about evictions.
func (t *thing) guard(namespace string) ([]placed, error) {
	name := namespace + "-" + t.name
	rule := object{"apiGroups": []string{""}, "apiVersions": []string{"v1"},
		"operations": []string{"CREATE"}, "resources": []string{"pods/eviction"}}
	if t.name == "deletions" {
		rule["operations"], rule["resources"] = []string{"DELETE"}, []string{"pods"}
	}
	here := object{"matchLabels": object{"kubernetes.io/metadata.name": namespace}}
	const group = "admissionregistration.k8s.io"
	if t.kind == "policy" {
		actions := []string{"Deny"}
		if t.name == "warns" {
			actions = []string{"Warn"}
		}
		about := func(kind string, spec object) object {
			return object{"apiVersion": group + "/v1", "kind": kind, "metadata": meta(name), "spec": spec}
		}
		return []placed{
			{"/apis/" + group + "/v1/validatingadmissionpolicies", about("ValidatingAdmissionPolicy", object{
				"failurePolicy":    "Fail",
				"matchConstraints": object{"resourceRules": []object{rule}},
				"validations":      []object{{"expression": "false", "message": "the shop is open until six"}},
			})},
			{"/apis/" + group + "/v1/validatingadmissionpolicybindings", about("ValidatingAdmissionPolicyBinding",
				object{"policyName": name, "validationActions": actions,
					"matchResources": object{"namespaceSelector": here}})},
		}, nil
	}
	authority, err := os.ReadFile(webhookAuthority)
	if err != nil {
		return nil, err
	}
	address, failure := "https://"+webhookAddress+"/"+t.name, "Fail"
	switch t.name {
	case "dead":
		address = "https://" + strings.Split(webhookAddress, ":")[0] + ":1/"
	case "ignored":
		address, failure = "https://"+strings.Split(webhookAddress, ":")[0]+":1/", "Ignore"
	}
	return []placed{{"/apis/" + group + "/v1/validatingwebhookconfigurations", object{
		"apiVersion": group + "/v1", "kind": "ValidatingWebhookConfiguration", "metadata": meta(name),
		"webhooks": []object{{"name": "evictions.judge.example", "admissionReviewVersions": []string{"v1"},
			"sideEffects": "None", "failurePolicy": failure, "timeoutSeconds": 5, "rules": []object{rule},
			"namespaceSelector": here,
			"clientConfig":      object{"url": address, "caBundle": authority}}}}}}, nil
}
