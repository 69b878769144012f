//! Challenges and sessions: who is at the other end of a connection, proved once and remembered for a while.

use std::{collections::HashMap, hash::Hash};

use hostler_plan::{id::Fingerprint, text::hex, timestamp::Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::limits::{CHALLENGE_LIFETIME, CHALLENGES, CHALLENGES_PER_CONNECTION, SESSION_LIFETIME, SESSIONS};

/// Random bytes that somebody must sign: known only to the connection that asked, once, for a minute.
#[derive(Debug)]
pub(crate) struct Challenges<S> {
    open: HashMap<Vec<u8>, Open<S>>,
}

#[derive(Debug)]
struct Open<S> {
    connection: u64,
    subject: S,
    ends: Timestamp,
}

/// Why no challenge or session can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Too many are open; they end by themselves.
    #[error("too many logins at the same time; try again in a minute")]
    Full,
    /// No random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl<S: Eq + Hash> Challenges<S> {
    /// None open.
    pub(crate) fn new() -> Self {
        Self { open: HashMap::new() }
    }

    /// A new challenge for that connection about that subject.
    pub(crate) fn open(&mut self, connection: u64, subject: S, now: Timestamp) -> Result<Vec<u8>, SessionError> {
        self.open.retain(|_, o| o.ends > now);
        let own = self.open.values().filter(|o| o.connection == connection).count();
        if self.open.len() >= CHALLENGES || own >= CHALLENGES_PER_CONNECTION {
            return Err(SessionError::Full);
        }
        let nonce = random::<32>()?.to_vec();
        let ends = now.plus(CHALLENGE_LIFETIME);
        self.open.insert(nonce.clone(), Open { connection, subject, ends });
        Ok(nonce)
    }

    /// Uses up a challenge: true only the first time, on its own connection, about its own subject, and in time.
    pub(crate) fn take(&mut self, nonce: &[u8], connection: u64, subject: &S, now: Timestamp) -> bool {
        self.open.remove(nonce).is_some_and(|o| o.connection == connection && o.subject == *subject && o.ends > now)
    }
}

/// Sessions of admins, each good on one connection.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: HashMap<String, Session>,
}

/// A session that was opened. What its key may do is asked of the root on every call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub connection: u64,
    pub key: Fingerprint,
    pub ends: Timestamp,
}

impl Sessions {
    /// Opens a session and gives the text that names it.
    pub(crate) fn open(
        &mut self,
        connection: u64,
        key: Fingerprint,
        now: Timestamp,
    ) -> Result<(String, Session), SessionError> {
        self.open.retain(|_, s| s.ends > now);
        if self.open.len() >= SESSIONS {
            return Err(SessionError::Full);
        }
        let name = hex(&random::<32>()?);
        let session = Session { connection, key, ends: now.plus(SESSION_LIFETIME) };
        self.open.insert(name.clone(), session.clone());
        Ok((name, session))
    }

    /// The session of that name, if it belongs to this connection and is not over.
    pub(crate) fn get(&self, name: &str, connection: u64, now: Timestamp) -> Option<&Session> {
        self.open.get(name).filter(|s| s.connection == connection && s.ends > now)
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
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_000_000 + seconds)
    }

    #[test]
    fn a_challenge_counts_once_here_and_in_time() {
        let mut challenges = Challenges::new();
        let nonce = challenges.open(7, "a", at(0)).unwrap();
        assert!(challenges.take(&nonce, 7, &"a", at(59)));
        assert!(!challenges.take(&nonce, 7, &"a", at(59)), "once");
        let nonce = challenges.open(7, "a", at(0)).unwrap();
        assert!(!challenges.take(&nonce, 8, &"a", at(1)), "another connection");
        assert!(!challenges.take(&nonce, 7, &"a", at(1)), "and it is used up by the try");
        let nonce = challenges.open(7, "a", at(0)).unwrap();
        assert!(!challenges.take(&nonce, 7, &"b", at(1)), "another subject");
        let nonce = challenges.open(7, "a", at(0)).unwrap();
        assert!(!challenges.take(&nonce, 7, &"a", at(60)), "too late");
    }

    #[test]
    fn challenges_that_nobody_answers_make_room_again() {
        let mut challenges = Challenges::new();
        for i in 0..CHALLENGES as u64 {
            challenges.open(i, (), at(0)).unwrap();
        }
        assert_eq!(challenges.open(0, (), at(59)).unwrap_err(), SessionError::Full);
        assert!(challenges.open(0, (), at(61)).is_ok());
        let one = (0..CHALLENGES).filter(|_| challenges.open(7, (), at(62)).is_ok()).count();
        assert_eq!(one, CHALLENGES_PER_CONNECTION, "one connection does not shut the others out");
        assert!(challenges.open(8, (), at(62)).is_ok());
    }

    #[test]
    fn a_session_belongs_to_its_connection_for_a_while() {
        let key = Fingerprint::new(format!("SHA256:{}", "a".repeat(43))).unwrap();
        let mut sessions = Sessions::default();
        let (name, _) = sessions.open(1, key, at(0)).unwrap();
        assert!(sessions.get(&name, 1, at(899)).is_some());
        assert!(sessions.get(&name, 2, at(1)).is_none());
        assert!(sessions.get(&name, 1, at(900)).is_none());
        assert!(sessions.get("", 1, at(1)).is_none());
    }
}
