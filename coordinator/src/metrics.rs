//! The coordinator's `/metrics`: every node's series under `instance`, and its own about the fleet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use hostler_plan::{
    fact::{Reading, expose},
    health::{Level, worst},
    id::NodeName,
    refusal::Refusal,
};

use crate::{
    clock::ClockReading,
    grpc::SharedRef,
    nodes::{reports::NodeReport, served::OWN_FAMILIES},
    view::{self, Overview},
};

/// Writes the text.
#[derive(Debug)]
pub(crate) struct Metrics {
    shared: SharedRef,
}

impl Metrics {
    /// For what these parts know.
    pub(crate) fn new(shared: SharedRef) -> Self {
        Self { shared }
    }

    /// The text format 0.0.4; none when the coordinator is stopping.
    pub(crate) async fn text(&self) -> Option<String> {
        let overview = self.shared.control.ask(|control, now| view::overview(control, now)).await.ok()?;
        let (records, bytes) = self.shared.ledger.size();
        let reports = self.shared.reports.all();
        let mut text = String::new();
        coordinator(&mut text, &overview, records, bytes);
        let (now, silent_after_ms) = (ClockReading::now(), self.shared.silent_after_ms);
        nodes_themselves(&mut text, &overview.nodes, &reports, now, silent_after_ms);
        // A node that waits for approval shows nothing to anybody but those who approve it.
        let counts =
            |node: &NodeName, r: &NodeReport| overview.nodes.contains(node) && is_fresh(r, now, silent_after_ms);
        let fresh: Vec<(&NodeName, &NodeReport)> = reports.iter().filter(|(n, r)| counts(n, r)).collect();
        let labels: Vec<[(&str, &str); 1]> = fresh.iter().map(|(node, _)| [("instance", node.as_str())]).collect();
        let readings: Vec<(&[(&str, &str)], &Reading)> = labels
            .iter()
            .zip(&fresh)
            .filter_map(|(labels, (_, report))| Some((labels.as_slice(), report.served.as_deref()?)))
            .collect();
        expose(&readings, &mut text);
        Some(text)
    }
}

/// Whether a node's last report is young enough for its series to mean anything.
fn is_fresh(report: &NodeReport, now: ClockReading, silent_after_ms: u64) -> bool {
    report.received.is_some_and(|at| now.since(at).as_millis() <= u128::from(silent_after_ms))
}

/// One family: its head, then a line per set of labels.
fn family(text: &mut String, name: &str, kind: &str, help: &str, values: impl IntoIterator<Item = (String, f64)>) {
    debug_assert!(OWN_FAMILIES.contains(&name), "{name} stands in the list of own families");
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}

/// Labels as the text format writes them. Values are our own words, names of nodes and versions: nothing to escape.
fn labels(pairs: &[(&str, &str)]) -> String {
    let inner: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    if inner.is_empty() { String::new() } else { format!("{{{}}}", inner.join(",")) }
}

fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

fn nodes_themselves(
    text: &mut String,
    nodes: &BTreeSet<NodeName>,
    reports: &BTreeMap<NodeName, NodeReport>,
    now: ClockReading,
    silent_after_ms: u64,
) {
    let of = |node: &NodeName| labels(&[("instance", node.as_str())]);
    let up = |node: &NodeName| reports.get(node).is_some_and(|h| h.connected && is_fresh(h, now, silent_after_ms));
    family(
        text,
        "hostler_node_up",
        "gauge",
        "1 for a node of the roster that is connected and reported lately.",
        nodes.iter().map(|n| (of(n), flag(up(n)))),
    );
    family(
        text,
        "hostler_node_last_report_timestamp_seconds",
        "gauge",
        "When the node's last report arrived, Unix time of the coordinator.",
        reports.iter().filter_map(|(n, h)| Some((of(n), now.wall_of(h.received?).unix_milliseconds() as f64 / 1000.0))),
    );
    family(
        text,
        "hostler_coordinator_node_series_dropped_total",
        "counter",
        "Series of a node that were not served because it has more than 400, summed over its reports.",
        reports.iter().map(|(n, h)| (of(n), h.dropped as f64)),
    );
    let judged = nodes.iter().flat_map(|node| {
        let health = worst(reports.get(node).map(|h| h.verdicts.as_slice()).unwrap_or_default());
        Level::ALL.map(|level| {
            let labels = labels(&[("instance", node.as_str()), ("level", level.word())]);
            (labels, flag(health == level))
        })
    });
    let accepted = |r: &NodeReport| r.verdicts.iter().filter(|v| v.accepted.is_some()).count() as f64;
    family(
        text,
        "hostler_node_accepted_verdicts",
        "gauge",
        "Verdicts of a node that are not ok and that a person accepted: they do not count for its level.",
        nodes.iter().filter_map(|n| Some((of(n), accepted(reports.get(n)?)))),
    );
    family(text, "hostler_node_health", "gauge", "1 for the level of the verdict over the node's facts.", judged);
}

/// The coordinator's own series.
fn coordinator(text: &mut String, overview: &Overview, records: u64, bytes: u64) {
    let version = labels(&[("version", env!("CARGO_PKG_VERSION"))]);
    family(text, "hostler_coordinator_info", "gauge", "The coordinator's version, value always 1.", [(version, 1.0)]);
    let one = |value: f64| [(String::new(), value)];
    family(text, "hostler_ledger_records", "gauge", "Records of the ledger.", one(records as f64));
    family(text, "hostler_ledger_bytes", "gauge", "Size of the ledger.", one(bytes as f64));
    let streams = overview.streams as f64;
    family(text, "hostler_coordinator_streams", "gauge", "Nodes whose stream is open.", one(streams));
    family(
        text,
        "hostler_coordinator_alarms_total",
        "counter",
        "Alarms since the coordinator started, also those that were not written down.",
        one(overview.alarms as f64),
    );
    family(
        text,
        "hostler_coordinator_receipts_refused_total",
        "counter",
        "Receipts that were not taken since the coordinator started: for no grant of its own, out of order, too many.",
        one(overview.receipts_refused as f64),
    );
    family(
        text,
        "hostler_forks",
        "gauge",
        "Documents that nodes signed that they hold and that the ledger neither has nor names.",
        one(overview.forks as f64),
    );
    let expires = overview.root_expires.map(|at| (String::new(), at.unix_seconds() as f64));
    family(
        text,
        "hostler_root_expires_timestamp_seconds",
        "gauge",
        "When the root expires: then nodes begin nothing new.",
        expires,
    );
    family(
        text,
        "hostler_coordinator_clock_behind_seconds",
        "gauge",
        "How far the coordinator's clock is at least behind; no node connects until it is set. 0 when it can be right.",
        one(overview.clock_behind.as_secs_f64()),
    );
    family(
        text,
        "hostler_coordinator_ledger_stuck",
        "gauge",
        "1 when the last write to the ledger failed: nothing is granted, and no receipt is taken.",
        one(f64::from(u8::from(overview.ledger_stuck))),
    );
    let pending = overview.pending as f64;
    family(text, "hostler_nodes_pending", "gauge", "Nodes that wait for approval.", one(pending));
    let quarantines = overview.quarantines as f64;
    family(text, "hostler_quarantines", "gauge", "Versions that a node may not try again.", one(quarantines));
    let cordoned = overview.cordoned.iter();
    let by = cordoned.map(|(n, by)| (labels(&[("instance", n.as_str()), ("by", by.name())]), 1.0));
    family(text, "hostler_node_cordoned", "gauge", "1 for a node that takes no new pods, and by whom.", by);
    refusals(text, overview);
    rollouts(text, overview);
}

fn refusals(text: &mut String, overview: &Overview) {
    let mut counts: BTreeMap<Refusal, u64> = Refusal::ALL.into_iter().map(|r| (r, 0)).collect();
    for ((_, refusal), count) in &overview.refusals {
        *counts.entry(*refusal).or_default() += count;
    }
    family(
        text,
        "hostler_refusals_total",
        "counter",
        "What nodes refused since the coordinator started, by kind.",
        counts.iter().map(|(refusal, count)| (labels(&[("refusal", refusal.word())]), *count as f64)),
    );
    family(
        text,
        "hostler_node_refusals_total",
        "counter",
        "What one node refused since the coordinator started, by kind.",
        overview.refusals.iter().map(|((node, refusal), count)| {
            (labels(&[("instance", node.as_str()), ("refusal", refusal.word())]), *count as f64)
        }),
    );
}

fn rollouts(text: &mut String, overview: &Overview) {
    family(
        text,
        "hostler_rollout_state",
        "gauge",
        "1 for the state a rollout is in: running, paused, preempted, needs_attention, finished, halted, superseded.",
        overview.rollouts.iter().map(|r| {
            let (seq, kind) = (r.seq.to_string(), r.kind.to_string());
            (labels(&[("seq", &seq), ("kind", &kind), ("state", r.state.word())]), 1.0)
        }),
    );
    let mut tasks: BTreeMap<(u64, &'static str), usize> = BTreeMap::new();
    for rollout in &overview.rollouts {
        for (state, count) in &rollout.tasks {
            *tasks.entry((rollout.seq.0, *state)).or_default() += count;
        }
    }
    family(
        text,
        "hostler_rollout_tasks",
        "gauge",
        "Tasks of a rollout by state.",
        tasks
            .iter()
            .map(|((seq, state), count)| (labels(&[("seq", &seq.to_string()), ("state", state)]), *count as f64)),
    );
    let waits = overview.waits.iter();
    family(
        text,
        "hostler_rollout_waits",
        "gauge",
        "Nodes of a rollout that are not done, by why: performing, after, budget, unhealthy, worse, soaking, and \
            others.",
        waits.map(|((seq, why), count)| (labels(&[("seq", &seq.to_string()), ("why", why)]), *count as f64)),
    );
    family(
        text,
        "hostler_rollouts_needing_attention",
        "gauge",
        "Rollouts that stopped and ask a person.",
        [(String::new(), overview.needing_attention as f64)],
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plan::timestamp::Timestamp;

    #[test]
    fn the_last_report_is_as_old_as_it_is_when_the_clock_steps_by_a_year() {
        let moment = |seconds: u64, off_ms: i64| ClockReading {
            wall: Timestamp::from_unix_milliseconds((1_800_000_000_000 + seconds * 1000).saturating_add_signed(off_ms)),
            steady_ms: 1_800_000_000_000 + seconds * 1000,
        };
        let node = NodeName::new("a").unwrap();
        let nodes = BTreeSet::from([node.clone()]);
        let reports = NodeReport { connected: true, received: Some(moment(0, 0)), ..NodeReport::default() };
        let reports = BTreeMap::from([(node, reports)]);
        for step in [366 * 86_400_000, -366 * 86_400_000] {
            for (seconds, up) in [(5, 1), (16, 0)] {
                let mut text = String::new();
                let now = moment(seconds, step);
                nodes_themselves(&mut text, &nodes, &reports, now, 15_000);
                assert!(text.contains(&format!("hostler_node_up{{instance=\"a\"}} {up}\n")), "{seconds}: {text}");
                let at = now.wall.unix_seconds() - seconds;
                let last = format!("hostler_node_last_report_timestamp_seconds{{instance=\"a\"}} {at}\n");
                assert!(text.contains(&last), "{seconds}: {text}");
            }
        }
    }
}
