//! What is shipped for Prometheus and Grafana, without either of them: dashboards are what their description says, and
//! no rule and no panel asks for a series that nobody serves. `tests/prometheus/run` lets promtool judge the rest.

#![allow(clippy::unwrap_used)] // a test may unwrap, and so may what only tests call

mod dashboard;
mod faults;
mod fleet;
mod node;
mod node_exporter_full;
mod scrape;
mod server;
mod settings;

use dashboard::{Dashboard, GRID};
use hostler_plan::fact::metric;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const DASHBOARDS: [Dashboard; 2] = [fleet::FLEET, node::NODE];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// Fails unless the file is what was made.
fn golden(path: &str, made: &str) {
    hostler_fixtures::golden::check(&workspace().join(path), made);
}

#[test]
fn the_dashboards_are_what_their_description_makes() {
    for dashboard in DASHBOARDS {
        let made = serde_json::to_string_pretty(&dashboard.json()).unwrap() + "\n";
        golden(&format!("packaging/grafana/{}.json", dashboard.uid), &made);
    }
}

/// A query as Prometheus gets it, with Grafana's variables filled in.
fn filled(query: &str) -> String {
    query.replace("$__rate_interval", "5m").replace("$instance", "pi-1")
}

/// Promtool reads no dashboards: the queries stand once more in a file of rules that is checked and never loaded.
#[test]
fn every_query_of_a_dashboard_stands_in_a_file_that_promtool_checks() {
    let mut made =
        String::from("# Made by the test in main.rs from the dashboards, for `promtool check rules` alone.\ngroups:\n");
    for dashboard in DASHBOARDS {
        made += &format!("  - name: {}\n    rules:\n", dashboard.uid);
        for (number, (panel, query)) in dashboard.queries().enumerate() {
            let name = dashboard.uid.replace('-', "_");
            made += &format!(
                "      # {panel}\n      - record: {name}:query{number}\n        expr: '{}'\n",
                filled(query).replace('\'', "''")
            );
        }
    }
    golden("tests/prometheus/dashboards.rules.yml", &made);
}

#[test]
fn panels_have_their_own_ids_and_do_not_overlap() {
    for dashboard in DASHBOARDS {
        let json = dashboard.json();
        let mut ids = BTreeSet::new();
        let mut taken: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for panel in json["panels"].as_array().unwrap() {
            let id = panel["id"].as_u64().unwrap();
            assert!(ids.insert(id), "{}: id {id} twice", dashboard.uid);
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(at("x") + at("w") <= GRID, "{}: panel {id} is wider than the grid", dashboard.uid);
            for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
                assert_eq!(taken.insert(cell, id), None, "{}: panel {id} covers another", dashboard.uid);
            }
            let is_row = panel["type"] == "row";
            assert_eq!(panel["targets"].as_array().map_or(0, Vec::len) == 0, is_row, "{}: panel {id}", dashboard.uid);
        }
    }
}

/// Words of a query that look like names of series, outside of quotes.
fn series(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let families = ["node_", "hostler_", "nvme_", "apt_", "smartctl_", "process_"];
    let outside = text.split('"').step_by(2);
    outside
        .flat_map(|part| part.split(|c| !word(c)))
        .filter(|w| families.iter().any(|f| w.starts_with(f)))
        .map(str::to_owned)
        .collect()
}

/// What the coordinator says about itself: the names in its source.
fn of_the_coordinator() -> BTreeSet<String> {
    let source = fs::read_to_string(workspace().join("coordinator/src/metrics.rs")).unwrap();
    let own: BTreeSet<String> = source
        .split('"')
        .filter(|text| text.starts_with("hostler_") && text.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .map(str::to_owned)
        .collect();
    assert!(own.contains("hostler_node_up"), "the coordinator's series are no longer found in its source");
    own
}

fn rule_files() -> Vec<PathBuf> {
    let folder = workspace().join("packaging/prometheus");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".rules.yml")).collect();
    assert!(files.len() >= 2, "{files:?}");
    files
}

#[test]
fn nobody_asks_for_a_series_that_is_not_served() {
    let own = of_the_coordinator();
    let served = |name: &str| own.contains(name) || !metric(name).help.is_empty();
    let mut unknown = Vec::new();
    for file in rule_files() {
        // Texts for people hold commands and folders, not series.
        let text = fs::read_to_string(&file).unwrap();
        let asked: String = text
            .lines()
            .filter(|line| {
                !["summary:", "description:", "action:", "#"].iter().any(|text| line.trim().starts_with(text))
            })
            .collect::<Vec<_>>()
            .join("\n");
        let names = series(&asked);
        assert!(!names.is_empty(), "{}", file.display());
        unknown
            .extend(names.into_iter().filter(|name| !served(name)).map(|name| format!("{}: {name}", file.display())));
    }
    for dashboard in DASHBOARDS {
        for (panel, query) in dashboard.queries() {
            let names = series(query).into_iter().filter(|name| !served(name));
            unknown.extend(names.map(|name| format!("{}, {panel}: {name}", dashboard.uid)));
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(!served("node_interrupts_total"), "a series that the agent leaves out must be found out");
}
