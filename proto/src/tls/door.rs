//! Who may stay connected to a listener, and who makes room for whom.
//!
//! A connection begins as a stranger. The service behind the listener says when it has proved who it is; then it has
//! one of the places that no stranger can take. Strangers have places of their own: one that stays a stranger for too
//! long is closed, and when all are taken the oldest one of the address that holds most of them makes room.

use std::{
    collections::{BTreeMap, HashMap},
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
    /// Strangers at the same time. For one more the oldest one of the address with most of them is closed.
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

/// Closed by being dropped: the other end of `_end` notices.
#[derive(Debug)]
struct Entry {
    origin: Origin,
    stranger_since: Instant,
    /// What it proved, each with the time from which it counts no more.
    proofs: BTreeMap<u64, (Rank, Option<Instant>)>,
    _end: oneshot::Sender<()>,
}

impl Entry {
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
    /// Adds a stranger. When all places of strangers are taken, the oldest one of whoever holds most makes room.
    fn insert_within(&mut self, most: usize, number: u64, entry: Entry) {
        let strangers = || self.0.iter().filter(|(_, e)| e.proofs.is_empty());
        if strangers().count() >= most {
            let mut held: HashMap<Origin, usize> = HashMap::new();
            strangers().for_each(|(_, e)| *held.entry(e.origin).or_default() += 1);
            let most_held = held.values().copied().max();
            let goes = strangers().find(|(_, e)| held.get(&e.origin).copied() == most_held).map(|(number, _)| *number);
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
    pub(super) fn open(self: &Arc<Self>, origin: Origin, now: Instant) -> (Handshake, oneshot::Receiver<()>) {
        let (_end, ended) = oneshot::channel();
        let number = next_number();
        let entry = Entry { origin, stranger_since: now, proofs: BTreeMap::new(), _end };
        self.book().silent.insert_within(self.limits.handshakes, number, entry);
        self.changed.notify_one();
        (Handshake { number, door: self.clone() }, ended)
    }

    /// A connection after its handshake, which began at `since`. The receiver ends when it is to be closed.
    pub fn enter(self: &Arc<Self>, origin: Origin, since: Instant) -> (Place, oneshot::Receiver<()>) {
        let (_end, ended) = oneshot::channel();
        let number = next_number();
        let entry = Entry { origin, stranger_since: since, proofs: BTreeMap::new(), _end };
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
mod tests {
    use super::*;

    const LIMITS: DoorLimits =
        DoorLimits { stranger_for: Duration::from_secs(15), strangers: 4, handshakes: 4, known: 4, reserved: 2 };

    fn origin(host: u8) -> Origin {
        IpAddr::from([192, 168, 1, host]).into()
    }

    fn is_closed(ended: &mut oneshot::Receiver<()>) -> bool {
        !matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }

    #[test]
    fn addresses_of_one_household_count_together() {
        let of = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("::1"), of("127.0.0.1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_is_closed_after_its_time_and_who_proved_something_is_not() {
        let door = Door::new(LIMITS);
        let (_stranger, mut stranger_ends) = door.enter(origin(1), Instant::now());
        let (known, mut known_ends) = door.enter(origin(1), Instant::now());
        let proof = known.connection().prove(Rank::Known, None).unwrap();
        let (timed, mut timed_ends) = door.enter(origin(2), Instant::now());
        timed.connection().prove_until(Rank::Trusted, Instant::now() + Duration::from_secs(100)).unwrap();
        let (_opened, mut opened_ends) = door.open(origin(3), Instant::now());
        let mut all = [&mut stranger_ends, &mut known_ends, &mut timed_ends, &mut opened_ends];
        let mut closed_after = async |seconds| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            door.close_overdue(Instant::now());
            all.each_mut().map(|ended| is_closed(ended))
        };
        assert_eq!(closed_after(14).await, [false; 4]);
        assert_eq!(closed_after(1).await, [true, false, false, true]);
        assert_eq!(closed_after(99).await, [true, false, false, true], "a proof has its time");
        drop(proof);
        assert_eq!(closed_after(14).await, [true, false, true, true], "from the end of its proof on");
        assert_eq!(closed_after(1).await, [true; 4], "who lost its proof is a stranger from then on");
        assert!(!known.connection().is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_of_the_address_with_most_makes_room_and_nobody_who_is_known() {
        let door = Door::new(LIMITS);
        let (known, mut known_ends) = door.enter(origin(1), Instant::now());
        let _proof = known.connection().prove(Rank::Known, None).unwrap();
        let (_honest, mut honest_ends) = door.enter(origin(2), Instant::now());
        let mut flood: Vec<_> = (0..50).map(|_| door.enter(origin(1), Instant::now())).collect();
        let open: Vec<bool> = flood.iter_mut().map(|(_, ended)| !is_closed(ended)).collect();
        assert_eq!(open.iter().filter(|open| **open).count(), 3);
        assert!(open.ends_with(&[true; 3]));
        assert!(!is_closed(&mut honest_ends) && !is_closed(&mut known_ends));
        let mut opened: Vec<_> = (0..50).map(|_| door.open(origin(1), Instant::now())).collect();
        let (_late, mut late_ends) = door.open(origin(2), Instant::now());
        assert_eq!(opened.iter_mut().filter_map(|(_, ended)| (!is_closed(ended)).then_some(())).count(), 3);
        assert!(!is_closed(&mut late_ends));
    }

    #[test]
    fn those_who_only_look_leave_places_to_those_who_act() {
        let door = Door::new(LIMITS);
        let enter = || door.enter(origin(1), Instant::now()).0;
        let places: Vec<Place> = (0..4).map(|_| enter()).collect();
        let prove = |n: usize, rank| places[n].connection().prove(rank, None);
        let looking = [prove(0, Rank::Known).unwrap(), prove(1, Rank::Known).unwrap()];
        assert_eq!(prove(2, Rank::Known).unwrap_err(), Full);
        let acting = [prove(2, Rank::Trusted).unwrap(), prove(3, Rank::Trusted).unwrap()];
        let more = enter();
        assert_eq!(more.connection().prove(Rank::Trusted, None).unwrap_err(), Full);
        drop(looking);
        assert!(more.connection().prove(Rank::Trusted, None).is_ok());
        drop(acting);
    }

    #[test]
    fn sockets_that_are_only_opened_take_no_place_of_those_that_speak() {
        let door = Door::new(LIMITS);
        let (honest, mut honest_ends) = door.open(origin(1), Instant::now());
        honest.speaks();
        let _flood: Vec<_> = (0..50).map(|_| door.open(origin(1), Instant::now())).collect();
        assert!(!is_closed(&mut honest_ends));
        let (other, mut other_ends) = door.open(origin(2), Instant::now());
        other.speaks();
        let stalled = (0..50).map(|_| door.open(origin(1), Instant::now()));
        let _stalled: Vec<_> = stalled.inspect(|(socket, _)| socket.speaks()).collect();
        assert!(is_closed(&mut honest_ends), "the oldest of a flood from its own address");
        assert!(!is_closed(&mut other_ends));
    }
}
