//! What readers are shown: pure functions from the state and the newest reports to typed views. The command sees them
//! over gRPC, Prometheus as series; none of them knows a wire.

mod fleet;
mod node;
mod rollout;

pub(crate) use fleet::{Overview, overview};
pub(crate) use node::{NodeStatus, NodeView, Pending, doubles, node, nodes, pending};
pub(crate) use rollout::{
    BaselineView, Documents, RolloutChange, RolloutDetail, RolloutSummary, Shown, TaskDetail, documents, ended,
    rollout, rollouts,
};
