//! One node's root side from its start to its end: it waits until the node is enrolled, and then performs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, TryRecvError},
    },
    time::Duration,
};

use hostler_daemon::process;
use hostler_plan::{
    id::NodeName,
    refusal::{Refusal, Refused},
};

use crate::{
    Ended, Executor, ExecutorError, Settings, answers,
    artifacts::Downloads,
    disk::Disk,
    enrolment::{Enroller, membership},
    host::Host,
    inbox::{RequestReceiver, RequestSender, queue},
    join_file::JoinFiles,
    keys::Keys,
    protocol::{Request, node::Membership},
    socket::{self, Entrance},
    status::ExecutorStatus,
};

/// Ends an executor from outside, between two of its acts. Cloned handles are one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Mutex<Wanted>>);

#[derive(Debug, Default)]
enum Wanted {
    /// Nothing runs yet.
    #[default]
    Start,
    Run(RequestSender),
    End,
}

impl Stop {
    /// Ends it, or lets it end as soon as it runs.
    pub fn stop(&self) {
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), Wanted::End);
        if let Wanted::Run(requests) = before {
            requests.hang_up();
        }
    }

    fn ends(&self, requests: &RequestSender) {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*wanted {
            Wanted::End => requests.hang_up(),
            Wanted::Start | Wanted::Run(_) => *wanted = Wanted::Run(requests.clone()),
        }
    }
}

/// Runs the root side of one node until it is stopped, the machine is about to reboot, or nothing can go on.
pub fn run(settings: &Settings, host: Arc<dyn Host>, stop: &Stop) -> Result<Ended, ExecutorError> {
    let disk = Arc::new(Disk::open(&settings.state_dir)?);
    let (member, keys) = identify(&disk)?;
    let name = match &member {
        Some(member) => member.node.clone(),
        None => node_name(settings, &*host)?,
    };
    let (requests, receiver) = queue();
    stop.ends(&requests);
    let status = Arc::new(ExecutorStatus::default());
    let (enrolled, enrolment) = mpsc::channel();
    let (awake, again) = (requests.clone(), requests.clone());
    let enroller = Enroller {
        disk: Arc::downgrade(&disk),
        keys: keys.clone(),
        host: host.clone(),
        join_files: JoinFiles::new(settings.join_files.clone(), settings.console_file.clone()),
        name: name.clone(),
        member: member.clone(),
    };
    let tell = move || {
        let _ = enrolled.send(());
        awake.wake();
    };
    let questions = answers::start(enroller, status.clone(), tell).map_err(ExecutorError::Thread)?;
    let entrance = Entrance { requests, status: status.clone(), questions };
    let _socket = socket::listen(&settings.socket, settings.agent, entrance)?;
    // A node that waits for its join string is up and running.
    process::ready();
    if member.is_none() {
        tracing::info!("{name} is not enrolled; its key is {}", keys.public().fingerprint());
        if !is_enrolled(&enrolment, &receiver) {
            return Ok(Ended::Shutdown);
        }
    }
    // A roster may have given this machine another name than it came with.
    let name = membership(&disk)?.map_or(name, |member| member.node);
    let downloads = Downloads { folder: settings.downloads.clone(), owner: settings.agent };
    match Executor::open(disk, keys, name, host, status.clone(), receiver, downloads) {
        Ok(executor) => executor.run(),
        Err(ExecutorError::Refused(refused)) if refused.refusal == Refusal::DamagedState => {
            stand_by(&again.take_over(), &status, &refused);
            Ok(Ended::Shutdown)
        }
        Err(error) => Err(error),
    }
}

/// Who this node is by what lies on its disk, and its keys, which are made where it is new.
pub(crate) fn identify(disk: &Disk) -> Result<(Option<Membership>, Arc<Keys>), ExecutorError> {
    let member = membership(disk)?;
    let keys = Keys::load_or_make(disk, member.is_some())?;
    Ok((member, Arc::new(keys)))
}

/// The name that the node has, or would enrol under: the host's whole name, under which a kubelet registers it too.
pub(crate) fn node_name(settings: &Settings, host: &dyn Host) -> Result<NodeName, ExecutorError> {
    if let Some(name) = &settings.node_name {
        return Ok(name.clone());
    }
    NodeName::new(host.host_name()?.to_lowercase()).map_err(ExecutorError::Name)
}

/// Waits until the node is enrolled; false when it has to end before. Requests mean nothing until then.
fn is_enrolled(enrolment: &Receiver<()>, receiver: &RequestReceiver) -> bool {
    loop {
        if enrolment.try_recv().is_ok() {
            return true;
        }
        match receiver.requests.try_recv() {
            Ok(_) => continue,
            Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => {}
        }
        receiver.waker.wait(Duration::MAX);
    }
}

/// What a node with damaged state does until a person helps it: it stays in sight with its facts, refuses whatever it
/// is offered, and performs nothing.
fn stand_by(receiver: &RequestReceiver, status: &ExecutorStatus, refused: &Refused) {
    tracing::error!("{refused}; until then this node reports its facts and performs nothing");
    process::status("damaged state: performs nothing, see the messages");
    status.refuse(None, refused.clone());
    while let Ok(waiting) = receiver.requests.recv() {
        match waiting.take() {
            Request::Plan(signed) | Request::Decision(signed) => {
                status.refuse(Some(signed.digest()), refused.clone());
            }
            Request::Grant(grant) => status.refuse(Some(grant.plan), refused.clone()),
            Request::Trust { .. }
            | Request::LeaseRenewed { .. }
            | Request::Stop { .. }
            | Request::Welcome { .. }
            | Request::ReceiptAcknowledged(_)
            | Request::Fetched { .. } => {}
        }
    }
}
