//! What somebody without credentials does to a listener, again and again.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hostler_plan::{id::Digest, timestamp::Timestamp};
use hostler_proto::tls::{COORDINATOR_NAME, ClientIdentity, PinnedVerifier};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// What is done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opened, and nothing else.
    HalfOpen,
    /// The first byte of a TLS record.
    StalledHandshake,
    /// TLS, and no word.
    Mute,
    /// HTTP/2 that answers keepalives and asks nothing.
    Keepalive,
    /// HTTP/2 with headers that do not end.
    HeaderBomb,
    /// Calls that are reset as soon as they are made (CVE-2023-44487).
    RapidReset,
    Settings,
    Pings,
    /// A frame that says it has 16 MiB.
    HugeFrame,
}

/// Those of a neighbour.
pub(crate) const KINDS: [Kind; 5] =
    [Kind::HalfOpen, Kind::StalledHandshake, Kind::Mute, Kind::Keepalive, Kind::HeaderBomb];

/// So many at a time of each kind.
const EACH: usize = 12;
/// Between the end of one and the next.
const PAUSE: Duration = Duration::from_millis(300);

/// A flood of one kind at one listener. Ends with this value.
pub(crate) struct Flood {
    pub kind: Kind,
    pub opened: Arc<AtomicUsize>,
    /// Those that the coordinator closed.
    pub closed: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Flood {
    /// Begins one from that address.
    pub(crate) fn start(kind: Kind, from: IpAddr, to: SocketAddr, pin: Digest) -> Self {
        let (opened, closed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = JoinSet::new();
        for _ in 0..EACH {
            let (opened, closed) = (opened.clone(), closed.clone());
            tasks.spawn(async move {
                loop {
                    if let Ok(tcp) = dial(from, to).await {
                        opened.fetch_add(1, Ordering::Relaxed);
                        // However it ends: nobody but the coordinator ends it.
                        let _ = hold(kind, tcp, pin).await;
                        closed.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { kind, opened, closed, _tasks: tasks }
    }
}

async fn dial(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// TLS without a certificate.
async fn tls(tcp: TcpStream, pin: Digest) -> io::Result<TlsStream<TcpStream>> {
    tls_as(tcp, pin, None).await
}

pub(crate) async fn tls_as(
    tcp: TcpStream,
    pin: Digest,
    identity: Option<ClientIdentity>,
) -> io::Result<TlsStream<TcpStream>> {
    let verifier = PinnedVerifier::new([pin], Timestamp::from_unix_seconds(0));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match identity {
        Some(identity) => config.with_client_auth_cert(identity.chain, identity.key).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(COORDINATOR_NAME).unwrap(), tcp).await
}

async fn hold(kind: Kind, mut tcp: TcpStream, pin: Digest) -> io::Result<()> {
    match kind {
        Kind::HalfOpen => until_end(&mut tcp).await,
        Kind::StalledHandshake => {
            tcp.write_all(&[0x16]).await?;
            until_end(&mut tcp).await
        }
        Kind::Mute
        | Kind::Keepalive
        | Kind::HeaderBomb
        | Kind::RapidReset
        | Kind::Settings
        | Kind::Pings
        | Kind::HugeFrame => speak(kind, tls(tcp, pin).await?).await,
    }
}

/// Speaks until the other end closes.
pub(crate) async fn speak(kind: Kind, mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    match kind {
        Kind::HalfOpen | Kind::StalledHandshake | Kind::Mute => until_end(&mut stream).await,
        Kind::Keepalive => keepalive(stream).await,
        Kind::HeaderBomb => header_bomb(stream).await,
        // `:method: POST`, `:scheme: http`, `:path: /`, and at once CANCEL (sections 6.2 and 6.4).
        Kind::RapidReset => {
            let call = |n: u32| [frame(1, 5, 2 * n + 1, &[0x83, 0x86, 0x84]), frame(3, 0, 2 * n + 1, &[0, 0, 0, 8])];
            again(stream, |n| call(n).concat()).await
        }
        // The size of a table, another one each time.
        Kind::Settings => again(stream, |n| frame(SETTINGS, 0, 0, &[&[0, 1], &n.to_be_bytes()[..]].concat())).await,
        Kind::Pings => again(stream, |n| frame(PING, 0, 0, &u64::from(n).to_be_bytes())).await,
        Kind::HugeFrame => again(stream, |_| vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]).await,
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A hundred frames at a time, again and again, while what comes back is read.
async fn again(stream: TlsStream<TcpStream>, frame: impl Fn(u32) -> Vec<u8>) -> io::Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let speak = async {
        to.write_all(PREFACE).await?;
        for n in (0..).step_by(100) {
            to.write_all(&(n..n + 100).flat_map(&frame).collect::<Vec<u8>>()).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::select! {
        ended = until_end(&mut from) => ended,
        ended = speak => ended,
    }
}

async fn until_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<()> {
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

/// The beginning of HTTP/2 with settings that change nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;

/// Answers settings and pings until the other end goes (RFC 9113, sections 6.5 and 6.7).
async fn keepalive(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    stream.write_all(PREFACE).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        let (kind, flags) = (head[3], head[4]);
        if flags & ACK == 0 && (kind == SETTINGS || kind == PING) {
            let payload = if kind == PING { payload } else { Vec::new() };
            stream.write_all(&frame(kind, ACK, 0, &payload)).await?;
        }
    }
}

/// Headers of one call that are continued and continued (section 6.10).
async fn header_bomb(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    // A literal header `a` with a value of 126 bytes, never indexed.
    let header = [&[0x10, 1, b'a', 126][..], &[b'x'; 126]].concat();
    let block = header.repeat(100);
    stream.write_all(PREFACE).await?;
    stream.write_all(&frame(1, 0, 1, &block)).await?;
    loop {
        stream.write_all(&frame(9, 0, 1, &block)).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
