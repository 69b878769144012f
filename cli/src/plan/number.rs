//! The next plan's number, from signed plans: a coordinator cannot make us skip numbers or use one twice.

use std::path::{Path, PathBuf};

use hostler_plan::{
    document::{DocumentKind, Plan, Signed},
    id::{Digest, Epoch, Seq},
    json,
    refusal::{Refusal, Refused},
    trust::{Duty, SignedBy, Verified, threshold},
};
use hostler_proto::v1;
use serde::{Deserialize, Serialize};

use crate::{
    Admin,
    error::Error,
    file::{read_limited, write_whole},
};

/// The highest number that this machine submitted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    epoch: Epoch,
    seq: Seq,
    digest: Digest,
}

/// The next plan's number, and the plan before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub seq: Seq,
    pub prev: Option<Digest>,
}

/// One more than the highest number that is proved or remembered.
pub(super) async fn next(admin: &mut Admin) -> Result<Next, Error> {
    let epoch = admin.trust_store().root().epoch;
    let remembered = recall(&path(admin))?.filter(|r| r.epoch == epoch);
    let said = Seq(admin.coordinator().highest_seq);
    let (highest, prev) = match remembered {
        Some(remembered) if remembered.seq >= said => (remembered.seq, Some(remembered.digest)),
        _ if said > Seq(0) => (said, Some(prove(admin, said).await?)),
        _ => (Seq(0), None),
    };
    let seq = highest.0.checked_add(1).map(Seq).ok_or_else(|| {
        Error::Failed("the numbers of this epoch are used up; sign a root with a higher epoch".to_owned())
    })?;
    Ok(Next { seq, prev })
}

/// The highest number that is proved or remembered: what a roster may name. Where the coordinator shows no proof of
/// what it says, what this machine handed in itself.
pub(super) async fn proved(admin: &mut Admin) -> Seq {
    if let Ok(next) = next(admin).await {
        return Seq(next.seq.0.saturating_sub(1));
    }
    let epoch = admin.trust_store().root().epoch;
    let remembered = recall(&path(admin)).ok().flatten().filter(|r| r.epoch == epoch);
    remembered.map_or(Seq(0), |r| r.seq)
}

/// Whoever says that a number is taken must show the signed plan that took it. Gives its digest.
async fn prove(admin: &mut Admin, seq: Seq) -> Result<Digest, Error> {
    let request = admin.with_session(v1::GetRolloutRequest { rollout: seq.to_string() });
    let detail = admin.client().get_rollout(request).await?.into_inner();
    let signed: Signed = detail.plan.unwrap_or_default().into();
    let root = admin.trust_store().root();
    let by = SignedBy::of(DocumentKind::Plan, &signed)?;
    let malformed = |reason: String| Refused::new(Refusal::Malformed, reason);
    let plan: Plan =
        json::parse(&signed.bytes).map_err(|e| malformed(format!("the coordinator's plan {seq} is {e}")))?;
    threshold(root, Duty::Plan(plan.kind), &by)?;
    if (plan.seq, plan.epoch, &plan.fleet_id) != (seq, root.epoch, &root.fleet_id) {
        return Err(Refused::new(
            Refusal::Replay,
            format!(
                "the coordinator says that plan {seq} exists, and shows plan {} of epoch {} instead; do not sign \
                 anything, and compare its ledger with a copy",
                plan.seq, plan.epoch
            ),
        )
        .into());
    }
    Ok(signed.digest())
}

fn path(admin: &Admin) -> PathBuf {
    admin.trust_store().folder().join("highest-plan.json")
}

fn recall(path: &Path) -> Result<Option<Remembered>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read_limited(path, 4096)?;
    json::parse(&bytes).map(Some).map_err(|e| Error::Failed(format!("{}: {e}; remove the file", path.display())))
}

/// Keeps the number, durably. The disk is waited for on a thread of its own: others go on meanwhile.
pub(super) async fn remember(admin: &Admin, plan: &Verified<Plan>) -> Result<(), Error> {
    let path = path(admin);
    let (epoch, seq, digest) = (plan.document().epoch, plan.document().seq, plan.digest());
    let kept = tokio::task::spawn_blocking(move || {
        if recall(&path)?.is_some_and(|r| (r.epoch, r.seq) >= (epoch, seq)) {
            return Ok(());
        }
        write_whole(&path, &json::write(&Remembered { epoch, seq, digest }), false)
    });
    kept.await.map_err(|e| Error::Failed(format!("the plan's number was not kept: {e}")))?
}
