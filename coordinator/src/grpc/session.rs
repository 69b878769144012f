//! Challenges and sessions: who is at the other end of a connection, proved once and remembered for a while.

use std::{collections::HashMap, hash::Hash, time::Duration};

use hostler_plan::{id::Fingerprint, text::hex, timestamp::Timestamp};
use hostler_proto::tls::{Connection, Full, Proof, Rank};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::judged::instant;
use crate::limits::{
    CHALLENGE_LIFETIME, CHALLENGES, CHALLENGES_PER_CONNECTION, RESERVED_SESSIONS, SESSIONS, SESSIONS_PER_CONNECTION,
    SESSIONS_PER_KEY,
};

/// Random bytes that somebody must sign: known only to the connection that asked, once, for a while.
#[derive(Debug)]
pub(crate) struct Challenges<S> {
    open: HashMap<Vec<u8>, Open<S>>,
}

#[derive(Debug)]
struct Open<S> {
    connection: Connection,
    subject: S,
    ends: Timestamp,
}

/// Why no challenge or session can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Too many are open; they end by themselves.
    #[error("too many logins at the same time; close other commands, or try again in a minute")]
    Full,
    /// No random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl From<Full> for SessionError {
    fn from(Full: Full) -> Self {
        Self::Full
    }
}

impl<S: Eq + Hash> Challenges<S> {
    /// None open.
    pub(crate) fn new() -> Self {
        Self { open: HashMap::new() }
    }

    /// A new challenge for that connection about that subject. Challenges end with their connection.
    pub(crate) fn open(
        &mut self,
        connection: &Connection,
        subject: S,
        now: Timestamp,
    ) -> Result<Vec<u8>, SessionError> {
        self.open.retain(|_, o| o.ends > now && o.connection.is_open());
        let own = self.open.values().filter(|o| o.connection.number() == connection.number()).count();
        if self.open.len() >= CHALLENGES || own >= CHALLENGES_PER_CONNECTION {
            return Err(SessionError::Full);
        }
        let nonce = random::<32>()?.to_vec();
        let ends = now.plus(CHALLENGE_LIFETIME);
        self.open.insert(nonce.clone(), Open { connection: connection.clone(), subject, ends });
        Ok(nonce)
    }

    /// Uses up a challenge: true only the first time, on its own connection, about its own subject, and in time.
    pub(crate) fn take(&mut self, nonce: &[u8], connection: &Connection, subject: &S, now: Timestamp) -> bool {
        let open = self.open.remove(nonce);
        open.is_some_and(|o| o.connection.number() == connection.number() && o.subject == *subject && o.ends > now)
    }
}

/// Sessions of admins, each good on one connection.
#[derive(Debug)]
pub(crate) struct Sessions {
    lifetime: Duration,
    open: HashMap<String, Session>,
    opened: u64,
}

/// A session that was opened. What its key may do is asked of the root on every call.
#[derive(Debug)]
pub(crate) struct Session {
    pub key: Fingerprint,
    pub ends: Timestamp,
    connection: Connection,
    rank: Rank,
    /// Later ones are higher.
    number: u64,
    /// While it is kept the connection is no stranger's.
    _proof: Proof,
}

impl Sessions {
    /// None open; each will last that long.
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, open: HashMap::new(), opened: 0 }
    }

    /// Opens a session that ends with the pass behind it, and gives the text that names it and the time of its end. The
    /// oldest of the same key and of the same connection make room; those of others never do.
    pub(crate) fn open(
        &mut self,
        connection: &Connection,
        key: Fingerprint,
        rank: Rank,
        pass_ends: Timestamp,
        now: Timestamp,
    ) -> Result<(String, Timestamp), SessionError> {
        self.open.retain(|_, s| s.ends > now && s.connection.is_open());
        self.keep_fewer_than(SESSIONS_PER_KEY, |s| s.key == key);
        self.keep_fewer_than(SESSIONS_PER_CONNECTION, |s| s.connection.number() == connection.number());
        let most = match rank {
            Rank::Known => SESSIONS - RESERVED_SESSIONS,
            Rank::Trusted => SESSIONS,
        };
        if self.open.len() >= SESSIONS || self.open.values().filter(|s| s.rank <= rank).count() >= most {
            return Err(SessionError::Full);
        }
        let (name, ends) = (hex(&random::<32>()?), now.plus(self.lifetime).min(pass_ends));
        let _proof = connection.prove(rank, Some(instant(ends)))?;
        self.opened += 1;
        let session = Session { key, ends, connection: connection.clone(), rank, number: self.opened, _proof };
        self.open.insert(name.clone(), session);
        Ok((name, ends))
    }

    fn keep_fewer_than(&mut self, most: usize, counts: impl Fn(&Session) -> bool) {
        while self.open.values().filter(|s| counts(s)).count() >= most {
            let oldest = self.open.iter().filter(|(_, s)| counts(s)).min_by_key(|(_, s)| s.number);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { return };
            self.open.remove(&oldest);
        }
    }

    /// The session of that name, if it belongs to this connection and is not over.
    pub(crate) fn get(&self, name: &str, connection: &Connection, now: Timestamp) -> Option<&Session> {
        self.open.get(name).filter(|s| s.connection.number() == connection.number() && s.ends > now)
    }
}

/// `N` bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], SessionError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| SessionError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hostler_proto::tls::{Door, PeerAddress, Place};
    use tokio::time::Instant;

    use super::*;
    use crate::limits::Limits;

    /// The end of a pass that is longer than every session.
    fn later() -> Timestamp {
        at(u64::from(u32::MAX))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_000_000 + seconds)
    }

    fn key(letter: &str) -> Fingerprint {
        Fingerprint::new(format!("SHA256:{}", letter.repeat(43))).unwrap()
    }

    fn door() -> Arc<Door> {
        Door::new(Limits::default().admins)
    }

    fn sessions() -> Sessions {
        Sessions::new(Limits::default().session)
    }

    fn connect(door: &Arc<Door>) -> (Place, Connection) {
        let (place, _) = door.enter(PeerAddress::Machine { user: 1 }, Instant::now());
        let connection = place.connection();
        (place, connection)
    }

    #[test]
    fn a_challenge_counts_once_here_and_in_time() {
        let (door, mut challenges) = (door(), Challenges::new());
        let ((_seven, seven), (_eight, eight)) = (connect(&door), connect(&door));
        let in_time = CHALLENGE_LIFETIME.as_secs() - 1;
        let nonce = challenges.open(&seven, "a", at(0)).unwrap();
        assert!(challenges.take(&nonce, &seven, &"a", at(in_time)));
        assert!(!challenges.take(&nonce, &seven, &"a", at(in_time)), "once");
        let nonce = challenges.open(&seven, "a", at(0)).unwrap();
        assert!(!challenges.take(&nonce, &eight, &"a", at(1)), "another connection");
        assert!(!challenges.take(&nonce, &seven, &"a", at(1)), "and it is used up by the try");
        let nonce = challenges.open(&seven, "a", at(0)).unwrap();
        assert!(!challenges.take(&nonce, &seven, &"b", at(1)), "another subject");
        let nonce = challenges.open(&seven, "a", at(0)).unwrap();
        assert!(!challenges.take(&nonce, &seven, &"a", at(in_time + 1)), "too late");
    }

    #[test]
    fn challenges_are_few_and_end_with_their_connection() {
        let (door, mut challenges) = (door(), Challenges::new());
        for _ in 0..CHALLENGES {
            let (_place, stranger) = connect(&door);
            let given = (0..9).filter(|_| challenges.open(&stranger, (), at(0)).is_ok()).count();
            assert_eq!(given, CHALLENGES_PER_CONNECTION);
        }
        let (_place, honest) = connect(&door);
        assert!(challenges.open(&honest, (), at(0)).is_ok(), "who has gone holds nothing");
        assert_eq!(challenges.open.len(), 1);
    }

    #[tokio::test]
    async fn a_session_belongs_to_its_connection_for_a_while() {
        let door = door();
        let ((_one, one), (_two, two)) = (connect(&door), connect(&door));
        let mut sessions = sessions();
        let (name, _) = sessions.open(&one, key("a"), Rank::Known, later(), at(0)).unwrap();
        assert!(sessions.get(&name, &one, at(899)).is_some());
        assert!(sessions.get(&name, &two, at(1)).is_none());
        assert!(sessions.get(&name, &one, at(900)).is_none());
        assert!(sessions.get("", &one, at(1)).is_none());
    }

    #[tokio::test]
    async fn a_session_ends_with_the_pass_behind_it() {
        let door = door();
        let (_one, one) = connect(&door);
        let mut sessions = sessions();
        let (name, ends) = sessions.open(&one, key("a"), Rank::Known, at(60), at(0)).unwrap();
        assert_eq!(ends, at(60));
        assert!(sessions.get(&name, &one, at(59)).is_some());
        assert!(sessions.get(&name, &one, at(60)).is_none());
    }

    #[tokio::test]
    async fn a_key_shuts_out_nobody_but_its_own_oldest() {
        let (door, mut sessions, mut places) = (door(), sessions(), Vec::new());
        let mut names = Vec::new();
        for _ in 0..254 {
            let (place, connection) = connect(&door);
            names.push((sessions.open(&connection, key("v"), Rank::Known, later(), at(0)).unwrap().0, connection));
            places.push(place);
        }
        let left = names.iter().map(|(name, connection)| sessions.get(name, connection, at(1)).is_some());
        let left: Vec<usize> = left.enumerate().filter_map(|(n, open)| open.then_some(n)).collect();
        assert_eq!(left, [250, 251, 252, 253]);
        let (_place, admin) = connect(&door);
        for _ in 0..9 {
            sessions.open(&admin, key("a"), Rank::Trusted, later(), at(0)).unwrap();
        }
        assert_eq!(sessions.open.len(), SESSIONS_PER_KEY + SESSIONS_PER_CONNECTION);
    }

    #[tokio::test]
    async fn viewers_of_many_keys_leave_places_for_admins() {
        let (door, mut sessions, mut places) = (door(), sessions(), Vec::new());
        let letters: Vec<String> = (b'a'..=b'z').chain(b'A'..=b'Z').map(|c| char::from(c).to_string()).collect();
        let mut refused = false;
        for letter in letters.iter().cycle().take(500) {
            let (place, connection) = connect(&door);
            refused |= sessions.open(&connection, key(letter), Rank::Known, later(), at(0)).is_err();
            places.push(place);
        }
        assert!(refused, "there is an end for viewers");
        let (_place, admin) = connect(&door);
        sessions.open(&admin, key("0"), Rank::Trusted, later(), at(0)).unwrap();
    }
}
