//! The next plan's number and what it follows, from signed plans: a coordinator cannot make us skip numbers or use one
//! twice, and what it showed us once must still be there.

use std::path::{Path, PathBuf};

use hostler_plan::{
    checked,
    document::{DocumentKind, Holding, Plan, PlanRef, Roster, Signed},
    id::{Digest, Epoch, NodeName, Seq},
    json,
    refusal::{Refusal, Refused},
    trust::{self, Duty, SignedBy, TrustedRoot, Verified, threshold},
};
use hostler_proto::v1;
use serde::{Deserialize, Serialize};
use tonic::Code;

use super::reserved;
use crate::{
    Admin,
    error::Error,
    file::{read_limited, write_whole},
    floor::{self, Floor},
    fork,
    hand_in::HandIn,
    output::note,
    trust_store::TrustStore,
};

/// The highest number that this machine submitted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Remembered {
    epoch: Epoch,
    seq: Seq,
    digest: Digest,
}

/// The next plan's number, and what it follows.
#[derive(Debug, Clone)]
pub(crate) struct Next {
    pub seq: Seq,
    pub prev: Option<Digest>,
    /// Other ends of a fork, which the plan closes by naming them.
    pub also: Vec<Digest>,
}

/// Whether a plan may be made on top of a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forks {
    /// No: first somebody finds out who signed the other one.
    Refuse,
    /// Yes, and it names both ends. What stops and what takes out of danger never waits for an inquiry.
    Close,
}

/// One more than the highest number that is proved, remembered, kept for a plan that is signed by some, or held by a
/// node.
pub(super) async fn next(admin: &mut Admin, forks: Forks) -> Result<Next, Error> {
    let epoch = admin.trust_store().root().epoch;
    let remembered = admin.trust_store().rescue().pass_over(recall(&path(admin.trust_store())))?.flatten();
    let remembered = remembered.filter(|r| r.epoch == epoch);
    let shown = shown(admin)?;
    let mut own = Vec::new();
    if let Some(remembered) = remembered
        && let Some(lost) = missing(admin, remembered, shown).await?
    {
        match (forks, lost) {
            (Forks::Refuse, Lost::Replaced(refused)) => return Err(refused.into()),
            (Forks::Close, Lost::Replaced(refused)) => note(&refused.reason),
            (_, Lost::Unknown) => note(&format!(
                "the coordinator's ledger has lost plan {} ({}), which this machine submitted: was it restored from a \
                 backup? the next plan names both ends",
                remembered.seq, remembered.digest
            )),
        }
        own.push(remembered.digest);
    }
    let lost = seen(admin.trust_store()).filter(|seen| Some(seen.seq) > shown.map(|shown| shown.seq));
    let lost = lost.filter(|lost| !own.contains(&lost.digest));
    if let Some(PlanRef { seq, digest }) = lost {
        note(&format!(
            "the coordinator's ledger has lost plan {seq} ({digest}), which it showed before: was it restored from a \
             backup? the next plan names both ends"
        ));
        own.push(digest);
    }
    // Those that wait no more are given up, and what is left has its number, readable or not.
    reserved::all(admin.trust_store(), crate::admin::now())?;
    let waiting = reserved::numbers(admin.trust_store())?;
    let known = shown.map(|s| s.seq).max(remembered.map(|r| r.seq));
    let newest = shown.map_or(Seq(0), |shown| shown.seq);
    let roster = admin.trust_store().roster().map(Verified::document);
    let kept_back = sent(admin.trust_store()).filter(|sent| Some(sent.seq) > known);
    // With a number that no node follows it ends nothing and is ended by nothing.
    let kept_back = kept_back.filter(|sent| room_after(epoch, newest, roster, sent.seq).is_ok());
    own.extend(kept_back.filter(|sent| !waiting.contains(&sent.seq)).map(ended_by_the_next));
    let others = match forks {
        Forks::Close => admin.forks_of(DocumentKind::Plan),
        Forks::Refuse => Vec::new(),
    };
    let prev = shown.map(|shown| shown.digest);
    let also = fork::ends(prev, own, &others);
    let sent = kept_back.map(|sent| sent.seq);
    let lost = lost.map(|lost| lost.seq);
    let known = known.max(sent).max(lost).max(waiting.last().copied()).unwrap_or(Seq(0));
    let highest = held_by_a_node(admin, newest).max(Some(known)).unwrap_or(known);
    let seq = highest.0.checked_add(1).map(Seq).ok_or_else(|| {
        Error::Failed("the numbers of this epoch are used up; sign a root with a higher epoch".to_owned())
    })?;
    trust::check_jump(epoch, newest, roster, seq)?;
    Ok(Next { seq, prev, also })
}

/// That a plan's number has a place after the newest that is shown, and leaves one for the plan after it.
pub(super) fn check_room(admin: &Admin, plan: &Plan) -> Result<(), Error> {
    let newest = shown(admin)?.map_or(Seq(0), |shown| shown.seq);
    let roster = admin.trust_store().roster().map(Verified::document);
    Ok(room_after(plan.epoch, newest, roster, plan.seq)?)
}

/// The same by what this machine holds alone.
pub(super) fn check_room_here(store: &TrustStore, plan: &Plan) -> Result<(), Error> {
    let remembered = store.rescue().pass_over(recall(&path(store)))?.flatten();
    let remembered = remembered.filter(|r| r.epoch == plan.epoch).map_or(Seq(0), |r| r.seq);
    Ok(room_after(plan.epoch, known(store).max(remembered), None, plan.seq)?)
}

/// Whether a plan with the number after `seq` is followed too.
fn room_after(epoch: Epoch, newest: Seq, roster: Option<&Roster>, seq: Seq) -> Result<(), Refused> {
    trust::check_jump(epoch, newest, roster, Seq(seq.0.saturating_add(1)))
}

/// How far above what is known here a stop is numbered that nobody could be asked about: plans of others may have come
/// meanwhile. Half as far as others follow what a node holds, so that the next plan finds its place above it.
const MARGIN: u64 = trust::MAX_JUMP / 4;

/// The number of a stop that is made from what this machine holds alone.
pub(crate) fn without_coordinator(store: &TrustStore) -> Result<Next, Error> {
    let epoch = store.root().epoch;
    let remembered = store.rescue().pass_over(recall(&path(store)))?.flatten().filter(|r| r.epoch == epoch);
    let remembered = remembered.map(|Remembered { seq, digest, .. }| PlanRef { seq, digest });
    let last = seen(store).into_iter().chain(remembered).max_by_key(|plan| plan.seq);
    let sent = sent(store).filter(|sent| last.is_none_or(|last| sent.seq > last.seq));
    let waiting = reserved::numbers(store)?.last().copied();
    let known = known(store).max(remembered.map_or(Seq(0), |plan| plan.seq)).max(waiting.unwrap_or(Seq(0)));
    let sent = sent.filter(|sent| room_after(epoch, known, None, sent.seq).is_ok());
    let above_sent = sent.map_or(0, |sent| sent.seq.0.saturating_add(1));
    let seq = Seq(known.0.saturating_add(MARGIN).max(above_sent));
    let prev = last.map(|last| last.digest);
    // Of two with one number nobody knows here which one is in the ledger.
    let own = remembered.into_iter().filter(|plan| last.is_some_and(|last| last.seq == plan.seq)).chain(sent);
    Ok(Next { seq, prev, also: fork::ends(prev, own.map(|plan| plan.digest), &[]) })
}

/// The newest plan of this epoch that a coordinator showed to this profile.
fn seen(store: &TrustStore) -> Option<PlanRef> {
    let (epoch, plan) = Floor::load(store.folder()).newest?;
    (epoch == store.root().epoch).then_some(plan)
}

/// The highest number of this epoch that signed documents name which this profile saw.
fn known(store: &TrustStore) -> Seq {
    let of_roster = store.roster().map(|roster| roster.document().plan_seq);
    seen(store).map(|plan| plan.seq).max(of_roster).unwrap_or(Seq(0))
}

/// Keeps the number of a plan before anybody is shown it. Another plan that was handed in under it took its place.
pub(crate) fn keep_sent(store: &TrustStore, plan: &Verified<Plan>) -> Result<(), Error> {
    let sent = PlanRef { seq: plan.document().seq, digest: plan.digest() };
    HandIn::Plan(plan.document().epoch, sent).keep(store.folder())?;
    // It has all its signatures, whoever says that it waits for some.
    store.rescue().pass_over(reserved::release_sent(store, sent)).map(drop)
}

/// Says of a plan that was handed in here that the ledger does not have it, and gives its digest.
fn ended_by_the_next(PlanRef { seq, digest }: PlanRef) -> Digest {
    note(&format!(
        "plan {seq} ({digest}) was signed and handed in here and is not in the coordinator's ledger: it was refused, \
         did not arrive, or is kept back; the next plan has a number above it and ends it"
    ));
    digest
}

/// The newest plan that a node signed that it holds, where it is above the newest of the ledger: one with a lower
/// number would be refused there.
fn held_by_a_node(admin: &Admin, newest: Seq) -> Option<Seq> {
    let store = admin.trust_store();
    let roster = store.roster().or(store.lapsed())?;
    let (node, held) = ahead(roster, store.root().epoch, newest, admin.coordinator().ahead.as_ref()?)?;
    note(&format!(
        "{node} signed that it holds plan {} ({}), and plan {newest} is the newest in the coordinator's ledger: was it \
         restored from a backup? the next number is above both",
        held.seq, held.digest
    ));
    Some(held.seq)
}

/// Who holds which plan. It is a node's word alone, so it counts only as far as every other node follows.
fn ahead(roster: &Verified<Roster>, epoch: Epoch, newest: Seq, signed: &Signed) -> Option<(NodeName, PlanRef)> {
    let holding = trust::holding(roster, signed).ok()?;
    let Holding { node, holds, .. } = holding.document();
    let held = holds.plan.filter(|_| holds.epoch == epoch)?;
    trust::may_be_ahead(epoch, newest, Some(roster.document()), held.seq).then(|| (node.clone(), held))
}

/// How what this machine submitted is not in the coordinator's ledger any more.
enum Lost {
    /// Another plan stands under its number.
    Replaced(Refused),
    /// The ledger has not come so far.
    Unknown,
}

/// Whether the coordinator still shows what this machine submitted last.
async fn missing(admin: &mut Admin, ours: Remembered, shown: Option<PlanRef>) -> Result<Option<Lost>, Error> {
    let there = match shown {
        Some(shown) if shown.seq == ours.seq => Some(shown.digest),
        Some(shown) if shown.seq > ours.seq => show(admin, &ours.seq.to_string()).await?.map(|plan| plan.digest()),
        Some(_) | None => return Ok(Some(Lost::Unknown)),
    };
    if there == Some(ours.digest) {
        return Ok(None);
    }
    let found = there.map_or_else(|| "no plan".to_owned(), |found| found.to_string());
    let reason = format!(
        "expected plan {} to stay {}, which this machine submitted, found {found} under the same number: admins were \
         shown different states; find out who signed the other, then `hostler stop` names both and ends what they \
         began",
        ours.seq, ours.digest
    );
    Ok(Some(Lost::Replaced(Refused::new(Refusal::Forked, reason))))
}

/// The plan that the coordinator shows under that number or digest. It need not count: it is compared.
pub(super) async fn show(admin: &mut Admin, which: &str) -> Result<Option<Signed>, Error> {
    let request = admin.with_session(v1::GetRolloutRequest { rollout: which.to_owned() });
    match admin.client().get_rollout(request).await {
        Ok(detail) => Ok(detail.into_inner().plan.map(Signed::from)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status.into()),
    }
}

/// The newest plan that the coordinator shows, by its signed bytes: whoever says that a number is taken must show the
/// plan that took it.
fn shown(admin: &Admin) -> Result<Option<PlanRef>, Error> {
    let newest = newest(admin)?;
    let digest = admin.coordinator().newest_plan.as_ref().map(Signed::digest);
    Ok(newest.zip(digest).map(|(plan, digest)| PlanRef { seq: plan.seq, digest }))
}

/// What it says.
pub(super) fn newest(admin: &Admin) -> Result<Option<Plan>, Error> {
    let said = Seq(admin.coordinator().highest_seq);
    let Some(signed) = &admin.coordinator().newest_plan else {
        if said == Seq(0) {
            return Ok(None);
        }
        let reason = format!(
            "expected the coordinator to show plan {said}, of which it says that it exists, found nothing; do not sign \
             anything, and compare its ledger with a copy"
        );
        return Err(Refused::new(Refusal::Replay, reason).into());
    };
    let plan = verify(admin.trust_store(), signed)?;
    if plan.seq == said {
        return Ok(Some(plan));
    }
    let reason = format!(
        "the coordinator says that plan {said} exists, and shows plan {} instead; do not sign anything, and compare \
         its ledger with a copy",
        plan.seq
    );
    Err(Refused::new(Refusal::Replay, reason).into())
}

/// A plan of the present epoch that was signed by enough keys, also of an earlier root of it: whoever signed may have
/// gone since, and the number stays taken.
fn verify(store: &TrustStore, signed: &Signed) -> Result<Plan, Refused> {
    let by = SignedBy::of(DocumentKind::Plan, signed)?;
    let malformed =
        |e| Refused::new(Refusal::Malformed, format!("the coordinator's newest plan is {e}; update hostler"));
    let plan: Plan = json::parse(&signed.bytes).map_err(malformed)?;
    let (epoch, fleet) = (store.root().epoch, &store.root().fleet_id);
    if (plan.epoch, &plan.fleet_id) != (epoch, fleet) {
        let reason = format!(
            "expected the coordinator's newest plan to be of epoch {epoch} of fleet {fleet}, found plan {} of epoch \
             {}; do not sign anything, and compare its ledger with a copy",
            plan.seq, plan.epoch
        );
        return Err(Refused::new(Refusal::Replay, reason));
    }
    let counts = |root: &TrustedRoot| threshold(root.root(), Duty::Plan(plan.kind), &by);
    let newest = counts(store.trusted());
    if newest.is_err() && store.earlier().any(|root| root.root().epoch == epoch && counts(root).is_ok()) {
        return Ok(plan);
    }
    newest.map(|()| plan)
}

/// Whether that plan took the place of one that follows `prev`: it counts, and is newer than the newest that was shown,
/// or that one is another than `prev` already.
pub(super) fn overtakes(admin: &Admin, winner: &Signed, prev: Option<Digest>) -> bool {
    let Ok(plan) = verify(admin.trust_store(), winner) else { return false };
    let shown = shown(admin).ok().flatten();
    let follows_shown = shown.map(|shown| shown.digest) == prev;
    !follows_shown || Some(plan.seq) > shown.map(|shown| shown.seq)
}

/// The highest number of the epoch of which this machine has proof: the newest signed plan that is shown, and what it
/// submitted itself.
pub(super) fn proved_seq(admin: &Admin) -> Seq {
    let epoch = admin.trust_store().root().epoch;
    let remembered = recall(&path(admin.trust_store())).ok().flatten().filter(|r| r.epoch == epoch).map(|r| r.seq);
    let shown = shown(admin).ok().flatten().map(|shown| shown.seq);
    let seen = seen(admin.trust_store()).map(|seen| seen.seq);
    remembered.max(shown).max(seen).unwrap_or(Seq(0))
}

pub(crate) fn path(store: &TrustStore) -> PathBuf {
    store.folder().join("highest-plan.json")
}

pub(crate) fn recall(path: &Path) -> Result<Option<Remembered>, Error> {
    let folder = path.parent().unwrap_or(path);
    let lost = |found: &str| {
        let way_out = format!(
            "restore it from a backup, or look with `hostler rollouts` for the newest plan and remove this file and {}",
            floor::names(folder)
        );
        floor::lost(path, "the newest plan that was submitted here", found, &way_out)
    };
    if path.symlink_metadata().is_err() {
        return if Floor::load(folder).plan { Err(lost("none")) } else { Ok(None) };
    }
    let bytes = read_limited(path, 4096).map_err(|e| lost(&e.to_string()))?;
    let json = checked::read(&bytes).map_err(lost)?;
    json::parse(json).map(Some).map_err(|e| lost(&e.to_string()))
}

/// Keeps a number that is higher than the one that is kept; durable when this returns.
pub(crate) fn keep_newest(path: &Path, epoch: Epoch, seq: Seq, digest: Digest) -> Result<(), Error> {
    if recall(path)?.is_some_and(|r| (r.epoch, r.seq) >= (epoch, seq)) {
        return Ok(());
    }
    write_whole(path, &checked::write(&json::write(&Remembered { epoch, seq, digest })), false)?;
    Floor::change(path.parent().unwrap_or(path), |floor| floor.plan = true)
}

/// What was handed in last in this epoch, whatever became of it.
fn sent(store: &TrustStore) -> Option<PlanRef> {
    let (epoch, plan) = Floor::load(store.folder()).sent.plan?;
    (epoch == store.root().epoch).then_some(plan)
}

/// Keeps what is about to be handed in, durably: no other plan gets its number. The disk is waited for as in
/// [`remember`].
pub(super) async fn sending(admin: &Admin, plan: &Verified<Plan>) -> Result<(), Error> {
    let (store, plan) = (admin.trust_store().clone(), plan.clone());
    let kept = tokio::task::spawn_blocking(move || keep_sent(&store, &plan));
    kept.await.map_err(|e| Error::Failed(format!("what is handed in was not kept: {e}; try again")))?
}

/// Keeps the number, durably. The disk is waited for on a thread of its own: others go on meanwhile.
pub(super) async fn remember(admin: &Admin, plan: &Verified<Plan>) -> Result<(), Error> {
    let path = path(admin.trust_store());
    let (epoch, seq, digest) = (plan.document().epoch, plan.document().seq, plan.digest());
    let kept = tokio::task::spawn_blocking(move || keep_newest(&path, epoch, seq, digest));
    kept.await.map_err(|e| Error::Failed(format!("the plan's number was not kept: {e}")))?
}

#[cfg(test)]
mod tests {
    use hostler_fixtures::{self as made, key, public, signed, signer};
    use hostler_plan::{document::SignerRole, step::ClusterRole, timestamp::Timestamp, trust::Purpose};

    use super::*;

    /// After a ledger was put back from a copy.
    #[test]
    fn a_plan_that_a_node_signed_that_it_holds_has_its_number_and_a_lie_leads_nowhere() {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let root = made::root(now, vec![signer("anna", public(&key(1)), SignerRole::Admin)]);
        let member = |name: &str, seed| made::node(name, public(&key(seed)), ClusterRole::Worker);
        let roster = made::roster(&root, now, vec![member("a", 2), member("b", 3)]);
        let document = signed(DocumentKind::Root, &root, &[&key(1)]);
        let trusted = TrustedRoot::first(&document, &document.digest()).unwrap();
        let document = signed(DocumentKind::Roster, &roster, &[&key(1)]);
        let proved = trust::roster(&trusted, None, &document, Purpose::Begun).unwrap();
        let lost = made::plan(&roster, now, 42);
        let holding = |change: &dyn Fn(&mut Holding), by| {
            let mut holding = made::holding(&root, &roster, "a", &[&lost]);
            change(&mut holding);
            signed(DocumentKind::Holding, &holding, &[&key(by)])
        };
        let number = |change: &dyn Fn(&mut Holding), by| {
            ahead(&proved, root.epoch, Seq(40), &holding(change, by)).map(|(_, plan)| plan.seq)
        };
        assert_eq!(number(&|_| {}, 2), Some(Seq(42)));
        assert_eq!(number(&|_| {}, 3), None, "another node's key");
        assert_eq!(number(&|h| h.holds.epoch = Epoch(9), 2), None);
        assert_eq!(number(&|h| h.holds.plan = None, 2), None);
        let far = |seq| move |h: &mut Holding| h.holds.plan = Some(PlanRef { seq: Seq(seq), digest: Digest::ZERO });
        assert_eq!(number(&far(40), 2), None, "it is no news");
        assert_eq!(number(&far(u64::MAX), 2), None, "it would use up the numbers");
    }
}
