//! Who belongs to the fleet: pending enrolments, judged here, and the next roster.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{
        Admission, Approval, DocumentKind, Enrolled, Enrolment, Roster, RosterNode, RosterStatus, RosterType, Signed,
    },
    id::{Fingerprint, NodeName, Seq, TokenId},
    json,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, Purpose, Verified},
};
use hostler_proto::v1;

use crate::{Admin, error::Error, token, trust_store::TrustStore};

/// A node that enrolled and that no roster lists yet.
#[derive(Debug, Clone)]
pub struct Pending {
    pub enrolment: Verified<Enrolment>,
    pub admission: Verified<Admission>,
    /// Where it came from, as the coordinator says.
    pub peer_address: String,
    /// When it came, as the coordinator says.
    pub at: Timestamp,
    pub eligibility: Eligibility,
}

/// What must happen before it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// Its admission covers it: the next roster lists it without a question.
    Automatic,
    /// A person decides; why.
    Manual(String),
    /// A node of that name is listed under another key: a person decides whether the machine was made anew.
    Replaces(Fingerprint),
    /// It cannot be listed; why.
    Never(String),
}

/// Every pending enrolment, verified against its admission and the admission against the held root; and those that do
/// not count, with the reason.
pub async fn pending(admin: &mut Admin) -> Result<(Vec<Pending>, Vec<Refused>), Error> {
    let request = admin.with_session(v1::Empty {});
    let reply = admin.client().list_enrolments(request).await?.into_inner();
    let revoked: Vec<TokenId> = token::list(admin)
        .await?
        .into_iter()
        .filter(|t| t.revoked)
        .filter_map(|t| t.admission.ok().map(|a| a.document().token.clone()))
        .collect();
    Ok(verify_enrolments(admin.trust_store(), reply.enrolments, &revoked))
}

/// Verifies enrolments without asking anybody.
pub fn verify_enrolments(
    store: &TrustStore,
    enrolments: Vec<v1::PendingEnrolment>,
    revoked: &[TokenId],
) -> (Vec<Pending>, Vec<Refused>) {
    let (mut pending, mut refused) = (Vec::new(), Vec::new());
    let mut used: BTreeMap<TokenId, u32> = BTreeMap::new();
    // Many nodes come with one token.
    let mut admissions: Vec<Verified<Admission>> = Vec::new();
    for item in enrolments {
        let signed = Signed::from(item.admission.unwrap_or_default());
        let admission = match admissions.iter().find(|a| *a.signed() == signed) {
            Some(known) => Ok(known.clone()),
            None => trust::admission(store.trusted(), &signed, Purpose::Begun).inspect(|a| admissions.push(a.clone())),
        };
        let verified = admission.and_then(|admission| {
            trust::enrolment(&admission, &item.enrolment.unwrap_or_default().into(), Purpose::Begun)
                .map(|enrolment| (admission, enrolment))
        });
        match verified {
            Err(reason) => refused.push(reason),
            Ok((admission, enrolment)) => {
                let uses = used.entry(admission.document().token.clone()).or_default();
                *uses += 1;
                let eligibility = eligibility(store.roster(), &admission, &enrolment, *uses, revoked);
                pending.push(Pending {
                    eligibility,
                    enrolment,
                    admission,
                    peer_address: item.peer_address,
                    at: Timestamp::from_unix_seconds(item.enrolled_at),
                });
            }
        }
    }
    (pending, refused)
}

fn eligibility(
    roster: Option<&Verified<Roster>>,
    admission: &Verified<Admission>,
    enrolment: &Verified<Enrolment>,
    uses: u32,
    revoked: &[TokenId],
) -> Eligibility {
    let (admission, enrolment) = (admission.document(), enrolment.document());
    let (name, key) = (&enrolment.node, enrolment.key.fingerprint());
    let nodes = roster.map(|r| r.document().nodes.as_slice()).unwrap_or_default();
    if let Some(other) = nodes.iter().find(|n| n.key.fingerprint() == key && n.name != *name) {
        return Eligibility::Never(format!(
            "its key {key} is listed as {}; a cloned disk? make a new key on one",
            other.name
        ));
    }
    if let Some(same) = nodes.iter().find(|n| n.name == *name) {
        return match same.key.fingerprint() == key {
            true => Eligibility::Manual("it is listed as retired".to_owned()),
            false => Eligibility::Replaces(same.key.fingerprint()),
        };
    }
    let token = &admission.token;
    if revoked.contains(token) {
        return Eligibility::Manual(format!("its token {token} was revoked"));
    }
    // The coordinator counts uses; this is the limit that holds without it.
    if uses > admission.uses {
        return Eligibility::Manual(format!("its token {token} admits {} nodes, and this is one more", admission.uses));
    }
    if enrolment.created >= admission.expires {
        return Eligibility::Manual(format!("it enrolled at {}, when its token had expired", enrolment.created));
    }
    match admission.approval {
        Approval::Automatic => Eligibility::Automatic,
        Approval::Manual => Eligibility::Manual("its token asks for approval".to_owned()),
    }
}

/// Signs and submits the next roster with the nodes of `listed` in it; a node of the same name is replaced. Gives
/// the roster's version.
pub async fn list(admin: &mut Admin, listed: &[Pending], now: Timestamp) -> Result<u64, Error> {
    let mut nodes = admin.trust_store().roster().map(|r| r.document().nodes.clone()).unwrap_or_default();
    for pending in listed {
        if let Eligibility::Never(reason) = &pending.eligibility {
            let name = &pending.enrolment.document().node;
            return Err(Refused::new(Refusal::NotAllowed, format!("{name} cannot be listed: {reason}")).into());
        }
        let (enrolment, admission) = (pending.enrolment.document(), pending.admission.document());
        nodes.retain(|n| n.name != enrolment.node);
        nodes.push(RosterNode {
            name: enrolment.node.clone(),
            key: enrolment.key.clone(),
            seal_key: enrolment.seal_key.clone(),
            role: admission.role,
            arch: enrolment.arch,
            status: RosterStatus::Active,
            enrolled: Enrolled { token: enrolment.token.clone(), enrolment: pending.enrolment.digest() },
        });
    }
    next(admin, nodes, now).await
}

/// Signs and submits the next roster with that node retired: its receipts count no more and it gets no certificate.
pub async fn retire(admin: &mut Admin, name: &NodeName, now: Timestamp) -> Result<u64, Error> {
    let mut nodes = admin.trust_store().require_roster()?.document().nodes.clone();
    let node = nodes
        .iter_mut()
        .find(|n| n.name == *name && n.status == RosterStatus::Active)
        .ok_or_else(|| Error::Usage(format!("{name} is not an active node of the roster; see `hostler nodes`")))?;
    node.status = RosterStatus::Retired;
    next(admin, nodes, now).await
}

/// Lists every node that its admission covers, where there is any. Gives their names.
pub async fn list_automatic(admin: &mut Admin, now: Timestamp) -> Result<Vec<NodeName>, Error> {
    let (pending, _) = pending(admin).await?;
    let automatic: Vec<Pending> = pending.into_iter().filter(|p| p.eligibility == Eligibility::Automatic).collect();
    if automatic.is_empty() {
        return Ok(Vec::new());
    }
    list(admin, &automatic, now).await?;
    Ok(automatic.iter().map(|p| p.enrolment.document().node.clone()).collect())
}

/// Signs and submits the next roster with the nodes of the one that does not count under the newest root any more. A
/// person must have looked at its names: the reason may be that a thief signed it.
pub async fn renew(admin: &mut Admin, now: Timestamp) -> Result<u64, Error> {
    let lapsed = admin
        .trust_store()
        .lapsed()
        .ok_or_else(|| Error::Usage("the roster counts; nothing is to be renewed".into()))?;
    let (version, nodes) = (lapsed.document().version + 1, lapsed.document().nodes.clone());
    submit(admin, version, nodes, now).await
}

async fn next(admin: &mut Admin, nodes: Vec<RosterNode>, now: Timestamp) -> Result<u64, Error> {
    let store = admin.trust_store();
    // Never from an empty list while there is one that only has to be signed again.
    if store.lapsed().is_some() {
        store.require_roster()?;
    }
    let version = store.roster().map_or(0, |r| r.document().version) + 1;
    submit(admin, version, nodes, now).await
}

async fn submit(admin: &mut Admin, version: u64, mut nodes: Vec<RosterNode>, now: Timestamp) -> Result<u64, Error> {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let store = admin.trust_store();
    let root = store.root();
    let before = store.roster().filter(|r| r.document().epoch == root.epoch);
    let roster = Roster {
        document_type: RosterType::V1,
        fleet_id: root.fleet_id.clone(),
        epoch: root.epoch,
        version,
        prev: before.map(Verified::digest),
        also: Vec::new(),
        root_version: root.version,
        created: now.whole_seconds(),
        plan_seq: Seq(admin.coordinator().highest_seq),
        revoked_tokens: before.map(|r| r.document().revoked_tokens.clone()).unwrap_or_default(),
        nodes,
    };
    let bytes = json::write(&roster);
    let signature = admin.signer().sign(DocumentKind::Roster, &bytes)?;
    let signed = Signed { bytes, signatures: vec![signature] };
    let next = trust::roster(store.trusted(), store.roster(), &signed, Purpose::Submitting(now))?;
    let request = admin.with_session(signed.into());
    admin.client().submit_roster(request).await?;
    admin.keep_roster(next)?;
    admin.refresh().await?;
    Ok(version)
}
