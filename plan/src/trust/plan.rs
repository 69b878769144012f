//! Whether a plan counts: signed by enough, of this fleet and epoch, in time, and whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    document::{DocumentKind, Plan, PlanKind, PlanRef, Roster, RosterNode, RosterStatus, Signed},
    id::{Digest, Epoch, Fingerprint, FleetId, NodeName, Seq},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{
        CLOCK_SKEW, Duty, Identity, Purpose, SignedBy, TrustedRoot, Verified, addressed, as_written, check_fleet,
        in_form, shape::check_shape, threshold,
    },
};

/// Everything about a plan that anybody can check who holds the root and the roster: the coordinator when it is handed
/// in, the admin before signing on, a node before it looks for itself among the targets.
///
/// The plan may have been made with an older root or roster of the same epoch than those held here, because both may
/// change while a rollout runs; it is judged by those that are held, and every target is pinned to a key.
pub fn plan(
    root: &TrustedRoot,
    roster: &Verified<Roster>,
    signed: &Signed,
    purpose: Purpose,
) -> Result<Verified<Plan>, Refused> {
    plan_signed_by(root, roster, signed, &SignedBy::of(DocumentKind::Plan, signed)?, purpose)
}

/// The same of a plan whose signatures were verified: `by` is of these very bytes and signatures.
pub(super) fn plan_signed_by(
    root: &TrustedRoot,
    roster: &Verified<Roster>,
    signed: &Signed,
    by: &SignedBy,
    purpose: Purpose,
) -> Result<Verified<Plan>, Refused> {
    let plan = authentic_signed_by(root, signed, by)?;
    // Stopping is the safe side: neither a clock nor an expired root nor a roster may stand in its way.
    if plan.document().kind == PlanKind::Stop {
        check_shape(roster.document(), plan.document())?;
        return Ok(plan);
    }
    in_time(root, plan.document(), purpose)?;
    fits(root, (roster.document(), roster.digest()), plan.document())?;
    Ok(plan)
}

/// Everything that [`plan`] checks but for the signatures, of a plan that nobody has signed yet under a roster that may
/// be the next one: what would be refused with its signatures is nothing to sign.
pub fn check_unsigned(
    root: &TrustedRoot,
    (roster, digest): (&Roster, Digest),
    plan: &Plan,
    purpose: Purpose,
) -> Result<(), Refused> {
    check_fleet(DocumentKind::Plan, &root.root().fleet_id, plan.fleet_id.as_str())?;
    check_epoch(root, plan.epoch, plan.seq)?;
    if plan.kind == PlanKind::Stop {
        return check_shape(roster, plan);
    }
    in_time(root, plan, purpose)?;
    fits(root, (roster, digest), plan)
}

/// Whether an unsigned plan would pass as far as its content goes: targets as in the roster, tasks, steps and artifacts
/// whole. What a planner makes passes here.
pub fn check_work(roster: &Roster, plan: &Plan) -> Result<(), Refused> {
    check_targets(roster, plan)?;
    check_shape(roster, plan)
}

/// Small enough, signed by enough people who may sign this kind, of this fleet and epoch, and a whole plan.
pub(crate) fn authentic(root: &TrustedRoot, signed: &Signed) -> Result<Verified<Plan>, Refused> {
    authentic_signed_by(root, signed, &SignedBy::of(DocumentKind::Plan, signed)?)
}

fn authentic_signed_by(root: &TrustedRoot, signed: &Signed, by: &SignedBy) -> Result<Verified<Plan>, Refused> {
    envelope(root, signed, by)?.whole(signed)
}

/// What of a plan decides which others it ends. It counts although the rest of the plan may be no plan that this
/// program knows: work that a node cannot read is not done, but it was signed, and what it replaces must not go on.
#[derive(Debug)]
pub(super) struct Envelope {
    pub heading: Heading,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The usual plan: its bytes are the very ones that it is written as.
    Written(Box<Plan>),
    /// Any other, to be read with more care.
    Other(Value),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Heading {
    epoch: Epoch,
    pub seq: Seq,
    kind: PlanKind,
    #[serde(rename = "beside")]
    pub keeps_valid: Vec<PlanRef>,
}

impl Heading {
    const KEYS: [&str; 4] = ["epoch", "seq", "kind", "beside"];
}

impl Envelope {
    fn open(fleet: &FleetId, bytes: &[u8]) -> Result<Self, Refused> {
        if let Some(plan) = as_written::<Plan>(DocumentKind::Plan, Some(fleet), bytes)? {
            let heading =
                Heading { epoch: plan.epoch, seq: plan.seq, kind: plan.kind, keeps_valid: plan.keeps_valid.clone() };
            return Ok(Self { heading, content: Content::Written(Box::new(plan)) });
        }
        let value = addressed(DocumentKind::Plan, Some(fleet), bytes)?;
        let of = |key: &str| Some((key.to_owned(), value.get(key)?.clone()));
        let heading = Value::Object(Heading::KEYS.into_iter().filter_map(of).collect());
        Ok(Self { heading: in_form(DocumentKind::Plan, &heading)?, content: Content::Other(value) })
    }

    /// The whole plan.
    pub(super) fn whole(self, signed: &Signed) -> Result<Verified<Plan>, Refused> {
        let plan = match self.content {
            Content::Written(plan) => *plan,
            Content::Other(value) => in_form(DocumentKind::Plan, &value)?,
        };
        Ok(Verified::new(plan, signed))
    }
}

/// Signed by enough people who may sign this kind of plan, of this fleet and epoch.
pub(super) fn envelope(root: &TrustedRoot, signed: &Signed, by: &SignedBy) -> Result<Envelope, Refused> {
    let trusted = root.root();
    // The kind decides who may sign, and it stands inside: before anything is parsed, at least one signature must be
    // by a key of the root.
    if !trusted.signers.iter().any(|s| by.keys().contains(&s.key.fingerprint())) {
        return Err(Refused::new(Refusal::BadSignature, no_signer(by.keys().first())));
    }
    let envelope = Envelope::open(&trusted.fleet_id, &signed.bytes)?;
    let plan = &envelope.heading;
    threshold(trusted, Duty::Plan(plan.kind), by)?;
    check_epoch(root, plan.epoch, plan.seq)?;
    Ok(envelope)
}

fn check_epoch(root: &TrustedRoot, epoch: Epoch, seq: Seq) -> Result<(), Refused> {
    let trusted = root.root();
    if epoch < trusted.epoch {
        return Err(Refused::new(
            Refusal::Replay,
            format!(
                "expected a plan of epoch {}, found plan {} of epoch {}; make and sign a new plan",
                trusted.epoch, seq, epoch
            ),
        ));
    }
    if epoch > trusted.epoch {
        return Err(Refused::new(
            Refusal::RootChain,
            format!(
                "plan {} is of epoch {}, found a root of epoch {} here; offer the newer roots first",
                seq, epoch, trusted.epoch
            ),
        ));
    }
    Ok(())
}

fn no_signer(found: Option<&Fingerprint>) -> String {
    match found {
        Some(key) => format!(
            "expected a plan signed by a key of the root, found the unknown key {key}; sign with a key that stands in \
                the root"
        ),
        None => {
            "expected a plan signed by a key of the root, found no signature; sign it with `hostler sign`".to_owned()
        }
    }
}

/// Whether it is the time for `purpose`.
fn in_time(root: &TrustedRoot, plan: &Plan, purpose: Purpose) -> Result<(), Refused> {
    check_times(root, plan)?;
    match purpose {
        Purpose::Submitting(now) => {
            root.check_expiry(now)?;
            not_expired(plan, now)
        }
        Purpose::Starting(now) => {
            root.check_expiry(now)?;
            not_expired(plan, now)?;
            match begins_later(plan, now) {
                Some(reason) => Err(Refused::new(Refusal::Expired, reason)),
                None => Ok(()),
            }
        }
        Purpose::Begun => Ok(()),
    }
}

/// When it was made, may begin and ends, in this order, and whether the policy lets it live for so long: no clock is
/// asked.
pub(super) fn check_times(root: &TrustedRoot, plan: &Plan) -> Result<(), Refused> {
    let seq = plan.seq;
    // A plan from the future would outlive the policy, so it begins no sooner than it was made.
    if plan.created > plan.not_before || plan.not_before >= plan.expires {
        return Err(Refused::new(
            Refusal::Malformed,
            format!(
                "plan {seq}: expected created, not_before and expires in this order, found {}, {} and {}; make the \
                    plan again",
                plan.created, plan.not_before, plan.expires
            ),
        ));
    }
    let most = root.root().policy.max_plan_lifetime_seconds;
    let lifetime = plan.expires.since(plan.created);
    if lifetime > Duration::from_secs(most) {
        return Err(Refused::new(
            Refusal::Expired,
            format!(
                "plan {seq}: expected a lifetime of at most {most} s by the root's policy, found {} s; make a shorter \
                    one",
                lifetime.as_secs()
            ),
        ));
    }
    Ok(())
}

/// Why it must not begin yet, if it is too early.
pub(super) fn begins_later(plan: &Plan, now: Timestamp) -> Option<String> {
    // A plan for at once was made by a clock that may run ahead of this one; a plan for later waits exactly.
    let ahead = if plan.not_before == plan.created { CLOCK_SKEW } else { Duration::ZERO };
    (now.plus(ahead) < plan.not_before)
        .then(|| format!("plan {} is valid from {} and it is {now}; it is tried again then", plan.seq, plan.not_before))
}

/// Whether it lives at that time.
pub(super) fn not_expired(plan: &Plan, now: Timestamp) -> Result<(), Refused> {
    if now < plan.expires {
        return Ok(());
    }
    Err(Refused::new(
        Refusal::Expired,
        format!("plan {} expired at {} and it is {now}; make and sign a new plan", plan.seq, plan.expires),
    ))
}

/// Made with documents that are known here, for nodes as they are in the roster, and whole in itself.
pub(super) fn fits(root: &TrustedRoot, (held, digest): (&Roster, Digest), plan: &Plan) -> Result<(), Refused> {
    let seq = plan.seq;
    if plan.root_version > root.root().version {
        return Err(Refused::new(
            Refusal::RootChain,
            format!(
                "plan {seq} was made with root {}, found root {} here; offer the newer roots first",
                plan.root_version,
                root.root().version
            ),
        ));
    }
    if held.epoch != plan.epoch {
        return Err(Refused::new(
            Refusal::Replay,
            format!(
                "expected a roster of the plan's epoch {}, found roster {} of epoch {} here; sign the roster again in \
                    this epoch",
                plan.epoch, held.version, held.epoch
            ),
        ));
    }
    let same = plan.roster_version == held.version;
    if plan.roster_version > held.version || (same && plan.roster != digest) {
        return Err(Refused::new(
            Refusal::DigestMismatch,
            format!(
                "plan {seq} was made with roster {} ({}), found roster {} ({}) here; offer that roster first, or make \
                    the plan again",
                plan.roster_version, plan.roster, held.version, digest
            ),
        ));
    }
    check_work(held, plan)
}

/// Every target once, active in the roster, under the same key and architecture.
fn check_targets(roster: &Roster, plan: &Plan) -> Result<(), Refused> {
    let listed: BTreeMap<&NodeName, &RosterNode> =
        roster.nodes.iter().filter(|n| n.status == RosterStatus::Active).map(|n| (&n.name, n)).collect();
    let mut names = BTreeSet::new();
    for target in &plan.targets {
        let name = &target.node;
        if !names.insert(name) {
            return Err(Refused::new(
                Refusal::Malformed,
                format!("plan {}: expected every target once, found {name} again; make the plan again", plan.seq),
            ));
        }
        let Some(node) = listed.get(name) else {
            return Err(Refused::new(
                Refusal::NotATarget,
                format!(
                    "plan {}: expected target {name} to be active in roster {}, found it is not; make a plan without \
                        it",
                    plan.seq, roster.version
                ),
            ));
        };
        let key = node.key.fingerprint();
        if key != target.key || node.arch != target.arch {
            return Err(Refused::new(
                Refusal::NotATarget,
                format!(
                    "plan {}: expected target {name} with key {key} and {} as in roster {}, found {} and {}; make the \
                        plan again",
                    plan.seq, node.arch, roster.version, target.key, target.arch
                ),
            ));
        }
    }
    Ok(())
}

/// Whether this very node is a target.
pub(super) fn is_target(plan: &Verified<Plan>, me: &Identity) -> Result<(), Refused> {
    let plan = plan.document();
    let Some(target) = plan.target(&me.node) else {
        return Err(Refused::new(
            Refusal::NotATarget,
            format!(
                "expected node {} among the targets of plan {}, found it is not; nothing to do here",
                me.node, plan.seq
            ),
        ));
    };
    if target.key == me.key && target.arch == me.arch {
        return Ok(());
    }
    Err(Refused::new(
        Refusal::NotATarget,
        format!(
            "plan {}: expected target {} with this machine's key {} and {}, found {} and {}; make the plan again for \
                this machine",
            plan.seq, me.node, me.key, me.arch, target.key, target.arch
        ),
    ))
}
