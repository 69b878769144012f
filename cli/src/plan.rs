//! Plans: compiled on the admin's machine, signed as exact bytes, submitted with the files they need.

mod artifact;
mod earlier;
pub(crate) mod number;
pub mod pods;
pub mod reserved;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use hostler_plan::{
    document::{DocumentKind, MAX_SIGNATURES, Plan, PlanKind, Root, Roster, RosterStatus, Signed, Signer},
    drain::Allowed,
    fleet::Fleet,
    id::{Digest, Seq},
    json,
    planner::{self, Begins, Earlier, Intent, Inventory, InventoryNode, Numbering, OpenPlan, Preview, RunningPlan},
    refusal::Refusal,
    timestamp::Timestamp,
    trust::{self, Draft, Duty, Purpose, Verified, counted},
};
use hostler_proto::v1;

pub use artifact::{ArtifactFiles, upload_missing, upload_sealed};
pub use earlier::{earlier, fates};

use number::Forks;
use pods::Pods;

use crate::{
    Admin, admin::Reached, delivery, error::Error, file::read_text, key, node, output::note, place, roster::Next,
    trust_store::TrustStore,
};

/// The largest fleet file that is read; one of 1,000 nodes has about 100 KiB.
pub const MAX_FLEET_BYTES: usize = 1 << 20;

/// A compiled plan: exact bytes that nobody has signed yet.
#[derive(Debug, Clone)]
pub struct CompiledPlan {
    pub bytes: Vec<u8>,
    pub plan: Plan,
    pub preview: Preview,
    /// What is on the nodes that it drains; none where it drains none.
    pub pods: Option<Pods>,
}

/// Where the lock of a fleet file lies: beside it, with the ending `.lock`.
pub fn lock_path(fleet_file: &Path) -> PathBuf {
    fleet_file.with_extension("lock")
}

/// Reads and checks a fleet file with the lock beside it. Gives the fleet and what is allowed but unwise.
pub fn read_fleet(path: &Path) -> Result<(Fleet, Vec<planner::Note>), Error> {
    let (name, text) = (path.display().to_string(), read_text(path, MAX_FLEET_BYTES)?);
    let lock = lock_path(path);
    let read = match lock.exists() {
        true => {
            let (lock, artifacts) = (lock.display().to_string(), read_text(&lock, MAX_FLEET_BYTES)?);
            Fleet::with_lock((&name, &text), (&lock, &artifacts))
        }
        false => Fleet::from_toml(&[(&name, &text)]),
    };
    let (fleet, unwise) = read.map_err(|e| Error::Failed(e.to_string()))?;
    Ok((fleet, unwise.into_iter().map(|p| planner::Note::Warning(p.to_string())).collect()))
}

/// The fleet as the coordinator's sequencer sees it.
pub async fn inventory(admin: &mut Admin) -> Result<Inventory, Error> {
    let request = admin.with_session(v1::Empty {});
    let reply = admin.client().get_inventory(request).await?.into_inner();
    Ok(reply.try_into()?)
}

/// Compiles an intent into a plan with the next number. `lifetime` replaces the fleet file's.
pub async fn compile(
    admin: &mut Admin,
    fleet: &Fleet,
    intent: &Intent,
    lifetime: Option<Duration>,
    now: Timestamp,
) -> Result<CompiledPlan, Error> {
    let times = Times { lifetime, at_once: false };
    compile_under(admin, fleet, intent, &Allowed::default(), times, None, now).await
}

/// When a plan begins and ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// In place of the fleet file's.
    pub lifetime: Option<Duration>,
    /// Whatever the fleet file's maintenance windows are.
    pub at_once: bool,
}

/// The same with what a person allows of the losses of pods, and under the roster that will be the next one, which
/// nobody has signed yet: so that nothing is signed where no plan can be made.
pub async fn compile_under(
    admin: &mut Admin,
    fleet: &Fleet,
    intent: &Intent,
    allowed: &Allowed,
    times: Times,
    next: Option<&Next>,
    now: Timestamp,
) -> Result<CompiledPlan, Error> {
    admin.refresh().await?;
    let reserved = settle(admin, now).await?;
    // What takes out of danger does not wait until somebody found out who signed the other plan of its number.
    let forks = if intent.kind().takes_out_of_danger() { Forks::Close } else { Forks::Refuse };
    let number::Next { seq, prev, also } = number::next(admin, forks).await?;
    let mut inventory = inventory(admin).await?;
    if let Some(next) = next {
        see_waiting(admin, &next.roster, &mut inventory).await?;
    }
    let before: Vec<Digest> = prev.iter().chain(&also).copied().collect();
    let mut earlier = earlier(admin, &before).await?;
    if intent.disrupts() {
        earlier.coordinator_on = delivery::coordinator_on(admin).await?;
    }
    for open in reserved {
        inventory.running.push(RunningPlan { plan: open.plan, kind: open.kind, title: open.title.clone() });
        add(&mut earlier, open);
    }
    let root = admin.trust_store().root();
    let (roster, roster_digest) = roster_for(admin, next)?;
    let lifetime_seconds = lifetime_seconds(root, fleet, times.lifetime)?;
    // What somebody asked for counts; else windows may need longer than the fleet file has.
    let most_seconds = times.lifetime.map_or(root.policy.max_plan_lifetime_seconds, |_| lifetime_seconds);
    let begins = if times.at_once { Begins::AtOnce } else { Begins::InWindows { most_seconds } };
    let numbering = Numbering {
        epoch: root.epoch,
        seq,
        prev,
        also,
        root_version: root.version,
        roster: roster_digest,
        created: now,
        lifetime_seconds,
        begins,
    };
    let (mut plan, preview) = planner::plan(fleet, roster, &inventory, &earlier, intent, &numbering)
        .map_err(|e| Error::Failed(e.to_string()))?;
    let pods = pods::consent(admin, &mut plan, allowed, fleet.policy.new_owners, now).await?;
    let (roster, roster_digest) = roster_for(admin, next)?;
    let bytes = json::write(&plan);
    let most = DocumentKind::Plan.max_bytes();
    if bytes.len() > most {
        return Err(Error::Failed(format!(
            "the plan has {} bytes and a plan may have {most}; make one for fewer nodes with --nodes",
            bytes.len()
        )));
    }
    // What came from flags may be out of a plan's ranges: nobody would take it, so nobody signs it.
    json::parse::<Plan>(&bytes).map_err(|e| Error::Usage(format!("the plan would be {e}; ask for something else")))?;
    // What would be refused with its signatures is neither shown nor written.
    trust::check_unsigned(admin.trust_store().trusted(), (roster, roster_digest), &plan, Purpose::Submitting(now))?;
    Ok(CompiledPlan { bytes, plan, preview, pods })
}

/// The roster that a plan is made under, with its digest.
fn roster_for<'a>(admin: &'a Admin, next: Option<&'a Next>) -> Result<(&'a Roster, Digest), Error> {
    match next {
        Some(next) => Ok((&next.roster, next.digest())),
        None => {
            let held = admin.trust_store().require_roster()?;
            Ok((held.document(), held.digest()))
        }
    }
}

/// How long a plan lives: as long as was asked for, or as the fleet file says where the root's policy lets it.
fn lifetime_seconds(root: &Root, fleet: &Fleet, asked: Option<Duration>) -> Result<u64, Error> {
    let most = root.policy.max_plan_lifetime_seconds;
    match asked.map(|asked| asked.as_secs()) {
        Some(asked) if asked > most => {
            Err(Error::Usage(format!("--lifetime: expected at most {most} s by the root's policy, found {asked} s")))
        }
        Some(asked) => Ok(asked),
        None => Ok(fleet.policy.plan_lifetime_seconds.min(most)),
    }
}

/// Nodes that no roster lists yet are in no inventory; whether they are connected is known.
async fn see_waiting(admin: &mut Admin, next: &Roster, inventory: &mut Inventory) -> Result<(), Error> {
    let nodes = node::list(admin).await?;
    for listed in next.nodes.iter().filter(|n| n.status == RosterStatus::Active) {
        let key = listed.key.fingerprint().to_string();
        let connected = nodes.iter().any(|n| n.name == listed.name.as_str() && n.key == key && n.connected);
        let seen = InventoryNode { connected, ..InventoryNode::UNSEEN };
        inventory.nodes.entry(listed.name.clone()).or_insert(seen);
    }
    Ok(())
}

/// The highest plan number of the epoch that is proved to this machine.
pub(crate) fn proved_seq(admin: &Admin) -> Seq {
    number::proved_seq(admin)
}

/// What a stop is made of: its number, what is proved of the plans before it, and which of them the coordinator calls
/// open.
pub(crate) async fn before_stop(
    admin: &mut Admin,
    now: Timestamp,
) -> Result<(number::Next, Earlier, Vec<Digest>), Error> {
    let reserved = settle(admin, now).await?;
    let next = number::next(admin, Forks::Close).await?;
    let running = inventory(admin).await?.running.into_iter().map(|running| running.plan.digest);
    let running = running.chain(reserved.iter().map(|open| open.plan.digest)).collect();
    let before: Vec<Digest> = next.prev.into_iter().collect();
    let mut earlier = earlier(admin, &before).await?;
    reserved.into_iter().for_each(|open| add(&mut earlier, open));
    Ok((next, earlier, running))
}

fn add(earlier: &mut Earlier, open: OpenPlan) {
    if !earlier.open.contains(&open) {
        earlier.open.push(open);
    }
}

/// The plans that are signed by some and wait for others. One that the coordinator has, or that a newer plan ended,
/// waits no more.
pub async fn settle(admin: &mut Admin, now: Timestamp) -> Result<Vec<OpenPlan>, Error> {
    let newest = number::newest(admin)?;
    reserved::exchange(admin, newest.as_ref(), now).await?;
    let mut waiting = Vec::new();
    for kept in reserved::all(admin.trust_store(), now)? {
        let open = kept.open(admin.trust_store());
        let passed = newest.as_ref().is_some_and(|newest| {
            newest.epoch == kept.plan().epoch && newest.seq > open.plan.seq && !newest.keeps_valid.contains(&open.plan)
        });
        // What is shown with too few signatures stands in no ledger.
        let shown = number::show(admin, &open.plan.digest.to_string()).await?;
        let counts = |signed| OpenPlan::verify(admin.trust_store().trusted(), &open.plan.digest, &signed).is_ok();
        let is_in_ledger = shown.is_some_and(counts);
        if !passed && !is_in_ledger {
            waiting.push(open);
            continue;
        }
        let rescue = admin.trust_store().rescue();
        rescue.pass_over(reserved::release(admin.trust_store(), open.plan.seq))?;
        if !is_in_ledger {
            note(&format!("plan {} was signed by some and is void: a newer plan does not keep it", open.plan.seq));
        }
    }
    Ok(waiting)
}

/// Where the signatures of a plan stand.
#[derive(Debug, Clone)]
pub struct PlanSigning {
    /// The signers whose keys count for it.
    pub by: Vec<Signer>,
    /// How many different keys the root demands.
    pub needed: u32,
}

/// A signature that was just made, and what it makes of the plan.
#[derive(Debug)]
pub struct SignedPlan {
    /// The signature, for a `.sig` file.
    pub armour: String,
    pub signing: PlanSigning,
    /// The plan as it can be submitted; none while others are to sign too.
    pub plan: Option<Verified<Plan>>,
}

/// That a plan which is to be signed has a number that nodes follow: while others are to sign too it is kept for it,
/// and above one that nobody follows no later plan has a place. What a coordinator shows counts where one was asked.
pub fn check_number(reached: &Reached, plan: &Plan) -> Result<(), Error> {
    match reached {
        // Needs nobody else, and takes no number.
        _ if plan.kind == PlanKind::Stop => Ok(()),
        Reached::There(admin) => number::check_room(admin, plan),
        Reached::Away { store, .. } => number::check_room_here(store, plan),
    }
}

/// Signs a plan, after everything but the number of signatures was checked against the trust store.
pub fn sign(
    store: &TrustStore,
    signer: &key::SigningKey,
    draft: &mut Draft<Plan>,
    now: Timestamp,
) -> Result<SignedPlan, Error> {
    let own = signer.public_key().fingerprint();
    if draft.signed_by().keys().contains(&own) {
        return Err(Error::Usage(format!(
            "this plan is signed with {own} already, and every key counts once; have another person sign it, or submit \
             it"
        )));
    }
    if draft.signed().signatures.len() >= MAX_SIGNATURES {
        return Err(Error::Usage(format!("this plan has {MAX_SIGNATURES} signatures already; submit it")));
    }
    let (plan, roster) = (draft.document(), store.require_roster_for(draft.document().kind)?);
    trust::check_signer(store.root(), Duty::Plan(plan.kind), &own)?;
    trust::check_unsigned(store.trusted(), (roster.document(), roster.digest()), plan, Purpose::Submitting(now))?;
    let armour = signer.sign(DocumentKind::Plan, &draft.signed().bytes)?;
    draft.add(armour.clone())?;
    let plan = match draft.verify(store.trusted(), roster, Purpose::Submitting(now)) {
        Ok(plan) => Some(plan),
        // Others are to sign too.
        Err(refused) if refused.refusal == Refusal::Threshold => None,
        Err(refused) => return Err(refused.into()),
    };
    Ok(SignedPlan { armour, signing: signing(store, draft), plan })
}

/// Whose signatures count for a plan, and how many are needed.
pub fn signing(store: &TrustStore, draft: &Draft<Plan>) -> PlanSigning {
    let duty = Duty::Plan(draft.document().kind);
    let by = counted(store.root(), duty, draft.signed_by()).into_iter().cloned().collect();
    PlanSigning { by, needed: duty.needed(store.root()) }
}

/// A plan verified, as the coordinator and every node will, by what this machine holds.
pub fn verify(store: &TrustStore, signed: &Signed, now: Timestamp) -> Result<Verified<Plan>, Error> {
    // One that nobody can read is refused for that.
    let kind = json::parse::<Plan>(&signed.bytes).map_or(PlanKind::Check, |plan| plan.kind);
    Ok(trust::plan(store.trusted(), store.require_roster_for(kind)?, signed, Purpose::Submitting(now))?)
}

/// Submits a verified plan and remembers its number. Artifacts must have been uploaded before.
pub async fn submit(admin: &mut Admin, plan: &Verified<Plan>) -> Result<SubmittedPlan, Error> {
    let rescue = admin.trust_store().rescue().clone();
    rescue.pass_over(number::recall(&number::path(admin.trust_store())))?;
    // Before its number is kept: with one that nobody follows, no later plan would have a place.
    number::check_room(admin, plan.document())?;
    rescue.pass_over(number::sending(admin, plan).await)?;
    let request = admin.with_session(plan.signed().clone().into());
    let reply = admin.client().submit_plan(request).await?.into_inner();
    let counts = |winner: &Signed| number::overtakes(admin, winner, plan.document().prev);
    let is_new = place::taken(reply, &format!("plan {}", plan.document().seq), plan.digest(), counts)?;
    rescue.pass_over(number::remember(admin, plan).await)?;
    rescue.pass_over(reserved::release(admin.trust_store(), plan.document().seq))?;
    Ok(SubmittedPlan { plan: plan.digest(), seq: plan.document().seq, is_new })
}

/// A plan that the coordinator has in its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubmittedPlan {
    pub plan: Digest,
    pub seq: Seq,
    /// False when the very same plan was there before.
    pub is_new: bool,
}
