//! The figures as a table, with the goals.

use std::{fmt::Write as _, time::Duration};

use super::{
    exporter::{PROGRAM, SCRAPE_INTERVAL},
    idle::{Figures, Idle},
    plans::{NODES, Plans, median},
};

const SECONDS_PER_DAY: f64 = 86_400.0;

/// What an idle agent may hold at most, whatever the exporter holds.
const MOST_PSS_MIB: f64 = 8.0;

/// From submit to eight receipts.
const MOST_PLAN: Duration = Duration::from_millis(50);

/// What a task may cost in a larger fleet beside one of eight nodes, everything on this one machine.
const MOST_TASK_RATIO: f64 = 1.5;

/// What the coordinator may hold for a node that is connected and reports.
const MOST_KIB_PER_NODE: f64 = 100.0;

/// One line of the table.
struct Row {
    name: &'static str,
    agent: f64,
    exporter: Option<f64>,
    /// The share of the exporter's figure that the agent may have.
    share: Option<f64>,
    digits: usize,
}

/// The table of the idle agent.
pub(crate) fn idle(found: &Idle) -> String {
    let other = found.exporter.as_ref();
    let row = |name, share: f64, digits, figure: &dyn Fn(&Figures) -> f64| Row {
        name,
        agent: figure(&found.agent),
        exporter: other.map(figure),
        share: (share > 0.0).then_some(share),
        digits,
    };
    let per_minute = |figures: &Figures, value: u64| value as f64 * 60.0 / figures.seconds;
    let mut rows = vec![
        row("PSS, mean (MiB)", 1.0 / 3.0, 2, &|f| f.mean_pss_kib as f64 / 1024.0),
        row("PSS, highest (MiB)", 0.0, 2, &|f| f.highest_pss_kib as f64 / 1024.0),
        row("CPU per minute (ms)", 1.0 / 4.0, 0, &|f| per_minute(f, f.used.cpu_ms)),
        row("voluntary context switches per minute", 1.0 / 8.0, 0, &|f| per_minute(f, f.used.voluntary_switches)),
        row("written to disk per minute (bytes)", 0.0, 0, &|f| per_minute(f, f.used.written_bytes)),
    ];
    let a_day = |figures: &Figures| figures.wire_bytes as f64 / figures.seconds * SECONDS_PER_DAY;
    // Whole scrapes a day, however many fell into the measured time.
    let answers = other
        .map(|f| f.wire_bytes as f64 / found.scrapes.max(1) as f64 * SECONDS_PER_DAY / SCRAPE_INTERVAL.as_secs_f64());
    let name = "bytes on the wire per day";
    rows.push(Row { name, agent: a_day(&found.agent), exporter: answers, share: Some(0.1), digits: 0 });

    let mut text = String::from("| idle | agent | node_exporter | ratio | goal | |\n|---|---|---|---|---|---|\n");
    rows.iter().for_each(|row| line(&mut text, row));
    let pss = found.agent.mean_pss_kib as f64 / 1024.0;
    let _ =
        writeln!(text, "\nmeasured for {:.0} s; a report every 10 s, {} scrapes", found.agent.seconds, found.scrapes);
    let _ = writeln!(text, "agent's PSS: {pss:.2} MiB, goal at most {MOST_PSS_MIB} MiB: {}", met(pss <= MOST_PSS_MIB));
    let _ = writeln!(
        text,
        "agent's wire: {} bytes, of them {} from the coordinator",
        found.agent.wire_bytes, found.agent_down_bytes
    );
    match other {
        Some(figures) => {
            let _ = writeln!(
                text,
                "exporter's wire: {} bytes of answers, and {} of requests that are not in the table",
                figures.wire_bytes, found.request_bytes
            );
        }
        None => text.push_str(&skipped()),
    }
    text
}

/// Why there is nothing to compare with.
pub(crate) fn skipped() -> String {
    format!("node_exporter: skipped, {PROGRAM} is not installed (apt-get install prometheus-node-exporter)\n")
}

fn line(text: &mut String, row: &Row) {
    let number = |value: f64| format!("{value:.*}", row.digits);
    let exporter = row.exporter.map_or("-".to_owned(), number);
    // Nothing by nothing has no ratio.
    let ratio = row.exporter.filter(|e| *e > 0.0).map(|exporter| row.agent / exporter);
    let shown = ratio.map_or("-".to_owned(), |r| if r >= 0.01 { format!("{r:.2}") } else { format!("{r:.4}") });
    let goal = row.share.map_or("-".to_owned(), |share| format!("at most 1/{:.0}", 1.0 / share));
    let verdict = match (ratio, row.share) {
        (Some(ratio), Some(share)) => met(ratio <= share),
        _ => "",
    };
    let _ = writeln!(text, "| {} | {} | {exporter} | {shown} | {goal} | {verdict} |", row.name, number(row.agent));
}

/// The plans of every fleet, the first one of eight nodes.
pub(crate) fn plans(fleets: &[Plans]) -> String {
    let mut text = String::new();
    for fleet in fleets {
        let ms = |time: &Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
        let all: Vec<String> = fleet.times.iter().map(ms).collect();
        let Some(middle) = median(&fleet.times) else { continue };
        let goal = match fleet.nodes {
            NODES => format!(", goal at most {} ms: {}", MOST_PLAN.as_millis(), met(middle <= MOST_PLAN)),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "from submit to {} receipts acknowledged: {} ms in the median of {} plans ({} ms){goal}",
            fleet.nodes,
            ms(&middle),
            all.len(),
            all.join(", "),
        );
    }
    text.push_str(
        "\n| nodes | a task (ms) | beside 8 nodes | goal | | its CPU: coordinator (ms) | agents and command (ms) |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|\n");
    let small = fleets.first().and_then(per_task_ms);
    for (fleet, task) in fleets.iter().filter_map(|fleet| Some((fleet, per_task_ms(fleet)?))) {
        let ratio = task / small.unwrap_or(task);
        let (goal, verdict) = match fleet.nodes {
            NODES => ("-".to_owned(), ""),
            _ => (format!("at most {MOST_TASK_RATIO}"), met(ratio <= MOST_TASK_RATIO)),
        };
        let each = |cpu_ms: u64| cpu_ms as f64 / (fleet.nodes * fleet.times.len()) as f64;
        let (coordinator, agents) = (each(fleet.cpu_ms.0), each(fleet.cpu_ms.1));
        let _ = writeln!(
            text,
            "| {} | {task:.2} | {ratio:.2} | {goal} | {verdict} | {coordinator:.2} | {agents:.2} |",
            fleet.nodes
        );
    }
    memory(&mut text, fleets);
    text
}

/// What the coordinator holds for a node.
fn memory(text: &mut String, fleets: &[Plans]) {
    text.push_str("\n| nodes | coordinator without (MiB) | connected (MiB) | after the plans (MiB) | a node (KiB) ");
    text.push_str("| goal | |\n|---|---|---|---|---|---|---|\n");
    for fleet in fleets {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let each = fleet.pss_connected_kib.saturating_sub(fleet.pss_alone_kib) as f64 / fleet.nodes as f64;
        // Of a few nodes it is mostly what the coordinator holds for the first connection.
        let (goal, verdict) = match fleet.nodes {
            NODES => ("-".to_owned(), ""),
            _ => (format!("at most {MOST_KIB_PER_NODE}"), met(each <= MOST_KIB_PER_NODE)),
        };
        let [alone, connected, after] = [fleet.pss_alone_kib, fleet.pss_connected_kib, fleet.pss_after_kib].map(mib);
        let nodes = fleet.nodes;
        let _ =
            writeln!(text, "| {nodes} | {alone:.1} | {connected:.1} | {after:.1} | {each:.0} | {goal} | {verdict} |");
    }
}

fn per_task_ms(fleet: &Plans) -> Option<f64> {
    Some(median(&fleet.times)?.as_secs_f64() * 1000.0 / fleet.nodes as f64)
}

pub(crate) fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Usage;

    fn figures(pss: u64, cpu_ms: u64, voluntary_switches: u64, wire_bytes: u64) -> Figures {
        let used = Usage { cpu_ms, voluntary_switches, written_bytes: 0 };
        Figures { seconds: 30.0, mean_pss_kib: pss, highest_pss_kib: pss, used, wire_bytes }
    }

    fn found(exporter: Option<Figures>) -> Idle {
        let agent = figures(9 * 1024, 20, 100, 900);
        Idle { agent, agent_down_bytes: 100, exporter, scrapes: 2, request_bytes: 400 }
    }

    #[test]
    fn each_goal_is_judged_by_its_own_share() {
        let text = idle(&found(Some(figures(27 * 1024, 40, 801, 20_000))));
        assert!(text.contains("| PSS, mean (MiB) | 9.00 | 27.00 | 0.33 | at most 1/3 | met |"), "{text}");
        assert!(text.contains("| CPU per minute (ms) | 40 | 80 | 0.50 | at most 1/4 | missed |"), "{text}");
        assert!(text.contains("| 200 | 1602 | 0.12 | at most 1/8 | met |"), "{text}");
        // 900 bytes in 30 s, and 10,000 an answer.
        assert!(text.contains("| 2592000 | 57600000 | 0.04 | at most 1/10 | met |"), "{text}");
        assert!(text.contains("9.00 MiB, goal at most 8 MiB: missed"), "{text}");
        assert!(!text.contains("skipped"), "{text}");
    }

    #[test]
    fn without_an_exporter_the_reason_is_printed_and_nothing_is_judged() {
        let text = idle(&found(None));
        assert!(text.contains("skipped, /usr/bin/prometheus-node-exporter is not installed"), "{text}");
        assert!(text.contains("| CPU per minute (ms) | 40 | - | - | at most 1/4 |  |"), "{text}");
    }

    fn fleet(nodes: usize, times: &[u64]) -> Plans {
        let times = times.iter().map(|ms| Duration::from_millis(*ms)).collect();
        Plans {
            nodes,
            times,
            cpu_ms: (80, 160),
            pss_alone_kib: 10_240,
            pss_connected_kib: 10_240 + 80 * 100,
            pss_after_kib: 20_480,
        }
    }

    #[test]
    fn plans_are_judged_by_their_median() {
        let text = plans(&[fleet(8, &[40, 300, 50])]);
        assert!(
            text.contains("50.0 ms in the median of 3 plans (40.0, 300.0, 50.0 ms), goal at most 50 ms: met"),
            "{text}"
        );
        assert!(text.contains("| 8 | 6.25 | 1.00 | - |  | 3.33 | 6.67 |"), "{text}");
        assert!(plans(&[fleet(8, &[51])]).contains("goal at most 50 ms: missed"));
    }

    #[test]
    fn a_larger_fleet_is_judged_beside_eight_nodes_and_by_its_memory() {
        let large = Plans { pss_connected_kib: 10_240 + 200 * 160, ..fleet(200, &[500]) };
        let text = plans(&[fleet(8, &[16]), fleet(80, &[240]), fleet(100, &[310]), large]);
        assert!(text.contains("| 80 | 3.00 | 1.50 | at most 1.5 | met |"), "{text}");
        assert!(text.contains("| 100 | 3.10 | 1.55 | at most 1.5 | missed |"), "{text}");
        assert!(text.contains("| 80 | 10.0 | 17.8 | 20.0 | 100 | at most 100 | met |"), "{text}");
        assert!(text.contains("| 200 | 10.0 | 41.2 | 20.0 | 160 | at most 100 | missed |"), "{text}");
    }
}
