//! A signed stop: made from the signed bytes of what is open, without a fleet file, and also under an expired root.

use hostler_plan::{
    document::{DocumentKind, Plan, PlanRef, Signed},
    id::Digest,
    json,
    planner::{self, Numbering, OpenPlan, Unproved},
    timestamp::Timestamp,
    trust::{Draft, MAX_KEPT_VALID},
};

use crate::{
    Admin,
    error::Error,
    plan::{self, SignedPlan},
};

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
        Which::One(which) => {
            let digits = which.strip_prefix("sha256:").unwrap_or(which);
            open.plan.seq.to_string() == *which || (digits.len() >= 4 && open.plan.digest.hex().starts_with(digits))
        }
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
    let store = admin.trust_store();
    let roster = match store.roster().or(store.lapsed()) {
        Some(roster) => roster,
        None => store.require_roster()?,
    };
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
    };
    let refs = |open: &[OpenPlan]| open.iter().map(|open| open.plan).collect::<Vec<PlanRef>>();
    let plan = planner::stop(roster.document(), &numbering, &refs(&ended), &refs(&kept));
    let unproved = earlier.unproved;
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

    /// Signs it with the admin's key; a stop needs one.
    pub fn sign(&self, admin: &Admin, now: Timestamp) -> Result<(Draft<Plan>, SignedPlan), Error> {
        let mut draft = Draft::plan(Signed { bytes: self.bytes.clone(), signatures: Vec::new() })?;
        let signed = plan::sign(admin.trust_store(), admin.signer(), &mut draft, now)?;
        Ok((draft, signed))
    }

    /// How its file is called.
    pub fn file_name(&self) -> String {
        format!("{}-{}.{}.json", self.plan.seq, self.plan.kind, DocumentKind::Plan.noun())
    }
}
