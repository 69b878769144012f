//! The coordinator's `/metrics`: every node's series under `instance`, and its own about the fleet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use hostler_plan::{
    document::RosterStatus,
    fact::{Reading, Series, expose},
    health::{Level, worst},
    id::NodeName,
    refusal::Refusal,
    sequencer::RolloutState,
};

use crate::{
    clock::{Moment, now},
    control::Desk,
    grpc::SharedRef,
    nodes::live::Heard,
};

/// Series of one node at most: what keeps a Prometheus on a small machine well. A Raspberry Pi has fewer.
pub const MAX_SERIES_PER_NODE: usize = 400;
/// Rollouts that are over and still shown, newest first.
const ENDED_ROLLOUTS: usize = 10;

/// The families of the coordinator itself. A node that reports one of these is not believed: a family that stands twice
/// would spoil the answer for everybody.
const OWN_FAMILIES: [&str; 19] = [
    "hostler_coordinator_alarms_total",
    "hostler_coordinator_info",
    "hostler_coordinator_node_series_dropped_total",
    "hostler_coordinator_streams",
    "hostler_ledger_bytes",
    "hostler_ledger_records",
    "hostler_node_cordoned",
    "hostler_node_health",
    "hostler_node_last_report_timestamp_seconds",
    "hostler_node_refusals_total",
    "hostler_node_up",
    "hostler_nodes_pending",
    "hostler_quarantines",
    "hostler_refusals_total",
    "hostler_rollout_state",
    "hostler_rollout_tasks",
    "hostler_rollout_waits",
    "hostler_rollouts_needing_attention",
    // Prometheus makes this one itself for every target.
    "up",
];

/// Writes the text.
#[derive(Debug)]
pub struct Metrics {
    shared: SharedRef,
}

impl Metrics {
    /// For what these parts know.
    pub fn new(shared: SharedRef) -> Self {
        Self { shared }
    }

    /// The text format 0.0.4; none when the coordinator is stopping.
    pub async fn text(&self) -> Option<String> {
        let own = self.shared.desk.ask(|desk| desk.own_metrics()).await.ok()?;
        let heard = self.shared.live.all();
        let mut text = own.text;
        let (now, silent_after_ms) = (Moment::now(), self.shared.silent_after_ms);
        nodes_themselves(&mut text, &own.nodes, &heard, now, silent_after_ms);
        // A node that waits for approval shows nothing to anybody but those who approve it.
        let counts = |node: &NodeName, h: &Heard| own.nodes.contains(node) && is_fresh(h, now, silent_after_ms);
        let fresh: Vec<(&NodeName, &Heard)> = heard.iter().filter(|(n, h)| counts(n, h)).collect();
        let labels: Vec<[(&str, &str); 1]> = fresh.iter().map(|(node, _)| [("instance", node.as_str())]).collect();
        let readings: Vec<(&[(&str, &str)], &Reading)> = labels
            .iter()
            .zip(&fresh)
            .filter_map(|(labels, (_, heard))| Some((labels.as_slice(), heard.served.as_deref()?)))
            .collect();
        expose(&readings, &mut text);
        Some(text)
    }
}

/// Whether a node's last report is young enough for its series to mean anything.
fn is_fresh(heard: &Heard, now: Moment, silent_after_ms: u64) -> bool {
    heard.received.is_some_and(|at| now.since(at).as_millis() <= u128::from(silent_after_ms))
}

/// What the desk knows, without asking it twice.
#[derive(Debug)]
pub struct Own {
    text: String,
    /// Active nodes.
    nodes: BTreeSet<NodeName>,
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
    heard: &BTreeMap<NodeName, Heard>,
    now: Moment,
    silent_after_ms: u64,
) {
    let of = |node: &NodeName| labels(&[("instance", node.as_str())]);
    let up = |node: &NodeName| heard.get(node).is_some_and(|h| h.connected && is_fresh(h, now, silent_after_ms));
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
        heard.iter().filter_map(|(n, h)| Some((of(n), now.wall_of(h.received?).unix_milliseconds() as f64 / 1000.0))),
    );
    family(
        text,
        "hostler_coordinator_node_series_dropped_total",
        "counter",
        "Series of a node that were not served because it has more than 400, summed over its reports.",
        heard.iter().map(|(n, h)| (of(n), h.dropped as f64)),
    );
    let judged = nodes.iter().flat_map(|node| {
        let health = worst(heard.get(node).map(|h| h.verdicts.as_slice()).unwrap_or_default());
        Level::ALL.map(|level| {
            let labels = labels(&[("instance", node.as_str()), ("level", level.word())]);
            (labels, flag(health == level))
        })
    });
    family(text, "hostler_node_health", "gauge", "1 for the level of the verdict over the node's facts.", judged);
}

impl Desk {
    /// The coordinator's own series.
    fn own_metrics(&self) -> Own {
        let mut text = String::new();
        let version = labels(&[("version", env!("CARGO_PKG_VERSION"))]);
        family(
            &mut text,
            "hostler_coordinator_info",
            "gauge",
            "The coordinator's version, value always 1.",
            [(version, 1.0)],
        );
        let one = |value: f64| [(String::new(), value)];
        let (records, bytes) = self.ledger_size();
        family(&mut text, "hostler_ledger_records", "gauge", "Records of the ledger.", one(records as f64));
        family(&mut text, "hostler_ledger_bytes", "gauge", "Size of the ledger.", one(bytes as f64));
        family(
            &mut text,
            "hostler_coordinator_streams",
            "gauge",
            "Nodes whose stream is open.",
            one(self.stream_count() as f64),
        );
        family(
            &mut text,
            "hostler_coordinator_alarms_total",
            "counter",
            "Alarms since the coordinator started, also those that were not written down.",
            one(self.alarms_seen as f64),
        );
        let pending = self.enrolments().len() as f64;
        family(&mut text, "hostler_nodes_pending", "gauge", "Nodes that wait for approval.", one(pending));
        let quarantines = self.state.sequencer.quarantines().len() as f64;
        family(&mut text, "hostler_quarantines", "gauge", "Versions that a node may not try again.", one(quarantines));
        let cordoned = self.shown_conditions.iter().filter(|(_, c)| c.unschedulable);
        let by = cordoned.map(|(n, c)| (labels(&[("instance", n.as_str()), ("by", &c.cordoned_by)]), 1.0));
        family(&mut text, "hostler_node_cordoned", "gauge", "1 for a node that takes no new pods, and by whom.", by);
        self.refusal_metrics(&mut text);
        self.rollout_metrics(&mut text);
        let roster = self.state.roster.iter().flat_map(|r| &r.document().nodes);
        let active = roster.filter(|n| n.status == RosterStatus::Active);
        let nodes = active.map(|n| n.name.clone()).collect();
        Own { text, nodes }
    }

    fn refusal_metrics(&self, text: &mut String) {
        let mut counts: BTreeMap<Refusal, u64> = Refusal::ALL.into_iter().map(|r| (r, 0)).collect();
        for ((_, refusal), count) in &self.refusals_seen {
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
            self.refusals_seen.iter().map(|((node, refusal), count)| {
                (labels(&[("instance", node.as_str()), ("refusal", refusal.word())]), *count as f64)
            }),
        );
    }

    fn rollout_metrics(&self, text: &mut String) {
        let all = self.state.sequencer.rollouts();
        let ended = all.iter().filter(|r| r.state.is_over()).count();
        let mut skip = ended.saturating_sub(ENDED_ROLLOUTS);
        let shown: Vec<_> = all
            .iter()
            .filter(|r| {
                let old = r.state.is_over() && skip > 0;
                skip -= usize::from(old);
                !old
            })
            .collect();
        family(
            text,
            "hostler_rollout_state",
            "gauge",
            "1 for the state a rollout is in: running, paused, preempted, needs_attention, finished, halted, superseded.",
            shown.iter().map(|r| {
                let (seq, kind) = (r.seq.to_string(), r.kind.to_string());
                (labels(&[("seq", &seq), ("kind", &kind), ("state", r.state.word())]), 1.0)
            }),
        );
        let mut tasks: BTreeMap<(u64, &'static str), u64> = BTreeMap::new();
        for task in shown.iter().flat_map(|r| r.tasks.iter().map(|t| (r.seq.0, t.state.word()))) {
            *tasks.entry(task).or_default() += 1;
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
        let mut waits: BTreeMap<(u64, &'static str), u64> = BTreeMap::new();
        for wait in self.state.sequencer.waits(now()).iter().filter(|w| w.node.is_some()) {
            *waits.entry((wait.seq.0, wait.reason.word())).or_default() += 1;
        }
        family(
            text,
            "hostler_rollout_waits",
            "gauge",
            "Nodes of a rollout that are not done, by why: performing, after, budget, unhealthy, worse, soaking, and others.",
            waits.iter().map(|((seq, why), count)| (labels(&[("seq", &seq.to_string()), ("why", why)]), *count as f64)),
        );
        let attention = all.iter().filter(|r| matches!(r.state, RolloutState::NeedsAttention { .. })).count() as f64;
        family(
            text,
            "hostler_rollouts_needing_attention",
            "gauge",
            "Rollouts that stopped and ask a person.",
            [(String::new(), attention)],
        );
    }
}

/// What of a reading is served: all of it, or the families that fit when the ones with the most series go first. Says
/// how many series were left out.
pub fn fit(reading: &Reading) -> Option<(Reading, u64)> {
    if reading.len() <= MAX_SERIES_PER_NODE && !reading.names().any(|n| OWN_FAMILIES.contains(&n)) {
        return None;
    }
    let theirs = reading.names().filter(|name| !OWN_FAMILIES.contains(name));
    let mut families: Vec<(usize, String)> = theirs.map(|name| (reading.all(name).count(), name.to_owned())).collect();
    families.sort();
    let mut served = Reading::new(reading.at_ms());
    for (size, name) in families {
        if served.len() + size > MAX_SERIES_PER_NODE {
            break;
        }
        for (found, value) in reading.all(&name) {
            let pairs: Vec<(&str, &str)> = found.iter().collect();
            if let Ok(series) = Series::checked(&name, &pairs) {
                served.set(series, value);
            }
        }
    }
    let dropped = (reading.len() - served.len()) as u64;
    Some((served, dropped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_plan::timestamp::Timestamp;

    #[test]
    fn the_largest_families_go_first() {
        let mut reading = Reading::new(1);
        for i in 0..390 {
            reading.set(Series::new("node_cpu_seconds_total", &[("cpu", &i.to_string())]), 1.0);
        }
        assert_eq!(fit(&reading), None);
        for i in 0..20 {
            reading.set(Series::new("zzz_small", &[("n", &i.to_string())]), 2.0);
        }
        reading.set(Series::new("nvme_percentage_used_ratio", &[("device", "nvme0")]), 0.5);
        let (served, dropped) = fit(&reading).unwrap();
        assert_eq!((served.len(), dropped), (21, 390));
        assert_eq!(served.get("nvme_percentage_used_ratio", &[("device", "nvme0")]), Some(0.5));
    }

    #[test]
    fn the_last_report_is_as_old_as_it_is_when_the_clock_steps_by_a_year() {
        let moment = |seconds: u64, off_ms: i64| Moment {
            wall: Timestamp::from_unix_milliseconds((1_800_000_000_000 + seconds * 1000).saturating_add_signed(off_ms)),
            steady_ms: 1_800_000_000_000 + seconds * 1000,
        };
        let node = NodeName::new("a").unwrap();
        let nodes = BTreeSet::from([node.clone()]);
        let heard = Heard { connected: true, received: Some(moment(0, 0)), ..Heard::default() };
        let heard = BTreeMap::from([(node, heard)]);
        for step in [366 * 86_400_000, -366 * 86_400_000] {
            for (seconds, up) in [(5, 1), (16, 0)] {
                let mut text = String::new();
                let now = moment(seconds, step);
                nodes_themselves(&mut text, &nodes, &heard, now, 15_000);
                assert!(text.contains(&format!("hostler_node_up{{instance=\"a\"}} {up}\n")), "{seconds}: {text}");
                let at = now.wall.unix_seconds() - seconds;
                let last = format!("hostler_node_last_report_timestamp_seconds{{instance=\"a\"}} {at}\n");
                assert!(text.contains(&last), "{seconds}: {text}");
            }
        }
    }

    #[test]
    fn a_node_does_not_speak_for_the_coordinator() {
        let mut reading = Reading::new(1);
        reading.set(Series::new("node_load1", &[]), 1.0);
        reading.set(Series::new("hostler_node_up", &[]), 1.0);
        let (served, dropped) = fit(&reading).unwrap();
        assert_eq!((served.len(), dropped), (1, 1));
        assert_eq!(served.get("node_load1", &[]), Some(1.0));
    }
}
