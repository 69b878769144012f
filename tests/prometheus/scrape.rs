//! A real Prometheus scrapes a real coordinator with eight real agents, and the shipped rules fire on injected faults
//! and clear.
//!
//! Coordinator and agents are processes of their own. The agents run on recorded machines (`fixtures/machines`), which
//! their own readers read; a fault is a changed file of the recording. Holds and windows of the rules are shortened to
//! seconds in a copy: that they are right in full length is what the unit tests of the rules show.

use crate::{
    DASHBOARDS,
    faults::{FAULTS, HEALED},
    node_exporter_full,
    server::{Prometheus, escaped, get, windows},
};
use hostler_plan::step::ClusterRole;
use hostler_tests::{
    process::Process,
    stand::{Setup, Stand},
};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
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
/// Coordinator and agents, each started as a process of its own.
const PROGRAM: &str = env!("CARGO_BIN_EXE_hostler-bench");

/// Eight copies of recorded machines, and where the agents on them keep what is theirs.
struct Machines(PathBuf);

impl Machines {
    /// Copies them, without the faults that they were recorded with.
    fn healthy(folder: &Path) -> Self {
        let machines = Self(folder.to_owned());
        fs::create_dir(folder.join("machines")).unwrap();
        for name in MACHINES {
            hostler_fixtures::recorded::copy_to(name, &machines.of(name));
        }
        for fault in FAULTS {
            fault.healthy.apply(&machines.of(fault.machine).join(fault.file));
        }
        HEALED.2.apply(&machines.of(HEALED.0).join(HEALED.1));
        machines
    }

    fn of(&self, name: &str) -> PathBuf {
        self.0.join("machines").join(name)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Starts the agent of a machine, for the first time or again.
    fn agent(&self, name: &str, join: &str) -> Process {
        let [state, join_file] = ["state", "join"].map(|end| self.0.join(format!("{name}.{end}")));
        fs::write(&join_file, join).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["node", "--name", name, "--metrics", "127.0.0.1:0", "--folder"]).arg(state);
        command.arg("--join").arg(join_file).arg("--machine").arg(self.of(name));
        Process::start(&mut command, &self.0.join(format!("{name}.log"))).unwrap()
    }

    /// Where an agent serves its own metrics: it says so.
    fn metrics(&self, name: &str) -> SocketAddr {
        let log = self.log(name);
        let line = log.lines().find(|line| line.contains("serving /metrics on "));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{log}"))
    }
}

/// Promtool reads the text as Prometheus would; about names it complains only where node_exporter chose them.
fn check_metrics(whose: &str, text: &str) {
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
    println!("promtool check metrics of {whose}: read, {} remarks about names of others", others.len());
    for line in others {
        println!("  {line}");
    }
}

#[tokio::test]
#[ignore = "takes a minute and needs Debian's prometheus; tests/prometheus/run starts it"]
async fn a_real_prometheus_sees_faults_of_eight_agents_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let machines = Machines::healthy(folder.path());
    let setup = Setup {
        program: Path::new(PROGRAM),
        advertised_host: Ipv4Addr::LOCALHOST,
        settings: "metrics_listen = \"127.0.0.1:0\"\nreport_interval_seconds = 1\n",
    };
    let mut stand = Stand::start(folder.path(), &setup).await.unwrap();
    let join = stand.join_string(8, ClusterRole::Worker).await.unwrap().encode();
    let mut agents = MACHINES.map(|name| Some(machines.agent(name, &join)));
    assert_eq!(stand.enrolled(8).await.unwrap().len(), 8);

    let target = stand.metrics().await.unwrap();
    let prometheus = Prometheus::start(folder.path(), target).await;
    for name in MACHINES {
        let up = format!("hostler_node_up{{instance={name:?}}} == 1");
        prometheus.until(&up, true).await.unwrap_or_else(|| panic!("{name} is not up\n{}", machines.log(name)));
    }
    // Long enough for every hold and window of the shortened rules.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let before = prometheus.firing().await;
    println!("eight nodes are scraped; firing by what was recorded: {before:?}");
    for fault in FAULTS {
        assert!(!before.contains(&(fault.alert.to_owned(), fault.machine.to_owned())), "{} too early", fault.alert);
    }
    let fleet = body(target).await;
    check_metrics("the coordinator", &fleet);
    for name in MACHINES {
        let own = body(machines.metrics(name)).await;
        if name == MACHINES[0] {
            check_metrics(name, &own);
        }
        same_series(name, &own, &fleet);
    }
    ask_every_panel(&prometheus).await;
    ask_node_exporter_full(&prometheus).await;

    // All at once: a fault of one machine is none of another.
    let began = Instant::now();
    for fault in FAULTS {
        fault.broken.apply(&machines.of(fault.machine).join(fault.file));
    }
    for fault in FAULTS {
        prometheus.wait(fault.alert, fault.machine, true).await;
        println!("{} on {}: fires after {:.1?}", fault.alert, fault.machine, began.elapsed());
    }
    let began = Instant::now();
    for fault in FAULTS {
        fault.healthy.apply(&machines.of(fault.machine).join(fault.file));
    }
    for fault in FAULTS {
        prometheus.wait(fault.alert, fault.machine, false).await;
        println!("{} on {}: clear after {:.1?}", fault.alert, fault.machine, began.elapsed());
    }

    let silent = "pi4-no-psi";
    let its_place = MACHINES.iter().position(|name| *name == silent).unwrap();
    // Killed by its id.
    drop(agents[its_place].take());
    let fired = prometheus.wait("HostlerNodeDown", silent, true).await;
    // Old values are still served for the time after which a node counts as silent, and then no more.
    let left = format!("node_load1{{instance={silent:?}}}");
    prometheus.until(&left, false).await.unwrap_or_else(|| panic!("series of a silent node are still served"));
    agents[its_place] = Some(machines.agent(silent, &join));
    let cleared = prometheus.wait("HostlerNodeDown", silent, false).await;
    println!("HostlerNodeDown on {silent}: fired after {fired:.1?}, cleared after {cleared:.1?}");
}

/// The body of `/metrics`.
async fn body(address: SocketAddr) -> String {
    let answer = get(address, "/metrics").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// The agent's own text has the series that the coordinator serves for it, but for `instance`.
fn same_series(name: &str, own: &str, fleet: &str) {
    let series = |text: &str| -> BTreeSet<String> {
        text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| Some(l.rsplit_once(' ')?.0.to_owned())).collect()
    };
    let own = series(own);
    let instance = format!("instance={name:?}");
    let served: BTreeSet<String> = series(fleet)
        .iter()
        .filter(|series| series.contains(&instance))
        .map(|series| series.replace(&format!("{{{instance}}}"), "").replace(&format!("{instance},"), ""))
        .collect();
    // What the coordinator says about a node, and readers that were slow between the two scrapes.
    let about = |series: &&String| {
        let own = [
            "hostler_node_up",
            "hostler_node_health",
            "hostler_node_last_report",
            "hostler_node_accepted_verdicts",
            "hostler_coordinator_",
        ];
        own.iter().any(|own| series.starts_with(own)) || series.starts_with("node_scrape_collector_duration_seconds")
    };
    let missing: Vec<&String> = served.difference(&own).filter(|s| !about(s)).collect();
    let more: Vec<&String> = own.difference(&served).filter(|s| !about(s)).collect();
    assert!(own.len() > 50 && missing.is_empty() && more.is_empty(), "{name}: {missing:#?} {more:#?}");
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

/// Asks the very queries of dashboard 1860, where somebody has it, for a Pi and a PC; says which panels stay empty.
async fn ask_node_exporter_full(prometheus: &Prometheus) {
    let Some(dashboard) = node_exporter_full::dashboard() else {
        println!("dashboard 1860: skipped, HOSTLER_DASHBOARD_1860 names no node-exporter-full.json");
        return;
    };
    let panels = node_exporter_full::panels(&dashboard);
    for name in ["pi5-nvme", "intel-n100"] {
        let mut empty = Vec::new();
        for (title, queries) in &panels {
            let mut answered = false;
            for query in queries {
                let filled = query.replace("$__rate_interval", "10s").replace("$node", name).replace("$job", "hostler");
                let answer = prometheus.json(&format!("/api/v1/query?query={}", escaped(&filled))).await;
                assert_eq!(answer["status"], "success", "{title}: {filled}: {answer}");
                let result = &answer["data"]["result"];
                answered |= result.as_array().is_some_and(|rows| !rows.is_empty());
            }
            if !answered {
                empty.push(title);
            }
        }
        println!("dashboard 1860 on {name}: {} of {} panels are empty: {empty:#?}", empty.len(), panels.len());
        assert!(empty.len() * 2 < panels.len(), "{name}: more than half of the panels are empty");
    }
}
