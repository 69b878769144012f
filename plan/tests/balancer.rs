//! HAProxy and keepalived as plans write them: what stands in their files for any fleet, when each comes, and what the
//! programs themselves say of them, where they are installed.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]
#![allow(clippy::wildcard_enum_match_arm, reason = "every other step is none of those that are looked for")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "the programs themselves judge their files, on disk, where they are installed"
)]

use std::{fmt::Write as _, path::Path, process::Command};

use hostler_fixtures::{self as made, key, name, public};
use hostler_plan::{
    document::{Plan, PlanKind, RosterNode, SignerRole},
    fleet::Fleet,
    id::{Digest, Epoch, Seq},
    planner::{self, Begins, Continues, Earlier, Intent, Inventory, InventoryNode, Numbering, PlanError, Selection},
    sequencer::{ClusterNode, Standing},
    step::{Step, UnitState},
    timestamp::Timestamp,
};
use proptest::prelude::*;

const LAB: &str = include_str!("../../examples/kubeadm-balancer.toml");
const HAPROXY: &str = "/etc/haproxy/haproxy.cfg";
const KEEPALIVED: &str = "/etc/keepalived/keepalived.conf";
const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";

/// The fleet with programs for both processors.
fn fleet(text: &str) -> Fleet {
    let mut lock = String::new();
    for (arch, artifact) in ["x86_64", "aarch64"].into_iter().flat_map(|a| ["kubeadm", "kubelet"].map(|n| (a, n))) {
        let sha256 = Digest::of(format!("{artifact} {arch}").as_bytes()).hex();
        writeln!(lock, "[[artifacts]]\nname = {artifact:?}\npath = {artifact:?}\nsha256 = \"{sha256}\"\nsize = 5")
            .unwrap();
        writeln!(lock, "arch = {arch:?}\nversion = \"v1.36.3\"").unwrap();
    }
    Fleet::with_lock(("fleet.toml", text), ("fleet.lock", &lock)).unwrap().0
}

/// The plan for a fleet whose `members` are in the cluster.
fn plan(fleet: &Fleet, members: &[&str], intent: &Intent) -> Result<Plan, PlanError> {
    let now: Timestamp = "2026-11-28T08:00:00Z".parse().unwrap();
    let root = made::root(now, vec![made::signer("ana", public(&key(200)), SignerRole::Admin)]);
    let listed = |(n, i): (&hostler_plan::fleet::FleetNode, u8)| RosterNode {
        arch: n.arch,
        ..made::node(n.name.as_str(), public(&key(i)), n.role)
    };
    let roster = made::roster(&root, now, fleet.nodes.iter().zip(1..).map(listed).collect());
    let seen = |n: &hostler_plan::fleet::FleetNode| {
        let is_member = members.contains(&n.name.as_str());
        let standing = if is_member { Standing::Ready } else { Standing::Outside };
        let version = is_member.then_some(fleet.version);
        let condition = ClusterNode { standing, version, ..ClusterNode::UNKNOWN };
        (n.name.clone(), InventoryNode { connected: true, condition, ..InventoryNode::UNSEEN })
    };
    let inventory = Inventory { nodes: fleet.nodes.iter().map(seen).collect(), ..Inventory::default() };
    let numbering = Numbering {
        epoch: Epoch(1),
        seq: Seq(7),
        prev: None,
        also: Vec::new(),
        root_version: 1,
        roster: Digest::of(b"roster"),
        created: now,
        lifetime_seconds: 3600,
        begins: Begins::AtOnce,
    };
    planner::plan(fleet, &roster, &inventory, &Earlier::default(), intent, &numbering).map(|(plan, _)| plan)
}

/// What a task writes there, the first time.
fn file<'p>(plan: &'p Plan, task: &str, path: &str) -> Option<&'p str> {
    let task = plan.task(&task.parse().unwrap())?;
    task.steps.iter().find_map(|step| {
        let Step::EnsureFile(file) = step else { return None };
        (file.path.as_str() == path).then_some(file.content.as_str())
    })
}

fn baseline() -> Intent {
    Intent::Baseline { nodes: Selection::All }
}

#[test]
fn haproxy_and_keepalived_come_to_every_server_with_its_machine() {
    let made = plan(&fleet(LAB), &["s1", "s2", "s3"], &baseline()).unwrap();
    let haproxy = file(&made, "s2.prepare", HAPROXY).unwrap();
    for line in [
        "    bind 0.0.0.0:6443\n",
        "    option httpchk GET /readyz\n    http-check expect status 200\n",
        "check check-ssl verify required ca-file /etc/kubernetes/pki/ca.crt verifyhost kubernetes.default.svc inter 1s",
        "    server s1 192.168.1.11:6444\n    server s2 192.168.1.12:6444\n    server s3 192.168.1.13:6444\n",
    ] {
        assert!(haproxy.contains(line), "{line}: {haproxy}");
    }
    let keepalived = file(&made, "s2.prepare", KEEPALIVED).unwrap();
    for line in [
        "    priority 199\n",
        "    unicast_src_ip 192.168.1.12\n",
        "        192.168.1.11\n        192.168.1.13\n",
        "        192.168.1.10/32 dev eth0\n",
        "--max-time 2 --output /dev/null https://127.0.0.1:6443/readyz\"\n",
        "    weight -100\n",
    ] {
        assert!(keepalived.contains(line), "{line}: {keepalived}");
    }
    let currents = |task: &str| {
        let task = made.task(&task.parse().unwrap()).unwrap();
        task.steps.iter().filter(|step| step.op() == "systemd.current").count()
    };
    assert_eq!(currents("s2.prepare"), 2);
}

/// HAProxy does not start with an authority that is not there, and there is none before the first server is made.
#[test]
fn a_server_is_verified_as_soon_as_the_cluster_has_an_authority() {
    let lab = fleet(LAB);
    let join = Intent::Join { nodes: Selection::Named(vec![name("s2")]) };
    let upgrade = plan(&lab, &["s1", "s2", "s3"], &baseline()).unwrap();
    assert!(file(&upgrade, "s1.prepare", HAPROXY).unwrap().contains(AUTHORITY));
    for (made, node, becomes) in [
        (plan(&lab, &[], &Intent::Bootstrap {}).unwrap(), "s1", "bootstrap"),
        (plan(&lab, &["s1"], &join).unwrap(), "s2", "join"),
    ] {
        let before = file(&made, &format!("{node}.prepare"), HAPROXY).unwrap();
        assert!(before.contains(" verify none ") && !before.contains(AUTHORITY), "{before}");
        let after = file(&made, &format!("{node}.{becomes}"), HAPROXY).unwrap();
        assert!(after.contains(&format!(" verify required ca-file {AUTHORITY} ")), "{after}");
        let task = made.task(&format!("{node}.{becomes}").parse().unwrap()).unwrap();
        let reads = task.steps.iter().any(|step| match step {
            Step::CurrentUnit(step) => step.files.iter().any(|path| path.as_str() == AUTHORITY),
            _other => false,
        });
        assert!(reads, "another authority has to be read");
    }
}

#[test]
fn a_server_that_leaves_gives_the_address_away_before_it_is_emptied() {
    let lab = fleet(LAB);
    let remove = Intent::Remove { nodes: vec![name("s3")], power_off_proof: None };
    let made = plan(&lab, &["s1", "s2", "s3"], &remove).unwrap();
    let reset = made.task(&"s3.reset".parse().unwrap()).unwrap();
    let stopped: Vec<&str> = reset.steps.iter().filter_map(stopped).collect();
    assert_eq!(stopped, ["keepalived.service", "haproxy.service"]);
    let ops: Vec<&str> = reset.steps.iter().map(Step::op).collect();
    assert_eq!(ops[ops.len() - 2..], ["kubeadm.reset", "registry.forget"]);
    assert!(reset.steps.iter().all(|step| PlanKind::Remove.may_hold(step)));
}

/// The lab's servers, and two machines outside the cluster in front of them.
fn with_hosts() -> String {
    let mut text = LAB.replace("bind_port = 6444\n", "");
    text = text.replace("interface = \"eth0\"\n", "interface = \"eth0\"\nnodes = [\"lb2\", \"lb1\"]\n");
    for place in [1, 2] {
        write!(text, "\n[[nodes]]\nname = \"lb{place}\"\nrole = \"host\"\narch = \"x86_64\"\n").unwrap();
        writeln!(text, "address = \"192.168.1.2{place}\"").unwrap();
    }
    text
}

fn ids(plan: &Plan) -> Vec<String> {
    plan.tasks.iter().map(|task| task.id.to_string()).collect()
}

#[test]
fn hosts_are_balancers_before_the_first_server_is_made_and_nothing_of_a_cluster_comes_there() {
    let fleet = fleet(&with_hosts());
    let made = plan(&fleet, &[], &Intent::Bootstrap {}).unwrap();
    let task = |id: &str| made.task(&id.parse().unwrap()).unwrap();
    assert_eq!(task("lb1.prepare").after, [task("lb2.prepare").id.clone()], "one after another");
    assert!(task("s1.bootstrap").after.contains(&task("lb1.prepare").id));
    for host in ["lb1", "lb2"] {
        let prepare = format!("{host}.prepare");
        let haproxy = file(&made, &prepare, HAPROXY).unwrap();
        assert!(haproxy.contains("    server s1 192.168.1.11:6443\n") && !haproxy.contains("lb1"), "{haproxy}");
        let of_cluster = |step: &&Step| match step {
            Step::EnsureFile(file) => file.path.as_str().contains("kube") || file.path.as_str().contains("containerd"),
            Step::EnsureUnit(unit) => {
                unit.unit.as_str().contains("kubelet") || unit.unit.as_str().contains("containerd")
            }
            other => other.op() == "module.ensure" || other.op() == "program.ensure",
        };
        let task = task(&prepare);
        assert!(!task.steps.iter().any(|step| of_cluster(&step)), "{:?}", task.steps);
    }
    assert!(file(&made, "lb2.prepare", KEEPALIVED).unwrap().contains("priority 200\n"));
    assert!(file(&made, "lb1.prepare", KEEPALIVED).unwrap().contains("        192.168.1.22\n"));
    assert!(file(&made, "s1.prepare", HAPROXY).is_none() && file(&made, "s1.bootstrap", HAPROXY).is_none());
}

#[test]
fn balancers_follow_when_servers_come_and_go() {
    let fleet = fleet(&with_hosts());
    let join = Intent::Join { nodes: Selection::Named(vec![name("s2"), name("s3")]) };
    let made = plan(&fleet, &["s1"], &join).unwrap();
    let admit = made.task(&"s2.admit".parse().unwrap()).unwrap();
    assert!(admit.after.iter().any(|id| id.to_string() == "lb1.balance"), "{:?}", admit.after);
    let remove = Intent::Remove { nodes: vec![name("s3")], power_off_proof: None };
    let made = plan(&fleet, &["s1", "s2", "s3"], &remove).unwrap();
    assert_eq!(ids(&made)[ids(&made).len() - 2..], ["lb2.balance", "lb1.balance"]);
    let haproxy = file(&made, "lb1.balance", HAPROXY).unwrap();
    assert!(haproxy.contains("server s2 ") && !haproxy.contains("server s3 "), "{haproxy}");
    let replace = Intent::Replace { node: name("s3"), power_off_proof: Some("seen".parse().unwrap()) };
    let mut members = vec!["s1", "s2", "s3"];
    assert!(plan(&fleet, &members, &replace).is_err(), "a Ready node is not replaced");
    members.pop();
    let lab = self::fleet(LAB);
    let joins = Intent::Join { nodes: Selection::Named(vec![name("s3")]) };
    let made = plan(&lab, &members, &joins).unwrap();
    let balances: Vec<String> = ids(&made).into_iter().filter(|id| id.ends_with(".balance")).collect();
    assert_eq!(balances, ["s1.balance", "s2.balance"], "the one that joins is prepared anyway");
}

#[test]
fn a_host_belongs_to_no_cluster_and_restarts_without_one() {
    let fleet = fleet(&with_hosts());
    let members = ["s1", "s2", "s3"];
    let all = plan(&fleet, &members, &Intent::Reboot { nodes: Selection::All, accept_outage: Vec::new() }).unwrap();
    let tail: Vec<String> = ids(&all).split_off(all.tasks.len() - 2);
    assert_eq!(tail, ["lb1.reboot", "lb2.reboot"]);
    let last = &all.tasks[all.tasks.len() - 2];
    assert_eq!((last.steps.len(), last.disrupts, last.after.is_empty()), (1, true, false), "after the cluster's nodes");
    // Of a fleet without any cluster too: nobody has to watch it.
    let alone = Intent::Reboot { nodes: Selection::Named(vec![name("lb1")]), accept_outage: Vec::new() };
    assert_eq!(ids(&plan(&fleet, &[], &alone).unwrap()), ["lb1.reboot"]);
    let named = || vec![name("lb1")];
    for intent in [
        Intent::Join { nodes: Selection::Named(named()) },
        Intent::Drain { nodes: named(), max_unavailable: None, continues: Continues::default() },
        Intent::Uncordon { nodes: named() },
        Intent::Remove { nodes: named(), power_off_proof: None },
    ] {
        let why = plan(&fleet, &members, &intent).unwrap_err().to_string();
        assert!(why.contains("lb1 is a host, outside the cluster; name nodes of the cluster"), "{why}");
    }
    let joins = plan(&fleet, &["s1", "s2"], &Intent::Join { nodes: Selection::All }).unwrap();
    assert!(!ids(&joins).iter().any(|id| id == "lb1.join" || id == "lb1.admit"));
}

#[test]
fn what_only_a_cluster_is_told_is_refused_of_a_host() {
    let text = with_hosts();
    let last = "address = \"192.168.1.22\"\n";
    let refused = |text: &str| Fleet::without_lock(("fleet.toml", text)).unwrap_err().to_string();
    for (instead, expected) in [
        ("labels = { a = \"b\" }", "node lb2: labels: a host is outside the cluster, and no kubelet runs there"),
        ("taints = []", "node lb2: taints: a host is outside the cluster"),
        ("kubelet_args = { v = 2 }", "node lb2: kubelet_args: a host is outside the cluster"),
        ("version = \"v1.36.3\"", "unknown"),
        ("first = true", "node lb2: only a server can be first, found role host; remove first"),
    ] {
        let why = refused(&text.replacen(last, &format!("{last}{instead}\n"), 1));
        assert!(why.contains(expected), "{expected}: {why}");
    }
    for (written, instead, expected) in [
        (
            "nodes = [\"lb2\", \"lb1\"]",
            "nodes = [\"lb2\", \"lb3\"]",
            "nodes: expected nodes of this file, found \"lb3\"",
        ),
        (
            "192.168.1.10\"\ninterface",
            "192.168.1.22\"\ninterface",
            "192.168.1.22 is lb2 alone; write one that no machine",
        ),
        (last, "", "[balancer]: lb2 has no address; write it"),
        ("192.168.1.22", "192.168.1.11", "192.168.1.11 is the address of s1 too; correct one"),
        ("role = \"host\"", "role = \"worker\"", "[balancer] nodes: lb1 is a worker, which serves pods"),
    ] {
        assert!(text.contains(written), "{written}");
        let why = refused(&text.replacen(written, instead, 1));
        assert!(why.contains(expected), "{expected}: {why}");
    }
}

fn stopped(step: &Step) -> Option<&str> {
    match step {
        Step::EnsureUnit(step) if step.state == UnitState::Stopped && !step.enabled => Some(step.unit.as_str()),
        _other => None,
    }
}

/// A fleet file of odd names, numbers and addresses that it may have.
fn odd() -> impl Strategy<Value = String> {
    let label = "[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?";
    let words = prop_oneof![
        Just("server".to_owned()),
        Just("default-server".to_owned()),
        Just("backend".to_owned()),
        Just("no".to_owned()),
        Just("1e3".to_owned()),
        Just("0".to_owned()),
        Just("weight".to_owned()),
        label.prop_map(|name| name),
        (label, label).prop_map(|(a, b)| format!("{a}.{b}")),
    ];
    let names = prop::collection::btree_set(words, 1..6);
    let interface = "[a-zA-Z0-9][-._a-zA-Z0-9]{0,14}";
    (names, interface, 1..=255_u8, 1..=65535_u16, 1..=65535_u16, any::<bool>()).prop_map(
        |(names, interface, router_id, port, bind_port, is_ipv6)| {
            let address = |n: usize| if is_ipv6 { format!("fd00:1::{n:x}") } else { format!("192.168.7.{n}") };
            let bind_port = if bind_port == port { bind_port ^ 1 } else { bind_port };
            let (pods, services) =
                if is_ipv6 { ("fd00:aa::/48", "fd00:bb::/112") } else { ("10.244.0.0/16", "10.96.0.0/12") };
            let mut text = format!(
                "name = \"x\"\ndistribution = \"kubeadm\"\nversion = \"v1.36.3\"\napi = \"api.lab:{port}\"\n\
                 [balancer]\naddress = \"{}\"\ninterface = \"{interface}\"\nrouter_id = {router_id}\n\
                 [kubeadm]\npod_network = \"{pods}\"\nservice_network = \"{services}\"\nbind_port = {}\n",
                address(200),
                bind_port.max(1),
            );
            for (place, name) in names.iter().enumerate() {
                let (arch, address) = (["x86_64", "aarch64"][place % 2], address(10 + place));
                write!(text, "[[nodes]]\nname = \"{name}\"\nrole = \"server\"\narch = \"{arch}\"\n").unwrap();
                writeln!(text, "address = \"{address}\"").unwrap();
            }
            text
        },
    )
}

/// The words of a line that begins so, for every such line.
fn lines<'t>(text: &'t str, begins: &str) -> Vec<Vec<&'t str>> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|words| words.first() == Some(&begins)).collect()
}

/// Both files of every server, with the server's name.
fn written(fleet: &Fleet) -> Vec<(String, String, String)> {
    let members: Vec<&str> = fleet.nodes.iter().map(|node| node.name.as_str()).collect();
    let made = plan(fleet, &members, &baseline()).unwrap();
    let of = |node: &&str, path| file(&made, &format!("{node}.prepare"), path).unwrap().to_owned();
    members.iter().map(|node| ((*node).to_owned(), of(node, HAPROXY), of(node, KEEPALIVED))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_server_is_behind_every_balancer_and_one_comes_first_whatever_the_values(text in odd()) {
        let fleet = fleet(&text);
        let servers = fleet.servers();
        let mut priorities = Vec::new();
        for (node, haproxy, keepalived) in written(&fleet) {
            let port = fleet.kubeadm.as_ref().unwrap().bind_port;
            let addressed = |words: &Vec<&str>| (words[1].to_owned(), words[2].to_owned());
            let listed: Vec<(String, String)> = lines(&haproxy, "server").iter().map(addressed).collect();
            let wanted = servers.iter().map(|server| {
                let to = std::net::SocketAddr::new(server.address.unwrap(), port);
                (server.name.to_string(), to.to_string())
            });
            prop_assert_eq!(listed, wanted.collect::<Vec<_>>());
            let bind = lines(&haproxy, "bind")[0][1].to_owned();
            prop_assert!(bind.ends_with(&format!(":{}", fleet.api.port)), "{}", bind);
            prop_assert!(haproxy.contains("check check-ssl verify required ca-file"), "{}", haproxy);
            let own = fleet.node(&name(&node)).unwrap().address.unwrap().to_string();
            let peers = keepalived.split_once("unicast_peer {\n");
            let peers = peers.map_or("", |(_, rest)| rest.split('}').next().unwrap());
            let peers: Vec<&str> = peers.split_whitespace().collect();
            prop_assert_eq!(peers.len(), servers.len() - 1);
            prop_assert!(!peers.contains(&own.as_str()));
            let one = |begins: &str| lines(&keepalived, begins)[0][1].to_owned();
            let balancer = fleet.balancer.as_ref().unwrap();
            prop_assert_eq!(one("interface"), balancer.interface.clone());
            prop_assert_eq!(one("virtual_router_id"), balancer.router_id.to_string());
            prop_assert_eq!(keepalived.matches('{').count(), keepalived.matches('}').count());
            let weight: i64 = one("weight").parse().unwrap();
            priorities.push((one("priority").parse::<i64>().unwrap(), weight));
        }
        let best_silent = priorities.iter().map(|(priority, weight)| priority + weight).max().unwrap();
        let worst = priorities.iter().map(|(priority, _)| *priority).min().unwrap();
        prop_assert!(best_silent < worst && priorities.iter().all(|(p, w)| (1..=254).contains(p) && p + w >= 1));
        priorities.dedup();
        prop_assert_eq!(priorities.len(), servers.len());
    }
}

/// Whether the program can be started; else says why nothing is asked of it.
fn has(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output();
    if let Err(error) = &found {
        println!("skipped: {program} cannot be started ({error}); apt-get install {program}");
    }
    found.is_ok()
}

fn accepts(program: &str, arguments: &[&str], text: &str) {
    let said = Command::new(program).args(arguments).output().unwrap();
    let words = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(said.status.success() && !words.contains("WARNING"), "{program}: {words}\n{text}");
}

/// Fleets whose files the programs judge: as the example, and with each odd thing that the property above knows.
fn judged(interface: &str) -> [String; 3] {
    let odd = LAB.replace("\"s1\"", "\"default-server\"").replace("\"s2\"", "\"1e3.no\"");
    let ipv6 = LAB
        .replace("192.168.1.1", "fd00:1::1")
        .replace("10.244.0.0/16", "fd00:aa::/48\"\nservice_network = \"fd00:bb::/112");
    [LAB.to_owned(), odd, ipv6].map(|text| text.replace("eth0", interface))
}

/// `tests/lab/balancer` runs both programs by the files of the example, which this leaves in a folder for it.
#[test]
fn the_files_of_the_example_are_left_for_the_lab() {
    let Some(folder) = std::env::var_os("HOSTLER_BALANCER_FILES") else {
        return println!("skipped: HOSTLER_BALANCER_FILES names no folder (tests/lab/balancer does)");
    };
    for (node, haproxy, keepalived) in written(&fleet(LAB)) {
        std::fs::write(Path::new(&folder).join(format!("{node}.haproxy.cfg")), haproxy).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{node}.keepalived.conf")), keepalived).unwrap();
    }
}

#[test]
fn haproxy_takes_its_file() {
    if !has("haproxy", "-v") || !has("openssl", "version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (authority, config) = (folder.path().join("ca.crt"), folder.path().join("haproxy.cfg"));
    let shown = |path: &Path| path.to_str().unwrap().to_owned();
    let key = shown(&folder.path().join("ca.key"));
    let (out, config) = (shown(&authority), shown(&config));
    let made =
        ["req", "-x509", "-nodes", "-subj", "/CN=kubernetes", "-newkey", "ed25519", "-keyout", &key, "-out", &out];
    assert!(Command::new("openssl").args(made).output().unwrap().status.success());
    for text in judged("eth0") {
        let fleet = fleet(&text);
        let boot = plan(&fleet, &[], &Intent::Bootstrap {}).unwrap();
        let first = format!("{}.prepare", fleet.servers()[0].name);
        let before = file(&boot, &first, HAPROXY).unwrap().to_owned();
        let after = written(&fleet).swap_remove(0).1.replace(AUTHORITY, &out);
        for text in [before, after] {
            std::fs::write(&config, &text).unwrap();
            accepts("haproxy", &["-c", "-f", &config], &text);
        }
    }
}

#[test]
fn keepalived_takes_its_file() {
    if !has("keepalived", "--version") {
        return;
    }
    if !Path::new("/usr/bin/curl").exists() {
        return println!("skipped: there is no /usr/bin/curl, by which keepalived asks");
    }
    let here =
        std::fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let Some(interface) = here.filter(|name| name != "lo" && name.len() <= 15).min() else {
        return println!("skipped: this machine has no interface but lo, on which keepalived serves nothing");
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("keepalived.conf");
    for text in judged(&interface) {
        for (_, _, keepalived) in written(&fleet(&text)) {
            std::fs::write(&config, &keepalived).unwrap();
            accepts("keepalived", &["--config-test", "--use-file", config.to_str().unwrap()], &keepalived);
        }
    }
}
