//! What a person copies from the packages works: the examples of the settings files, and the port of the scrape.

use crate::workspace;
use std::{fs, path::Path};

fn text(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap()
}

/// A settings file with its examples switched on.
fn with_examples(path: &str) -> String {
    let is_example = |line: &str| line.starts_with('#') && line[1..].starts_with(|c: char| c.is_ascii_lowercase());
    text(path).lines().map(|l| if is_example(l) { &l[1..] } else { l }.to_owned() + "\n").collect()
}

/// Loads a file with that content, without an environment.
fn load<T, E: std::fmt::Display>(content: &str, load: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    fs::write(&file, content).unwrap();
    load(&file).map_err(|e| e.to_string())
}

fn agent(content: &str) -> Result<hostler_agent::Settings, String> {
    load(content, |file| hostler_agent::Settings::load(Some(file), [("", ""); 0]))
}

fn executor(content: &str) -> Result<hostler_executor::Settings, String> {
    load(content, |file| hostler_executor::Settings::load(Some(file), [("", ""); 0]))
}

fn coordinator(content: &str) -> Result<hostler_coordinator::Settings, String> {
    load(content, |file| hostler_coordinator::Settings::load(Some(file), [("", ""); 0]))
}

#[test]
fn the_settings_files_name_every_key_with_its_default() {
    let none = String::from("no_such_key = 1\n");
    for (refusal, file, page) in [
        (agent(&none).unwrap_err(), "packaging/etc/agent.toml", "packaging/man/hostler-agent.8"),
        (executor(&none).unwrap_err(), "packaging/etc/executor.toml", "packaging/man/hostler-executor.8"),
        (coordinator(&none).unwrap_err(), "packaging/etc/coordinator.toml", "packaging/man/hostler-coordinator.8"),
    ] {
        // unknown field `no_such_key`, expected one of `a`, `b`
        let keys: Vec<&str> = refusal.split('`').skip(3).step_by(2).collect();
        assert!(keys.len() > 3, "{refusal}");
        for key in keys {
            assert!(with_examples(file).lines().any(|l| l.starts_with(&format!("{key} = "))), "{file} lacks {key}");
            assert!(text(page).contains(key), "{page} lacks {key}");
        }
    }
    let shown = agent(&with_examples("packaging/etc/agent.toml")).unwrap();
    let usual = agent(&text("packaging/etc/agent.toml")).unwrap();
    assert_eq!((usual.metrics_listen, usual.report_interval), (None, shown.report_interval));
    let shown = coordinator(&with_examples("packaging/etc/coordinator.toml")).unwrap();
    let usual = coordinator(&text("packaging/etc/coordinator.toml")).unwrap();
    assert_eq!(usual.metrics_listen, None);
    let example = hostler_coordinator::Settings {
        metrics_listen: shown.metrics_listen,
        advertised_host: shown.advertised_host.clone(),
        artifact_bytes_per_second: shown.artifact_bytes_per_second,
        ..usual
    };
    assert_eq!(shown, example, "every other example is the default");
}

#[test]
fn every_page_names_the_range_of_the_report_interval() {
    let (least, most) = hostler_plan::health::REPORT_INTERVAL_SECONDS.into_inner();
    for page in [
        "packaging/etc/agent.toml",
        "packaging/etc/coordinator.toml",
        "packaging/man/hostler-agent.8",
        "packaging/man/hostler-coordinator.8",
    ] {
        let range = format!("facts, {least} to {most}");
        assert!(text(page).replace("facts are reported, ", "facts, ").contains(&range), "{page} lacks {range}");
    }
}

#[test]
fn the_port_of_the_scrape_is_that_of_the_settings_file() {
    let port = |listen: Option<std::net::SocketAddr>| listen.unwrap().port();
    let fleet = port(coordinator(&with_examples("packaging/etc/coordinator.toml")).unwrap().metrics_listen);
    let node = port(agent(&with_examples("packaging/etc/agent.toml")).unwrap().metrics_listen);
    let scrape = text("packaging/prometheus/scrape.yml");
    assert!(scrape.contains(&format!("\n      - targets: [\"coordinator.example:{fleet}\"]")), "expected port {fleet}");
    assert!(scrape.contains(&format!("pi-1:{node}")), "expected port {node}");
    for (page, port) in [
        ("packaging/man/hostler-coordinator.8", fleet),
        ("packaging/man/hostler-agent.8", node),
        ("docs/metrics.md", fleet),
        ("docs/metrics.md", node),
    ] {
        assert!(text(page).contains(&format!(":{port}")), "{page} has another port than {port}");
    }
}
