//! Relays between agents and a coordinator: one counts the bytes that pass, others come from addresses of their own.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The payload of TCP so far: what is inside TLS and TLS itself, without the headers of TCP and IP.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counted {
    pub up: Arc<AtomicU64>,
    pub down: Arc<AtomicU64>,
}

impl Counted {
    pub(crate) fn sum(&self) -> u64 {
        self.up.load(Ordering::Relaxed) + self.down.load(Ordering::Relaxed)
    }
}

/// Listens on `listen` and passes everything on to `to`. It ends with this process.
pub(crate) fn start(listen: SocketAddr, to: SocketAddr) -> io::Result<Counted> {
    start_at(listen, to, None)
}

/// The same as a link that carries at most so many bytes a second down, all connections together.
pub(crate) fn start_at(listen: SocketAddr, to: SocketAddr, bytes_per_second: Option<u64>) -> io::Result<Counted> {
    let link = bytes_per_second.map(|rate| Arc::new(Link { rate, free: Mutex::new(Instant::now()) }));
    let listener = TcpListener::bind(listen)?;
    let counted = Counted::default();
    let counts = counted.clone();
    thread::Builder::new().name("relay".into()).spawn(move || {
        for client in listener.incoming().flatten() {
            // A coordinator that is not there is a connection that ends, as without a relay.
            let Ok(server) = TcpStream::connect(to) else { continue };
            let _ = pass_both(&client, &server, &counts, link.as_ref());
        }
    })?;
    Ok(counted)
}

/// A link that is busy until a moment.
struct Link {
    rate: u64,
    free: Mutex<Instant>,
}

impl Link {
    fn carry(&self, bytes: usize) {
        let turn = {
            let mut free = self.free.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let turn = (*free).max(Instant::now());
            *free = turn + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            *free
        };
        thread::sleep(turn.saturating_duration_since(Instant::now()));
    }
}

fn pass_both(client: &TcpStream, server: &TcpStream, counts: &Counted, link: Option<&Arc<Link>>) -> io::Result<()> {
    for stream in [client, server] {
        stream.set_nodelay(true)?;
    }
    let directions = [
        (client.try_clone()?, server.try_clone()?, &counts.up, None),
        (server.try_clone()?, client.try_clone()?, &counts.down, link.cloned()),
    ];
    for (from, to, count, link) in directions {
        let count = count.clone();
        thread::Builder::new().name("relay".into()).spawn(move || pass(from, to, &count, link.as_deref()))?;
    }
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64, link: Option<&Link>) {
    let mut buffer = [0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        count.fetch_add(length as u64, Ordering::Relaxed);
        if let Some(link) = link {
            link.carry(length);
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// Nodes that enrol from one address: fewer than the coordinator takes from one at once.
const NODES_PER_ADDRESS: usize = 48;

/// Relays to where nodes enrol, enough for so many of them, each on an address of this machine from which it passes on.
/// They end with the runtime.
pub(crate) async fn enrolment_relays(to: SocketAddr, nodes: usize) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for n in 1..=nodes.div_ceil(NODES_PER_ADDRESS) {
        let number = u8::try_from(n).map_err(|_| io::Error::other(format!("expected fewer than {nodes} nodes")))?;
        let own = Ipv4Addr::new(127, 0, 1, number);
        let listener = tokio::net::TcpListener::bind((own, 0)).await?;
        addresses.push(listener.local_addr()?);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_from(own, client, to));
            }
        });
    }
    Ok(addresses)
}

async fn pass_from(own: Ipv4Addr, mut client: tokio::net::TcpStream, to: SocketAddr) -> io::Result<()> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((own, 0).into())?;
    let mut server = socket.connect(to).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_pass_and_count() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = TcpListener::bind(any).unwrap();
        let to = server.local_addr().unwrap();
        let listen = SocketAddr::from(([127, 0, 0, 2], to.port()));
        let counted = start(listen, to).unwrap();
        let mut client = TcpStream::connect(listen).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut inbound = server.accept().unwrap().0;
        let mut heard = String::new();
        inbound.read_to_string(&mut heard).unwrap();
        inbound.write_all(b"hi").unwrap();
        drop(inbound);
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!((heard.as_str(), answer.as_str()), ("hello", "hi"));
        let counts = (counted.up.load(Ordering::Relaxed), counted.down.load(Ordering::Relaxed));
        assert_eq!((counts, counted.sum()), ((5, 2), 7));
    }
}
