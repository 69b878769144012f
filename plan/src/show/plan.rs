//! A plan in words.

use super::{Page, predecessors, tasks, windows};
use crate::{
    document::{Artifact, NodeObject, Plan, PlanKind, PlanType, Strategy, Target},
    id::Digest,
    text::span,
};

/// Everything that a plan says. `digest` is that of its exact bytes.
pub fn plan(plan: &Plan, digest: &Digest) -> String {
    let Plan {
        document_type: PlanType::V1,
        fleet_id,
        epoch,
        seq,
        prev,
        also,
        continues,
        kind,
        title,
        root_version,
        roster_version,
        roster,
        created,
        not_before,
        expires,
        keeps_valid,
        targets,
        node_objects,
        artifacts,
        strategy,
        windows,
        tasks,
    } = plan;
    let mut page = Page::new(&super::clean_whole(&format!("plan {seq} ({kind}): {title}")));
    page.line("digest", digest);
    page.line("fleet", format!("{fleet_id}, epoch {epoch}"));
    page.line("before it", predecessors(*prev, also));
    page.line("made", format!("{created} with root {root_version} and roster {roster_version}, {roster}"));
    let life = span(expires.since(*not_before).as_secs());
    page.line("valid", format!("from {not_before} until {expires}, for {life}"));
    if let Some(continued) = continues {
        page.line("continues", format!("plan {continued}, which ends; the cordons that it left pass to this plan"));
    }
    for other in keeps_valid {
        page.line("beside", format!("plan {}, {}, stays valid", other.seq, other.digest));
    }
    if keeps_valid.is_empty() {
        page.line("beside", "no other plan: every earlier one that still runs ends");
    }
    let Strategy { max_unavailable, soak_seconds, lease_seconds } = strategy;
    page.line(
        "care",
        format!(
            "at most {max_unavailable} unavailable at a time; {soak_seconds} s healthy before the next; leases of \
             {lease_seconds} s"
        ),
    );
    windows::show(&mut page, windows.as_ref());
    for Target { node, key, arch } in targets {
        page.line("performs", format!("{node}, {arch}, {key}"));
    }
    for NodeObject { node, name, machine_id } in node_objects {
        page.line("known as", format!("{node} is the Node {name} of the cluster, on machine {machine_id}"));
    }
    for Artifact { name, sha256, size, arch } in artifacts {
        let arch = arch.map_or_else(|| "any processor".to_owned(), |arch| arch.to_string());
        page.line("artifact", format!("{name} for {arch}: {size} bytes, {sha256}"));
    }
    if *kind == PlanKind::Stop && tasks.is_empty() {
        page.line("tasks", "none: it stops what it does not list beside it, and does nothing itself");
    }
    tasks::show(&mut page, tasks);
    page.0
}
