//! The next roster: made from the one that is held, signed and submitted.

use hostler_plan::{
    document::{DocumentKind, DocumentRef, Enrolled, Roster, RosterNode, RosterStatus, RosterType, Signed},
    id::{Digest, NodeName, Seq, TokenId},
    json,
    refusal::{Refusal, Refused},
    show,
    timestamp::Timestamp,
    trust::{self, Duty, Purpose, Verified},
};

use super::{Eligibility, Pending, pending};
use crate::{Admin, error::Error, floor::Floor, fork, hand_in::HandIn, output::note, place, plan};

/// How far a roster that only a node signed that it holds moves the next one's version: a node that lies must not use
/// up the versions.
const MAX_AHEAD: u64 = 1000;

/// The next roster: exact bytes that nobody has signed yet.
#[derive(Debug, Clone)]
pub struct Next {
    pub bytes: Vec<u8>,
    pub roster: Roster,
}

impl Next {
    /// What documents name it by.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// The next roster with the nodes of `listed` in it. A node of the same name is retired behind the new one.
pub async fn listing(admin: &mut Admin, listed: &[Pending], now: Timestamp) -> Result<Next, Error> {
    let mut nodes = admin.trust_store().roster().map(|r| r.document().nodes.clone()).unwrap_or_default();
    for pending in listed {
        let name = pending.enrolment.document().node.clone();
        list_as(&mut nodes, pending, &name)?;
    }
    next(admin, nodes, &[], now).await
}

/// The next roster with one node that waits under the name that it came with, in the place of the one that has it.
pub async fn replacing(admin: &mut Admin, pending: &Pending, name: &NodeName, now: Timestamp) -> Result<Next, Error> {
    let mut nodes = admin.trust_store().roster().map(|r| r.document().nodes.clone()).unwrap_or_default();
    list_as(&mut nodes, pending, name)?;
    next(admin, nodes, &[], now).await
}

fn list_as(nodes: &mut Vec<RosterNode>, pending: &Pending, name: &NodeName) -> Result<(), Error> {
    if let Eligibility::Never(reason) = &pending.eligibility {
        return Err(Refused::new(Refusal::NotAllowed, format!("{name} cannot be listed: {reason}")).into());
    }
    let (enrolment, admission) = (pending.enrolment.document(), pending.admission.document());
    for before in nodes.iter_mut().filter(|n| n.name == *name) {
        before.status = RosterStatus::Retired;
    }
    nodes.push(RosterNode {
        name: name.clone(),
        key: enrolment.key.clone(),
        seal_key: enrolment.seal_key.clone(),
        role: admission.role,
        arch: enrolment.arch,
        status: RosterStatus::Active,
        enrolled: Enrolled { token: enrolment.token.clone(), enrolment: pending.enrolment.digest() },
    });
    Ok(())
}

/// The next roster with that node retired: its receipts count no more and it gets no certificate.
pub async fn retirement(admin: &mut Admin, name: &NodeName, now: Timestamp) -> Result<Next, Error> {
    let mut nodes = admin.trust_store().require_roster()?.document().nodes.clone();
    let node = nodes
        .iter_mut()
        .find(|n| n.name == *name && n.status == RosterStatus::Active)
        .ok_or_else(|| Error::Usage(format!("{name} is not an active node of the roster; see `hostler nodes`")))?;
    node.status = RosterStatus::Retired;
    next(admin, nodes, &[], now).await
}

/// The next roster with these tokens revoked and the same nodes; none where the roster revokes them already.
pub async fn revoking(admin: &mut Admin, tokens: &[TokenId], now: Timestamp) -> Result<Option<Next>, Error> {
    let held = admin.trust_store().roster().map(Verified::document);
    let is_new = |token: &&TokenId| !held.is_some_and(|r| r.revoked_tokens.contains(token));
    let wanted: Vec<TokenId> = tokens.iter().filter(is_new).cloned().collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let nodes = held.map(|r| r.nodes.clone()).unwrap_or_default();
    next(admin, nodes, &wanted, now).await.map(Some)
}

/// The next roster with the same nodes: what closes a fork where nothing else is to change.
pub async fn same(admin: &mut Admin, now: Timestamp) -> Result<Next, Error> {
    let nodes = admin.trust_store().require_roster()?.document().nodes.clone();
    next(admin, nodes, &[], now).await
}

/// The next roster with the nodes of the one that does not count under the newest root any more. A person must have
/// looked at its names: the reason may be that a thief signed it.
pub async fn renewal(admin: &mut Admin, now: Timestamp) -> Result<Next, Error> {
    let lapsed = admin
        .trust_store()
        .lapsed()
        .ok_or_else(|| Error::Usage("the roster counts; nothing is to be renewed".into()))?;
    let (version, nodes) = (lapsed.document().version + 1, lapsed.document().nodes.clone());
    make(admin, version, nodes, &[], now).await
}

async fn next(admin: &mut Admin, nodes: Vec<RosterNode>, revoked: &[TokenId], now: Timestamp) -> Result<Next, Error> {
    let store = admin.trust_store();
    // Never from an empty list while there is one that only has to be signed again.
    if store.lapsed().is_some() {
        store.require_roster()?;
    }
    let version = store.roster().map_or(0, |r| r.document().version) + 1;
    make(admin, version, nodes, revoked, now).await
}

async fn make(
    admin: &mut Admin,
    version: u64,
    mut nodes: Vec<RosterNode>,
    revoked: &[TokenId],
    now: Timestamp,
) -> Result<Next, Error> {
    // Whoever has a name stands before those who had it.
    nodes.sort_by(|a, b| {
        (&a.name, a.status == RosterStatus::Retired).cmp(&(&b.name, b.status == RosterStatus::Retired))
    });
    let proved = plan::proved_seq(admin);
    let store = admin.trust_store();
    let root = store.root();
    let before = store.roster().or(store.lapsed()).filter(|r| r.document().epoch == root.epoch);
    let (seq, mut revoked_tokens) = match before.map(Verified::document) {
        Some(before) => (before.plan_seq, before.revoked_tokens.clone()),
        None => (Seq(0), Vec::new()),
    };
    revoked_tokens.extend_from_slice(revoked);
    let prev = before.map(Verified::digest);
    let forks = admin.forks_of(DocumentKind::Roster);
    let reached = |number: &u64| *number >= version && number - version <= MAX_AHEAD;
    let version = forks.iter().map(|fork| fork.number).filter(reached).max().map_or(version, |highest| highest + 1);
    let sent = Floor::load(store.folder()).sent.roster.filter(|(epoch, _)| *epoch == root.epoch);
    let kept_back = sent.map(|(_, sent)| sent).filter(|sent| Some(sent.digest) != prev && sent.version >= version);
    let version = kept_back.map_or(version, |sent| sent.version + 1);
    if let Some(DocumentRef { version: sent, digest }) = kept_back {
        note(&format!(
            "roster {sent} ({digest}) was signed and handed in here and is not in the coordinator's ledger: it was \
             refused, did not arrive, or is kept back"
        ));
    }
    let also = fork::ends(prev, kept_back.map(|sent| sent.digest), &forks);
    also.iter().for_each(|other| note(&format!("roster {version} names {other} too, and closes the fork with it")));
    let roster = Roster {
        document_type: RosterType::V1,
        fleet_id: root.fleet_id.clone(),
        epoch: root.epoch,
        version,
        prev,
        also,
        root_version: root.version,
        created: now.whole_seconds(),
        plan_seq: seq.max(proved),
        revoked_tokens,
        nodes,
    };
    Ok(Next { bytes: json::write(&roster), roster })
}

/// Follows what took the place of a roster that was handed in, and says what it changed: what is made from here on
/// follows it.
pub async fn follow_winner(admin: &mut Admin) -> Result<(), Error> {
    let before = admin.trust_store().roster().cloned();
    admin.refresh().await?;
    let (before, held) = (before.as_ref().map(Verified::document), admin.trust_store().roster());
    if let Some(held) = held {
        note("what came in between:");
        note(show::roster(before, held.document(), &held.digest()).trim_end());
    }
    Ok(())
}

/// Signs the next roster with the own key and submits it. Gives its version. Where the root demands more keys it is
/// refused: others sign it first, see [`crate::document`].
pub async fn submit(admin: &mut Admin, next: &Next, now: Timestamp) -> Result<u64, Error> {
    let root = admin.trust_store().root();
    if Duty::Roster.needed(root) > 1 {
        return Err(Refused::new(
            Refusal::Threshold,
            format!(
                "a roster needs {} different keys, found one here; write it to a file and let the others sign it with \
                 `hostler sign`",
                Duty::Roster.needed(root)
            ),
        )
        .into());
    }
    let signature = admin.signer().sign(DocumentKind::Roster, &next.bytes)?;
    let signed = Signed { bytes: next.bytes.clone(), signatures: vec![signature] };
    hand_in(admin, &signed, now).await?;
    Ok(next.roster.version)
}

/// Hands in a roster that is signed by enough keys, and keeps it. False when the coordinator had it before.
pub(crate) async fn hand_in(admin: &mut Admin, signed: &Signed, now: Timestamp) -> Result<bool, Error> {
    let store = admin.trust_store();
    let held = store.roster().or(store.lapsed());
    let roster = trust::roster(store.trusted(), held, signed, Purpose::Submitting(now))?;
    // The held one once more changes nothing.
    if held.map(Verified::digest) != Some(roster.digest()) {
        let sent = DocumentRef { version: roster.document().version, digest: roster.digest() };
        HandIn::Roster(roster.document().epoch, sent).keep(store.folder())?;
    }
    let request = admin.with_session(signed.clone().into());
    let reply = admin.client().submit_roster(request).await?.into_inner();
    let store = admin.trust_store();
    let held = store.roster().or(store.lapsed());
    // By the signatures of whoever may sign rosters, and not one that came before.
    let counts = |winner: &Signed| trust::roster(store.trusted(), held, winner, Purpose::Begun).is_ok();
    let is_new = place::taken(reply, &format!("roster {}", roster.document().version), roster.digest(), counts)?;
    admin.keep_roster(roster)?;
    admin.refresh().await?;
    Ok(is_new)
}

/// Signs and submits the next roster with the nodes of `listed` in it. Gives the roster's version.
pub async fn list(admin: &mut Admin, listed: &[Pending], now: Timestamp) -> Result<u64, Error> {
    let next = listing(admin, listed, now).await?;
    submit(admin, &next, now).await
}

/// Signs and submits the next roster with that node retired.
pub async fn retire(admin: &mut Admin, name: &NodeName, now: Timestamp) -> Result<u64, Error> {
    let next = retirement(admin, name, now).await?;
    submit(admin, &next, now).await
}

/// Signs and submits the lapsed roster anew.
pub async fn renew(admin: &mut Admin, now: Timestamp) -> Result<u64, Error> {
    let next = renewal(admin, now).await?;
    submit(admin, &next, now).await
}

/// Lists every node that its admission covers, where there is any, and gives their names. Nobody is asked: the caller
/// is a program that made the tokens itself. The command shows each node first.
pub async fn list_automatic(admin: &mut Admin, now: Timestamp) -> Result<Vec<NodeName>, Error> {
    let (pending, _) = pending(admin).await?;
    let automatic: Vec<Pending> = pending.into_iter().filter(|p| p.eligibility == Eligibility::Automatic).collect();
    if automatic.is_empty() {
        return Ok(Vec::new());
    }
    list(admin, &automatic, now).await?;
    Ok(automatic.iter().map(|p| p.enrolment.document().node.clone()).collect())
}
