//! Plans: compiled at the admin's desk, signed as exact bytes, handed in with the files they need.

mod artifact;
mod number;

use std::{path::Path, time::Duration};

use hostler_plan::{
    document::{DocumentKind, MAX_SIGNATURES, Plan, Signed, Signer},
    fleet::Fleet,
    id::{Digest, Seq},
    json,
    planner::{self, Intent, Inventory, Numbering, Preview},
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Duty, Moment, SignedBy, Verified, counted},
};
use hostler_proto::v1;

pub use artifact::{ArtifactFiles, upload_missing};

use crate::{Admin, error::Error, file::read_limited, held::Held, key};

/// The largest fleet file that is read; one of 1,000 nodes has about 100 KiB.
pub const MAX_FLEET_BYTES: usize = 1 << 20;

/// A compiled plan: exact bytes that nobody has signed yet.
#[derive(Debug, Clone)]
pub struct Compiled {
    pub bytes: Vec<u8>,
    pub plan: Plan,
    pub preview: Preview,
}

/// Reads and checks a fleet file. Gives the fleet and what is allowed but unwise.
pub fn read_fleet(path: &Path) -> Result<(Fleet, Vec<planner::Note>), Error> {
    let bytes = read_limited(path, MAX_FLEET_BYTES)?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|e| {
        Error::Failed(format!(
            "{name}: expected text in UTF-8, found other bytes after byte {}; correct it",
            e.utf8_error().valid_up_to()
        ))
    })?;
    let (fleet, unwise) = Fleet::from_toml(&[(&name, &text)]).map_err(|e| Error::Failed(e.to_string()))?;
    Ok((fleet, unwise.into_iter().map(|p| planner::Note::Warning(p.to_string())).collect()))
}

/// The fleet as the coordinator's sequencer sees it.
pub async fn inventory(admin: &mut Admin) -> Result<Inventory, Error> {
    let request = admin.with_session(v1::Empty {});
    let reply = admin.client().get_inventory(request).await?.into_inner();
    serde_json::from_slice(&reply.inventory).map_err(|e| {
        Error::Failed(format!("expected an inventory from the coordinator, found something else ({e}); update hostler and the coordinator to the same version"))
    })
}

/// Compiles an intent into a plan with the next number. `lifetime` replaces the fleet file's.
pub async fn compile(
    admin: &mut Admin,
    fleet: &Fleet,
    intent: &Intent,
    lifetime: Option<Duration>,
    now: Timestamp,
) -> Result<Compiled, Error> {
    admin.refresh().await?;
    let seq = number::next(admin).await?;
    let inventory = inventory(admin).await?;
    let root = admin.held().root();
    let roster = admin.held().require_roster()?;
    let most = root.policy.max_plan_lifetime_seconds;
    let lifetime_seconds = match lifetime {
        Some(lifetime) if lifetime.as_secs() > most => {
            return Err(Error::Usage(format!(
                "--lifetime: expected at most {most} s by the root's policy, found {} s",
                lifetime.as_secs()
            )));
        }
        Some(lifetime) => lifetime.as_secs(),
        None => fleet.policy.plan_lifetime_seconds.min(most),
    };
    let numbering = Numbering {
        epoch: root.epoch,
        seq,
        root_version: root.version,
        roster: roster.digest(),
        created: now,
        lifetime_seconds,
    };
    let (plan, preview) = planner::plan(fleet, roster.document(), &inventory, intent, &numbering)
        .map_err(|e| Error::Failed(e.to_string()))?;
    let bytes = json::write(&plan);
    let most = DocumentKind::Plan.max_bytes();
    if bytes.len() > most {
        return Err(Error::Failed(format!(
            "the plan has {} bytes and a plan may have {most}; make one for fewer nodes with --nodes",
            bytes.len()
        )));
    }
    Ok(Compiled { bytes, plan, preview })
}

/// Where the signatures of a plan stand.
#[derive(Debug, Clone)]
pub struct Signing {
    /// The signers whose keys count for it.
    pub by: Vec<Signer>,
    /// How many different keys the root demands.
    pub needed: u32,
}

/// Reads a plan that may lack signatures: those that are there must verify, and its form must be strict.
pub fn read(signed: &Signed) -> Result<Plan, Refused> {
    SignedBy::of(DocumentKind::Plan, signed)?;
    json::parse(&signed.bytes).map_err(|e| Refused::new(Refusal::Malformed, format!("the plan is {e}; make it again")))
}

/// Signs a plan and gives the armour, after everything but the number of signatures was checked against what is held.
pub fn sign(held: &Held, signer: &key::Signer, signed: &Signed, now: Timestamp) -> Result<(String, Signing), Error> {
    let plan = read(signed)?;
    let own = signer.public_key().fingerprint();
    if SignedBy::of(DocumentKind::Plan, signed)?.keys().contains(&own) {
        return Err(Error::Usage(format!(
            "this plan is signed with {own} already, and every key counts once; have another person sign it, or submit it"
        )));
    }
    if signed.signatures.len() >= MAX_SIGNATURES {
        return Err(Error::Usage(format!("this plan has {MAX_SIGNATURES} signatures already; submit it")));
    }
    let armour = signer.sign(DocumentKind::Plan, &signed.bytes)?;
    let mut more = signed.clone();
    more.signatures.push(armour.clone());
    match trust::plan(held.trusted(), held.require_roster()?, &more, Moment::Submitting(now)) {
        Ok(_) => {}
        // Others are to sign too; whatever else is wrong shows when they have.
        Err(refused) if refused.refusal == Refusal::Threshold => {}
        Err(refused) => return Err(refused.into()),
    }
    Ok((armour, signing(held, &plan, &more)?))
}

/// Whose signatures count for a plan, and how many are needed.
pub fn signing(held: &Held, plan: &Plan, signed: &Signed) -> Result<Signing, Refused> {
    let duty = Duty::Plan(plan.kind);
    let by = SignedBy::of(DocumentKind::Plan, signed)?;
    let by = counted(held.root(), duty, &by).into_iter().cloned().collect();
    Ok(Signing { by, needed: duty.needed(held.root()) })
}

/// Verifies a signed plan as the coordinator and every node will, hands it in, and remembers its number. Artifacts
/// must have been uploaded before.
pub async fn submit(admin: &mut Admin, signed: &Signed, now: Timestamp) -> Result<Submitted, Error> {
    let plan = verified(admin.held(), signed, now)?;
    let request = admin.with_session(signed.clone().into());
    let reply = admin.client().submit_plan(request).await?.into_inner();
    number::remember(admin, plan.document().epoch, plan.document().seq).await?;
    Ok(Submitted { plan: plan.digest(), seq: plan.document().seq, is_new: reply.is_new })
}

/// A plan judged by what is held on this machine.
pub fn verified(held: &Held, signed: &Signed, now: Timestamp) -> Result<Verified<Plan>, Error> {
    Ok(trust::plan(held.trusted(), held.require_roster()?, signed, Moment::Submitting(now))?)
}

/// A plan that the coordinator has in its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    pub plan: Digest,
    pub seq: Seq,
    /// False when the very same plan was there before.
    pub is_new: bool,
}
