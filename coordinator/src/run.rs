//! Opens everything, serves until told to stop, and closes it again in the right order.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hostler_daemon::{
    durable::{self, PRIVATE},
    http, memory, process,
};
use hostler_plan::{id::Digest, text::hex};
use hostler_proto::{
    MAX_MESSAGE_BYTES,
    join::SetupCode,
    tls::{DoorLimits, Incoming, Listener, ServerIdentity, ServerSettings, TlsError, incoming},
    v1::{admin_server::AdminServer, agent_server::AgentServer, enrolment_server::EnrolmentServer},
};
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};
use tonic::transport::{Server, server::Router};

use crate::{
    admin_socket::AdminSocket,
    clock::now,
    control::{Control, ControlConfig, State},
    control_loop::{ControlLoop, Running},
    grpc::{
        AdminAuth, AdminService, AgentService, EnrolmentService, InTime, Setup, Shared, Views,
        ca::{Authority, CaError},
        session::{SessionError, random},
    },
    limits::{CALL_TIMEOUT, CALLS_PER_CONNECTION, HEADER_BYTES, Limits, NODE_WINDOW_BYTES, STOP_GRACE},
    metrics::Metrics,
    nodes::reports::NodeReports,
    pace::Pace,
    settings::Settings,
    store::{
        artifact::{self, Artifacts},
        copy::{self, Copied, CopyError},
        data_dir::{DataDir, DataDirError},
        fleet_file, head,
        index::Index,
        ledger::{Ledger, LedgerError, Opened},
        recover::{self, Recovered},
        snapshots::{self, Snapshots},
    },
};

/// Where the actual addresses are written, as JSON.
const ADDRESSES_FILE: &str = "addresses.json";
/// Where an empty coordinator writes its set-up code.
const SETUP_FILE: &str = "setup-code";

/// A peer that vanished without a word is noticed after one interval and one timeout.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// As often as nodes report; it takes some milliseconds with 400 of them.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(10);
/// How often artifacts are looked through that nothing needs; they are kept for days.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// A server's reading of its cluster counts for three reports, and at least this long.
const CONDITIONS_FRESH_AT_LEAST: Duration = Duration::from_secs(60);
/// A node that reports every second is not silent for a hiccup.
const SILENT_AT_LEAST: Duration = Duration::from_secs(15);

/// Why a coordinator does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Authority(#[from] CaError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Random(#[from] SessionError),
    /// A record is in good order and yet does not count.
    #[error(
        "ledger record {index} does not count: {reason}; the ledger is from another version or was made by somebody \
            else: restore it from a backup"
    )]
    Record { index: u64, reason: String },
    /// An address cannot be listened on.
    #[error("cannot listen for {what} on {address}: {source}; stop what uses it, or set {key}")]
    Listen { what: &'static str, key: &'static str, address: SocketAddr, source: io::Error },
    /// The admins' socket cannot be made.
    #[error(
        "cannot listen for admins on the socket {}: {source}; stop what uses it, make its folder, or set admin_socket",
        path.display()
    )]
    Socket { path: PathBuf, source: io::Error },
    /// A file of the data folder cannot be written.
    #[error("cannot use {}: {source}; check the disk and the owner of the data folder", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A listener ended by itself.
    #[error("a listener ended: {0:?}")]
    Serve(#[from] tonic::transport::Error),
    /// The operating system gives no thread or no event queue.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Sockets that are bound, so that a wrong address shows before anything else happens.
#[derive(Debug)]
pub struct Listeners {
    enrolment: TcpListener,
    agents: TcpListener,
    admin: TcpListener,
    machine: Option<AdminSocket>,
    metrics: Option<TcpListener>,
    addresses: Addresses,
}

/// The addresses that are really listened on; with port 0 in the settings the kernel chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Addresses {
    pub enrolment: SocketAddr,
    pub agents: SocketAddr,
    pub admin: SocketAddr,
    pub metrics: Option<SocketAddr>,
}

impl Listeners {
    /// Binds every address of the settings.
    pub async fn bind(settings: &Settings) -> Result<Self, RunError> {
        let (enrolment, enrolment_address) = bind(settings.enrolment_listen, "enrolments", "enrolment_listen").await?;
        let (agents, agents_address) = bind(settings.agent_listen, "agents", "agent_listen").await?;
        let (admin, admin_address) = bind(settings.admin_listen, "admins", "admin_listen").await?;
        let bind_socket =
            |path: &PathBuf| AdminSocket::bind(path).map_err(|source| RunError::Socket { path: path.clone(), source });
        let machine = settings.admin_socket.as_ref().map(bind_socket).transpose()?;
        let (metrics, metrics_address) = match settings.metrics_listen {
            Some(address) => bind(address, "metrics", "metrics_listen").await.map(|(l, a)| (Some(l), Some(a)))?,
            None => (None, None),
        };
        let addresses = Addresses {
            enrolment: enrolment_address,
            agents: agents_address,
            admin: admin_address,
            metrics: metrics_address,
        };
        Ok(Self { enrolment, agents, admin, machine, metrics, addresses })
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }
}

async fn bind(
    address: SocketAddr,
    what: &'static str,
    key: &'static str,
) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |source| RunError::Listen { what, key, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let actual = listener.local_addr().map_err(failed)?;
    Ok((listener, actual))
}

/// Runs a coordinator until `shutdown` ends. While it serves, `<data>/addresses.json` says where; after a crash the
/// file stays until the next start.
pub async fn run(settings: Settings, listeners: Listeners, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let coordinator = Coordinator::open(&settings, &listeners.addresses)?;
    let (stop, stopped) = watch::channel(false);
    let serving = coordinator.serve(listeners, &stopped)?;
    process::ready();
    let control = coordinator.control.handle.clone();
    let watchdog = process::keep_watchdog(|| async { control.ask(|_, _| ()).await.is_ok() });
    let giving_back = give_back();
    let sweeping = sweep(coordinator.shared.clone(), settings.artifact_keep);
    tokio::pin!(serving, shutdown, watchdog, giving_back, sweeping);
    let result = tokio::select! {
        result = &mut serving => result,
        () = &mut giving_back => Ok(()),
        () = &mut sweeping => Ok(()),
        () = &mut watchdog => Ok(()),
        () = &mut shutdown => {
            tracing::info!("stopping");
            // The control loop ends first: its streams end with it, and then the listeners have nobody to wait for.
            coordinator.control.handle.stop();
            stop.send_replace(true);
            tokio::time::timeout(STOP_GRACE, &mut serving).await.unwrap_or(Ok(()))
        }
    };
    let Coordinator { control, data, shared, index, .. } = coordinator;
    control.stop();
    shared.reports.keep_all();
    index.close();
    result.and(remove(&data.join(ADDRESSES_FILE)))
}

/// Gives memory back again and again: a fleet that connects, and every plan for it, needs for a moment many times what
/// stays, and parts of the program that nothing else runs.
async fn give_back() {
    let mut again = tokio::time::interval(GIVE_BACK_INTERVAL);
    loop {
        again.tick().await;
        memory::release();
    }
}

/// Removes artifacts that no plan needed for so long.
async fn sweep(shared: Arc<Shared>, keep: Duration) {
    let mut again = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        again.tick().await;
        let Ok(needed) = shared.control.ask(|control, _| control.state().needed_artifacts()).await else {
            // It stops, and everything with it.
            std::future::pending().await
        };
        let shared = shared.clone();
        match tokio::task::spawn_blocking(move || shared.artifacts.sweep(&needed, keep)).await {
            Ok(Ok(gone)) => {
                for (artifact, bytes) in gone {
                    tracing::info!(artifact, bytes, "artifact removed: no plan needs it");
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "old artifacts cannot be removed; check the disk"),
            Err(error) => tracing::warn!(%error, "old artifacts were not removed"),
        }
    }
}

/// Keeps the good records of a damaged ledger and puts the rest aside. No coordinator may be running.
pub fn recover(settings: &Settings) -> Result<Recovered, RunError> {
    let _data = DataDir::open(&settings.data_dir)?;
    Ok(recover::recover(&settings.data_dir, now())?)
}

/// Copies the ledger to a file. A coordinator may be running.
pub fn backup(settings: &Settings, to: &Path) -> Result<Copied, RunError> {
    Ok(copy::backup(&settings.data_dir, to)?)
}

/// Puts a copy of the ledger back. No coordinator may be running.
pub fn restore(settings: &Settings, from: &Path) -> Result<Copied, RunError> {
    let _data = DataDir::open(&settings.data_dir)?;
    Ok(copy::restore(&settings.data_dir, from, now())?)
}

/// Both directions of a service with the message limit of the wire.
macro_rules! limited {
    ($service:expr) => {
        $service.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    };
}

/// Everything that is open while a coordinator runs.
struct Coordinator {
    data: DataDir,
    control: Running,
    shared: Arc<Shared>,
    index: Arc<Index>,
    setup: Option<String>,
    addresses: Addresses,
    limits: Limits,
}

impl Coordinator {
    fn open(settings: &Settings, addresses: &Addresses) -> Result<Self, RunError> {
        let data = DataDir::open(&settings.data_dir)?;
        // Of an earlier run; who waits for it must not read old addresses.
        remove(&data.join(ADDRESSES_FILE))?;
        let authority = Authority::open(&data, now())?.with_node_lifetime(settings.node_certificate_lifetime);
        let (ledger, state) = read_ledger(settings)?;
        let reader = ledger.reader();
        let artifacts = Artifacts::open(&settings.data_dir).map_err(in_file(&data.join(artifact::FOLDER_NAME)))?;
        let snapshots = Snapshots::open(&settings.data_dir).map_err(in_file(&data.join(snapshots::FOLDER_NAME)))?;
        let has_root = state.root().is_some();
        if has_root {
            head::note_root(&settings.data_dir).map_err(in_file(&settings.data_dir))?;
        }
        let (index, mut kept) = Index::open(&settings.data_dir, now());
        let enrolled_from = std::mem::take(&mut kept.addresses).into_iter().collect();
        let mut control = Control::new(Box::new(ledger), state, control_config(settings), enrolled_from);
        let holdings = std::mem::take(&mut kept.holdings);
        control.restore_holdings(holdings.into_iter().map(|(node, holding)| (node, holding.0)).collect());
        let control = ControlLoop::start(control, index.clone()).map_err(RunError::Start)?;
        let reports = NodeReports::new(control.handle.clone(), index.clone(), kept, now());
        use_fleet_file(&reports, &data.join(fleet_file::FILE_NAME));
        let host = |listen: SocketAddr| advertised(settings.advertised_host.as_deref(), listen);
        let setup = setup_code(&data, has_root, &authority, &host(addresses.admin))?;
        let shared = Arc::new(Shared {
            control: control.handle.clone(),
            ledger: reader,
            authority,
            artifacts,
            snapshots,
            pace: Pace::new(settings.artifact_bytes_per_second),
            reports,
            views: Views::default(),
            silent_after_ms: silent_after_ms(settings),
            enrolment_address: host(addresses.enrolment),
            agent_address: host(addresses.agents),
        });
        let (addresses, limits) = (addresses.clone(), settings.limits.clone());
        Ok(Self { data, control, shared, index, setup, addresses, limits })
    }

    /// Serves on all listeners until `stopped` says so.
    fn serve(
        &self,
        listeners: Listeners,
        stopped: &watch::Receiver<bool>,
    ) -> Result<impl Future<Output = Result<(), RunError>> + use<>, RunError> {
        let Listeners { enrolment, agents, admin, machine, metrics, .. } = listeners;
        let (limits, authority) = (&self.limits, &self.shared.authority);
        let node_ca = Some(authority.certificate().clone());
        let enrolment = listen(Listener::Tcp(enrolment), authority.server_identity(now())?, None, limits.enrolment)?;
        let agents = listen(Listener::Tcp(agents), authority.server_identity(now())?, node_ca, limits.agents)?;
        // Both ways to log in show the same certificate, which an answer to a challenge is bound to.
        let identity = authority.server_identity(now())?;
        let shown = identity.chain.first().cloned().unwrap_or_else(|| Vec::new().into());
        let (machine, socket) = machine.map(|AdminSocket { listener, file }| (listener, file)).unzip();
        let machine = machine.map(|m| listen(Listener::Unix(m), identity.clone(), None, limits.machine)).transpose()?;
        let admin = listen(Listener::Tcp(admin), identity, None, limits.admins)?;
        let setup = Setup::new(self.setup.clone(), self.data.join(SETUP_FILE));
        let auth = AdminAuth::new(Digest::of(&shown), limits.session);
        let (fleet_file, pause) = (self.data.join(fleet_file::FILE_NAME), limits.upload_pause);
        let admin_service = AdminService::new(self.shared.clone(), auth, setup, fleet_file, pause);
        let admin_service = Arc::new(admin_service);
        let enrolment_service = limited!(EnrolmentServer::new(EnrolmentService::new(self.shared.clone())));
        let agent_service = limited!(AgentServer::new(AgentService::new(self.shared.clone())));
        let call = limits.call;
        let admin_service = || InTime::new(limited!(AdminServer::from_arc(admin_service.clone())), call);
        let enrolment = serve(for_nodes().add_service(enrolment_service), enrolment, stopped.clone());
        let agents = serve(for_nodes().add_service(agent_service), agents, stopped.clone());
        let admin = serve(server().add_service(admin_service()), admin, stopped.clone());
        let machine = machine.map(|machine| serve(server().add_service(admin_service()), machine, stopped.clone()));
        let machine = async move {
            // Its file goes when it is not served any more.
            let _socket = socket;
            match machine {
                Some(machine) => machine.await,
                None => Ok(()),
            }
        };
        let metrics = metrics.map(|listener| {
            let text = Arc::new(Metrics::new(self.shared.clone()));
            http::serve(listener, move || {
                let text = text.clone();
                async move { text.text().await }
            })
        });
        let file = self.data.join(ADDRESSES_FILE);
        let json = serde_json::to_vec(&self.addresses).map_err(|e| in_file(&file)(e.into()))?;
        durable::replace(&file, &json, PRIVATE).map_err(in_file(&file))?;
        tracing::info!(
            enrolment = %self.addresses.enrolment, agents = %self.addresses.agents, admin = %self.addresses.admin,
            ca_pin = %authority.pin(), "serving"
        );
        let listeners =
            async move { tokio::try_join!(enrolment, agents, admin, machine).map(|_| ()).map_err(Into::into) };
        Ok(async move {
            match metrics {
                // Metrics are served until the listeners are closed, and never end by themselves.
                Some(metrics) => tokio::select! { ended = listeners => ended, () = metrics => Ok(()) },
                None => listeners.await,
            }
        })
    }
}

/// Opens the ledger and folds it; every document in it is verified.
fn read_ledger(settings: &Settings) -> Result<(Ledger, State), RunError> {
    let Opened { ledger, records, torn } = Ledger::open(&settings.data_dir)?;
    if let Some(torn) = torn {
        tracing::warn!(file = %torn.display(), "the last ledger record was not completely written and never \
            acknowledged; it was put aside");
    }
    let mut state = State::new();
    for written in &records {
        let index = written.record.index;
        state.replay(written).map_err(|refused| RunError::Record { index, reason: refused.reason })?;
    }
    tracing::info!(records = records.len(), bytes = ledger.length(), "ledger read");
    Ok((ledger, state))
}

fn control_config(settings: &Settings) -> ControlConfig {
    ControlConfig {
        report_interval: settings.report_interval,
        conditions_fresh_for: (settings.report_interval * 3).max(CONDITIONS_FRESH_AT_LEAST),
    }
}

/// Evaluates nodes by the thresholds of the fleet file that was kept, if there is one.
fn use_fleet_file(reports: &NodeReports, file: &Path) {
    let content = fleet_file::read(file).map_err(|error| error.to_string()).transpose();
    if let Some(Err(reason)) = content.map(|content| reports.set_fleet_file(&content?)) {
        tracing::warn!(file = %file.display(), reason, "the kept fleet file cannot be used; nodes are judged by the \
            usual thresholds");
    }
}

/// A node is silent when three reports in a row did not come, and at least a little while passed.
fn silent_after_ms(settings: &Settings) -> u64 {
    let after = (settings.report_interval * 3).max(SILENT_AT_LEAST);
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
}

fn listen(
    listener: Listener,
    identity: ServerIdentity,
    client_ca: Option<CertificateDer<'static>>,
    limits: DoorLimits,
) -> Result<Incoming, RunError> {
    Ok(incoming(listener, ServerSettings { identity, client_ca, limits })?)
}

/// Nodes send little at a time, and each of their calls is answered at once; only what the answer brings may take long.
fn for_nodes() -> Server {
    server()
        .timeout(CALL_TIMEOUT)
        .initial_stream_window_size(NODE_WINDOW_BYTES)
        .initial_connection_window_size(NODE_WINDOW_BYTES)
}

fn server() -> Server {
    Server::builder()
        .http2_max_header_list_size(HEADER_BYTES)
        .max_concurrent_streams(CALLS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

async fn serve(
    router: Router,
    incoming: Incoming,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let stop = async move {
        let _ = stopped.wait_for(|s| *s).await;
    };
    router.serve_with_incoming_shutdown(incoming, stop).await
}

/// `host:port` as others reach a listener: the advertised host, else the listen address, else this machine's name.
fn advertised(host: Option<&str>, listen: SocketAddr) -> String {
    let port = listen.port();
    match host {
        Some(host) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
        Some(host) => format!("{host}:{port}"),
        None if !listen.ip().is_unspecified() => listen.to_string(),
        None => {
            let name = nix::unistd::gethostname().ok().and_then(|n| n.into_string().ok());
            format!("{}:{port}", name.unwrap_or_else(|| "localhost".to_owned()))
        }
    }
}

/// The code that an empty coordinator takes its first root with; the same until it is used.
fn setup_code(data: &DataDir, has_root: bool, authority: &Authority, admin: &str) -> Result<Option<String>, RunError> {
    let file = data.join(SETUP_FILE);
    if has_root {
        remove(&file)?;
        return Ok(None);
    }
    let before = std::fs::read_to_string(&file).ok().and_then(|text| SetupCode::parse(&text).ok());
    let code = match before.filter(|b| b.ca_pin == authority.pin()) {
        Some(before) => before.code,
        None => hex(&random::<32>()?),
    };
    let whole = SetupCode { ca_pin: authority.pin(), code: code.clone(), admin_address: admin.to_owned() };
    durable::replace(&file, format!("{}\n", whole.encode()).as_bytes(), PRIVATE).map_err(in_file(&file))?;
    // The code itself stays out of the journal: whoever has it first owns the coordinator.
    tracing::warn!("no trust root yet: give the set-up code in {} to `hostler trust init`", file.display());
    Ok(Some(code))
}

fn remove(path: &Path) -> Result<(), RunError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(in_file(path)(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn in_file(path: &Path) -> impl Fn(io::Error) -> RunError {
    let path = path.to_owned();
    move |source| RunError::File { path: path.clone(), source }
}
