//! Which panels of Grafana's dashboard 1860, "Node Exporter Full", show data from our series.
//!
//! The dashboard itself is not here; `node-exporter-full.txt` lists what its queries ask for. Given the dashboard,
//!
//! ```text
//! HOSTLER_DASHBOARD_1860=PATH/node-exporter-full.json cargo test -p hostler-tests --test prometheus
//! ```
//!
//! compares that list with it, and the scrape asks a real Prometheus its very queries.

use crate::{golden, workspace};
use hostler_facts::{Facts, Now, Source};
use hostler_fixtures::recorded;
use hostler_plan::fact::Reading;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

const LIST: &str = "tests/prometheus/node-exporter-full.txt";
const PAGE: &str = "docs/metrics.md";
/// A Raspberry Pi with the kernel's usual settings, and a PC.
const MACHINES: [(&str, &str); 2] = [("Pi", "pi5-nvme"), ("PC", "intel-n100")];

const HEAD: &str = "\
# What the queries of Grafana's dashboard 1860, \"Node Exporter Full\", ask for: names and fixed labels of series.
# Source: github.com/rfmoz/grafana-dashboards, prometheus/node-exporter-full.json, revision 4b1729d (version 102).
# A panel begins at the margin, each of its queries is an indented line. Made by node_exporter_full.rs.
";

/// Why a series is not there. The first that fits counts.
const REASONS: [(&str, &[&str]); 11] = [
    ("The kernel of a Pi does not account pressure without `psi=1` in cmdline.txt.", &["node_pressure_"]),
    (
        "This kernel, processor or recorded machine has no such thing: huge pages and direct maps on a Pi, connection \
         tracking without its module, a count of hung tasks in an older kernel, a second fan limit.",
        &["node_memory_", "node_nf_conntrack_", "node_kernel_hung_tasks", "node_hwmon_", "node_cooling_device_"],
    ),
    (
        "Counters of the network stack as a whole are not read: some 60 series a node that nothing here judges.",
        &[
            "node_netstat_",
            "node_sockstat_",
            "node_softnet_",
            "node_udp_queues",
            "node_tcp_connection_states",
            "node_arp_",
        ],
    ),
    (
        "Of an interface, bytes, packets, errors and drops are read; these are mostly parts of the errors, or tell \
         nothing about hardware.",
        &["node_network_receive_", "node_network_transmit_"],
    ),
    (
        "Tables of processes, the scheduler, interrupts and entropy are not read: one series a processor and source, \
         up to thousands, and the dearest files of /proc.",
        &["node_processes_", "node_schedstat_", "node_interrupts_", "node_entropy_"],
    ),
    (
        "Of systemd, failed units and those that Kubernetes needs are read; all units of a node are hundreds of \
         series.",
        &["node_systemd_"],
    ),
    ("Fields of the clock that only a PPS source or the loop's tuning needs are not read.", &["node_timex_"]),
    ("A reader's duration is reported once it took a tenth of a second.", &["node_scrape_collector_duration_seconds"]),
    (
        "A recording holds no process; a real agent reports processor time, memory and open files, and no limits.",
        &["process_"],
    ),
    (
        "Of other programs: batteries of notebooks, and node_exporter's text files.",
        &["node_power_supply_", "node_textfile_"],
    ),
    ("The query asks for a label that node_exporter does not have either.", &["node_network_up"]),
];

/// A series that a query names, with the labels that it fixes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    name: String,
    labels: Vec<(String, String)>,
}

/// A panel with its queries.
#[derive(Debug)]
struct Panel {
    title: String,
    queries: Vec<BTreeSet<Asked>>,
}

impl Asked {
    fn is_in(&self, reading: &Reading) -> bool {
        let labels: Vec<(&str, &str)> = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        reading.find(&self.name, &labels).is_some()
    }

    fn text(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        if labels.is_empty() { self.name.clone() } else { format!("{}{{{}}}", self.name, labels.join(",")) }
    }
}

/// The series that an expression or a line of the list names. `instance` and `job` are the dashboard's own variables.
fn asked(expression: &str) -> BTreeSet<Asked> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let name = &rest[..end];
        rest = &rest[end..];
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            let end = inside.find('}').unwrap_or(inside.len());
            for matcher in inside[..end].split(',') {
                let Some((label, value)) = matcher.trim().split_once('=') else { continue };
                let value = value.trim().trim_matches(['"', '\'']);
                let fixed = !label.ends_with('!') && !value.starts_with('~') && !value.starts_with('$');
                if fixed {
                    labels.push((label.trim().to_owned(), value.to_owned()));
                }
            }
            rest = &inside[end..];
        }
        if name.starts_with("node_") || name.starts_with("process_") {
            found.insert(Asked { name: name.to_owned(), labels });
        }
    }
    found
}

/// The list, from its file.
fn listed() -> Vec<Panel> {
    let text = fs::read_to_string(workspace().join(LIST)).unwrap();
    let mut panels: Vec<Panel> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("  ") {
            Some(query) => panels.last_mut().unwrap().queries.push(asked(query)),
            None => panels.push(Panel { title: line.to_owned(), queries: Vec::new() }),
        }
    }
    panels
}

/// Panels of a dashboard with the row that they stand in, and their expressions.
pub(crate) fn panels(dashboard: &Value) -> Vec<(String, Vec<String>)> {
    fn walk(panels: &Value, row: &str, found: &mut Vec<(String, Vec<String>)>) {
        let mut row = row.to_owned();
        for panel in panels.as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap_or_default();
            if panel["type"] == "row" {
                title.clone_into(&mut row);
                walk(&panel["panels"], &row, found);
            } else {
                let targets = panel["targets"].as_array().into_iter().flatten();
                let queries = targets.filter_map(|target| Some(target["expr"].as_str()?.to_owned())).collect();
                found.push((format!("{row}: {title}"), queries));
            }
        }
    }
    let mut found = Vec::new();
    walk(&dashboard["panels"], "", &mut found);
    found
}

/// The dashboard, where somebody has it.
pub(crate) fn dashboard() -> Option<Value> {
    let path = std::env::var_os("HOSTLER_DASHBOARD_1860")?;
    Some(serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
}

#[test]
fn the_list_is_that_of_the_dashboard() {
    let Some(dashboard) = dashboard() else {
        println!("skipped: HOSTLER_DASHBOARD_1860 names no node-exporter-full.json");
        return;
    };
    let mut made = HEAD.to_owned();
    for (title, queries) in panels(&dashboard) {
        made += &format!("{title}\n");
        for query in queries {
            let names: Vec<String> = asked(&query).iter().map(Asked::text).collect();
            made += &format!("  {}\n", names.join(" "));
        }
    }
    golden(LIST, &made);
}

fn reading(machine: &str) -> Reading {
    let mut facts = Facts::new(Source::recorded(&recorded::machine(machine)).unwrap());
    facts.tick(Now { elapsed: Duration::ZERO, unix_ms: recorded::UNIX_MS });
    facts.wait_for_helpers(Duration::from_secs(20)).clone()
}

#[test]
fn the_handbook_says_which_panels_of_the_dashboard_show_data_and_why_others_do_not() {
    let panels = listed();
    assert!(panels.len() > 100 && panels.iter().all(|p| p.queries.iter().all(|q| !q.is_empty())), "{}", panels.len());
    let mut made =
        String::from("| machine | panels with data | of them some queries without | empty |\n|---|---|---|---|\n");
    // Reason, then panel, then on which machines it is empty.
    let mut empty: BTreeMap<usize, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for (kind, machine) in MACHINES {
        let reading = reading(machine);
        let (mut whole, mut partly, mut none) = (0, 0, 0);
        for panel in &panels {
            let answered = |query: &&BTreeSet<Asked>| query.iter().all(|asked| asked.is_in(&reading));
            let count = panel.queries.iter().filter(answered).count();
            whole += usize::from(count == panel.queries.len());
            partly += usize::from(count > 0 && count < panel.queries.len());
            for asked in panel.queries.iter().flatten().filter(|asked| !asked.is_in(&reading)) {
                let why = REASONS.iter().position(|(_, names)| names.iter().any(|name| asked.name.starts_with(name)));
                let why = why.unwrap_or_else(|| panic!("{}: no reason why {} is missing", panel.title, asked.text()));
                if count == 0 {
                    let machines = empty.entry(why).or_default().entry(&panel.title).or_default();
                    if machines.last() != Some(&kind) {
                        machines.push(kind);
                    }
                }
            }
            none += usize::from(count == 0);
        }
        made += &format!("| {kind} ({machine}) | {} | {partly} | {none} |\n", whole + partly);
    }
    made += "\n| empty | why |\n|---|---|\n";
    for (why, panels) in &empty {
        let panels: Vec<String> = panels
            .iter()
            .map(
                |(title, on)| {
                    if on.len() == MACHINES.len() { (*title).to_owned() } else { format!("{title} ({})", on[0]) }
                },
            )
            .collect();
        made += &format!("| {} | {} |\n", panels.join("; "), REASONS[*why].0);
    }
    let page = fs::read_to_string(workspace().join(PAGE)).unwrap();
    let (begin, end) = ("<!-- dashboard 1860 -->\n", "<!-- end -->\n");
    let before = page.split_once(begin).unwrap().0;
    let after = page.split_once(end).unwrap().1;
    golden(PAGE, &format!("{before}{begin}{made}{end}{after}"));
}

/// What people open the dashboard for.
#[test]
fn processor_memory_disk_network_file_systems_temperature_and_units_show_data() {
    let rows = ["Quick CPU / Mem / Disk", "Basic CPU / Mem / Net / Disk", "CPU / Memory / Net / Disk"];
    let more = [
        "Hardware Misc: Hardware Temperature Monitor",
        "Systemd: Systemd Units State",
        "System Misc: CPU Frequency Scaling",
        "Storage Filesystem: Filesystem in ReadOnly / Error",
        "System Timesync: Time Synchronized Status",
    ];
    for (kind, machine) in MACHINES {
        let reading = reading(machine);
        let mut seen = 0;
        for panel in listed() {
            let row = panel.title.split(": ").next().unwrap();
            let needs_setting = kind == "Pi" && panel.title.contains("Pressure");
            if needs_setting || !(rows.contains(&row) || more.contains(&&*panel.title) || row == "Storage Disk") {
                continue;
            }
            seen += 1;
            let answered = panel.queries.iter().any(|query| query.iter().all(|asked| asked.is_in(&reading)));
            assert!(answered, "{kind}: {} is empty", panel.title);
        }
        assert!(seen >= 35, "{kind}: {seen}");
    }
}
