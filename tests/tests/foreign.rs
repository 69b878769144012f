//! Bytes of others without a fuzzer: every kept input of `tests/fuzz/corpus` goes through its parser, and one of each
//! kind is made here, so that a corpus never begins with nothing. `HOSTLER_BLESS=1` writes those into the corpus.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

#[path = "../fuzz/parsers.rs"]
mod parsers;

use std::{collections::BTreeSet, fs, path::PathBuf};

use hostler_executor::protocol::{FromExecutor, Grant, Request, ToExecutor, lines, node};
use hostler_fixtures as made;
use hostler_plan::{
    document::{Decided, DocumentKind, Plan, Root, Roster, RosterNode, Signed, SignerRole},
    entry::{Entry, StoredDocument},
    fact::{DeltaWriter, Reading, Series},
    id::{BootId, Digest},
    json,
    ledger::{self, Head},
    step::ClusterRole,
    timestamp::Timestamp,
    trust::{Clock, NodeState, TrustedRoot},
};
use hostler_proto::{
    facts::to_wire,
    join::{JoinString, SetupCode},
    v1::{self, from_agent, rollout_update, to_agent},
};
use parsers::PARSERS;
use prost::Message as _;

/// Of all inputs together: they lie in the repository.
const MOST_CORPUS_BYTES: u64 = 2 << 20;
/// A plan of some nodes has 4 KiB; what is longer makes a fuzzer slow.
const MOST_INPUT_BYTES: u64 = 32 << 10;

/// What a server says of its cluster.
const ANSWER: &str = concat!(
    r#"{"_type":"hostler-cluster/v1","fleet_id":"7d0f7d0f7d0f7d0f7d0f7d0f7d0f7d0f","node":"cp1","#,
    r#""read":"2026-11-29T00:00:00Z","version":"v1.36.3","nodes":[{"name":"cp1","is_server":true,"arch":"arm64","#,
    r#""addresses":["10.0.0.11"],"labels":{"lab/rack":"a"},"taints":["gpu=yes:NoSchedule"],"version":"v1.36.3","#,
    r#""runtime":"containerd://2.1.4"}],"made":{"distribution":"kubeadm","name":"lab","version":"v1.36.3","#,
    r#""endpoint":"k8s.lab:6443","pod_network":"10.244.0.0/16","service_network":"10.96.0.0/12","#,
    r#""dns_domain":"cluster.local","cert_sans":[],"image_repository":"","feature_gates":{},"programs":{"api_server":"#,
    r#"{"args":[["v","2"]],"volumes":[],"envs":{}}},"etcd":{"program":{"args":[],"volumes":[],"envs":{}},"image":"#,
    r#"{"repository":"","tag":""},"server_cert_sans":[],"peer_cert_sans":[],"data_dir":"","external":[]},"#,
    r#""has_dns":true,"dns_image":{"repository":"","tag":""},"has_proxy":true,"bind_port":6443,"further":{},"#,
    r#""kubelet":{"maxPods":50},"proxy":{},"kubelet_args":[]},"machine":{"packages":{},"sandbox_image":"","#,
    r#""registries":[]},"addons":[],"static_pods":[],"masked":[],"left_out":[]}"#
);

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn every_kept_input_goes_through_its_parser_and_some_are_read() {
    let mut all = 0;
    for (name, parser) in PARSERS {
        let folder = corpus().join(name);
        let found = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}; HOSTLER_BLESS=1", folder.display()));
        let (mut played, mut read) = (0, 0);
        for entry in found {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            assert!(bytes.len() as u64 <= MOST_INPUT_BYTES, "{}: {} bytes", path.display(), bytes.len());
            all += bytes.len() as u64;
            played += 1;
            // Told before, because a panic does not name its input.
            println!("{}", path.display());
            read += usize::from(parser(&bytes));
        }
        eprintln!("{name}: played {played} inputs, {read} were something");
        assert!(read > 0, "{name}: no input is read any more; HOSTLER_BLESS=1 writes some that are");
    }
    assert!(all <= MOST_CORPUS_BYTES, "expected at most {MOST_CORPUS_BYTES} bytes, found {all}");
    let names: BTreeSet<_> = PARSERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders = fs::read_dir(corpus()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(folders.collect::<BTreeSet<_>>(), names, "each parser has a folder, and each folder a parser");
}

#[test]
fn one_input_of_each_kind_reaches_the_end_of_its_parser() {
    let seeds = seeds();
    for (name, parser) in PARSERS {
        let mut count = 0;
        for (kind, bytes) in seeds.iter().filter(|seed| seed.parser == *name).map(|seed| (&seed.kind, &seed.bytes)) {
            count += 1;
            assert!(parser(bytes), "{name} refuses {kind}");
            if std::env::var_os("HOSTLER_BLESS").is_some() {
                let folder = corpus().join(name);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(kind), bytes).unwrap();
            }
        }
        assert!(count > 0, "there is no input for {name}");
    }
    assert!(seeds.iter().all(|seed| PARSERS.iter().any(|(name, _)| *name == seed.parser)));
}

/// An input that its parser reads.
struct Seed {
    parser: &'static str,
    kind: String,
    bytes: Vec<u8>,
}

fn seed(parser: &'static str, kind: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { parser, kind: kind.into(), bytes: bytes.into() }
}

/// A small fleet whose documents everybody accepts.
struct Made {
    at: Timestamp,
    root: Root,
    roster: Roster,
    plan: Plan,
}

impl Made {
    fn new() -> Self {
        let at: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let root = made::root(at, vec![made::signer("ada", made::public(&made::key(1)), SignerRole::Admin)]);
        let nodes = ["s1", "w1"].map(Self::node);
        let roster = made::roster(&root, at, nodes.to_vec());
        let plan = made::plan(&roster, at, 1);
        Self { at, root, roster, plan }
    }

    fn node(name: &str) -> RosterNode {
        let role = if name == "s1" { ClusterRole::Server } else { ClusterRole::Worker };
        made::node(name, made::public(&made::key(name.as_bytes()[0])), role)
    }

    fn by_ada<T: serde::Serialize>(kind: DocumentKind, document: &T) -> Signed {
        made::signed(kind, document, &[&made::key(1)])
    }

    fn signed(&self) -> [(DocumentKind, Signed); 3] {
        [
            (DocumentKind::Root, Self::by_ada(DocumentKind::Root, &self.root)),
            (DocumentKind::Roster, Self::by_ada(DocumentKind::Roster, &self.roster)),
            (DocumentKind::Plan, Self::by_ada(DocumentKind::Plan, &self.plan)),
        ]
    }

    fn enrolment(&self) -> Signed {
        let admission = made::admission(&self.root, self.at, made::public(&made::key(20)));
        let enrolment = made::enrolment(&admission, self.at, &Self::node("w1"));
        made::signed(DocumentKind::Enrolment, &enrolment, &[&made::key(20), &made::key(b'w')])
    }

    fn reading(&self) -> Reading {
        let mut reading = Reading::new(self.at.unix_milliseconds());
        reading.set(Series::new("node_load1", &[]), 0.25);
        reading.set(Series::new("node_disk_read_bytes_total", &[("device", "sda")]), 4096.0);
        reading
    }
}

fn seeds() -> Vec<Seed> {
    let made = Made::new();
    let mut all = documents(&made);
    all.extend(texts());
    all.extend(stored(&made));
    all.extend(wire(&made));
    all.extend(answers(&made));
    all
}

fn documents(Made { at, root, roster, plan }: &Made) -> Vec<Seed> {
    let admission = made::admission(root, *at, made::public(&made::key(20)));
    let enrolment = made::enrolment(&admission, *at, &roster.nodes[1]);
    let receipt = made::receipt(plan, "w1.check");
    let holding = made::holding(root, roster, "w1", &[plan]);
    let decided = Decided::Pause { plan: Digest::of(b"a plan"), reason: "a disk is slow".into() };
    let decision = made::decision(roster, "ada", Head::EMPTY, *at, decided);
    let pass = made::pass(root, &made::public(&made::key(1)), made::public(&made::key(2)), *at);
    let kinds = [
        ("root", json::write(root)),
        ("admission", json::write(&admission)),
        ("enrolment", json::write(&enrolment)),
        ("roster", json::write(roster)),
        ("plan", json::write(plan)),
        ("receipt", json::write(&receipt)),
        ("holding", json::write(&holding)),
        ("decision", json::write(&decision)),
        ("pass", json::write(&pass)),
    ];
    let numbered = (0..).zip(kinds);
    numbered.map(|(number, (kind, json))| seed("documents", kind, [vec![number], json].concat())).collect()
}

/// What people copy, write and keep in files.
fn texts() -> Vec<Seed> {
    let signed = made::signed_bytes(DocumentKind::Plan, parsers::SIGNED_BYTES.to_vec(), &[&made::key(1)]);
    let join = JoinString {
        fleet_id: made::fleet_id(),
        address: "fleet.example:7443".into(),
        ca_pin: Digest::of(b"coordinator CA"),
        root: Digest::of(b"a root"),
        token: made::token_id(&made::public(&made::key(20))),
        token_key: "-----BEGIN OPENSSH PRIVATE KEY-----\n".into(),
    };
    let code = SetupCode { ca_pin: join.ca_pin, code: "0123".into(), admin_address: join.address.clone() };
    let mut all = vec![
        seed("signatures", "ed25519", signed.signatures[0].clone()),
        seed("key_files", "ed25519", made::public(&made::key(1)).to_string()),
        seed("join_strings", "join", join.encode()),
        seed("join_strings", "setup", code.encode()),
        seed("http", "get", "GET /metrics HTTP/1.1\r\nHost: node:9100\r\nAccept: text/plain\r\n\r\n"),
        seed("imports", "answer", ANSWER),
        seed("imports", "ini", "[kube_control_plane]\ncp[1:3] ip=10.0.0.1\n[all:vars]\nkube_version=1.36.3\n"),
        seed("imports", "yaml", "k3s_cluster:\n  children:\n    server: {hosts: {pi-1: {ansible_host: 10.0.0.1}}}\n"),
        seed("http", "get_with_query", "GET /metrics?x=1 HTTP/1.0\r\n\r\n"),
    ];
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.file_stem().unwrap().to_string_lossy().into_owned();
        all.push(seed("fleet_files", kind, fs::read(path).unwrap()));
    }
    // A disk that names itself, a page of its health, a table of the kernel and an answer of a program.
    for file in [
        "sys/class/dmi/id/product_name",
        "proc/1/mountinfo",
        "proc/stat",
        "proc/meminfo",
        "proc/diskstats",
        "proc/net/dev",
        "dev/kmsg",
        "etc/os-release",
        ".calls/nvme/nvme0.smart",
        ".calls/statvfs",
        ".calls/systemctl",
        "var/lib/kubelet/pki/kubelet-client-current.pem",
    ] {
        let content = fs::read(made::recorded::machine("server-ecc-failing").join(file));
        let content = content.unwrap_or_else(|e| panic!("{file}: {e}"));
        all.push(seed("machines", file.replace('/', "_"), [format!("{file}\n").into_bytes(), content].concat()));
    }
    all
}

/// What lies on disks.
fn stored(made: &Made) -> Vec<Seed> {
    let boot_id = BootId::new("b1").unwrap();
    let (plan, task, node) = (Digest::of(&json::write(&made.plan)), made::task_id("w1.check"), made::name("w1"));
    let mut entries: Vec<Entry> = Vec::new();
    for (kind, document) in made.signed() {
        entries.push(Entry::Document { kind, document: StoredDocument(document) });
    }
    entries.push(Entry::Granted { plan, task, grant: 1, node, boot_id, lease_seconds: 120, baseline: None });
    entries.push(Entry::Paused { plan, by: "ada".into(), reason: "a disk is slow".into() });
    entries.push(Entry::Finished { plan });
    let (mut head, mut bytes) = (Head::EMPTY, Vec::new());
    for entry in entries {
        let (line, _, after) = ledger::encode(head, made.at, entry);
        bytes.extend(line);
        head = after;
    }

    let [(_, root), (_, roster), (_, _)] = made.signed();
    let clock = Clock { now: made.at, synchronised: true };
    let trusted = TrustedRoot::first(&root, &root.digest()).unwrap();
    let state = NodeState::new(trusted, made.at).accept_roster(clock, &roster).unwrap().0;
    let mut slot = [state.to_index(), Vec::new()].join(&0);
    for (_, document) in state.documents() {
        slot.push(0);
        slot.extend(document);
    }
    vec![seed("ledger", "a_plan", bytes), seed("slots", "a_roster", slot)]
}

/// Messages of each listener, behind the byte that says which.
fn wire(made: &Made) -> Vec<Seed> {
    let message = |parser, kind: &str, number: u8, bytes: Vec<u8>| seed(parser, kind, [vec![number], bytes].concat());
    let [root, roster, plan] = made.signed().map(|(_, signed)| v1::SignedDocument::from(signed));
    let trust = v1::TrustChain { roots: vec![root.clone()], roster: Some(roster) };
    let to_agent = |message| v1::ToAgent { message: Some(message) }.encode_to_vec();
    let from_agent = |message| v1::FromAgent { message: Some(message) }.encode_to_vec();

    let facts = from_agent(from_agent::Message::Facts(to_wire(DeltaWriter::new().delta(&made.reading()))));
    let facts = [vec![u8::try_from(facts.len()).unwrap()], facts].concat();
    let stop =
        to_agent(to_agent::Message::Stop(v1::Stop { plan: Digest::of(b"a plan").hex(), reason: "halted".into() }));
    let parts = stop.chunks(32).enumerate().map(|(n, data)| {
        let fragment = v1::Fragment { data: data.to_vec(), is_last: (n + 1) * 32 >= stop.len() };
        to_agent(to_agent::Message::Fragment(fragment))
    });
    // The parser takes them 64 bytes at a time: an unknown field fills the rest.
    let parts: Vec<u8> = parts.flat_map(|part| [part.clone(), filling(64 - part.len())].concat()).collect();
    let hello = v1::Hello { agent_version: "0.1.0".into(), boot_id: "b1".into(), epoch: 1, ..v1::Hello::default() };
    let nodes = ["s1", "w1"].map(|name| v1::InventoryNode {
        name: name.into(),
        connected: true,
        standing: v1::Standing::Ready.into(),
        version: Some("v1.34.3+k3s1".into()),
        ..v1::InventoryNode::default()
    });
    let inventory = v1::InventoryReply { nodes: nodes.to_vec(), ..v1::InventoryReply::default() };
    let whole = rollout_update::Update::Whole(v1::RolloutDetail::default());
    let pause = v1::ControlRolloutRequest {
        rollout: "1".into(),
        action: v1::RolloutAction::Pause.into(),
        ..v1::ControlRolloutRequest::default()
    };
    let request = v1::EnrolRequest { enrolment: Some(made.enrolment().into()), certificate_request: Vec::new() };
    let answer = v1::EnrolResponse { trust: Some(trust.clone()), ..v1::EnrolResponse::default() };
    let renew = v1::RenewRequest { node: "w1".into(), ..v1::RenewRequest::default() };
    vec![
        message("agent_wire", "facts", 0, facts),
        message("agent_wire", "parts", 1, parts),
        message("agent_wire", "hello", 2, from_agent(from_agent::Message::Hello(hello))),
        message("agent_wire", "trust", 3, to_agent(to_agent::Message::Trust(trust.clone()))),
        message("agent_wire", "plan", 3, to_agent(to_agent::Message::Plan(plan.clone()))),
        message("agent_wire", "artifact", 4, v1::ArtifactChunk::default().encode_to_vec()),
        message("agent_wire", "renew", 5, v1::RenewCertificateRequest::default().encode_to_vec()),
        message("enrolment_wire", "request", 0, request.encode_to_vec()),
        message("enrolment_wire", "answer", 1, answer.encode_to_vec()),
        message("enrolment_wire", "renew", 2, renew.encode_to_vec()),
        message("admin_wire", "inventory", 0, inventory.encode_to_vec()),
        message("admin_wire", "rollout", 1, v1::RolloutUpdate { update: Some(whole) }.encode_to_vec()),
        message("admin_wire", "document", 2, plan.encode_to_vec()),
        message("admin_wire", "pause", 7, pause.encode_to_vec()),
    ]
}

/// An unknown field of so many bytes, at least 2 and at most 64.
fn filling(length: usize) -> Vec<u8> {
    let mut field = vec![0x7a, u8::try_from(length - 2).unwrap()];
    field.resize(length, 0);
    field
}

/// What stands before the 32 secret bytes of such a key (RFC 8410).
const ED25519_IN_PKCS8: &[u8] = &[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What programs of the same machine say.
fn answers(made: &Made) -> Vec<Seed> {
    let [(_, root), (_, roster), (_, plan)] = made.signed();
    let grant = Grant {
        plan: plan.digest(),
        task: made::task_id("w1.check"),
        grant: 1,
        lease_seconds: 120,
        receipts: vec![plan.clone()],
        head: Some(Head::EMPTY),
    };
    let to = [
        ToExecutor::Watch,
        ToExecutor::Request(Request::Trust { roots: vec![root], roster: Some(roster) }),
        ToExecutor::Request(Request::Grant(Box::new(grant))),
        ToExecutor::Ask { number: 1, question: node::Question::Enrol { tls_key: Digest::of(b"tls key") } },
        ToExecutor::Reports { every_ms: 10_000 },
    ];
    let report = node::Report { reading: made.reading(), now: made.at, serves: false };
    let from = [
        FromExecutor::Status(Box::default()),
        FromExecutor::Answer { number: 1, answer: Box::new(node::Answer::Facts(made.reading())) },
        FromExecutor::Report(report),
    ];
    let mut all = vec![
        seed("executor_socket", "to", to.iter().flat_map(|m| lines::encode(m).unwrap()).collect::<Vec<u8>>()),
        seed("executor_socket", "from", from.iter().flat_map(|m| lines::encode(m).unwrap()).collect::<Vec<u8>>()),
    ];

    let string = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let key = made::public(&made::key(1));
    let identities = [vec![12, 0, 0, 0, 1], string(&key.to_wire()), string(b"a comment")].concat();
    let signature = [string(b"ssh-ed25519"), string(&[7; 64])].concat();
    all.push(seed("ssh_agent", "identities", string(&identities)));
    all.push(seed("ssh_agent", "signature", string(&[vec![14], string(&signature)].concat())));

    let pods =
        r#"{"metadata": {}, "items": [{"metadata": {"name": "web-1", "uid": "1"}, "spec": {"nodeName": "w1"}}]}"#;
    let budget =
        r#"{"metadata": {}, "items": [{"spec": {"maxUnavailable": "50%", "selector": {"matchLabels": {"a": "b"}}}}]}"#;
    let set = r#"{"metadata": {}, "spec": {"replicas": 3}, "items": []}"#;
    let budget_says_no =
        r#"{"code": 429, "details": {"causes": [{"reason": "DisruptionBudget", "message": "needs 2"}]}}"#;
    let kube = [
        (
            "nodes",
            0,
            0,
            r#"{"metadata": {}, "items": [{"metadata": {"name": "w1"}, "spec": {"unschedulable": true}}]}"#,
        ),
        ("pods", 1, 0, pods),
        ("budgets", 2, 0, budget),
        ("set", 4, 0, set),
        ("budget_says_no", 6, 5, budget_says_no),
    ];
    for (kind, question, status, body) in kube {
        all.push(seed("kube_answers", kind, [&[question, status], body.as_bytes()].concat()));
    }

    let key = rcgen::KeyPair::try_from([ED25519_IN_PKCS8, &[7; 32]].concat()).unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["w1".into()]).unwrap();
    all.push(seed("certificates", "request", parameters.serialize_request(&key).unwrap().der().to_vec()));
    all.push(seed("certificates", "certificate", parameters.self_signed(&key).unwrap().der().to_vec()));
    all
}
