//! The fleet as plans are compiled from it.

use hostler_plan::{
    document::PlanRef,
    id::{NodeName, Seq},
    planner::{Inventory, InventoryNode, RunningPlan},
    sequencer::{ClusterNode, Hold, Quarantine},
};

use super::{UnreadableMessage, id};
use crate::v1;

impl From<Inventory> for v1::InventoryReply {
    fn from(inventory: Inventory) -> Self {
        Self {
            nodes: inventory.nodes.into_iter().map(node_to_wire).collect(),
            quarantines: inventory.quarantines.into_iter().map(v1::Quarantine::from).collect(),
            running: inventory.running.into_iter().map(v1::RunningPlan::from).collect(),
        }
    }
}

impl TryFrom<v1::InventoryReply> for Inventory {
    type Error = UnreadableMessage;
    fn try_from(reply: v1::InventoryReply) -> Result<Self, UnreadableMessage> {
        let quarantines: Result<_, _> = reply.quarantines.into_iter().map(Quarantine::try_from).collect();
        let running: Result<_, _> = reply.running.into_iter().map(RunningPlan::try_from).collect();
        let nodes: Result<_, _> = reply.nodes.into_iter().map(node_from_wire).collect();
        Ok(Self { nodes: nodes?, quarantines: quarantines?, running: running? })
    }
}

fn node_to_wire((name, state): (NodeName, InventoryNode)) -> v1::InventoryNode {
    let InventoryNode { connected, condition, enrolment, hold, verdicts, away } = state;
    v1::InventoryNode {
        name: name.to_string(),
        connected,
        standing: v1::Standing::from(condition.standing).into(),
        cordon: condition.cordon.map(Into::into),
        version: condition.version.map(|v| v.to_string()),
        other_names: condition.other_names.iter().map(ToString::to_string).collect(),
        enrolment,
        hold: hold.map(Into::into),
        verdicts: verdicts.into_iter().map(Into::into).collect(),
        away: away
            .into_iter()
            .map(|(kind, seconds)| v1::Away { kind: v1::PlanKind::from(kind).into(), seconds })
            .collect(),
    }
}

fn node_from_wire(node: v1::InventoryNode) -> Result<(NodeName, InventoryNode), UnreadableMessage> {
    let condition = ClusterNode {
        standing: node.standing().try_into()?,
        cordon: node.cordon.map(TryInto::try_into).transpose()?,
        version: node.version.map(|v| id("a version of Kubernetes", &v)).transpose()?,
        other_names: node
            .other_names
            .iter()
            .map(|name| id("the name of a Node object", name))
            .collect::<Result<_, _>>()?,
    };
    let state = InventoryNode {
        connected: node.connected,
        condition,
        enrolment: node.enrolment,
        hold: node.hold.map(TryInto::try_into).transpose()?,
        verdicts: node.verdicts.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        // Of a kind that a later version knows there is nothing to plan.
        away: node.away.iter().filter_map(|away| Some((away.kind().try_into().ok()?, away.seconds))).collect(),
    };
    Ok((id("the name of a node", &node.name)?, state))
}

impl From<PlanRef> for v1::PlanRef {
    fn from(plan: PlanRef) -> Self {
        Self { seq: plan.seq.0, digest: plan.digest.to_string() }
    }
}

fn plan_ref(plan: Option<v1::PlanRef>) -> Result<PlanRef, UnreadableMessage> {
    let plan = plan.unwrap_or_default();
    Ok(PlanRef { seq: Seq(plan.seq), digest: id("the digest of a plan", &plan.digest)? })
}

impl From<Hold> for v1::Hold {
    fn from(hold: Hold) -> Self {
        let Hold { plan, seq, kind, complete } = hold;
        Self { plan: Some(PlanRef { seq, digest: plan }.into()), kind: v1::PlanKind::from(kind).into(), complete }
    }
}

impl TryFrom<v1::Hold> for Hold {
    type Error = UnreadableMessage;
    fn try_from(hold: v1::Hold) -> Result<Self, UnreadableMessage> {
        let kind = hold.kind().try_into()?;
        let plan = plan_ref(hold.plan)?;
        Ok(Self { plan: plan.digest, seq: plan.seq, kind, complete: hold.complete })
    }
}

impl From<Quarantine> for v1::Quarantine {
    fn from(quarantine: Quarantine) -> Self {
        let Quarantine { node, version, reason } = quarantine;
        Self { node: node.to_string(), version: version.to_string(), reason }
    }
}

impl TryFrom<v1::Quarantine> for Quarantine {
    type Error = UnreadableMessage;
    fn try_from(quarantine: v1::Quarantine) -> Result<Self, UnreadableMessage> {
        let v1::Quarantine { node, version, reason } = quarantine;
        Ok(Self { node: id("the name of a node", &node)?, version: id("a version of Kubernetes", &version)?, reason })
    }
}

impl From<RunningPlan> for v1::RunningPlan {
    fn from(running: RunningPlan) -> Self {
        let RunningPlan { plan, kind, title } = running;
        Self { plan: Some(plan.into()), kind: v1::PlanKind::from(kind).into(), title }
    }
}

impl TryFrom<v1::RunningPlan> for RunningPlan {
    type Error = UnreadableMessage;
    fn try_from(running: v1::RunningPlan) -> Result<Self, UnreadableMessage> {
        Ok(Self { kind: running.kind().try_into()?, plan: plan_ref(running.plan)?, title: running.title })
    }
}
