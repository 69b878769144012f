use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

use super::{TlsError, provider};

/// A peer that opened a connection and does not finish the handshake is dropped after this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The certificate that a listener shows, leaf first and its CA last, and the leaf's key in PKCS#8.
#[derive(Debug)]
pub struct ServerIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// How a listener takes connections.
#[derive(Debug)]
pub struct ServerSettings {
    pub identity: ServerIdentity,
    /// With a CA every client must show a certificate of it; without, none is asked for. There is no third way.
    pub client_ca: Option<CertificateDer<'static>>,
    /// Connections at the same time; one more waits in the kernel's queue.
    pub max_connections: usize,
}

/// What a service may know of the connection a call came over. A call without it did not come through this listener.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    pub address: SocketAddr,
    /// Different for every connection of this process.
    pub connection: u64,
    /// The client's certificate, verified against the CA; none on listeners that do not ask.
    pub certificate: Option<CertificateDer<'static>>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub struct Accepted {
    stream: TlsStream<TcpStream>,
    peer: PeerInfo,
    /// Given back when the connection ends.
    _permit: OwnedSemaphorePermit,
}

/// Finished connections, for `tonic`'s `serve_with_incoming`.
pub type Incoming = tokio_stream::wrappers::ReceiverStream<io::Result<Accepted>>;

/// Takes connections from `listener` until the returned stream is dropped. Handshakes run beside each other.
pub fn incoming(listener: TcpListener, settings: ServerSettings) -> Result<Incoming, TlsError> {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&settings)?));
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(accept_all(listener, acceptor, Arc::new(Semaphore::new(settings.max_connections)), sender));
    Ok(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    permits: Arc<Semaphore>,
    sender: mpsc::Sender<io::Result<Accepted>>,
) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let Ok((tcp, address)) = accepted else {
            // Out of file descriptors, most likely: leave room for others to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(acceptor, tcp, address, permit));
            // A peer that fails its handshake gets no answer and leaves no trace but its closed connection.
            if let Ok(Ok(accepted)) = handshake.await {
                let _ = sender.send(Ok(accepted)).await;
            }
        });
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    address: SocketAddr,
    permit: OwnedSemaphorePermit,
) -> io::Result<Accepted> {
    static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);
    tcp.set_nodelay(true)?;
    let stream = acceptor.accept(tcp).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first()).map(|c| c.clone().into_owned());
    let connection = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    Ok(Accepted { stream, peer: PeerInfo { address, connection, certificate }, _permit: permit })
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

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
