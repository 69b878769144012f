//! A signed stop: made from the signed bytes of what is open, without a fleet file, and also under an expired root.

use hostler_plan::{
    document::{DocumentKind, Plan, PlanKind, PlanRef, Signed},
    id::Digest,
    json,
    planner::{self, Begins, Numbering, OpenPlan, Unproved},
    timestamp::Timestamp,
    trust::{Draft, MAX_KEPT_VALID, Verified},
};

use crate::{Admin, error::Error, key::SigningKey, plan, trust_store::TrustStore};

/// What is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// One plan, by its number, its digest or the beginning of it.
    One(String),
    /// Everything.
    All,
}

/// A stop that nobody has signed yet.
#[derive(Debug, Clone)]
pub struct Stop {
    pub bytes: Vec<u8>,
    pub plan: Plan,
    /// What ends, by its signed bytes.
    pub ended: Vec<OpenPlan>,
    /// What goes on, by its signed bytes.
    pub kept: Vec<OpenPlan>,
    /// What ends because nobody could show it as signed bytes.
    pub unproved: Vec<Unproved>,
}

/// Makes a stop with the next number. Whatever is open and not named goes on, if it is shown as signed bytes.
pub async fn compile(admin: &mut Admin, which: &Which, now: Timestamp) -> Result<Stop, Error> {
    admin.refresh().await?;
    let (next, earlier, running) = plan::before_stop(admin, now).await?;
    let names = |open: &OpenPlan| match which {
        Which::All => true,
        Which::One(which) => open.plan.is_named(which),
    };
    let (ended, others): (Vec<OpenPlan>, Vec<OpenPlan>) = earlier.open.into_iter().partition(names);
    // What the coordinator calls over is not kept: if that is not true, it ends now.
    let kept: Vec<OpenPlan> = others.into_iter().filter(|open| running.contains(&open.plan.digest)).collect();
    if kept.len() > MAX_KEPT_VALID {
        return Err(Error::Usage(format!(
            "{} other plans are open and a stop keeps {MAX_KEPT_VALID} at most; stop everything with `hostler stop \
             --all`",
            kept.len()
        )));
    }
    make(admin.trust_store(), next, (ended, kept, earlier.unproved), now)
}

/// Makes a stop of everything from what this machine holds alone, so that it can be carried to the nodes when the
/// coordinator is away or keeps it back.
pub fn without_coordinator(store: &TrustStore, now: Timestamp) -> Result<Stop, Error> {
    make(store, plan::number::without_coordinator(store)?, (Vec::new(), Vec::new(), Vec::new()), now)
}

fn make(
    store: &TrustStore,
    next: plan::number::Next,
    (ended, kept, unproved): (Vec<OpenPlan>, Vec<OpenPlan>, Vec<Unproved>),
    now: Timestamp,
) -> Result<Stop, Error> {
    let roster = store.require_roster_for(PlanKind::Stop)?;
    let root = store.root();
    let numbering = Numbering {
        epoch: root.epoch,
        seq: next.seq,
        prev: next.prev,
        also: next.also,
        root_version: root.version,
        roster: roster.digest(),
        created: now,
        lifetime_seconds: root.policy.max_plan_lifetime_seconds,
        begins: Begins::AtOnce,
    };
    let refs = |open: &[OpenPlan]| open.iter().map(|open| open.plan).collect::<Vec<PlanRef>>();
    let plan = planner::stop(roster.document(), &numbering, &refs(&ended), &refs(&kept));
    Ok(Stop { bytes: json::write(&plan), plan, ended, kept, unproved })
}

impl Stop {
    /// What a person reads before signing.
    pub fn text(&self, now: Timestamp) -> String {
        let Self { plan, ended, kept, unproved, .. } = self;
        let digest = Digest::of(&self.bytes);
        let mut text = format!("plan {} (stop): {}\n  digest    {digest}\n", plan.seq, plan.title);
        for open in ended {
            text.push_str(&format!("  ends      {}\n", open.said(now)));
        }
        for other in unproved {
            text.push_str(&format!(
                "  ends      {}, because {}\n",
                other.digest,
                hostler_plan::text::clean(&other.why)
            ));
        }
        for open in kept {
            text.push_str(&format!("  goes on   {}\n", open.said(now)));
        }
        if kept.is_empty() {
            text.push_str("  goes on   nothing: every earlier plan of this epoch is void on each node that sees it\n");
        }
        for other in &plan.also {
            text.push_str(&format!("  closes    a fork: the other end is {other}\n"));
        }
        text
    }

    /// Signs it: a stop needs one key.
    pub fn sign(&self, store: &TrustStore, signer: &SigningKey, now: Timestamp) -> Result<Verified<Plan>, Error> {
        let mut draft = Draft::plan(Signed { bytes: self.bytes.clone(), signatures: Vec::new() })?;
        let signed = plan::sign(store, signer, &mut draft, now)?;
        signed.plan.ok_or_else(|| {
            let reason = "expected one key to be enough for a stop, found more needed; the root says who may sign one: \
                          `hostler trust show`";
            Error::Failed(reason.to_owned())
        })
    }

    /// How its file is called.
    pub fn file_name(&self) -> String {
        format!("{}-{}.{}.json", self.plan.seq, self.plan.kind, DocumentKind::Plan.noun())
    }
}
