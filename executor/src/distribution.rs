//! Kubernetes distributions as they lie on a machine, each in a file of its own, written against [`Host`] alone: the
//! same code runs on a real machine and on a simulated one.
//!
//! Another distribution implements [`Distribution`] here, brings its steps in a folder of `steps`, and adds its
//! kubeconfigs to the lists below.

pub(crate) mod difference;
pub mod k3s;
pub(crate) mod kubeadm;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hostler_plan::{step::ClusterRole, version::Version};

use crate::host::{ClusterError, Host, HostError, Noted};

/// A Kubernetes distribution on a machine. Nothing here waits for a node to be Ready.
pub trait Distribution {
    /// What people call it.
    const NAME: &'static str;

    /// The argument of `journalctl` that shows its messages.
    const JOURNAL: &'static str;

    /// What it calls a machine of that role.
    fn role(role: ClusterRole) -> &'static str;

    /// What runs here, and as what.
    fn status(host: &dyn Host) -> Result<Status, HostError>;

    /// The version that lies on the disk; none without one.
    fn installed(host: &dyn Host) -> Result<Option<Version>, HostError>;
}

/// A distribution that is one program: whoever has that and a secret is a member.
pub trait OneProgram: Distribution {
    /// Installs it from a verified artifact and starts it. A second call with the same arguments changes nothing.
    fn install(host: &dyn Host, install: &Install<'_>) -> Result<(), HostError>;

    /// Replaces it by a verified artifact and restarts it; pods run on.
    fn upgrade(host: &dyn Host, artifact: &Path) -> Result<(), HostError>;

    /// On a server: makes a secret that one node can join with as `role`, until `lifetime` is over where the
    /// distribution allows that.
    fn join_secret(host: &dyn Host, role: ClusterRole, lifetime: Duration) -> Result<String, HostError>;
}

/// What runs on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// The version of the process: after the program was replaced and before the restart it is not that of the disk.
    pub running: Option<Version>,
    /// What the machine was set up as.
    pub role: Option<ClusterRole>,
}

/// How a distribution comes to a machine.
#[derive(Debug, Clone, Copy)]
pub struct Install<'a> {
    /// A staged artifact whose length and digest were verified.
    pub artifact: &'a Path,
    pub role: ClusterRole,
    /// None makes the first server of a new cluster.
    pub join: Option<Join<'a>>,
}

/// Where to join and with what.
#[derive(Clone, Copy)]
pub struct Join<'a> {
    /// Such as `https://10.0.0.10:6443`.
    pub server_url: &'a str,
    /// What [`OneProgram::join_secret`] of a server gave.
    pub secret: &'a str,
}

impl std::fmt::Debug for Join<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("server_url", &self.server_url).finish_non_exhaustive()
    }
}

/// Ends what lets a node in and whose plan is over; what may still be used counts on. Gives how much of that there is.
/// Nothing where this machine is no server.
pub(crate) fn tidy_admissions(host: &dyn Host, is_over: impl Fn(&Noted) -> bool) -> Result<usize, ClusterError> {
    match host.administrator() {
        Some(administrator) => kubeadm::token::tidy(administrator, host.now(), ADMITTED, is_over),
        None => Ok(0),
    }
}

/// For how long what lets a node in counts each time, while its plan may begin something.
const ADMITTED: Duration = Duration::from_secs(900);

/// The administrators' files of all distributions; who has none is no server.
pub fn admin_kubeconfigs() -> Vec<PathBuf> {
    [kubeadm::ADMIN_KUBECONFIG, k3s::ADMIN_KUBECONFIG].map(PathBuf::from).to_vec()
}

/// The kubelets' own files of all distributions. The API server's admission NodeRestriction lets them change their own
/// node, `spec.unschedulable` and annotations included, and no other.
pub fn kubelet_kubeconfigs() -> Vec<PathBuf> {
    [kubeadm::KUBELET_KUBECONFIG, k3s::KUBELET_KUBECONFIG].map(PathBuf::from).to_vec()
}
