//! The machines that enrolled get into the roster: each by the key that it showed itself, and by no other.

use std::{path::PathBuf, time::Duration};

use hostler_plan::{id::TokenId, trust::Verified};

use crate::{
    Admin,
    admin::now,
    command::members::{self, Handed},
    error::Error,
    install::{NodeId, SshHost},
    roster::{self, Eligibility, Pending},
};

/// How long the coordinator may take to show an enrolment that the machine says is done.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
const AGAIN_AFTER: Duration = Duration::from_millis(300);

/// A machine that enrolled.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub host: SshHost,
    /// As the machine itself said over ssh.
    pub id: NodeId,
    /// The token that was made for it in this run.
    pub token: Option<TokenId>,
}

/// Whether that enrolment is this machine's.
pub(super) fn is_of(pending: &Pending, id: &NodeId) -> bool {
    let enrolment = pending.enrolment.document();
    enrolment.key.fingerprint() == id.key && enrolment.node == id.name
}

/// The enrolment to list for a machine; none while the coordinator shows none. Whatever came in with the machine's own
/// token under another key is somebody else.
fn enrolment(pending: &[Pending], ready: &Ready) -> Result<Option<Pending>, String> {
    let Ready { host, id, token } = ready;
    let with_token = |p: &&Pending| Some(&p.enrolment.document().token) == token.as_ref();
    if let Some(other) = pending.iter().find(|p| with_token(p) && !is_of(p, id)) {
        let shown = other.enrolment.document();
        return Err(format!(
            "expected {} with key {}, which {host} itself shows, found {} with key {} from {}: another machine \
             came with the string that was made for this one. It is not listed; find out who read the string or who \
             holds the coordinator",
            id.name,
            id.key,
            shown.node,
            shown.key.fingerprint(),
            other.peer_address
        ));
    }
    let Some(found) = pending.iter().find(|p| is_of(p, id) && (token.is_none() || with_token(p))) else {
        return Ok(None);
    };
    match (&found.eligibility, found.doubts.first()) {
        (Eligibility::Never(why), _) | (_, Some(why)) => {
            let (name, key) = (&id.name, &id.key);
            Err(format!("{why}; if it is right all the same, hostler node approve {name}={key}"))
        }
        (Eligibility::Replaces(old), None) => {
            let name = &id.name;
            Err(format!("the name {name} belongs to key {old}; hostler node retire {name}, then run this again"))
        }
        (Eligibility::Automatic | Eligibility::Manual(_), None) => Ok(Some(found.clone())),
    }
}

/// Signs one roster with those whose enrolments are theirs. Gives what became of each.
pub(super) async fn list(
    admin: &mut Admin,
    ready: Vec<Ready>,
    out: Option<PathBuf>,
) -> Vec<(Ready, Result<Handed, String>)> {
    let mut ends = Vec::new();
    let mut wanted = Vec::new();
    for (one, shown) in shown(admin, ready).await {
        match shown {
            Ok(pending) => wanted.push((one, pending)),
            Err(why) => ends.push((one, Err(why))),
        }
    }
    if wanted.is_empty() {
        return ends;
    }
    let enrolments: Vec<Pending> = wanted.iter().map(|(_, pending)| pending.clone()).collect();
    let handed = members::anew(admin, async |admin| {
        let next = roster::listing(admin, &enrolments, now()).await?;
        members::hand_on(admin, &next, out.clone()).await
    });
    let handed = match handed.await {
        Ok(handed) => Ok(handed),
        Err(error) => in_force(admin, &enrolments, error).await,
    };
    ends.extend(wanted.into_iter().map(|(one, _)| (one, handed.clone())));
    ends
}

/// What the coordinator shows of each, when all are there or it has had its time.
async fn shown(admin: &mut Admin, ready: Vec<Ready>) -> Vec<(Ready, Result<Pending, String>)> {
    let began = tokio::time::Instant::now();
    loop {
        let pending = roster::pending(admin).await.map(|(pending, _)| pending);
        let is_late = began.elapsed() >= SHOWN_WITHIN;
        let late = |e: Option<&Error>| match e {
            Some(e) => format!("the coordinator cannot be asked who enrolled: {e}"),
            None => "the coordinator does not show its enrolment, which the machine says is done; see `hostler node \
                     list --pending`"
                .to_owned(),
        };
        match &pending {
            Ok(pending) => {
                let found: Vec<_> = ready.iter().map(|one| enrolment(pending, one)).collect();
                if is_late || found.iter().all(|f| !matches!(f, Ok(None))) {
                    let said = found.into_iter().map(|f| f.and_then(|f| f.ok_or_else(|| late(None))));
                    return ready.into_iter().zip(said).collect();
                }
            }
            Err(e) if is_late => {
                let why = late(Some(e));
                return ready.into_iter().map(|one| (one, Err(why.clone()))).collect();
            }
            // The connection broke; what is still wrong is said when the time is over.
            Err(_) => drop(admin.reconnect().await),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Whether the roster came into force although its answer was lost.
async fn in_force(admin: &mut Admin, enrolments: &[Pending], error: Error) -> Result<Handed, String> {
    let _ = admin.reconnect().await;
    let roster = admin.trust_store().roster().map(Verified::document);
    let is_listed = |p: &Pending| {
        let key = p.enrolment.document().key.fingerprint();
        roster.is_some_and(|r| r.active(&p.enrolment.document().node).is_some_and(|n| n.key.fingerprint() == key))
    };
    match roster {
        Some(roster) if enrolments.iter().all(is_listed) => Ok(Handed::InForce(roster.version)),
        Some(_) | None => Err(format!("the roster was not signed and handed in: {error}")),
    }
}
