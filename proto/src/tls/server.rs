//! The listeners of a coordinator: TLS with or without client certificates, and who the peer is.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

use super::{
    Bytes, TlsError,
    door::{Connection, Door, DoorLimits, Handshake, PeerAddress, Place},
    provider,
};

/// A peer that began a handshake and does not finish it is dropped after this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The certificate that a listener shows, leaf first and its CA last, and the leaf's key in PKCS#8.
#[derive(Debug)]
pub struct ServerIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Clone for ServerIdentity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// How a listener takes connections.
#[derive(Debug)]
pub struct ServerSettings {
    pub identity: ServerIdentity,
    /// With a CA every client must show a certificate of it; without, none is asked for. There is no third way.
    pub client_ca: Option<CertificateDer<'static>>,
    pub limits: DoorLimits,
}

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection before its handshake.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, PeerAddress)> {
        match self {
            Self::Tcp(listener) => {
                let (tcp, address) = listener.accept().await?;
                Ok((Socket::Tcp(tcp), PeerAddress::Network(address)))
            }
            Self::Unix(listener) => {
                let (unix, _) = listener.accept().await?;
                let user = unix.peer_cred()?.uid();
                Ok((Socket::Unix(unix), PeerAddress::Machine { user }))
            }
        }
    }
}

impl Socket {
    /// Waits until the other end sent something.
    async fn speaks(self) -> io::Result<Box<dyn Bytes>> {
        match self {
            Self::Tcp(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.readable().await?;
                Ok(Box::new(tcp))
            }
            Self::Unix(unix) => {
                unix.readable().await?;
                Ok(Box::new(unix))
            }
        }
    }
}

/// What a service may know of the connection a call came over. A call without it did not come through this listener.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    pub address: PeerAddress,
    pub connection: Connection,
    /// The client's certificate, verified against the CA; none on listeners that do not ask.
    pub certificate: Option<CertificateDer<'static>>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Accepted {
    stream: TlsStream<Box<dyn Bytes>>,
    peer: PeerInfo,
    /// Ready when the connection is to be closed; none once it was.
    ended: Option<oneshot::Receiver<()>>,
    _place: Place,
}

/// Finished connections, for `tonic`'s `serve_with_incoming`.
pub type Incoming = tokio_stream::wrappers::ReceiverStream<io::Result<Accepted>>;

/// Takes connections from `listener` until the returned stream is dropped. Handshakes run beside each other.
pub fn incoming(listener: Listener, settings: ServerSettings) -> Result<Incoming, TlsError> {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&settings)?));
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(accept_all(listener, acceptor, Door::new(settings.limits), sender));
    Ok(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

async fn accept_all(
    listener: Listener,
    acceptor: TlsAcceptor,
    door: Arc<Door>,
    sender: mpsc::Sender<io::Result<Accepted>>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.overdue() => {
                door.close_overdue(Instant::now());
                continue;
            }
            () = sender.closed() => return,
        };
        let Ok((socket, address)) = accepted else {
            // Out of file descriptors, most likely: leave room for others to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let since = Instant::now();
        let (opened, ended) = door.open(address, since);
        let (acceptor, door, sender) = (acceptor.clone(), door.clone(), sender.clone());
        tokio::spawn(async move {
            let shaken = tokio::select! {
                shaken = handshake(acceptor, socket, opened) => shaken,
                _ = ended => return,
            };
            // A peer that fails its handshake gets no answer and leaves no trace but its closed connection.
            let Ok(stream) = shaken else { return };
            let (place, ended) = door.enter(address, since);
            let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first());
            let certificate = certificate.map(|c| c.clone().into_owned());
            let peer = PeerInfo { address, connection: place.connection(), certificate };
            let _ = sender.send(Ok(Accepted { stream, peer, ended: Some(ended), _place: place })).await;
        });
    }
}

async fn handshake(acceptor: TlsAcceptor, socket: Socket, opened: Handshake) -> io::Result<TlsStream<Box<dyn Bytes>>> {
    let bytes = socket.speaks().await?;
    opened.speaks();
    tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(bytes)).await?
}

fn server_config(settings: &ServerSettings) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match &settings.client_ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.clone())?;
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?,
            )
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(settings.identity.chain.clone(), settings.identity.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

impl Connected for Accepted {
    type ConnectInfo = PeerInfo;
    fn connect_info(&self) -> PeerInfo {
        self.peer.clone()
    }
}

impl Accepted {
    /// An error once the connection is to be closed. Whoever reads or writes is woken by it.
    fn check_open(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ended.as_mut().is_some_and(|ended| Pin::new(ended).poll(cx).is_pending()) {
            return Ok(());
        }
        self.ended = None;
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_open(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_open(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_open(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_open(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
