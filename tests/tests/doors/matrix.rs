//! Every call of every service by everybody, against a table. A call without a row fails.
//!
//! `cargo test -p hostler-tests --test doors matrix -- --nocapture` says how many were tried and which went otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use hostler_coordinator::ca::{Authority, RequestedKey};
use hostler_fixtures::{fresh_key, public, signed, signer};
use hostler_plan::{
    document::{DocumentKind, Root, RosterStatus, SignerRole},
    step::ClusterRole,
};
use hostler_proto::{
    tls::{ClientIdentity, NodeIdentity, connect, connect_bound},
    v1,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::{Code, Status, transport::Channel};

use crate::{
    LOOPBACKS,
    fleet::{Admin, Fleet, Node, Running, now},
    listen_on,
    raw::{Call, calls, make},
};

/// One row a call, one column a caller.
const TABLE: &str = include_str!("matrix.table");

/// How long a session lasts, and a certificate, of those whose time is to be over.
const SHORT: Duration = Duration::from_secs(10);

/// What the door says.
#[expect(clippy::wildcard_enum_match_arm, reason = "tonic::Code is foreign; the door answers with four of them")]
fn answer(result: Result<(), Status>) -> &'static str {
    match result {
        Ok(()) => "in",
        Err(status) => match status.code() {
            Code::Unauthenticated => "who?",
            // Refusals of documents are PERMISSION_DENIED with a refusal in the metadata; the door's have none.
            Code::PermissionDenied if hostler_proto::status::to_refused(&status).is_none() => "no",
            Code::Unimplemented => "absent",
            // The connection broke.
            Code::Unknown | Code::Unavailable | Code::Internal | Code::Cancelled => "cut",
            _ => "in",
        },
    }
}

/// Somebody with a connection to each listener.
struct Caller {
    who: &'static str,
    channels: BTreeMap<&'static str, Option<Channel>>,
    session: Option<String>,
}

impl Caller {
    async fn call(&self, call: &Call, listener: &str) -> &'static str {
        match &self.channels[listener] {
            Some(channel) => answer(make(channel, call, self.session.as_deref()).await),
            None => "cut",
        }
    }
}

fn call(method: &str) -> Call {
    calls().into_iter().find(|call| call.method == method).unwrap()
}

struct Table {
    callers: Vec<&'static str>,
    rows: BTreeMap<&'static str, Vec<&'static str>>,
}

fn table() -> Table {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let callers = lines.next().unwrap().split_whitespace().skip(1).collect();
    let row = |line: &'static str| {
        let mut cells = line.split_whitespace();
        (cells.next().unwrap(), cells.collect())
    };
    Table { callers, rows: lines.map(row).collect() }
}

#[test]
fn every_call_has_a_row_and_every_row_a_call() {
    let Table { callers, rows } = table();
    let calls: BTreeSet<String> = calls().iter().map(ToString::to_string).collect();
    assert!(calls.len() >= 28);
    assert_eq!(calls, rows.keys().map(|row| (*row).to_owned()).collect());
    assert!(rows.values().all(|cells| cells.len() == callers.len()), "a cell for every caller");
}

/// A fleet with everybody who calls.
struct Stage {
    fleet: Fleet,
}

impl Stage {
    /// `session` is how long a login lasts; none: as long as the coordinator has it by itself.
    async fn start(address: IpAddr, session: Option<Duration>) -> Self {
        let change = |settings: &mut hostler_coordinator::Settings| {
            listen_on(settings, address);
            settings.limits.session = session.unwrap_or(settings.limits.session);
        };
        let coordinator = Running::start_with(tempfile::tempdir().unwrap(), change).await;
        Self { fleet: Fleet::around(coordinator).await.with_root().await }
    }

    /// Connections with a node's certificate, or with none.
    async fn connect(&self, node: Option<(&Node, &[Vec<u8>])>) -> BTreeMap<&'static str, Option<Channel>> {
        let addresses = &self.fleet.coordinator().addresses;
        let mut channels = BTreeMap::new();
        for (listener, address) in
            [("Admin", addresses.admin), ("Agent", addresses.agents), ("Enrolment", addresses.enrolment)]
        {
            let identity = node.map(|(node, chain)| ClientIdentity {
                chain: chain.iter().cloned().map(CertificateDer::from).collect(),
                key: PrivateKeyDer::Pkcs8(node.tls.serialize_der().into()),
            });
            channels.insert(listener, connect(&self.fleet.at(address), identity).await.ok());
        }
        channels
    }

    async fn node(&self, who: &'static str, node: &Node, chain: &[Vec<u8>]) -> Caller {
        Caller { who, channels: self.connect(Some((node, chain))).await, session: None }
    }

    async fn person(&self, who: &'static str, key: &ssh_key::PrivateKey) -> Caller {
        let channel = connect_bound(&self.fleet.at(self.fleet.coordinator().addresses.admin), None).await.unwrap();
        let session = Admin::login(channel.clone(), self.fleet.pin, key).await.unwrap().session;
        let mut channels = self.connect(None).await;
        channels.insert("Admin", Some(channel.channel));
        Caller { who, channels, session: Some(session) }
    }

    /// Signs a later root and hands it in.
    async fn amend(&self, version: u64, change: impl FnOnce(&mut Root)) {
        let mut root = Root { version, ..self.fleet.unsigned_root() };
        change(&mut root);
        let root = signed(DocumentKind::Root, &root, &[&self.fleet.admin]);
        let mut admin = self.fleet.login(&self.fleet.admin).await.unwrap();
        let request = v1::InstallRootRequest { root: Some(root.into()), setup_code: String::new() };
        admin.client.install_root(admin.with_session(request)).await.unwrap();
    }

    /// A certificate for a node of the roster that runs out soon, by the coordinator's own authority.
    fn short_chain(&self, node: &Node) -> Vec<Vec<u8>> {
        let copy = tempfile::tempdir().unwrap();
        for file in ["ca.key", "ca.crt"] {
            let from = self.fleet.coordinator().folder.path().join(file);
            std::fs::copy(from, copy.path().join(file)).unwrap();
        }
        let data = hostler_coordinator::data_dir::DataDir::open(copy.path()).unwrap();
        let authority = Authority::open(&data, now()).unwrap().with_node_lifetime(SHORT);
        let key = RequestedKey::from_request(&node.request()).unwrap();
        let identity = NodeIdentity { fleet: self.fleet.id.clone(), node: node.name.clone() };
        let chain = authority.node_chain(&identity, &public(&node.key).fingerprint(), &key, now()).unwrap();
        chain.into_iter().map(|c| c.to_vec()).collect()
    }

    /// Those whose time is over once [`SHORT`] has passed.
    async fn short_callers(&mut self) -> Vec<Caller> {
        let token = self.fleet.token(9, ClusterRole::Worker).await;
        let active = Node::new("active");
        self.fleet.enrol(&active, &token).await.unwrap();
        self.fleet.approve(&[(&active, ClusterRole::Worker, RosterStatus::Active)]).await;
        let short = self.short_chain(&active);
        let over = self.node("over", &active, &short).await;
        assert_eq!(over.call(&call("RenewCertificate"), "Agent").await, "in");
        let ended = self.person("ended", &self.fleet.admin).await;
        assert_eq!(ended.call(&call("ListNodes"), "Admin").await, "in");
        vec![over, ended]
    }

    /// Everybody else.
    async fn callers(&mut self) -> Vec<Caller> {
        let token = self.fleet.token(9, ClusterRole::Worker).await;
        let nodes = ["active", "pending", "retired", "replaced"].map(Node::new);
        let mut chains = Vec::new();
        for node in &nodes {
            chains.push(self.fleet.enrol(node, &token).await.unwrap().certificate_chain);
        }
        let [active, pending, retired, replaced] = &nodes;
        // Another machine took the name, and the first one still holds a certificate for it.
        let successor = Node::new("replaced");
        let listed = |node, status| (node, ClusterRole::Worker, status);
        self.fleet
            .approve(&[
                listed(active, RosterStatus::Active),
                listed(retired, RosterStatus::Active),
                listed(&successor, RosterStatus::Active),
            ])
            .await;
        // Connected while it belonged to the fleet, and retired while it is connected.
        let retired_caller = self.node("retired", retired, &chains[2]).await;
        assert_eq!(retired_caller.call(&call("RenewCertificate"), "Agent").await, "in");
        self.fleet
            .approve(&[
                listed(active, RosterStatus::Active),
                listed(retired, RosterStatus::Retired),
                listed(&successor, RosterStatus::Active),
            ])
            .await;
        let eve = fresh_key();
        let with_eve = |root: &mut Root| root.signers.push(signer("eve", public(&eve), SignerRole::Admin));
        self.amend(2, with_eve).await;
        let revoked = self.person("revoked", &eve).await;
        assert_eq!(revoked.call(&call("ListNodes"), "Admin").await, "in");
        self.amend(3, |root| root.revoked.push(public(&eve).fingerprint())).await;
        vec![
            Caller { who: "nobody", channels: self.connect(None).await, session: None },
            self.node("pending", pending, &chains[1]).await,
            self.node("node", active, &chains[0]).await,
            retired_caller,
            self.node("replaced", replaced, &chains[3]).await,
            self.person("viewer", &self.fleet.viewer).await,
            self.person("operator", &self.fleet.operator).await,
            self.person("admin", &self.fleet.admin).await,
            revoked,
        ]
    }
}

#[tokio::test]
async fn everybody_may_do_what_the_table_says_and_nothing_else() {
    let Table { callers: columns, rows } = table();
    let (mut tried, mut others) = (0, Vec::new());
    for address in LOOPBACKS {
        let mut short = Stage::start(address, Some(SHORT)).await;
        let late = short.short_callers().await;
        let over = tokio::time::Instant::now() + SHORT + Duration::from_secs(1);
        let mut stage = Stage::start(address, None).await;
        let early = stage.callers().await;
        for (i, caller) in early.iter().chain(&late).enumerate() {
            if i == early.len() {
                tokio::time::sleep_until(over).await;
            }
            let column = columns.iter().position(|c| *c == caller.who).unwrap();
            for call in calls() {
                let Some(row) = rows.get(call.to_string().as_str()) else { continue };
                let found = caller.call(&call, &call.service).await;
                tried += 1;
                if found != row[column] {
                    others.push(format!(
                        "{call} by {} on {address}: expected {}, found {found}",
                        caller.who, row[column]
                    ));
                }
                // Nothing is served on another's listener.
                for elsewhere in ["Admin", "Agent", "Enrolment"].into_iter().filter(|l| *l != call.service) {
                    tried += 1;
                    let found = caller.call(&call, elsewhere).await;
                    if !["absent", "cut"].contains(&found) {
                        others.push(format!("{call} by {} on {address} at {elsewhere}: found {found}", caller.who));
                    }
                }
            }
        }
    }
    println!("tried {tried}, as expected {}, others {}", tried - others.len(), others.len());
    assert!(others.is_empty(), "{}", others.join("\n"));
}
