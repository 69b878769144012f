//! Connecting to a coordinator whose CA is pinned.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use hostler_plan::{id::Digest, timestamp::Timestamp};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use super::{Bytes, COORDINATOR_NAME, PinnedVerifier, SOCKET_SCHEME, TlsError, provider};

/// A coordinator on the same network answers in milliseconds; a node on bad Wi-Fi gets this long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that vanished without a word is noticed by the kernel, which wakes nobody for it: what was sent is not
/// acknowledged for so long, or a silent peer does not answer its probes.
const VANISHED: Duration = Duration::from_secs(40);
/// Seconds of silence before the first probe, and between two of them.
const PROBE_AFTER: u32 = 30;
const PROBE_EVERY: u32 = 10;

/// A process that stands still behind a kernel that answers is noticed after one interval and one timeout. Each ping
/// wakes an idle agent about five times, so they are few.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(120);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach a coordinator and how to know it.
#[derive(Debug, Clone)]
pub struct Coordinator {
    /// `host:port`, or `unix:///path` for a Unix socket of this machine.
    pub address: String,
    /// SPKI digests of the CAs that are accepted.
    pub pins: Vec<Digest>,
    /// No certificate is judged at an earlier time than this.
    pub time_floor: Timestamp,
}

/// A node's client certificate, leaf first, and its key in PKCS#8.
#[derive(Debug)]
pub struct ClientIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not an address.
    #[error("coordinator address expected host:port or unix:///path, found {0:?}; correct it in the configuration")]
    Address(String),
    /// Nobody there, or somebody else.
    #[error("cannot reach the coordinator at {address}: {reason}; check its address and that it runs")]
    Unreachable { address: String, reason: String },
    /// Somebody is there and closed the connection before anybody had said who they are.
    #[error(
        "the coordinator at {address} closes connections before a login is over ({reason}): too many strangers come, \
         or it is about to end; try again, or log in on its machine (`--coordinator unix:///…`)"
    )]
    CutOff { address: String, reason: String },
    /// One of the two clocks is off.
    #[error(
        "the certificate of the coordinator at {address} {edge} by this machine's clock, which shows {shown}: {whose}; \
         compare `date` on both machines, and start a time service where it is wrong (chrony, systemd-timesyncd)"
    )]
    Clock { address: String, edge: String, shown: Timestamp, whose: &'static str },
    /// Somebody answers, and is not the coordinator that the pins name.
    #[error(
        "the coordinator at {address} is not the expected one: expected a certificate of a pinned CA ({pins}), found \
         another ({reason}); do not go on before you know who answers there"
    )]
    NotPinned { address: String, pins: String, reason: String },
}

/// A channel that also knows which certificate the coordinator showed; a login is bound to it.
#[derive(Debug, Clone)]
pub struct BoundChannel {
    pub channel: Channel,
    certificate: Arc<Mutex<Option<Digest>>>,
}

impl BoundChannel {
    /// SHA-256 of the DER of the certificate that the coordinator showed on the newest connection of this channel.
    pub fn certificate(&self) -> Option<Digest> {
        *self.certificate.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Opens one HTTP/2 connection. It is made now, so that a wrong address or a wrong CA shows at once.
pub async fn connect(coordinator: &Coordinator, identity: Option<ClientIdentity>) -> Result<Channel, ConnectError> {
    Ok(connect_bound(coordinator, identity).await?.channel)
}

/// As [`connect`], and keeps the digest of the coordinator's certificate.
pub async fn connect_bound(
    coordinator: &Coordinator,
    identity: Option<ClientIdentity>,
) -> Result<BoundChannel, ConnectError> {
    let config = client_config(coordinator, identity)?;
    let place = Place::parse(&coordinator.address)?;
    // Only its form is used: where to connect is the dialler's.
    let uri = match &place {
        Place::Network(uri) => uri.clone(),
        Place::Machine(_) => Uri::from_static("http://localhost"),
    };
    let connector = TlsConnector::from(Arc::new(config));
    let address = coordinator.address.clone();
    let certificate = Arc::new(Mutex::new(None));
    let seen = certificate.clone();
    let dial = tower::service_fn(move |_: Uri| {
        let (connector, address, place, seen) = (connector.clone(), address.clone(), place.clone(), seen.clone());
        async move {
            let socket: Box<dyn Bytes> = match place {
                Place::Network(_) => {
                    let tcp = TcpStream::connect(&address).await?;
                    tcp.set_nodelay(true)?;
                    notice_vanishing(&tcp)?;
                    Box::new(tcp)
                }
                Place::Machine(path) => Box::new(UnixStream::connect(path).await?),
            };
            let name = ServerName::try_from(COORDINATOR_NAME).expect("the name is a valid DNS name");
            let stream = connector.connect(name, socket).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|c| c.first()).map(|c| Digest::of(c));
            *seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = shown;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(dial)
        .await
        .map_err(|e| failed(coordinator, &e))?;
    Ok(BoundChannel { channel, certificate })
}

/// Lets the kernel end a connection whose other end is not there any more.
fn notice_vanishing(tcp: &TcpStream) -> io::Result<()> {
    setsockopt(tcp, sockopt::KeepAlive, &true)?;
    setsockopt(tcp, sockopt::TcpKeepIdle, &PROBE_AFTER)?;
    setsockopt(tcp, sockopt::TcpKeepInterval, &PROBE_EVERY)?;
    let milliseconds = u32::try_from(VANISHED.as_millis()).unwrap_or(u32::MAX);
    Ok(setsockopt(tcp, sockopt::TcpUserTimeout, &milliseconds)?)
}

/// Where a coordinator listens.
#[derive(Debug, Clone)]
enum Place {
    Network(Uri),
    Machine(PathBuf),
}

impl Place {
    fn parse(address: &str) -> Result<Self, ConnectError> {
        let wrong = || ConnectError::Address(address.to_owned());
        if let Some(path) = address.strip_prefix(SOCKET_SCHEME) {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Machine(path)) } else { Err(wrong()) };
        }
        let uri: Uri = format!("http://{address}").parse().map_err(|_| wrong())?;
        if uri.port_u16().is_none() { Err(wrong()) } else { Ok(Self::Network(uri)) }
    }
}

fn client_config(coordinator: &Coordinator, identity: Option<ClientIdentity>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedVerifier::new(
            coordinator.pins.iter().copied(),
            coordinator.time_floor,
        )));
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn failed(coordinator: &Coordinator, error: &(dyn std::error::Error + 'static)) -> ConnectError {
    let (address, reason) = (coordinator.address.clone(), root_cause(error));
    let mut cause = Some(error);
    while let Some(inner) = cause {
        let tls = inner.downcast_ref::<io::Error>().and_then(|e| e.get_ref()?.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(wrong)) = tls {
            if let Some((shown, edge)) = clock(wrong) {
                return ConnectError::Clock { address, edge, shown, whose: whose(shown, coordinator.time_floor) };
            }
            let pins: Vec<String> = coordinator.pins.iter().map(Digest::short).collect();
            return ConnectError::NotPinned { address, pins: pins.join(", "), reason };
        }
        if inner.downcast_ref::<io::Error>().is_some_and(|e| cuts_off(e.kind())) {
            return ConnectError::CutOff { address, reason };
        }
        cause = inner.source();
    }
    ConnectError::Unreachable { address, reason }
}

/// Whether a connection that was open ended by it.
fn cuts_off(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe)
}

/// What a certificate says of a time at which it does not count, and that time.
fn clock(wrong: &CertificateError) -> Option<(Timestamp, String)> {
    let at = |time: &UnixTime| Timestamp::from_unix_seconds(time.as_secs());
    #[expect(clippy::wildcard_enum_match_arm, reason = "of all that may be wrong, two have to do with clocks")]
    match wrong {
        CertificateError::NotValidYetContext { time, not_before } => {
            Some((at(time), format!("is not valid before {}", at(not_before))))
        }
        CertificateError::ExpiredContext { time, not_after } => {
            Some((at(time), format!("has expired at {}", at(not_after))))
        }
        _ => None,
    }
}

/// Whose clock is off, as far as one side can tell.
fn whose(shown: Timestamp, floor: Timestamp) -> &'static str {
    // What lies below is judged at the floor.
    if shown <= floor { "this machine's clock is not set" } else { "one of the two clocks is off" }
}

/// The innermost error: "connection refused" says more than "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
