//! Every limit of the coordinator, each with its reason.

use std::time::Duration;

use hostler_proto::tls::DoorLimits;

/// Requests that wait for a decision at the same time: 1,000 nodes that reconnect at once and some admins.
pub(crate) const QUEUE: usize = 1024;

/// A connection that has not said who it is for this long is closed, whatever keepalives it answers: a login, a judged
/// enrolment, or a node's certificate with its hello take a second, and a person who looks for a hardware key more.
pub(crate) const STRANGER_FOR: Duration = Duration::from_secs(15);

/// What each listener takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub enrolment: DoorLimits,
    pub agents: DoorLimits,
    pub admins: DoorLimits,
    /// The admins' socket on the coordinator's own machine.
    pub machine: DoorLimits,
    /// How long a session lasts.
    pub session: Duration,
    /// How long a call of an admin may take until it is answered, its request included.
    pub call: Duration,
    /// How long an upload may pause.
    pub upload_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // A socket without a finished handshake costs its descriptor and some KiB: many, so that a flood must be fast
        // to close honest ones, which need it for milliseconds.
        let door = DoorLimits { stranger_for: STRANGER_FOR, handshakes: 512, strangers: 0, known: 0, reserved: 0 };
        Self {
            // Each lasts a second; whoever was admitted is known for as long as the answer takes.
            enrolment: DoorLimits { strangers: 128, known: 128, ..door },
            // The largest fleet this is tested with, and room for second streams. Strangers show a node's certificate
            // here, and all nodes of a fleet that reconnects finish their handshakes at about the same time. Nodes that
            // wait for approval leave places to those of the roster.
            agents: DoorLimits { strangers: 1024, handshakes: 1024, known: 1200, reserved: 600, ..door },
            // A person has a handful of terminals. Strangers are twice as many as those who may be known: half of their
            // places are drawn by lot, which is the way in through a flood from one's own address.
            admins: DoorLimits { strangers: 128, known: 64, reserved: 32, ..door },
            machine: DoorLimits { strangers: 16, handshakes: 16, known: 16, reserved: 8, ..door },
            // A long command, not a working day.
            session: Duration::from_secs(15 * 60),
            call: CALL_TIMEOUT,
            upload_pause: UPLOAD_PAUSE,
        }
    }
}

/// Calls at the same time on one connection: one stream, one download, and room.
pub(crate) const CALLS_PER_CONNECTION: u32 = 16;
/// A call that is no stream is over within this, or its caller has given up; a stream's answer begins within it. Of an
/// upload the whole is the request, so that it has [`UPLOAD_PAUSE`] instead, and the session's end.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Messages for a node that wait to be sent. A node that does not read is cut off instead of filling our memory; what
/// it missed it is told again when it comes back.
pub(crate) const STREAM_QUEUE: usize = 256;
/// Bytes of them: a root chain, the largest roster and half a dozen of the largest plans, as an agent lets wait.
pub(crate) const STREAM_QUEUE_BYTES: usize = 8 << 20;
/// What a peer may send before it is read, on one connection and one call: a node sends little, a receipt has 64 KiB.
/// Admins upload artifacts, and have what HTTP/2 gives.
pub(crate) const NODE_WINDOW_BYTES: u32 = 256 << 10;
/// Names and values of one call's headers: ours have 200 bytes.
pub(crate) const HEADER_BYTES: u32 = 8 << 10;
/// An upload goes on within this or ends.
pub(crate) const UPLOAD_PAUSE: Duration = Duration::from_secs(60);

/// Enrolments of one address at once: a rack behind one address starts together.
pub(crate) const ENROLMENT_BURST: u32 = 64;
/// Enrolments of one address per second after that (SPIRE allows one).
pub(crate) const ENROLMENTS_PER_SECOND: u32 = 2;
/// Addresses (of IPv6, /64 networks) whose enrolments are counted; beyond it the longest unseen are forgotten.
pub(crate) const COUNTED_ADDRESSES: usize = 4096;

/// Refusals of one node that are written to the ledger at once, and how long until one more may be: a confused node
/// must not fill the disk.
pub(crate) const REFUSAL_BURST: u32 = 20;
/// See [`REFUSAL_BURST`].
pub(crate) const SECONDS_PER_REFUSAL: u32 = 60;

/// Holdings of one node at once, and milliseconds until one more: a node signs one whenever what it holds changed, and
/// each costs the verification of a signature.
pub(crate) const HOLDING_BURST: u32 = 64;
/// See [`HOLDING_BURST`].
pub(crate) const MILLISECONDS_PER_HOLDING: u64 = 100;

/// Receipts of one node at once, and milliseconds until one more may be: one a second, 3 600 an hour. Each is for a
/// grant of its own, so that only a coordinator that grants faster could need more.
pub(crate) const RECEIPT_BURST: u32 = 3600;
/// See [`RECEIPT_BURST`].
pub(crate) const MILLISECONDS_PER_RECEIPT: u64 = 1000;
/// Kibibytes of receipts of one node at once, 32 MiB, and milliseconds until one more: 32 MiB an hour. A receipt has
/// about 2 KiB.
pub(crate) const RECEIPT_KIB_BURST: u32 = 32 << 10;
/// See [`RECEIPT_KIB_BURST`].
pub(crate) const MILLISECONDS_PER_RECEIPT_KIB: u64 = 110;

/// Challenges that wait for their answer: more than all connections of a listener can have open, so that nobody shuts
/// the others out. They end with their connection.
pub(crate) const CHALLENGES: usize = 1024;
/// Challenges of one connection that wait for their answer: a login and a few tries.
pub(crate) const CHALLENGES_PER_CONNECTION: usize = 4;
/// How long a challenge can be answered: no longer than its connection lives without a login.
pub(crate) const CHALLENGE_LIFETIME: Duration = STRANGER_FOR;
/// Sessions at the same time.
pub(crate) const SESSIONS: usize = 256;
/// Of these for operators and admins alone.
pub(crate) const RESERVED_SESSIONS: usize = 64;
/// Sessions of one key: a person has a handful of terminals. For one more its oldest ends.
pub(crate) const SESSIONS_PER_KEY: usize = 4;
/// Sessions on one connection; the same.
pub(crate) const SESSIONS_PER_CONNECTION: usize = 4;
/// Calls of one key that read the ledger at the same time, a thread each while nobody takes what they read; as many as
/// it has sessions. One more waits, no longer than a call may take.
pub(crate) const LEDGER_READERS_PER_KEY: usize = SESSIONS_PER_KEY;

/// Views that are waited for at the same time, 1 MiB each in memory.
pub(crate) const VIEWS: usize = 4;
/// How long an admin waits for a view. A server reads a hundred pods in a tenth of a second and 5,000 in two or three;
/// whoever drains a node at three in the morning waits no longer to see what is on it.
pub(crate) const VIEW_LIMIT: Duration = Duration::from_secs(5);
/// How long a server may be silent until another one is asked too.
pub(crate) const VIEW_NEXT: Duration = Duration::from_millis(1500);
/// Servers that are asked for one view.
pub(crate) const VIEW_SERVERS: usize = 3;

/// Plans that some signed and that wait for others, with their signatures: half of what a message may have. A plan has
/// some 10 KiB.
pub(crate) const RESERVED_BYTES: usize = hostler_proto::MAX_MESSAGE_BYTES / 2;

/// The largest artifact: a K3s air-gap bundle has about 0.6 GiB.
pub(crate) const ARTIFACT_BYTES: u64 = 4 << 30;
/// The largest sealed snapshot: etcd's advice is a database of 8 GiB at most.
pub(crate) const SNAPSHOT_BYTES: u64 = 9 << 30;
/// All of them together.
pub(crate) const SNAPSHOT_FOLDER_BYTES: u64 = 64 << 30;
/// What stays free beside one that comes: the ledger must go on.
pub(crate) const SNAPSHOT_MARGIN_BYTES: u64 = 1 << 30;
/// The fleet file of 1,000 nodes has about 200 KiB.
pub(crate) const FLEET_FILE_BYTES: usize = 1 << 20;
/// A sentence of a node (progress, refusal) is cut to this.
pub(crate) const SENTENCE_BYTES: usize = 512;
/// A version that a node says, its own or its cluster's, is cut to this: all nodes' together go in one message.
pub(crate) const VERSION_BYTES: usize = 64;
/// A machine id that a cluster says, which has 32 digits, is cut to this.
pub(crate) const MACHINE_ID_BYTES: usize = 64;
/// A reason that a person gives is cut to this.
pub(crate) const REASON_BYTES: usize = 512;
/// Bytes of roots in one message: half of what a message may have, the rest is for the roster and the framing.
pub(crate) const TRUST_BYTES: usize = hostler_proto::MAX_MESSAGE_BYTES / 2;
/// Bytes of what nodes signed that shows forks, in the same message. Each has up to 16 KiB, and any number of nodes may
/// lie.
pub(crate) const FORK_BYTES: usize = 128 << 10;
/// A rollout is shown again at most this often to a watcher, however fast it changes; but at once when tasks ended,
/// which every task does only once.
pub(crate) const WATCH_PAUSE: Duration = Duration::from_millis(50);
/// So much of that pause for each task of the rollout is kept even then: only what changed is sent, but to find it
/// every task is looked at for some microseconds, and who watches must not take most of the coordinator's time.
pub(crate) const WATCH_PAUSE_PER_TASK: Duration = Duration::from_micros(25);
/// How long streams get to end when the coordinator stops.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(2);
