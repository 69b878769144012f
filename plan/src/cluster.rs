//! A Kubernetes cluster in the few words that a drain needs: what a node with credentials reads of it.

mod budget;
mod label;
mod node;
mod placement;
mod pod;

pub use budget::{Budget, BudgetCondition, BudgetLimit, Scale, Selector};
pub use label::{Operator, Requirement};
pub use node::{Awaited, CordonNote, Effect, Node, NodeReady, SelfCordon, Taint};
pub use placement::{Attachment, Placement, PodVolume, Toleration};
pub use pod::{Deletion, EmptyDirMedia, Owner, Phase, Pod, PodKey};

/// The account that Hostler has in a cluster and all that it may do there, as Kubernetes' own objects in YAML: what a
/// server makes, what packages install as [`ACCESS_FILE`], and what `hostler cluster access` prints.
pub const ACCESS: &str = include_str!("../../packaging/cluster-access.yaml");

/// Where packages put [`ACCESS`].
pub const ACCESS_FILE: &str = "/usr/share/hostler/cluster-access.yaml";
