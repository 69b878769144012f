//! A fleet to test with: a coordinator in this process, admins with keys, and nodes that can enrol.

use std::{collections::BTreeMap, path::Path, sync::Mutex, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_coordinator::{Addresses, Listeners, RunError, Settings, run};
use hostler_fixtures::{self as made, fresh_key, name, public, signed, signer};
use hostler_plan::{
    document::{Admission, DocumentKind, Enrolment, Pass, Root, Roster, RosterNode, RosterStatus, Signed, SignerRole},
    id::{Digest, FleetId, NodeName},
    signature::sign,
    step::ClusterRole,
    timestamp::Timestamp,
};
use hostler_proto::{
    SESSION_METADATA,
    join::SetupCode,
    login::login_bytes,
    tls::{BoundChannel, ClientIdentity, Coordinator, connect, connect_bound},
    v1::{self, admin_client::AdminClient, agent_client::AgentClient, enrolment_client::EnrolmentClient},
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use ssh_key::PrivateKey;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{Request, Status, transport::Channel};

/// A coordinator that runs in this process.
pub(crate) struct Running {
    pub addresses: Addresses,
    pub folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Starts one with an empty data folder.
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts one with what an earlier one left behind.
    pub(crate) async fn start_in(folder: tempfile::TempDir) -> Self {
        Self::start_with(folder, |_| {}).await
    }

    /// Starts one with other settings than the usual.
    pub(crate) async fn start_with(folder: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::on_loopback(folder.path());
        settings.metrics_listen = Some(([127, 0, 0, 1], 0).into());
        change(&mut settings);
        let listeners = Listeners::bind(&settings).await.unwrap();
        let addresses = listeners.addresses().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(run(settings, listeners, async {
            let _ = stopped.await;
        }));
        Self { addresses, folder, stop: Some(stop), task }
    }

    /// One that somebody else started and will end.
    pub(crate) fn around(addresses: Addresses) -> Self {
        let task = tokio::spawn(std::future::ready(Ok(())));
        Self { addresses, folder: tempfile::tempdir().unwrap(), stop: None, task }
    }

    /// Stops it and hands back its data folder.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        drop(self.stop.take());
        self.task.await.unwrap().unwrap();
        self.folder
    }

    pub(crate) fn setup_code(&self) -> SetupCode {
        read_setup_code(self.folder.path())
    }
}

pub(crate) fn read_setup_code(folder: &Path) -> SetupCode {
    SetupCode::parse(&std::fs::read_to_string(folder.join("setup-code")).unwrap()).unwrap()
}

/// A coordinator and the keys of the people around it.
pub(crate) struct Fleet {
    pub coordinator: Option<Running>,
    pub pin: Digest,
    pub id: FleetId,
    pub admin: PrivateKey,
    pub operator: PrivateKey,
    pub viewer: PrivateKey,
    pub roster_version: u64,
    last_roster: Option<Digest>,
    /// By which every node enrolled last.
    enrolments: Mutex<BTreeMap<NodeName, Digest>>,
    born: Timestamp,
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix_seconds(since.as_secs())
}

impl Fleet {
    /// A fleet whose coordinator holds root 1.
    pub(crate) async fn start() -> Self {
        Self::without_root().await.with_root().await
    }

    /// Installs root 1.
    pub(crate) async fn with_root(self) -> Self {
        let fleet = self;
        let code = fleet.coordinator().setup_code().code;
        let root = fleet.root();
        fleet
            .admin_client()
            .await
            .install_root(v1::InstallRootRequest { root: Some(root.into()), setup_code: code })
            .await
            .unwrap();
        fleet
    }

    /// A fleet whose coordinator is new.
    pub(crate) async fn without_root() -> Self {
        Self::around(Running::start().await).await
    }

    /// The keys of the people around a coordinator.
    pub(crate) async fn around(coordinator: Running) -> Self {
        let pin = coordinator_pin(&coordinator).await;
        Self {
            coordinator: Some(coordinator),
            pin,
            id: made::fleet_id(),
            admin: fresh_key(),
            operator: fresh_key(),
            viewer: fresh_key(),
            roster_version: 0,
            last_roster: None,
            enrolments: Mutex::default(),
            born: now(),
        }
    }

    pub(crate) fn coordinator(&self) -> &Running {
        self.coordinator.as_ref().unwrap()
    }

    /// Stops the coordinator and starts it again on the same folder.
    pub(crate) async fn restart(&mut self, between: impl FnOnce(&Path)) {
        let folder = self.coordinator.take().unwrap().stop().await;
        between(folder.path());
        self.coordinator = Some(Running::start_in(folder).await);
        coordinator_pin(self.coordinator()).await;
    }

    /// The root before it is signed.
    pub(crate) fn unsigned_root(&self) -> Root {
        let signers = vec![
            signer("ada", public(&self.admin), SignerRole::Admin),
            signer("otto", public(&self.operator), SignerRole::Operator),
            signer("vera", public(&self.viewer), SignerRole::Viewer),
        ];
        Root { coordinator_ca: vec![self.pin], ..made::root(self.born, signers) }
    }

    pub(crate) fn root(&self) -> Signed {
        signed(DocumentKind::Root, &self.unsigned_root(), &[&self.admin])
    }

    /// The coordinator at one of its addresses, trusted by its pin.
    pub(crate) fn at(&self, address: std::net::SocketAddr) -> Coordinator {
        Coordinator { address: address.to_string(), pins: vec![self.pin], time_floor: Timestamp::from_unix_seconds(0) }
    }

    pub(crate) async fn admin_channel(&self) -> BoundChannel {
        connect_bound(&self.at(self.coordinator().addresses.admin), None).await.unwrap()
    }

    /// A client without a session.
    pub(crate) async fn admin_client(&self) -> AdminClient<Channel> {
        AdminClient::new(self.admin_channel().await.channel)
    }

    /// A client that is logged in with that key.
    pub(crate) async fn login(&self, key: &PrivateKey) -> Result<Admin, Status> {
        Admin::login(self.admin_channel().await, self.pin, key).await
    }

    /// A token that the coordinator does not know.
    pub(crate) fn new_token(&self, uses: u32, role: ClusterRole) -> Token {
        let key = fresh_key();
        let admission = made::admission(&self.unsigned_root(), now(), public(&key));
        Token { key, admission: Admission { uses, role, ..admission } }
    }

    /// Makes a token and hands in its admission.
    pub(crate) async fn token(&self, uses: u32, role: ClusterRole) -> Token {
        let token = self.new_token(uses, role);
        self.submit(&token.admission).await.unwrap();
        token
    }

    pub(crate) async fn submit(&self, admission: &Admission) -> Result<v1::DocumentReply, Status> {
        let mut admin = self.login(&self.admin).await?;
        let document = signed(DocumentKind::Admission, admission, &[&self.admin]);
        let request = admin.with_session(document.into());
        admin.client.submit_admission(request).await.map(tonic::Response::into_inner)
    }

    /// Signs and hands in a roster of these nodes.
    pub(crate) async fn approve(&mut self, nodes: &[(&Node, ClusterRole, RosterStatus)]) -> Roster {
        self.roster_version += 1;
        let enrolments = self.enrolments.lock().unwrap().clone();
        let nodes = nodes.iter().map(|(node, role, status)| {
            let mut listed = RosterNode { status: *status, ..node.listed(*role) };
            listed.enrolled.enrolment = enrolments.get(&node.name).copied().unwrap_or(listed.enrolled.enrolment);
            listed
        });
        let roster = made::roster(&self.unsigned_root(), now(), nodes.collect());
        let roster = Roster { version: self.roster_version, prev: self.last_roster, ..roster };
        let mut admin = self.login(&self.admin).await.unwrap();
        let document = signed(DocumentKind::Roster, &roster, &[&self.admin]);
        self.last_roster = Some(document.digest());
        let request = admin.with_session(document.into());
        admin.client.submit_roster(request).await.unwrap();
        roster
    }

    pub(crate) async fn enrol(&self, node: &Node, token: &Token) -> Result<v1::EnrolResponse, Status> {
        let document = node.enrolment(token);
        self.enrol_with(node, document).await
    }

    pub(crate) async fn enrol_with(&self, node: &Node, document: Signed) -> Result<v1::EnrolResponse, Status> {
        let channel = connect(&self.at(self.coordinator().addresses.enrolment), None).await.unwrap();
        self.enrolments.lock().unwrap().insert(node.name.clone(), document.digest());
        let request = v1::EnrolRequest { enrolment: Some(document.into()), certificate_request: node.request() };
        EnrolmentClient::new(channel).enrol(request).await.map(tonic::Response::into_inner)
    }

    /// A client with the node's certificate.
    pub(crate) async fn agent(&self, node: &Node, chain: &[Vec<u8>]) -> AgentClient<Channel> {
        let identity = identity(node, chain);
        let channel = connect(&self.at(self.coordinator().addresses.agents), Some(identity)).await.unwrap();
        AgentClient::new(channel)
    }

    /// The ledger's records so far.
    pub(crate) async fn ledger(&self) -> Vec<hostler_plan::ledger::Record> {
        let mut admin = self.login(&self.admin).await.unwrap();
        let request = admin.with_session(v1::ExportLedgerRequest { from_index: 0 });
        let mut chunks = admin.client.export_ledger(request).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.message().await.unwrap() {
            bytes.extend(chunk.lines);
        }
        hostler_plan::ledger::verify(&bytes).unwrap().0
    }
}

/// What a node shows with its certificate.
pub(crate) fn identity(node: &Node, chain: &[Vec<u8>]) -> ClientIdentity {
    ClientIdentity {
        chain: chain.iter().cloned().map(CertificateDer::from).collect(),
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(node.tls.serialize_der())),
    }
}

/// The pin of a coordinator that is about to serve.
async fn coordinator_pin(coordinator: &Running) -> Digest {
    let file = coordinator.folder.path().join("addresses.json");
    for _ in 0..2000 {
        if file.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ca = std::fs::read(coordinator.folder.path().join("ca.crt")).unwrap();
    hostler_proto::tls::spki_digest(&ca).unwrap()
}

/// A logged-in admin.
pub(crate) struct Admin {
    pub client: AdminClient<Channel>,
    pub session: String,
    pub login: v1::LoginResponse,
}

impl Admin {
    pub(crate) async fn login(channel: BoundChannel, pin: Digest, key: &PrivateKey) -> Result<Self, Status> {
        let session = fresh_key();
        Self::login_by(channel, &session, signed(DocumentKind::Pass, &pass(pin, key, &session), &[key])).await
    }

    /// Logs in with a session key and its pass.
    pub(crate) async fn login_by(channel: BoundChannel, session: &PrivateKey, pass: Signed) -> Result<Self, Status> {
        let mut client = AdminClient::new(channel.channel.clone());
        let nonce = client.challenge(v1::ChallengeRequest {}).await?.into_inner().nonce;
        let request = answer(session, pass, &nonce, channel.certificate().unwrap());
        let login = client.login(request).await?.into_inner();
        Ok(Self { client, session: login.session.clone(), login })
    }

    pub(crate) fn with_session<T>(&self, message: T) -> Request<T> {
        with_session(message, &self.session)
    }
}

pub(crate) fn with_session<T>(message: T, session: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(SESSION_METADATA, session.parse().unwrap());
    request
}

/// A pass for `session`, for an hour, to the coordinator with that pin; `key` has not signed it yet.
pub(crate) fn pass(pin: Digest, key: &PrivateKey, session: &PrivateKey) -> Pass {
    let root = Root { coordinator_ca: vec![pin], ..made::root(now(), Vec::new()) };
    made::pass(&root, &public(key), public(session), now())
}

pub(crate) fn answer(session: &PrivateKey, pass: Signed, nonce: &[u8], certificate: Digest) -> v1::LoginRequest {
    let signature = sign(session, DocumentKind::Login, &login_bytes(nonce, certificate)).unwrap();
    v1::LoginRequest { nonce: nonce.to_vec(), signature, pass: Some(pass.into()) }
}

/// A token with its private half.
pub(crate) struct Token {
    pub key: PrivateKey,
    pub admission: Admission,
}

/// A machine that wants to be a node.
pub(crate) struct Node {
    pub name: NodeName,
    pub key: PrivateKey,
    pub seal_key: String,
    pub tls: KeyPair,
}

impl Node {
    pub(crate) fn new(node: &str) -> Self {
        let key = fresh_key();
        let seal_key = STANDARD.encode(Digest::of(public(&key).to_string().as_bytes()).as_bytes());
        Self { name: name(node), key, seal_key, tls: KeyPair::generate().unwrap() }
    }

    pub(crate) fn request(&self) -> Vec<u8> {
        CertificateParams::default().serialize_request(&self.tls).unwrap().der().to_vec()
    }

    /// The node in a roster.
    fn listed(&self, role: ClusterRole) -> RosterNode {
        RosterNode { seal_key: self.seal_key.clone(), ..made::node(self.name.as_str(), public(&self.key), role) }
    }

    pub(crate) fn enrolment(&self, token: &Token) -> Signed {
        let node = self.listed(token.admission.role);
        let enrolment = Enrolment {
            tls_key: Digest::of(&self.tls.subject_public_key_info()),
            ..made::enrolment(&token.admission, now(), &node)
        };
        signed(DocumentKind::Enrolment, &enrolment, &[&token.key, &self.key])
    }
}
