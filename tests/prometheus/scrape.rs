//! A real Prometheus scrapes a real coordinator with eight nodes, and the shipped rules fire on injected faults and clear.
//!
//! The nodes are recorded machines (`agent/fixtures`), read by the agent's own readers and reported over the agents' own
//! protocol; a fault is a changed file of the recording. Holds and windows of the rules are shortened to seconds in a
//! copy: that they are right in full length is what the unit tests of the rules show.

use crate::{
    DASHBOARDS, rule_files,
    stand::{Fleet, Node},
    workspace,
};
use hostler_agent::facts::{Facts, Now, Source};
use hostler_plan::{
    document::RosterStatus,
    fact::{Delta, DeltaWriter},
    step::ClusterRole,
};
use hostler_proto::v1::{self, FromAgent, from_agent::Message};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

const MACHINES: [&str; 8] = [
    "amd-r1505g",
    "cm5-emmc",
    "intel-n100",
    "pi4-no-psi",
    "pi5-fan-undervoltage",
    "pi5-nvme",
    "server-ecc-failing",
    "vm-nothing",
];
/// A busy machine that compiles beside this takes its time.
const PATIENCE: Duration = Duration::from_secs(120);
const REPORT: Duration = Duration::from_millis(500);

/// A file of a recorded machine, healthy and broken, and the alert that must follow.
struct Fault {
    machine: &'static str,
    alert: &'static str,
    file: &'static str,
    healthy: Edit,
    broken: Edit,
}

enum Edit {
    Whole(&'static str),
    /// The line that begins so becomes this line.
    Line(&'static str, &'static str),
    Byte(usize, u8),
    Gone,
}

const FAULTS: [Fault; 7] = [
    Fault {
        machine: "pi5-fan-undervoltage",
        alert: "HostlerPiUnderVoltage",
        file: "sys/devices/platform/soc/soc:firmware/raspberrypi-hwmon/hwmon/hwmon1/in0_lcrit_alarm",
        healthy: Edit::Whole("0\n"),
        broken: Edit::Whole("1\n"),
    },
    Fault {
        machine: "pi5-nvme",
        alert: "HostlerPiThrottled",
        file: ".calls/vcio/get_throttled",
        healthy: Edit::Whole("throttled=0x0\n"),
        broken: Edit::Whole("throttled=0x40004\n"),
    },
    Fault {
        machine: "pi5-nvme",
        alert: "HostlerNvmeCritical",
        file: ".calls/nvme/nvme0.smart",
        healthy: Edit::Byte(0, 0),
        broken: Edit::Byte(0, 0x08),
    },
    Fault {
        machine: "intel-n100",
        alert: "HostlerDiskAlmostFull",
        file: ".calls/statvfs",
        healthy: Edit::Line("/ ", "/ 4096 122814362 98251489 92012000 31195136 30821991"),
        broken: Edit::Line("/ ", "/ 4096 122814362 9000000 9000000 31195136 30821991"),
    },
    Fault {
        machine: "cm5-emmc",
        alert: "HostlerMemoryHigh",
        file: "proc/meminfo",
        healthy: Edit::Line("MemAvailable:", "MemAvailable:    2600000 kB"),
        broken: Edit::Line("MemAvailable:", "MemAvailable:     200000 kB"),
    },
    Fault {
        machine: "cm5-emmc",
        alert: "HostlerRebootRequired",
        file: "run/reboot-required",
        healthy: Edit::Gone,
        broken: Edit::Whole("*** System restart required ***\n"),
    },
    Fault {
        machine: "vm-nothing",
        alert: "HostlerRootReadOnly",
        file: "proc/1/mountinfo",
        healthy: Edit::Line("25 1 ", "25 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw"),
        broken: Edit::Line("25 1 ", "25 1 254:1 / / ro,relatime - ext4 /dev/vda1 ro"),
    },
];

/// One recording has the same fault twice: the alarm of the supply, and the firmware's word.
const HEALED: (&str, &str, Edit) =
    ("pi5-fan-undervoltage", ".calls/vcio/get_throttled", Edit::Whole("throttled=0x0\n"));

impl Edit {
    fn apply(&self, file: &Path) {
        match self {
            Edit::Whole(text) => {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Edit::Line(begins, line) => {
                let text = fs::read_to_string(file).unwrap();
                assert!(text.lines().any(|l| l.starts_with(begins)), "{} has no line {begins:?}", file.display());
                let lines = text.lines().map(|l| if l.starts_with(begins) { line } else { l });
                fs::write(file, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
            }
            Edit::Byte(at, byte) => {
                let mut bytes = fs::read(file).unwrap();
                bytes[*at] = *byte;
                fs::write(file, bytes).unwrap();
            }
            Edit::Gone => drop(fs::remove_file(file)),
        }
    }
}

/// A node that reports a recorded machine until it is stopped.
struct Reporter {
    running: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
    stream: tokio::task::JoinHandle<()>,
}

impl Reporter {
    async fn start(fleet: &Fleet, node: &Node, chain: &[Vec<u8>], machine: &Path) -> Self {
        let mut client = fleet.agent(node, chain).await;
        let (to, receiver) = mpsc::channel(8);
        let hello = v1::Hello { boot_id: "0-1".into(), agent_version: "0.1.0".into(), ..v1::Hello::default() };
        to.send(FromAgent { message: Some(Message::Hello(hello)) }).await.unwrap();
        let running = Arc::new(AtomicBool::new(true));
        let source = Source::recorded(machine).unwrap();
        let goes_on = running.clone();
        let thread = std::thread::spawn(move || report(source, &goes_on, &to));
        let stream = tokio::spawn(async move {
            let mut answers = client.attach(ReceiverStream::new(receiver)).await.unwrap().into_inner();
            while let Ok(Some(_)) = answers.message().await {}
        });
        Self { running, thread, stream }
    }

    async fn stop(self) {
        self.running.store(false, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap();
        self.stream.abort();
    }
}

/// A quarter of an hour passes for the readers between two reports, so that every one of them is due each time.
fn report(source: Source, goes_on: &AtomicBool, to: &mpsc::Sender<FromAgent>) {
    let mut facts = Facts::new(source);
    let mut writer = DeltaWriter::new();
    let mut elapsed = Duration::ZERO;
    while goes_on.load(Ordering::Relaxed) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        facts.tick(Now { elapsed, unix_ms: u64::try_from(since.as_millis()).unwrap() });
        let delta = writer.delta(facts.settle(Duration::from_secs(2)));
        if to.blocking_send(FromAgent { message: Some(Message::Facts(message(delta))) }).is_err() {
            return;
        }
        elapsed += Duration::from_secs(900);
        std::thread::sleep(REPORT);
    }
}

fn message(delta: Delta) -> v1::FactsDelta {
    let label = |(name, value): (&str, &str)| v1::Label { name: name.to_owned(), value: value.to_owned() };
    let series = |added: hostler_plan::fact::Added| v1::NewSeries {
        id: added.id,
        name: added.series.name().to_owned(),
        labels: added.series.labels().iter().map(label).collect(),
        value: added.value,
    };
    v1::FactsDelta {
        taken_at: delta.at_ms,
        added: delta.added.into_iter().map(series).collect(),
        changed: delta.changed.into_iter().map(|(id, value)| v1::SeriesValue { id, value }).collect(),
        removed: delta.removed,
    }
}

/// Debian's Prometheus on loopback, ended by its id.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    async fn start(folder: &Path, target: SocketAddr) -> Self {
        let mut rules = Vec::new();
        for file in rule_files() {
            let copy = folder.join(file.file_name().unwrap());
            fs::write(&copy, shortened(&fs::read_to_string(&file).unwrap())).unwrap();
            rules.push(format!("{:?}", copy.display().to_string()));
        }
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\n\
             scrape_configs: [{{job_name: hostler, honor_labels: true, static_configs: [{{targets: [\"{target}\"]}}]}}]\n",
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
    async fn firing(&self) -> BTreeSet<(String, String)> {
        let answer = self.json("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        firing.map(|alert| (label(alert, "alertname"), label(alert, "instance"))).collect()
    }

    async fn json(&self, path: &str) -> Value {
        let text = get(self.address, path).await.unwrap_or_default();
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    async fn wait(&self, alert: &str, machine: &str, fires: bool) -> Duration {
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

async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    // 1.0, so that the answer comes in one piece.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
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
fn windows(text: &str, window: &str) -> String {
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

/// Promtool reads the text as Prometheus would; about names it complains only where node_exporter chose them.
fn check_metrics(text: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // 3 is a complaint about names, anything else above 0 is a text that cannot be read.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
    let others: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    let own: Vec<&&str> = others.iter().filter(|line| line.starts_with("hostler_")).collect();
    assert!(own.is_empty(), "{own:#?}");
    println!("promtool check metrics: read, {} remarks about names of others", others.len());
    for line in others {
        println!("  {line}");
    }
}

#[tokio::test]
#[ignore = "takes a minute and needs Debian's prometheus; tests/prometheus/run starts it"]
async fn a_real_prometheus_sees_faults_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let machine = |name: &str| -> PathBuf { folder.path().join("machines").join(name) };
    fs::create_dir(folder.path().join("machines")).unwrap();
    for name in MACHINES {
        let from = workspace().join("agent/fixtures/machines").join(name);
        let copied = Command::new("cp").arg("-a").arg(from).arg(machine(name)).status().unwrap();
        assert!(copied.success(), "{name}");
    }
    for fault in FAULTS {
        fault.healthy.apply(&machine(fault.machine).join(fault.file));
    }

    HEALED.2.apply(&machine(HEALED.0).join(HEALED.1));

    let mut fleet = Fleet::start().await;
    let token = fleet.token(8, ClusterRole::Worker).await;
    let nodes = MACHINES.map(Node::new);
    let mut chains = Vec::new();
    for node in &nodes {
        chains.push(fleet.enrol(node, &token).await.unwrap().certificate_chain);
    }
    let members: Vec<_> = nodes.iter().map(|node| (node, ClusterRole::Worker, RosterStatus::Active)).collect();
    fleet.approve(&members).await;
    let mut reporters = Vec::new();
    for (node, chain) in nodes.iter().zip(&chains) {
        reporters.push(Reporter::start(&fleet, node, chain, &machine(node.name.as_str())).await);
    }

    let target = fleet.coordinator().addresses.metrics.unwrap();
    let prometheus = Prometheus::start(folder.path(), target).await;
    for name in MACHINES {
        let query = format!("/api/v1/query?query=hostler_node_up%7Binstance%3D%22{name}%22%7D%3D%3D1");
        let began = Instant::now();
        while prometheus.json(&query).await["data"]["result"].as_array().is_none_or(Vec::is_empty) {
            assert!(began.elapsed() < PATIENCE, "{name} is not up");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    // Long enough for every hold and window of the shortened rules.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let before = prometheus.firing().await;
    println!("eight nodes are scraped; firing by what was recorded: {before:?}");
    for fault in FAULTS {
        assert!(!before.contains(&(fault.alert.to_owned(), fault.machine.to_owned())), "{} too early", fault.alert);
    }
    let text = get(target, "/metrics").await.unwrap();
    check_metrics(text.split_once("\r\n\r\n").unwrap().1);
    ask_every_panel(&prometheus).await;

    for fault in FAULTS {
        let file = machine(fault.machine).join(fault.file);
        fault.broken.apply(&file);
        let fired = prometheus.wait(fault.alert, fault.machine, true).await;
        fault.healthy.apply(&file);
        let cleared = prometheus.wait(fault.alert, fault.machine, false).await;
        println!("{} on {}: fired after {fired:.1?}, cleared after {cleared:.1?}", fault.alert, fault.machine);
    }

    let silent = MACHINES.iter().position(|name| *name == "pi4-no-psi").unwrap();
    reporters.remove(silent).stop().await;
    let fired = prometheus.wait("HostlerNodeDown", "pi4-no-psi", true).await;
    // Old values are still served for the time after which a node counts as silent, and then no more.
    let began = Instant::now();
    loop {
        let left = prometheus.json("/api/v1/query?query=node_load1%7Binstance%3D%22pi4-no-psi%22%7D").await;
        if left["data"]["result"].as_array().is_some_and(Vec::is_empty) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "series of a silent node are still served: {left}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    reporters.push(Reporter::start(&fleet, &nodes[silent], &chains[silent], &machine("pi4-no-psi")).await);
    let cleared = prometheus.wait("HostlerNodeDown", "pi4-no-psi", false).await;
    println!("HostlerNodeDown on pi4-no-psi: fired after {fired:.1?}, cleared after {cleared:.1?}");

    for reporter in reporters {
        reporter.stop().await;
    }
}

/// Asks every query of the dashboards, for every node; says which have no answer from any of these machines.
async fn ask_every_panel(prometheus: &Prometheus) {
    let (mut asked, mut silent) = (0, Vec::new());
    for dashboard in DASHBOARDS {
        for (panel, query) in dashboard.queries() {
            asked += 1;
            let query = windows(&query.replace("$__rate_interval", "5m"), "10s").replace("$instance\"", "INSTANCE\"");
            let mut answered = false;
            for name in MACHINES {
                let filled = query.replace("INSTANCE", name);
                let answer = prometheus.json(&format!("/api/v1/query?query={}", escaped(&filled))).await;
                assert_eq!(answer["status"], "success", "{panel}: {filled}: {answer}");
                answered |= answer["data"]["result"].as_array().is_some_and(|rows| !rows.is_empty());
                if answered {
                    break;
                }
            }
            if !answered {
                silent.push(format!("{}, {panel}: {query}", dashboard.uid));
            }
        }
    }
    println!("{asked} queries of dashboards asked; no data of these machines for {}: {silent:#?}", silent.len());
    assert!(silent.len() * 4 < asked, "more than a quarter of all queries have no data");
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
