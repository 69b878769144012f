//! The agent's end of the socket, against an executor that a test plays.

use std::time::Duration;

use hostler_executor::protocol::{
    Status,
    node::{Answer, NodeClock, Question},
};
use hostler_plan::timestamp::Timestamp;
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::executor::{AskError, Executor, open};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// An executor's end of one connection, which says what a test wants.
struct Played {
    read: BufReader<OwnedReadHalf>,
    line: Line,
    write: tokio::net::unix::OwnedWriteHalf,
}

impl Played {
    async fn accept(listener: &UnixListener) -> Self {
        let (stream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let (read, write) = UnixStream::into_split(stream);
        Self { read: BufReader::new(read), line: Line::default(), write }
    }

    async fn say(&mut self, message: &FromExecutor) {
        self.write.write_all(&lines::encode(message).unwrap()).await.unwrap();
    }

    async fn hear(&mut self) -> ToExecutor {
        loop {
            let bytes = self.read.fill_buf().await.unwrap();
            let (taken, whole) = self.line.take(bytes).unwrap();
            self.read.consume(taken);
            if let Some(whole) = whole {
                return lines::decode(&whole).unwrap();
            }
        }
    }

    /// Shows a status, after which the agent takes it for connected.
    async fn begin(listener: &UnixListener, seq: u64) -> Self {
        let mut played = Self::accept(listener).await;
        assert_eq!(played.hear().await, ToExecutor::Watch);
        let mut status = Status::default();
        status.holding.seq = seq;
        played.say(&FromExecutor::Status(Box::new(status))).await;
        played
    }
}

fn start() -> (tempfile::TempDir, UnixListener, Executor, tokio::task::JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let (executor, connection) = open(folder.path().join("socket"));
    let task = tokio::spawn(connection);
    (folder, listener, executor, task)
}

#[tokio::test]
async fn questions_get_their_own_answers_in_whatever_order() {
    let (_folder, listener, executor, _task) = start();
    let mut played = Played::begin(&listener, 1).await;
    executor.connected().await;
    let answers = async {
        let ToExecutor::Ask { number: first, question: Question::BootId } = played.hear().await else { panic!() };
        let ToExecutor::Ask { number: second, question: Question::Clock } = played.hear().await else { panic!() };
        let clock = NodeClock { now: Timestamp::from_unix_seconds(7), synchronised: true };
        played.say(&FromExecutor::Answer { number: second, answer: Box::new(Answer::Clock(clock)) }).await;
        let boot = Box::new(Answer::BootId("b7".parse().unwrap()));
        played.say(&FromExecutor::Answer { number: first, answer: boot }).await;
    };
    let (boot, clock, ()) = tokio::join!(executor.boot_id(), executor.clock(), answers);
    assert_eq!((boot.unwrap().as_str(), clock.unwrap().now), ("b7", Timestamp::from_unix_seconds(7)));
}

#[tokio::test]
async fn an_executor_that_goes_is_noticed_and_found_again_with_what_it_holds_then() {
    let (_folder, listener, executor, _task) = start();
    let mut played = Played::begin(&listener, 1).await;
    let first = executor.connected().await;
    let goes = async {
        assert!(matches!(played.hear().await, ToExecutor::Ask { question: Question::Clock, .. }));
        drop(played);
    };
    let (clock, ()) = tokio::join!(executor.clock(), goes);
    assert_eq!(clock, Err(AskError::Gone), "nobody waits for an answer that cannot come");
    tokio::time::timeout(PATIENCE, executor.lost(first)).await.unwrap();
    let _played = Played::begin(&listener, 2).await;
    let second = tokio::time::timeout(PATIENCE, executor.connected()).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(executor.status.content().holding.seq, 2);
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection_and_not_the_agent() {
    let (_folder, listener, executor, _task) = start();
    let mut played = Played::begin(&listener, 1).await;
    let first = executor.connected().await;
    played.write.write_all(b"{\"status\":1}\n").await.unwrap();
    tokio::time::timeout(PATIENCE, executor.lost(first)).await.unwrap();
    let _played = Played::begin(&listener, 2).await;
    tokio::time::timeout(PATIENCE, executor.connected()).await.unwrap();
}

#[tokio::test]
#[expect(unsafe_code, reason = "setresuid(2) for one thread is only to be had as a bare system call")]
async fn another_user_is_not_taken_for_the_executor() {
    if !geteuid().is_root() {
        println!("skipped: only root can be somebody else");
        return;
    }
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let path = folder.path().join("socket");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let bound = path.clone();
    let stranger = std::thread::spawn(move || {
        // SAFETY: it takes three numbers, and touches no memory; it is this thread alone that becomes somebody else.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, u32::MAX, 65534, u32::MAX) };
        assert_eq!(changed, 0);
        std::os::unix::net::UnixListener::bind(bound).unwrap()
    });
    let _listener = stranger.join().unwrap();
    let error = connect(&path).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Stranger { found: 65534, .. }), "{error}");
}
