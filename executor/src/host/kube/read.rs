//! From the API's objects to the few fields that a drain looks at.

use std::{collections::BTreeMap, time::Duration};

use hostler_plan::timestamp::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::DeploymentSpec,
        core::v1 as core,
        policy::v1 as policy,
        storage::v1::{CSINode, CSINodeDriver},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta, Time},
        util::intstr::IntOrString,
    },
};

use super::amounts;
use crate::host::{
    Budget, BudgetCondition, BudgetLimit, CORDON_ANNOTATION, Deletion, DrainCondition, Effect, EmptyDirMedia, Node,
    NodeReady, Operator, Owner, Phase, Placement, Pod, PodKey, PodTerm, PodVolume, Requirement, SELF_CORDON_ANNOTATION,
    Selector, Shared, Spread, Taint, Toleration,
};

/// The API's default where a pod says nothing.
const DEFAULT_GRACE_SECONDS: i64 = 30;

pub(super) fn node(node: core::Node) -> Node {
    let (metadata, spec, status) = (node.metadata, node.spec.unwrap_or_default(), node.status.unwrap_or_default());
    let info = status.node_info.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let shows =
        |which: &DrainCondition| conditions.iter().any(|c| c.type_ == which.word() && is_ours(c) && c.status == "True");
    let shows = DrainCondition::ALL.into_iter().filter(shows).collect();
    let ready = conditions.iter().find(|c| c.type_ == "Ready");
    let note = |name| metadata.annotations.as_ref().and_then(|a| a.get(name));
    let (cordon, self_cordon) = (note(CORDON_ANNOTATION), note(SELF_CORDON_ANNOTATION));
    Node {
        ready: match ready {
            Some(c) if c.status == "True" => NodeReady::Ready,
            Some(c) if c.status == "Unknown" => NodeReady::Unknown { since: time(c.last_transition_time.as_ref()) },
            Some(_) | None => NodeReady::NotReady,
        },
        unschedulable: spec.unschedulable.unwrap_or(false),
        cordon: cordon.and_then(|text| serde_json::from_str(text).ok()),
        self_cordon: self_cordon.and_then(|text| serde_json::from_str(text).ok()),
        unschedulable_since: unschedulable_by(&metadata).and_then(|(_, since)| since),
        unschedulable_by: unschedulable_by(&metadata).map(|(manager, _)| manager),
        version: info.kubelet_version,
        boot_id: info.boot_id,
        machine_id: info.machine_id,
        allocatable: amounts::all(status.allocatable.as_ref()),
        attach_limits: BTreeMap::new(),
        taints: spec.taints.unwrap_or_default().into_iter().filter_map(taint).collect(),
        shows,
        name: metadata.name.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        labels: metadata.labels.unwrap_or_default(),
    }
}

/// Whether Hostler wrote a condition.
pub(super) fn is_ours(condition: &core::NodeCondition) -> bool {
    condition.reason.as_deref() == Some(DrainCondition::REASON)
}

/// Who wrote `spec.unschedulable` last, and when.
fn unschedulable_by(metadata: &ObjectMeta) -> Option<(String, Option<Timestamp>)> {
    let entries = metadata.managed_fields.as_ref()?;
    let wrote = entries
        .iter()
        .filter(|e| e.fields_v1.as_ref().is_some_and(|f| f.0.pointer("/f:spec/f:unschedulable").is_some()));
    let last = wrote.max_by_key(|e| time(e.time.as_ref()))?;
    Some((last.manager.clone()?, last.time.as_ref().map(|at| time(Some(at)))))
}

pub(super) fn pod(pod: core::Pod) -> Pod {
    let (metadata, spec, status) = (pod.metadata, pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
    let owner = controller(&metadata).map(Shared::from);
    let grace = |seconds: Option<i64>| {
        let seconds = seconds.unwrap_or(DEFAULT_GRACE_SECONDS);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    };
    let deletion = metadata
        .deletion_timestamp
        .as_ref()
        .map(|at| Deletion { ends: time(Some(at)), grace: grace(metadata.deletion_grace_period_seconds) });
    let volumes = spec.volumes.clone().unwrap_or_default();
    let started_in = started_in(&status);
    let broken = broken(&status);
    let conditions = status.conditions.unwrap_or_default();
    let readiness = conditions.iter().find(|c| c.type_ == "Ready");
    let ready = readiness.is_some_and(|c| c.status == "True");
    let unready_since =
        readiness.filter(|_| !ready).and_then(|c| c.last_transition_time.as_ref()).map(|at| time(Some(at)));
    let unschedulable = conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let has_empty_dir = |memory: bool| {
        // Huge pages are memory too.
        let is_memory = |medium: &str| medium == "Memory" || medium.starts_with("HugePages");
        let of = |v: &core::Volume| v.empty_dir.as_ref().map(|e| e.medium.as_deref().is_some_and(is_memory));
        volumes.iter().any(|v| of(v) == Some(memory))
    };
    let name = metadata.name.unwrap_or_default();
    let (namespace, labels) = (metadata.namespace.unwrap_or_default(), metadata.labels.unwrap_or_default());
    let claims = volumes.iter().filter_map(|v| {
        let ephemeral = v.ephemeral.is_some();
        let generated = ephemeral.then(|| format!("{name}-{}", v.name));
        let claim = v.persistent_volume_claim.as_ref().map(|c| c.claim_name.clone()).or(generated)?;
        Some(PodVolume { claim, ephemeral, ..PodVolume::default() })
    });
    Pod {
        node: spec.node_name.clone(),
        owner,
        mirror: metadata.annotations.as_ref().is_some_and(|a| a.contains_key("kubernetes.io/config.mirror")),
        empty_dirs: EmptyDirMedia { disk: has_empty_dir(false), memory: has_empty_dir(true) },
        phase: match status.phase.as_deref() {
            Some("Pending") => Phase::Pending,
            Some("Running") => Phase::Running,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            Some(_) | None => Phase::Unknown,
        },
        ready,
        unready_since,
        broken,
        started_in,
        unschedulable: unschedulable.map(|c| c.message.unwrap_or_default()),
        deletion,
        finalizers: metadata.finalizers.unwrap_or_default(),
        priority_class: spec.priority_class_name.clone(),
        grace: grace(spec.termination_grace_period_seconds),
        volumes: claims.collect(),
        placement: placement(spec, &namespace, &labels).into(),
        labels: labels.into(),
        key: PodKey { namespace, name, uid: metadata.uid.unwrap_or_default() },
    }
}

/// How many pods of a Deployment may be away at a time: its `maxUnavailable`, 25 % where it names none, percentages
/// rounded down as its controller does, and at least one. One that is recreated as a whole says nothing of parts.
pub(super) fn at_once(spec: &DeploymentSpec) -> u32 {
    let replicas = spec.replicas.unwrap_or(1);
    let strategy = spec.strategy.as_ref();
    if strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate") {
        return 1;
    }
    let limit = strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.max_unavailable.as_ref());
    let part = |percent: i32| i32::try_from(i64::from(replicas) * i64::from(percent) / 100).unwrap_or(1);
    let most = match limit {
        None => part(25),
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            text.strip_suffix('%').and_then(|percent| percent.parse().ok()).map_or(1, part)
        }
    };
    u32::try_from(most).unwrap_or(1).max(1)
}

/// The owner that is the controller.
pub(super) fn controller(metadata: &ObjectMeta) -> Option<Owner> {
    let owner = metadata.owner_references.as_ref()?.iter().find(|o| o.controller == Some(true))?;
    Some(Owner {
        api_version: owner.api_version.clone(),
        kind: owner.kind.clone(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
    })
}

/// What its containers wait for that no time brings: what the kubelet says of one that fails again and again, or whose
/// image or configuration is not there.
fn broken(status: &core::PodStatus) -> Option<String> {
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let mut reasons = containers.filter_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_ref());
    let lasts =
        |reason: &&String| reason.ends_with("BackOff") || reason.ends_with("Error") || reason.starts_with("Err");
    reasons.find(lasts).cloned()
}

/// From its start until it was Ready, where it was so ever since: a later change of the condition would tell of itself.
fn started_in(status: &core::PodStatus) -> Option<Duration> {
    let restarts = status.container_statuses.iter().flatten().any(|container| container.restart_count > 0);
    let ready = status.conditions.as_ref()?.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    let (began, ready) = (status.start_time.as_ref()?, ready.last_transition_time.as_ref()?);
    (!restarts).then(|| time(Some(ready)).since(time(Some(began))))
}

fn placement(spec: core::PodSpec, namespace: &str, labels: &BTreeMap<String, String>) -> Placement {
    let (requests, host_ports) = (amounts::requests(&spec), amounts::host_ports(&spec));
    let affinity = spec.affinity.unwrap_or_default();
    let required = affinity.node_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution);
    let together = affinity.pod_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution);
    let apart = affinity.pod_anti_affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution);
    let terms_of = |terms: Option<Vec<core::PodAffinityTerm>>| -> Vec<PodTerm> {
        terms.into_iter().flatten().filter_map(|term| pod_term(term, namespace)).collect()
    };
    let spread = spec.topology_spread_constraints.unwrap_or_default().into_iter();
    Placement {
        requests,
        host_ports,
        together: terms_of(together),
        apart: terms_of(apart),
        spread: spread
            .filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
            .map(|constraint| spread_of(constraint, namespace, labels))
            .collect(),
        claims_devices: spec.resource_claims.is_some_and(|claims| !claims.is_empty()),
        priority: spec.priority.unwrap_or(0),
        never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
        node_selector: spec.node_selector.unwrap_or_default(),
        terms: required.map(terms).unwrap_or_default(),
        tolerations: spec.tolerations.unwrap_or_default().into_iter().map(toleration).collect(),
        foreign_scheduler: spec.scheduler_name.is_some_and(|name| name != "default-scheduler"),
    }
}

/// Pods by their labels, in the namespaces that are named or in the pod's own. None where namespaces are chosen by
/// their labels, which nobody reads: what it asks for is not known.
fn pod_term(term: core::PodAffinityTerm, namespace: &str) -> Option<PodTerm> {
    let named = term.namespaces.unwrap_or_default();
    let namespaces = match term.namespace_selector.map(selector) {
        Some(Selector::All(requirements)) if requirements.is_empty() => None,
        Some(Selector::All(_) | Selector::Nothing) => return None,
        None if named.is_empty() => Some(vec![namespace.to_owned()]),
        None => Some(named),
    };
    let selector = term.label_selector.map_or(Selector::Nothing, selector);
    Some(PodTerm { selector, namespaces, topology_key: term.topology_key })
}

fn spread_of(constraint: core::TopologySpreadConstraint, namespace: &str, labels: &BTreeMap<String, String>) -> Spread {
    let own = constraint.match_label_keys.unwrap_or_default().into_iter().filter_map(|key| {
        let values = vec![labels.get(&key)?.clone()];
        Some(Requirement { key, operator: Operator::In, values })
    });
    let selector = match constraint.label_selector.map(selector) {
        Some(Selector::All(requirements)) => Selector::All(requirements.into_iter().chain(own).collect()),
        Some(Selector::Nothing) | None => Selector::Nothing,
    };
    let number = |count: i32| u32::try_from(count).unwrap_or(0).max(1);
    Spread {
        pods: PodTerm { selector, namespaces: Some(vec![namespace.to_owned()]), topology_key: constraint.topology_key },
        max_skew: number(constraint.max_skew),
        min_domains: number(constraint.min_domains.unwrap_or(1)),
        honours_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honours_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

/// On which nodes the volume of a claim exists, whose it is, and to how many nodes it goes.
pub(super) fn volume(found: core::PersistentVolume, volume: &mut PodVolume) {
    let spec = found.spec.unwrap_or_default();
    volume.terms = spec.node_affinity.and_then(|affinity| affinity.required).map(terms).unwrap_or_default();
    volume.driver = spec.csi.map(|csi| csi.driver);
    let modes = spec.access_modes.unwrap_or_default();
    volume.one_node = !modes.is_empty() && modes.iter().all(|mode| mode.starts_with("ReadWriteOnce"));
}

/// How many volumes of each driver a node can attach.
pub(super) fn attach_limits(node: CSINode) -> (String, BTreeMap<String, u32>) {
    let limit = |driver: CSINodeDriver| Some((driver.name, u32::try_from(driver.allocatable?.count?).ok()?));
    (node.metadata.name.unwrap_or_default(), node.spec.drivers.into_iter().filter_map(limit).collect())
}

fn terms(selector: core::NodeSelector) -> Vec<Vec<Requirement>> {
    let term = |term: core::NodeSelectorTerm| -> Vec<Requirement> {
        // A field is the object's own: the label with the host's name is another, and shorter where that is long.
        let fields = term.match_fields.unwrap_or_default();
        term.match_expressions.unwrap_or_default().into_iter().chain(fields).filter_map(node_requirement).collect()
    };
    selector.node_selector_terms.into_iter().map(term).collect()
}

fn node_requirement(found: core::NodeSelectorRequirement) -> Option<Requirement> {
    Some(Requirement { operator: operator(&found.operator)?, key: found.key, values: found.values.unwrap_or_default() })
}

fn operator(text: &str) -> Option<Operator> {
    Some(match text {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::Gt,
        "Lt" => Operator::Lt,
        _ => return None,
    })
}

fn taint(found: core::Taint) -> Option<Taint> {
    let effect = effect(&found.effect)?;
    Some(Taint { key: found.key, value: found.value.unwrap_or_default(), effect })
}

fn effect(text: &str) -> Option<Effect> {
    Some(match text {
        "NoSchedule" => Effect::NoSchedule,
        "PreferNoSchedule" => Effect::PreferNoSchedule,
        "NoExecute" => Effect::NoExecute,
        _ => return None,
    })
}

fn toleration(found: core::Toleration) -> Toleration {
    let any_value = found.operator.as_deref() == Some("Exists");
    Toleration {
        key: found.key.filter(|key| !key.is_empty()),
        value: if any_value { None } else { Some(found.value.unwrap_or_default()) },
        effect: found.effect.as_deref().and_then(effect),
    }
}

pub(super) fn budget(budget: policy::PodDisruptionBudget) -> Budget {
    let (metadata, spec, status) = (budget.metadata, budget.spec.unwrap_or_default(), budget.status);
    let number = |count: i32| u32::try_from(count).unwrap_or(0);
    let condition = status.as_ref().and_then(|s| {
        s.conditions.as_ref()?.iter().find(|c| c.type_ == "DisruptionAllowed").map(|c| match c.reason.as_str() {
            "SyncFailed" => BudgetCondition::SyncFailed(c.message.clone()),
            "SufficientPods" => BudgetCondition::SufficientPods,
            _ => BudgetCondition::InsufficientPods,
        })
    });
    Budget {
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
        resource_version: metadata.resource_version.unwrap_or_default(),
        selector: spec.selector.map_or(Selector::Nothing, selector),
        limit: limit(spec.min_available, spec.max_unavailable),
        always_allow_unhealthy: spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow"),
        desired_healthy: status.as_ref().map_or(0, |s| number(s.desired_healthy)),
        current_healthy: status.as_ref().map_or(0, |s| number(s.current_healthy)),
        disruptions_allowed: status.as_ref().map_or(0, |s| number(s.disruptions_allowed)),
        expected_pods: status.as_ref().map_or(0, |s| number(s.expected_pods)),
        condition: condition.unwrap_or(BudgetCondition::Missing),
    }
}

fn limit(min_available: Option<IntOrString>, max_unavailable: Option<IntOrString>) -> BudgetLimit {
    let number = |count: i32| u32::try_from(count).unwrap_or(0);
    let percent = |text: &str| text.trim_end_matches('%').parse::<u32>().unwrap_or(0);
    match (min_available, max_unavailable) {
        (Some(IntOrString::Int(count)), _) => BudgetLimit::MinAvailable(number(count)),
        (Some(IntOrString::String(text)), _) => BudgetLimit::MinAvailablePercent(percent(&text)),
        (None, Some(IntOrString::Int(count))) => BudgetLimit::MaxUnavailable(number(count)),
        (None, Some(IntOrString::String(text))) => BudgetLimit::MaxUnavailablePercent(percent(&text)),
        // The API's default when neither is given.
        (None, None) => BudgetLimit::MinAvailable(1),
    }
}

fn selector(selector: LabelSelector) -> Selector {
    let labels = selector.match_labels.unwrap_or_default().into_iter();
    let labels = labels.map(|(key, value)| Requirement { key, operator: Operator::In, values: vec![value] });
    let expressions = selector.match_expressions.unwrap_or_default().into_iter().filter_map(|r| {
        Some(Requirement { operator: operator(&r.operator)?, key: r.key, values: r.values.unwrap_or_default() })
    });
    Selector::All(labels.chain(expressions).collect())
}

fn time(time: Option<&Time>) -> Timestamp {
    let milliseconds = time.map_or(0, |t| t.0.as_millisecond());
    Timestamp::from_unix_milliseconds(u64::try_from(milliseconds).unwrap_or(0))
}
