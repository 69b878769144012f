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
