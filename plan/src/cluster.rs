//! A Kubernetes cluster in the few words that a drain needs: what a node with credentials reads of it.

mod budget;
mod label;
mod node;
mod placement;
mod pod;
mod shared;
mod taint;

pub use budget::{Budget, BudgetCondition, BudgetLimit, Controller, Scale};
pub use label::{Operator, Requirement, Selector};
pub use node::{Adopted, Awaited, CordonNote, DrainCondition, Node, NodeReady, SelfCordon, WAITING_TAINT, Waiting};
pub use placement::{Attachment, HostPort, Placement, PodTerm, PodVolume, Resources, Spread};
pub use pod::{Deletion, EmptyDirMedia, EvictionRequest, Owner, Phase, Pod, PodKey};
pub use shared::{Pool, Shared};
pub use taint::{Effect, Taint, Toleration};

/// The account that Hostler has in a cluster and all that it may do there, as Kubernetes' own objects in YAML: what a
/// server makes, what packages install as [`ACCESS_FILE`], and what `hostler cluster access` prints.
pub const ACCESS: &str = include_str!("../../packaging/cluster-access.yaml");

/// Where packages put [`ACCESS`].
pub const ACCESS_FILE: &str = "/usr/share/hostler/cluster-access.yaml";
