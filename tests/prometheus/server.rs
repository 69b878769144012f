//! A Prometheus of the test's own, with the shipped rules in seconds.

use crate::rule_files;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A busy machine that compiles beside this takes its time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Debian's Prometheus on loopback, ended by its id.
pub(crate) struct Prometheus {
    child: Child,
    pub address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    pub(crate) async fn start(folder: &Path, target: SocketAddr) -> Self {
        let mut rules = Vec::new();
        for file in rule_files() {
            let copy = folder.join(file.file_name().unwrap());
            fs::write(&copy, shortened(&fs::read_to_string(&file).unwrap())).unwrap();
            rules.push(format!("{:?}", copy.display().to_string()));
        }
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\n\
             scrape_configs: [{{job_name: hostler, honor_labels: true, \
             static_configs: [{{targets: [\"{target}\"]}}]}}]\n",
            rules.join(", ")
        );
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).unwrap();
        // Prometheus does not say which port it got, so a free one is looked for first.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(folder.join("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let prometheus = Self { child, address };
        let began = Instant::now();
        while get(address, "/-/ready").await.is_none_or(|text| !text.contains("200 OK")) {
            assert!(began.elapsed() < PATIENCE, "{}", fs::read_to_string(folder.join("prometheus.log")).unwrap());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        prometheus
    }

    /// Alerts that fire: name and node.
    pub(crate) async fn firing(&self) -> BTreeSet<(String, String)> {
        let answer = self.json("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        firing.map(|alert| (label(alert, "alertname"), label(alert, "instance"))).collect()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let text = get(self.address, path).await.unwrap_or_default();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    /// Waits until a query has an answer, or has none any more; nothing when that does not happen.
    pub(crate) async fn until(&self, query: &str, answered: bool) -> Option<()> {
        let (path, began) = (format!("/api/v1/query?query={}", escaped(query)), Instant::now());
        while began.elapsed() < PATIENCE {
            let answer = self.json(&path).await;
            if answer["data"]["result"].as_array().is_some_and(|rows| rows.is_empty() != answered) {
                return Some(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        None
    }

    pub(crate) async fn wait(&self, alert: &str, machine: &str, fires: bool) -> Duration {
        let began = Instant::now();
        let wanted = (alert.to_owned(), machine.to_owned());
        loop {
            let firing = self.firing().await;
            if firing.contains(&wanted) == fires {
                return began.elapsed();
            }
            assert!(began.elapsed() < PATIENCE, "expected {alert} on {machine} to be {fires}, firing are {firing:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    // 1.0, so that the answer comes in one piece.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

pub(crate) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Rules with every hold and every window in seconds.
fn shortened(rules: &str) -> String {
    let mut made = String::new();
    for line in rules.lines() {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        made += indent;
        if rest.starts_with("for: ") {
            made += "for: 2s";
        } else if rest.starts_with("keep_firing_for: ") {
            made += "keep_firing_for: 3s";
        } else {
            made += &windows(rest, "10s");
        }
        made.push('\n');
    }
    made
}

/// `[5m]` and its like become the window; `ext[234]` stays.
pub(crate) fn windows(text: &str, window: &str) -> String {
    let mut parts = text.split('[');
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let inside = part.split(']').next().unwrap_or_default();
        let digits = inside.trim_end_matches(['s', 'm', 'h', 'd']);
        let is_duration = digits.len() + 1 == inside.len() && digits.bytes().all(|b| b.is_ascii_digit());
        made.push('[');
        made += if is_duration { window } else { inside };
        made += &part[inside.len()..];
    }
    made
}

#[test]
fn only_durations_are_shortened() {
    let text = "rate(x{fstype=~\"ext[234]\",name=~\"a[.]b\"}[5m]) > avg_over_time(y[24h])";
    assert_eq!(windows(text, "10s"), "rate(x{fstype=~\"ext[234]\",name=~\"a[.]b\"}[10s]) > avg_over_time(y[10s])");
    assert_eq!(shortened("  for: 10m\n  keep_firing_for: 1h\n"), "  for: 2s\n  keep_firing_for: 3s\n");
}
