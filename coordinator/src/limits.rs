//! Every limit of the coordinator, each with its reason.

use std::time::Duration;

/// Requests that wait for a decision at the same time: 1,000 nodes that reconnect at once and some admins.
pub(crate) const QUEUE: usize = 1024;

/// Connections of nodes: the largest fleet this is tested with, and room for second streams.
pub(crate) const AGENT_CONNECTIONS: usize = 1200;
/// Connections that enrol; each lasts a second.
pub(crate) const ENROLMENT_CONNECTIONS: usize = 128;
/// Connections of admins; a person has a handful of terminals.
pub(crate) const ADMIN_CONNECTIONS: usize = 64;
/// Connections from one address to each listener: a stranger's machine must not shut all others out, and a fleet, or
/// its enrolment, may lie behind one address.
pub(crate) const AGENT_CONNECTIONS_PER_ADDRESS: usize = 1000;
/// See [`AGENT_CONNECTIONS_PER_ADDRESS`].
pub(crate) const ENROLMENT_CONNECTIONS_PER_ADDRESS: usize = 96;
/// See [`AGENT_CONNECTIONS_PER_ADDRESS`].
pub(crate) const ADMIN_CONNECTIONS_PER_ADDRESS: usize = 16;
/// Calls at the same time on one connection: one stream, one download, and room.
pub(crate) const CALLS_PER_CONNECTION: u32 = 16;
/// A call that is no stream is over within this, or its caller has given up.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Messages for a node that wait to be sent. A node that does not read is cut off instead of filling our memory; what
/// it missed it is told again when it comes back.
pub(crate) const STREAM_QUEUE: usize = 256;

/// Enrolments of one address at once: a rack behind one address starts together.
pub(crate) const ENROLMENT_BURST: u32 = 64;
/// Enrolments of one address per second after that (SPIRE allows one).
pub(crate) const ENROLMENTS_PER_SECOND: u32 = 2;
/// Addresses whose enrolments are counted; beyond it the longest unseen are forgotten.
pub(crate) const COUNTED_ADDRESSES: usize = 4096;

/// Refusals of one node that are written to the ledger at once, and how long until one more may be: a confused node
/// must not fill the disk.
pub(crate) const REFUSAL_BURST: u32 = 20;
/// See [`REFUSAL_BURST`].
pub(crate) const SECONDS_PER_REFUSAL: u32 = 60;

/// Challenges that wait for their answer: more than all connections of a listener can have open, so that nobody shuts
/// the others out.
pub(crate) const CHALLENGES: usize = 1024;
/// Challenges of one connection that wait for their answer: a login and a few tries.
pub(crate) const CHALLENGES_PER_CONNECTION: usize = 4;
/// How long a challenge can be answered: time to find the key and to type a passphrase.
pub(crate) const CHALLENGE_LIFETIME: Duration = Duration::from_secs(60);
/// Sessions at the same time.
pub(crate) const SESSIONS: usize = 256;
/// How long a session lasts: a long command, not a working day.
pub(crate) const SESSION_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// The largest artifact: a K3s air-gap bundle has about 0.6 GiB.
pub(crate) const ARTIFACT_BYTES: u64 = 4 << 30;
/// The fleet file of 1,000 nodes has about 200 KiB.
pub(crate) const FLEET_FILE_BYTES: usize = 1 << 20;
/// A sentence of a node (progress, refusal) is cut to this.
pub(crate) const SENTENCE_BYTES: usize = 512;
/// A reason that a person gives is cut to this.
pub(crate) const REASON_BYTES: usize = 512;
/// Bytes of roots in one message: half of what a message may have, the rest is for the roster and the framing.
pub(crate) const TRUST_BYTES: usize = hostler_proto::MAX_MESSAGE_BYTES / 2;
/// A rollout is shown again at most this often to a watcher, however fast it changes; but at once when tasks ended,
/// which every task does only once.
pub(crate) const WATCH_PAUSE: Duration = Duration::from_millis(50);
/// So much of that pause for each task of the rollout is kept even then: only what changed is sent, but to find it
/// every task is looked at for some microseconds, and who watches must not take most of the coordinator's time.
pub(crate) const WATCH_PAUSE_PER_TASK: Duration = Duration::from_micros(25);
/// How long streams get to end when the coordinator stops.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(2);
