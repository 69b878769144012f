//! Who may stay connected to a listener, and who makes room for whom.
//!
//! A connection begins as a stranger. The service behind the listener says when it has proved who it is; then it has
//! one of the places that no stranger can take. Strangers have places of their own: one that stays a stranger for too
//! long is closed, and when all are taken the oldest one of the address that holds most of them makes room. Half of the
//! places are kept: nobody is closed there before its time, and who gets one is drawn by lot. So whoever opens
//! connections faster than a login takes, from the very address of an admin, has most of the lots and never all of
//! them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

/// How many may be connected to a listener, and how long without saying who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoorLimits {
    /// A stranger is closed this long after it connected, whatever it answers.
    pub stranger_for: Duration,
    /// Strangers at the same time. For one more the oldest one of the address with most of them is closed, but none of
    /// those in the half of the places that are kept.
    pub strangers: usize,
    /// Sockets that sent nothing yet, and as many that sent something and have not finished their TLS handshake; beyond
    /// it as with strangers.
    pub handshakes: usize,
    /// Connections that proved who they are. They are never closed for others.
    pub known: usize,
    /// So many of them for [`Rank::Trusted`] alone.
    pub reserved: usize,
}

/// Who a connection proved to be, as far as its place goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A viewer, or a node that waits for its approval.
    Known,
    /// An operator or an admin, or a node of the roster.
    Trusted,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddress {
    Network(SocketAddr),
    /// A process of the same machine, over a Unix socket.
    Machine {
        user: u32,
    },
}

impl PeerAddress {
    /// The same address for all connections of one machine's interface, or of one user.
    fn without_port(self) -> Result<IpAddr, u32> {
        match self {
            Self::Network(address) => Ok(address.ip().to_canonical()),
            Self::Machine { user } => Err(user),
        }
    }
}

impl std::fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Machine { user } => write!(f, "user {user} of this machine"),
        }
    }
}

/// Whose connections count together: an IPv4 address however it is written, an IPv6 /64, which is what one household
/// or machine is given, or a user of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    Network(IpAddr),
    Machine(u32),
}

impl From<PeerAddress> for Origin {
    fn from(address: PeerAddress) -> Self {
        match address {
            PeerAddress::Network(address) => address.ip().into(),
            PeerAddress::Machine { user } => Self::Machine(user),
        }
    }
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self::Network(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Every place for somebody who proved who it is is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many connections at the same time; close some and try again")]
pub struct Full;

/// The book of one listener's connections.
#[derive(Debug)]
pub struct Door {
    limits: DoorLimits,
    book: Mutex<Book>,
    /// Somebody became a stranger, or has a new end.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Book {
    /// Sockets that sent nothing yet.
    silent: Entries,
    /// Those that sent something.
    handshakes: Entries,
    connections: Entries,
}

/// One of so many that come while a kept place is free gets it. With less than one, whoever knows when a place gets
/// free (its own connections held it) would need a few connections in that moment to have them all again; so it needs
/// hundreds, and an admin who tries has a share.
const LOTS: u64 = 8;

/// Closed by being dropped: the other end of `_end` notices.
#[derive(Debug)]
struct Entry {
    peer: PeerAddress,
    /// Nobody takes its place before its time.
    is_kept: bool,
    stranger_since: Instant,
    /// What it proved, each with the time from which it counts no more.
    proofs: BTreeMap<u64, (Rank, Option<Instant>)>,
    _end: oneshot::Sender<()>,
}

impl Entry {
    fn new(peer: PeerAddress, stranger_since: Instant) -> (Self, oneshot::Receiver<()>) {
        let (_end, ended) = oneshot::channel();
        (Self { peer, is_kept: false, stranger_since, proofs: BTreeMap::new(), _end }, ended)
    }

    fn rank(&self) -> Option<Rank> {
        self.proofs.values().map(|(rank, _)| *rank).max()
    }

    /// When the next thing happens to it if nobody does anything.
    fn deadline(&self, stranger_for: Duration) -> Option<Instant> {
        match self.proofs.is_empty() {
            true => Some(self.stranger_since + stranger_for),
            false => self.proofs.values().filter_map(|(_, until)| *until).min(),
        }
    }
}

/// Numbers of connections and proofs: each is given once in this process, later ones are higher.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Entries by number.
#[derive(Debug, Default)]
struct Entries(BTreeMap<u64, Entry>);

impl Entries {
    /// Adds a stranger. When all places of strangers are taken, one whose place is not kept makes room: the oldest of
    /// the address with most, in the network with most. Counted in two steps, because in one household's /64 many have
    /// an address, and one of them must not close another's.
    fn insert_within(&mut self, most: usize, number: u64, mut entry: Entry) {
        let strangers: Vec<(u64, &Entry)> =
            self.0.iter().filter(|(_, e)| e.proofs.is_empty()).map(|(number, e)| (*number, e)).collect();
        let kept = strangers.iter().filter(|(_, e)| e.is_kept).count();
        entry.is_kept = kept < most / 2 && RandomState::new().hash_one(number).is_multiple_of(LOTS);
        if strangers.len() >= most {
            let (mut networks, mut addresses) = (HashMap::new(), HashMap::new());
            for (_, e) in &strangers {
                *networks.entry(Origin::from(e.peer)).or_insert(0) += 1;
                *addresses.entry(e.peer.without_port()).or_insert(0) += 1;
            }
            let held = |e: &Entry| (networks.get(&Origin::from(e.peer)), addresses.get(&e.peer.without_port()));
            let may_go = strangers.iter().filter(|(_, e)| !e.is_kept);
            let goes = may_go.max_by_key(|(number, e)| (held(e), Reverse(*number))).map(|(number, _)| *number);
            goes.and_then(|number| self.0.remove(&number));
        }
        self.0.insert(number, entry);
    }
}

impl Door {
    /// Nobody is connected yet.
    pub fn new(limits: DoorLimits) -> Arc<Self> {
        Arc::new(Self { limits, book: Mutex::default(), changed: Notify::new() })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket that was opened and is silent. Dropped when the handshake ended, well or not.
    pub(super) fn open(self: &Arc<Self>, peer: PeerAddress, now: Instant) -> (Handshake, oneshot::Receiver<()>) {
        let (number, (entry, ended)) = (next_number(), Entry::new(peer, now));
        self.book().silent.insert_within(self.limits.handshakes, number, entry);
        self.changed.notify_one();
        (Handshake { number, door: self.clone() }, ended)
    }

    /// A connection after its handshake, which began at `since`. The receiver ends when it is to be closed.
    pub fn enter(self: &Arc<Self>, peer: PeerAddress, since: Instant) -> (Place, oneshot::Receiver<()>) {
        let (number, (entry, ended)) = (next_number(), Entry::new(peer, since));
        self.book().connections.insert_within(self.limits.strangers, number, entry);
        self.changed.notify_one();
        (Place(Connection { number, door: Arc::downgrade(self) }), ended)
    }

    /// Waits until somebody may have been here for too long.
    pub(super) async fn overdue(&self) {
        let changed = self.changed.notified();
        match self.deadline() {
            Some(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = changed => {}
            },
            None => changed.await,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let (book, limit) = (self.book(), self.limits.stranger_for);
        let all =
            [&book.silent, &book.handshakes, &book.connections].into_iter().flat_map(|entries| entries.0.values());
        all.filter_map(|entry| entry.deadline(limit)).min()
    }

    /// Closes whoever has been a stranger for too long.
    pub(super) fn close_overdue(&self, now: Instant) {
        let mut book = self.book();
        for entry in book.connections.0.values_mut() {
            let last = entry.proofs.values().filter_map(|(_, until)| *until).max();
            let before = entry.proofs.len();
            entry.proofs.retain(|_, (_, until)| until.is_none_or(|until| until > now));
            if before > 0 && entry.proofs.is_empty() {
                entry.stranger_since = last.unwrap_or(now);
            }
        }
        let limit = self.limits.stranger_for;
        let stays = |entry: &Entry| !entry.proofs.is_empty() || entry.stranger_since + limit > now;
        let Book { silent, handshakes, connections } = &mut *book;
        for entries in [silent, handshakes, connections] {
            entries.0.retain(|_, entry| stays(entry));
        }
    }

    fn prove(&self, number: u64, rank: Rank, until: Option<Instant>) -> Result<u64, Full> {
        let mut book = self.book();
        let others = book.connections.0.iter().filter(|(n, _)| **n != number).filter_map(|(_, e)| e.rank());
        let others: Vec<Rank> = others.collect();
        let same = others.iter().filter(|r| **r == Rank::Known).count();
        let shared = self.limits.known.saturating_sub(self.limits.reserved);
        // Closed meanwhile: whoever asks has nobody to answer any more.
        let entry = book.connections.0.get_mut(&number).ok_or(Full)?;
        let is_new = entry.rank().is_none_or(|had| had < rank);
        if is_new && (others.len() >= self.limits.known || (rank == Rank::Known && same >= shared)) {
            return Err(Full);
        }
        let proof = next_number();
        entry.proofs.insert(proof, (rank, until));
        drop(book);
        self.changed.notify_one();
        Ok(proof)
    }

    fn take_back(&self, number: u64, proof: u64) {
        let mut book = self.book();
        if let Some(entry) = book.connections.0.get_mut(&number)
            && entry.proofs.remove(&proof).is_some()
            && entry.proofs.is_empty()
        {
            entry.stranger_since = Instant::now();
        }
        drop(book);
        self.changed.notify_one();
    }
}

/// A socket before its handshake.
#[derive(Debug)]
pub(super) struct Handshake {
    number: u64,
    door: Arc<Door>,
}

impl Handshake {
    /// It sent something: those that are only opened take no place of it any more.
    pub(super) fn speaks(&self) {
        let mut book = self.door.book();
        if let Some(entry) = book.silent.0.remove(&self.number) {
            book.handshakes.insert_within(self.door.limits.handshakes, self.number, entry);
        }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut book = self.door.book();
        book.silent.0.remove(&self.number);
        book.handshakes.0.remove(&self.number);
    }
}

/// An open connection's entry; given back when it is dropped with the connection.
#[derive(Debug)]
pub struct Place(Connection);

impl Place {
    /// The connection as services see it.
    pub fn connection(&self) -> Connection {
        self.0.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(door) = self.0.door.upgrade() {
            door.book().connections.0.remove(&self.0.number);
        }
    }
}

/// One connection, as a service sees it.
#[derive(Debug, Clone)]
pub struct Connection {
    number: u64,
    door: Weak<Door>,
}

impl Connection {
    /// Different for every connection of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// False from the moment that it is closed, by either end.
    pub fn is_open(&self) -> bool {
        self.door.upgrade().is_some_and(|door| door.book().connections.0.contains_key(&self.number))
    }

    /// The other end proved who it is, and is no stranger for as long as the proof is kept and `until` has not come.
    pub fn prove(&self, rank: Rank, until: Option<Instant>) -> Result<Proof, Full> {
        let proof = self.door.upgrade().ok_or(Full)?.prove(self.number, rank, until)?;
        Ok(Proof { number: self.number, proof, door: self.door.clone() })
    }

    /// The same with nothing to keep: it holds until then.
    pub fn prove_until(&self, rank: Rank, until: Instant) -> Result<(), Full> {
        self.door.upgrade().ok_or(Full)?.prove(self.number, rank, Some(until)).map(drop)
    }
}

/// Keeps a connection from being a stranger's.
#[derive(Debug)]
pub struct Proof {
    number: u64,
    proof: u64,
    door: Weak<Door>,
}

impl Drop for Proof {
    fn drop(&mut self) {
        if let Some(door) = self.door.upgrade() {
            door.take_back(self.number, self.proof);
        }
    }
}

#[cfg(test)]
mod tests;
