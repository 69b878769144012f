//! What a restore leaves on a server, and where it stands: read from files and containers, never from what was done
//! before.

use std::path::Path;

use hostler_plan::{
    form::RestoreName,
    step::restore::{Member, Restored},
};
use serde_json::Value;

use crate::{
    distribution::kubeadm::{ETCD_DATA, MANIFESTS, QUICK, state},
    host::HostError,
    steps::action::{StepContext, StepError},
};

/// For root alone: snapshots hold every Secret of the cluster.
pub(super) const SNAPSHOTS: &str = "/var/lib/hostler/etcd";

/// Where manifests lie while their pods must not run. The kubelet looks at none of its neighbours.
const ASIDE: &str = "/etc/kubernetes/hostler-restore";

/// What stops for a restore, the API server before what it rests on.
pub(super) const STOPPED: [&str; 2] = [state::API_SERVER, state::ETCD];

/// etcd keeps all of its data there, below its data directory.
pub(super) const MEMBER: &str = "member";

/// What the restored data say of themselves: the name of their restore. etcd does not look at it.
pub(super) const MARK: &str = "hostler-restored";

/// The names of one restore's files.
#[derive(Debug)]
pub(super) struct Places {
    /// etcd's data out of the snapshot, and what was proved of them.
    pub snapshot: String,
    pub proved: String,
    /// The restored data on their way, in etcd's own file system.
    pub new: String,
    /// The data that were there before.
    pub before: String,
}

impl Places {
    pub(super) fn of(name: &RestoreName) -> Self {
        Self {
            snapshot: format!("{SNAPSHOTS}/restore-{name}.db"),
            proved: format!("{SNAPSHOTS}/restore-{name}.json"),
            new: format!("{ETCD_DATA}/restoring-{name}"),
            before: format!("{ETCD_DATA}/before-{name}"),
        }
    }
}

/// Whether etcd's data on this machine came from that restore.
pub(super) fn is_restored(restored: &Restored, context: &StepContext<'_>) -> Result<bool, StepError> {
    let mark = state::text(context.host(), format!("{ETCD_DATA}/{MEMBER}/{MARK}"))?;
    Ok(mark.as_deref() == Some(restored.name.as_str()))
}

/// Whether etcd has data here, whosever they are.
pub(super) fn has_data(context: &StepContext<'_>) -> Result<bool, StepError> {
    Ok(context.host().list_folder(Path::new(ETCD_DATA))?.iter().any(|name| name == MEMBER))
}

/// The member that this machine is to be.
pub(super) fn own_member<'r>(restored: &'r Restored, context: &StepContext<'_>) -> Option<&'r Member> {
    restored.members.iter().find(|member| member.name == *context.subject())
}

/// Where a component's manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lies {
    /// The kubelet runs it.
    InPlace,
    Aside,
    Nowhere,
}

pub(super) fn in_place(component: &str) -> String {
    format!("{MANIFESTS}/{component}.yaml")
}

pub(super) fn aside(component: &str) -> String {
    format!("{ASIDE}/{component}.yaml")
}

pub(super) fn lies(component: &str, context: &StepContext<'_>) -> Result<Lies, StepError> {
    Ok(match () {
        () if state::text(context.host(), in_place(component))?.is_some() => Lies::InPlace,
        () if state::text(context.host(), aside(component))?.is_some() => Lies::Aside,
        () => Lies::Nowhere,
    })
}

/// The pod of a component, wherever its manifest is.
pub(super) fn pod(component: &str, context: &StepContext<'_>) -> Result<Option<Value>, StepError> {
    for path in [in_place(component), aside(component)] {
        if let Some(text) = state::text(context.host(), &path)? {
            let pod = serde_saphyr::from_str(&text);
            return pod.map(Some).map_err(|e| StepError::Failed(format!("{path} is no pod in YAML: {e}")));
        }
    }
    Ok(None)
}

/// What a pod's command says behind `--NAME=`.
pub(super) fn flag<'p>(pod: &'p Value, name: &str) -> Option<&'p str> {
    let words = pod["spec"]["containers"][0]["command"].as_array().into_iter().flatten();
    words.filter_map(Value::as_str).find_map(|word| word.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='))
}

/// The tag of a pod's image.
pub(super) fn tag(pod: &Value) -> &str {
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    image.rsplit_once(':').map_or("", |(_, tag)| tag)
}

/// containerd's client, in the namespace of the kubelet's runtime.
const CTR: [&str; 3] = ["ctr", "--namespace", "k8s.io"];

/// Those of the components that stop that still have a process, whether or not the kubelet knows of it.
pub(super) fn at_work(context: &StepContext<'_>) -> Result<Vec<&'static str>, StepError> {
    let ctr = |arguments: &[&str]| {
        context.host().run(&[&CTR[..], arguments].concat(), QUICK).map_err(|error| match error {
            HostError::Missing { .. } => StepError::Failed(
                "whether etcd still runs is asked of containerd, and this machine has no ctr; add it to the artifacts"
                    .to_owned(),
            ),
            other @ (HostError::File { .. }
            | HostError::Command { .. }
            | HostError::Signalled { .. }
            | HostError::TimedOut { .. }
            | HostError::Unexpected { .. }) => other.into(),
        })
    };
    let tasks = ctr(&["tasks", "list"])?;
    let mut found = Vec::new();
    for component in STOPPED {
        let labels = format!(
            "labels.\"io.kubernetes.container.name\"=={component},labels.\"io.kubernetes.pod.namespace\"==kube-system"
        );
        let containers = ctr(&["containers", "list", "--quiet", &labels])?;
        let runs = |container: &str| {
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            tasks.lines().map(words).any(|words| {
                words.first().is_some_and(|id| id == container) && words.last().is_some_and(|is| is != "STOPPED")
            })
        };
        if containers.lines().map(str::trim).any(runs) {
            found.push(component);
        }
    }
    Ok(found)
}

/// The URL at which the others reach a member, as kubeadm writes it.
pub(super) fn peer_url(member: &Member) -> String {
    match member.address {
        std::net::IpAddr::V4(address) => format!("https://{address}:2380"),
        std::net::IpAddr::V6(address) => format!("https://[{address}]:2380"),
    }
}
