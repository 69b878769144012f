//! A stop: what it does not keep ends, on every node that sees it.

use std::collections::BTreeMap;

use crate::{
    document::{Plan, PlanKind, PlanRef, PlanType, Roster, Strategy},
    text::count,
};

use super::Numbering;

/// Makes a stop that ends `ended` and keeps `kept`; both are what the caller verified by their signed bytes.
///
/// It needs no fleet file and no word of the coordinator about nodes: it has no tasks.
pub fn stop(roster: &Roster, numbering: &Numbering, ended: &[PlanRef], kept: &[PlanRef]) -> Plan {
    let title = match ended {
        [] => "stop everything that is not kept".to_owned(),
        [one] => format!("stop plan {}", one.seq),
        several => format!("stop {}", count(several.len(), "plan")),
    };
    // The order of the numbers, whoever listed them.
    let kept: BTreeMap<_, _> = kept.iter().map(|kept| (kept.seq, *kept)).collect();
    Plan {
        document_type: PlanType::V1,
        fleet_id: roster.fleet_id.clone(),
        epoch: numbering.epoch,
        seq: numbering.seq,
        prev: numbering.prev,
        also: numbering.also.clone(),
        continues: None,
        kind: PlanKind::Stop,
        title,
        root_version: numbering.root_version,
        roster_version: roster.version,
        roster: numbering.roster,
        created: numbering.created,
        not_before: numbering.created,
        expires: numbering.created.plus(std::time::Duration::from_secs(numbering.lifetime_seconds)),
        keeps_valid: kept.into_values().collect(),
        targets: Vec::new(),
        node_objects: Vec::new(),
        artifacts: Vec::new(),
        strategy: Strategy { max_unavailable: 1, soak_seconds: 0, lease_seconds: 60 },
        windows: None,
        tasks: Vec::new(),
    }
}
