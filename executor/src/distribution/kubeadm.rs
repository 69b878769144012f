//! kubeadm's clusters as they lie on a machine: static pods, a kubelet, and files of kubeadm's own.
//!
//! What is believed here was tried with kubeadm 1.35 and 1.36; its exit code is 0 or 1 and says nothing else, so that
//! the machine and the API server are asked what became of a run.

pub(crate) mod certificate;
pub(crate) mod config;
pub(crate) mod etcd;
mod fault;
pub(crate) mod health;
mod layout;
mod progress;
pub(crate) mod settings;
pub(crate) mod state;
pub(crate) mod token;
pub(crate) mod wanted;

use hostler_plan::{step::ClusterRole, version::Version};

use super::{Distribution, Status};
use crate::host::{Host, HostError};
pub(crate) use fault::explained;
pub(crate) use layout::*;
pub(crate) use progress::at_work;

/// A node of a kubeadm cluster: on every one the kubelet runs and says the node's version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kubeadm;

impl Distribution for Kubeadm {
    const NAME: &'static str = "kubelet";
    const JOURNAL: &'static str = "-u kubelet";

    fn role(role: ClusterRole) -> &'static str {
        role.word()
    }

    fn status(host: &dyn Host) -> Result<Status, HostError> {
        Ok(Status { running: state::kubelet(host)?, role: state::role(host)? })
    }

    fn installed(host: &dyn Host) -> Result<Option<Version>, HostError> {
        state::installed_kubelet(host)
    }
}
