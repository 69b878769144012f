//! The simulated cluster's objects in the words of the API: what a host sees of them, and what the scheduler judges.

use std::{collections::BTreeMap, time::Duration};

use hostler_plan::{
    cluster::{
        Attachment, Effect, EmptyDirMedia, Node, NodeReady, Owner, Phase, Placement, Pod, PodKey, PodVolume, Taint,
    },
    id::NodeName,
    step::ClusterRole,
};

use super::{
    cluster::{self, KubeNode, PodState},
    workload::owner_of_pods,
};

/// `terminationGracePeriodSeconds` where nobody writes it.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// The one resource that simulated nodes have.
const MEMORY: &str = "memory";

/// The CSI driver of the storage system.
const DRIVER: &str = "csi.example.com";

/// The taint of a node that is not Ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// The node without its notes, Ready or not.
pub fn node(name: &str, node: &KubeNode) -> Node {
    let mut labels = BTreeMap::from([("kubernetes.io/hostname".to_owned(), name.to_owned())]);
    if node.role == ClusterRole::Server {
        labels.insert("node-role.kubernetes.io/control-plane".into(), "true".into());
    }
    let taint = |key: &str, value: &str, effect| Taint { key: key.to_owned(), value: value.to_owned(), effect };
    let not_ready = (!node.ready).then(|| taint(NOT_READY, "", Effect::NoSchedule));
    let given_up = node.out_of_service.then(|| taint(Taint::OUT_OF_SERVICE, Taint::OURS, Effect::NoExecute));
    Node {
        name: name.to_owned(),
        resource_version: node.resource_version.to_string(),
        ready: if node.ready { NodeReady::Ready } else { NodeReady::NotReady },
        unschedulable: node.unschedulable,
        cordon: None,
        self_cordon: None,
        unschedulable_by: node.unschedulable_by.clone(),
        // The simulated API server keeps no times of fields.
        unschedulable_since: None,
        version: node.version.to_string(),
        boot_id: node.boot_id.clone(),
        machine_id: String::new(),
        labels,
        // The cordon's own taint is left out, as it says nothing that `unschedulable` does not.
        taints: not_ready.into_iter().chain(given_up).collect(),
        allocatable: BTreeMap::from([(MEMORY.to_owned(), node.allocatable.saturating_mul(1000))]),
        attach_limits: BTreeMap::new(),
        shows: Vec::new(),
    }
}

/// The pod, but for when its grace ends.
pub fn pod(namespace: &str, name: &str, pod: &cluster::Pod) -> Pod {
    let volumes = pod.volume.iter().map(|volume| PodVolume {
        claim: format!("{namespace}/{volume}"),
        volume: Some(volume.clone()),
        driver: Some(DRIVER.to_owned()),
        one_node: true,
        ..PodVolume::default()
    });
    let placement = Placement {
        requests: BTreeMap::from([(MEMORY.to_owned(), pod.memory_bytes.saturating_mul(1000))]),
        ..Placement::default()
    };
    Pod {
        volumes: volumes.collect(),
        key: PodKey { namespace: namespace.to_owned(), name: name.to_owned(), uid: pod.uid.clone() },
        node: pod.node.as_ref().map(ToString::to_string),
        mirror: pod.owner == cluster::Owner::Mirror,
        owner: owner(&pod.owner, name).map(Into::into),
        empty_dirs: EmptyDirMedia { disk: pod.empty_dir, memory: false },
        phase: match pod.state {
            PodState::Pending => Phase::Pending,
            PodState::Starting { .. } | PodState::Ready | PodState::Terminating { .. } => Phase::Running,
            PodState::Lost => Phase::Unknown,
            PodState::Succeeded => Phase::Succeeded,
        },
        ready: pod.is_ready(),
        unready_since: None,
        broken: None,
        started_in: None,
        unschedulable: None,
        deletion: None,
        finalizers: Vec::new(),
        priority_class: pod.critical.then(|| "system-cluster-critical".to_owned()),
        grace: DEFAULT_GRACE,
        placement: placement.into(),
        labels: pod.labels.clone().into(),
    }
}

/// A volume that is attached to a node.
pub fn attachment(node: &NodeName, volume: &str) -> Attachment {
    Attachment {
        name: format!("csi-{volume}"),
        node: node.to_string(),
        driver: DRIVER.to_owned(),
        volume: Some(volume.to_owned()),
    }
}

fn owner(owner: &cluster::Owner, pod: &str) -> Option<Owner> {
    let (api_version, kind, name) = match owner {
        cluster::Owner::Controller { kind, name } => {
            let (kind, name) = owner_of_pods(*kind, name);
            ("apps/v1", kind, name)
        }
        cluster::Owner::InstanceManager => ("longhorn.io/v1beta2", "InstanceManager", pod.to_owned()),
        cluster::Owner::Mirror | cluster::Owner::Nobody => return None,
    };
    let uid = format!("uid-{kind}-{name}");
    Some(Owner { api_version: api_version.into(), kind: kind.into(), name, uid })
}
