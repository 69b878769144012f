//! The agent beside Debian's prometheus-node-exporter on the same machine: every series that both have must agree.
//!
//! A reading is taken before and after the exporter is asked, so its value must lie between the two. Run with
//! `--nocapture` to see what was compared and which families only the exporter has.

use hostler_facts::{Facts, Now, Source};
use hostler_plan::fact::{Kind, Reading, metric};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

const EXPORTER: &str = "/usr/bin/prometheus-node-exporter";
/// Gauges move between two readings; a few rounds catch one in which they stood still.
const ROUNDS: usize = 25;

/// Families of the same name that are meant to differ, with the reason.
const DIFFERENT: [(&str, &str); 4] = [
    ("node_scrape_collector_success", "every program has its own collectors"),
    ("node_scrape_collector_duration_seconds", "every program has its own collectors"),
    ("process_", "every program tells about itself"),
    ("node_time_seconds", "the time of the reading, which is the agent's own"),
];

/// A running exporter, ended with the test.
struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Exporter {
    fn start() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its number");
        let child = Command::new(EXPORTER)
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the exporter starts");
        let exporter = Exporter { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the exporter does not listen at {address}");
            std::thread::yield_now();
        }
        exporter
    }

    fn scrape(&self) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(self.address).expect("the exporter listens");
        stream.write_all(b"GET /metrics HTTP/1.0\r\nAccept: text/plain\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        series(answer.split_once("\r\n\r\n").expect("a body").1)
    }
}

/// `name{a="b",c="d"}` with its value; both sides write labels sorted by name.
fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect()
}

fn own(reading: &Reading) -> BTreeMap<String, f64> {
    series(&reading.exposition(&[]))
}

fn family(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// Whether the exporter's value fits between the two readings.
fn agrees(name: &str, before: f64, theirs: f64, after: f64) -> bool {
    let (low, high) = (before.min(after), before.max(after));
    // Both sides turn the same integers into floating point, by other roundings.
    let rounding = 1e-9 * high.abs().max(1.0);
    match metric(family(name)).kind {
        Kind::Counter | Kind::Untyped => theirs >= low - rounding && theirs <= high + rounding,
        // A gauge may have been elsewhere in between: as far again as it went, or 1 %.
        Kind::Gauge => {
            let slack = (high - low).max(0.01 * high.abs()) + rounding;
            theirs >= low - slack && theirs <= high + slack
        }
    }
}

#[test]
fn every_series_that_both_have_agrees() {
    if !Path::new(EXPORTER).exists() {
        println!("skipped: {EXPORTER} is not installed (apt-get install prometheus-node-exporter)");
        return;
    }
    let exporter = Exporter::start();
    let mut facts = Facts::new(Source::real(hostler_facts::Program::Executor));
    let mut second = 0;
    let mut read = |again: bool| {
        // A minute apart for the readers of a minute, without waiting for one.
        second += if again { 61 } else { 0 };
        let unix_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        facts.tick(Now { elapsed: Duration::from_secs(second), unix_ms });
        own(facts.wait_for_helpers(Duration::from_secs(30)))
    };
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    let (mut agreed, mut only_theirs, mut only_ours) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..ROUNDS {
        let before = read(true);
        let theirs = exporter.scrape();
        let after = read(true);
        for (name, value) in &theirs {
            if DIFFERENT.iter().any(|(prefix, _)| name.starts_with(prefix)) {
                continue;
            }
            let (Some(before), Some(after)) = (before.get(name), after.get(name)) else {
                only_theirs.insert(family(name).to_owned());
                continue;
            };
            if agrees(name, *before, *value, *after) {
                agreed.insert(name.clone());
                open.remove(name);
            } else if !agreed.contains(name) {
                open.insert(name.clone(), format!("{name}: {before}, exporter {value}, {after}"));
            }
        }
        only_ours.extend(before.keys().filter(|name| !theirs.contains_key(*name)).map(|name| family(name).to_owned()));
        if open.is_empty() {
            break;
        }
    }
    println!("{} series agree", agreed.len());
    let ours: BTreeSet<&str> = agreed.iter().map(|name| family(name)).collect();
    let (partly, wholly): (Vec<&str>, Vec<&str>) = only_theirs
        .iter()
        .map(String::as_str)
        .filter(|name| name.starts_with("node_"))
        .partition(|name| ours.contains(name));
    println!("only the exporter: {}", wholly.join(" "));
    println!("the exporter has more devices (lo, ifb, zram) in: {}", partly.join(" "));
    println!("only the agent: {}", only_ours.iter().map(String::as_str).collect::<Vec<_>>().join(" "));
    for (family, reason) in DIFFERENT {
        println!("not compared: {family}*: {reason}");
    }
    assert!(open.is_empty(), "{} series differ:\n{}", open.len(), open.into_values().collect::<Vec<_>>().join("\n"));
    assert!(agreed.len() >= 100, "only {} series were compared", agreed.len());
}
