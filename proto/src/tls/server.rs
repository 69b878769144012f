//! The listeners of a coordinator: TLS with or without client certificates, and who the peer is.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
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
    /// Of these from one address; one more is closed at once, so that no single peer keeps all others out.
    pub max_per_address: usize,
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
    _place: Place,
}

/// Open connections by address.
type Addresses = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// What a connection takes up; given back when it ends.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    address: IpAddr,
    addresses: Addresses,
}

impl Place {
    /// None when the address has as many connections as it may.
    fn take(permit: OwnedSemaphorePermit, address: IpAddr, addresses: &Addresses, most: usize) -> Option<Self> {
        let mut open = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Self { _permit: permit, address, addresses: addresses.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Finished connections, for `tonic`'s `serve_with_incoming`.
pub type Incoming = tokio_stream::wrappers::ReceiverStream<io::Result<Accepted>>;

/// Takes connections from `listener` until the returned stream is dropped. Handshakes run beside each other.
pub fn incoming(listener: TcpListener, settings: ServerSettings) -> Result<Incoming, TlsError> {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&settings)?));
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(accept_all(listener, acceptor, settings.max_connections, settings.max_per_address, sender));
    Ok(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    max_connections: usize,
    max_per_address: usize,
    sender: mpsc::Sender<io::Result<Accepted>>,
) {
    let (permits, addresses) = (Arc::new(Semaphore::new(max_connections)), Addresses::default());
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
        let Some(place) = Place::take(permit, address.ip(), &addresses, max_per_address) else { continue };
        let (acceptor, sender) = (acceptor.clone(), sender.clone());
        tokio::spawn(async move {
            let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(acceptor, tcp, address, place));
            // A peer that fails its handshake gets no answer and leaves no trace but its closed connection.
            if let Ok(Ok(accepted)) = handshake.await {
                let _ = sender.send(Ok(accepted)).await;
            }
        });
    }
}

async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream, address: SocketAddr, place: Place) -> io::Result<Accepted> {
    static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);
    tcp.set_nodelay(true)?;
    let stream = acceptor.accept(tcp).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|c| c.first()).map(|c| c.clone().into_owned());
    let connection = NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed);
    Ok(Accepted { stream, peer: PeerInfo { address, connection, certificate }, _place: place })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_more_connections_than_it_may_and_gets_ended_ones_back() {
        let (permits, addresses) = (Arc::new(Semaphore::new(9)), Addresses::default());
        let take = |host: u8| {
            let permit = permits.clone().try_acquire_owned().unwrap();
            Place::take(permit, IpAddr::from([192, 168, 1, host]), &addresses, 2)
        };
        let (one, two) = (take(1), take(1));
        assert!(one.is_some() && two.is_some() && take(1).is_none());
        assert_eq!(permits.available_permits(), 7, "what is refused takes up nothing");
        let other = take(2);
        assert!(other.is_some(), "another address has its own");
        drop(one);
        assert!(take(1).is_some());
        drop((two, other));
        assert!(addresses.lock().unwrap().is_empty(), "who has gone is forgotten");
    }
}
