//! What servers read of the cluster, for an admin who is about to sign: one is asked, and the next where it does not
//! answer soon. The coordinator carries the answer, and lets no wrong one keep a right one away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use hostler_plan::{
    document::{MAX_VIEW_NODES, Roster, Signed},
    id::{InvalidId, NodeName, Nonce},
    text::clean_to,
    trust::{self, Verified},
};
use hostler_proto::v1;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};
use tonic::Status;

use super::Shared;
use crate::{
    control::{Control, ViewQuestion},
    limits::{SENTENCE_BYTES, VIEW_LIMIT, VIEW_NEXT, VIEW_SERVERS, VIEWS},
};

/// The questions that wait for an answer.
#[derive(Debug)]
pub(crate) struct Views {
    open: Mutex<Open>,
    places: Semaphore,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    by_number: BTreeMap<u64, Asked>,
}

/// Who was asked and has not answered, and where the answers go.
#[derive(Debug)]
struct Asked {
    servers: BTreeSet<NodeName>,
    answers: mpsc::Sender<(NodeName, v1::ViewAnswer)>,
}

impl Default for Views {
    fn default() -> Self {
        Self { open: Mutex::default(), places: Semaphore::new(VIEWS) }
    }
}

impl Views {
    /// Takes the answer of a node. One that nobody waits for is dropped.
    pub(crate) fn answered(&self, node: &NodeName, answer: v1::ViewAnswer) {
        let mut open = self.open();
        let Some(asked) = open.by_number.get_mut(&answer.number) else { return };
        if asked.servers.remove(node) {
            // It has a place for the answer of each that is asked.
            let _ = asked.answers.try_send((node.clone(), answer));
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, answers: mpsc::Sender<(NodeName, v1::ViewAnswer)>) -> Place<'_> {
        let mut open = self.open();
        open.last += 1;
        let number = open.last;
        open.by_number.insert(number, Asked { servers: BTreeSet::new(), answers });
        Place { views: self, number }
    }
}

/// A question that waits; forgotten with this.
struct Place<'a> {
    views: &'a Views,
    number: u64,
}

impl Place<'_> {
    fn asks(&self, server: &NodeName) {
        if let Some(asked) = self.views.open().by_number.get_mut(&self.number) {
            asked.servers.insert(server.clone());
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.views.open().by_number.remove(&self.number);
    }
}

/// A view of these nodes, or why there is none.
pub(super) async fn view(shared: &Shared, request: v1::GetViewRequest) -> Result<v1::GetViewReply, Status> {
    let (nodes, nonce) = question(request)?;
    let end = Instant::now() + VIEW_LIMIT;
    let Ok(Ok(_place)) = timeout_at(end, shared.views.places.acquire()).await else {
        return Ok(not_shown(format!("{VIEWS} others are looking; ask again")));
    };
    let about = nodes.clone();
    let who = move |control: &mut Control, _| (control.servers(&about), control.state().roster.clone());
    let (servers, Some(roster)) = shared.control.ask(who).await? else {
        return Ok(not_shown("there is no roster yet".into()));
    };
    if servers.is_empty() {
        return Ok(not_shown("no server of the cluster is connected".into()));
    }
    let (sender, mut answers) = mpsc::channel(VIEW_SERVERS);
    let place = shared.views.begin(sender);
    let (mut waiting, mut said) = (BTreeSet::new(), Vec::new());
    let mut servers = servers.into_iter().take(VIEW_SERVERS);
    loop {
        let next = servers.next();
        if let Some(server) = &next {
            place.asks(server);
            waiting.insert(server.clone());
            let question = ViewQuestion { number: place.number, nodes: nodes.clone(), nonce: nonce.clone() };
            let server = server.clone();
            shared.control.ask(move |control, _| control.ask_view(&server, question)).await?;
        }
        let until = if next.is_some() { end.min(Instant::now() + VIEW_NEXT) } else { end };
        match timeout_at(until, answers.recv()).await {
            Ok(Some((server, answer))) => {
                waiting.remove(&server);
                match judged(&roster, &nonce, answer) {
                    Ok(signed) => return Ok(v1::GetViewReply { view: Some(signed.into()), not_shown: String::new() }),
                    Err(reason) => said.push(format!("{server}: {reason}")),
                }
            }
            // Its sender ends with the place.
            Ok(None) => break,
            Err(_) => {}
        }
        if Instant::now() >= end || (waiting.is_empty() && servers.len() == 0) {
            break;
        }
    }
    said.extend(waiting.iter().map(|server| format!("{server} has not answered in {} s", VIEW_LIMIT.as_secs())));
    Ok(not_shown(said.join("; ")))
}

fn not_shown(reason: String) -> v1::GetViewReply {
    v1::GetViewReply { view: None, not_shown: reason }
}

fn question(request: v1::GetViewRequest) -> Result<(Vec<NodeName>, Nonce), Status> {
    let wrong = |e: InvalidId| Status::invalid_argument(e.to_string());
    let found = request.nodes.len();
    if !(1..=MAX_VIEW_NODES).contains(&found) {
        let reason = format!("expected 1 to {MAX_VIEW_NODES} nodes to look at, found {found}; ask for some at a time");
        return Err(Status::invalid_argument(reason));
    }
    let nodes = request.nodes.iter().map(|node| node.parse()).collect::<Result<_, _>>().map_err(wrong)?;
    Ok((nodes, request.nonce.parse().map_err(wrong)?))
}

/// The view of an answer, where whoever asked would take it.
fn judged(roster: &Verified<Roster>, nonce: &Nonce, answer: v1::ViewAnswer) -> Result<Signed, String> {
    let Some(signed) = answer.view.map(Signed::from) else {
        return Err(clean_to(&answer.not_shown, SENTENCE_BYTES).into_owned());
    };
    trust::view(roster, nonce, &signed).map_err(|refused| refused.to_string())?;
    Ok(signed)
}
