//! Nodes that wait to be listed, and what signed documents and this machine's clock say of them.

use std::collections::{BTreeMap, BTreeSet};

use hostler_plan::{
    document::{Admission, Approval, Enrolment, Roster, RosterStatus, Signed},
    id::{Fingerprint, TokenId},
    refusal::Refused,
    step::ClusterRole,
    timestamp::Timestamp,
    trust::{self, CLOCK_SKEW, Purpose, Verified},
};
use hostler_proto::v1;

use crate::{Admin, admin, error::Error, token, trust_store::TrustStore};

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
    /// Why its token may not have been good for it. Empty where use, expiry and revocation are proved by signed
    /// documents and this machine's clock.
    pub doubts: Vec<String>,
}

/// What must happen before it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// Its admission covers it, which is proved.
    Automatic,
    /// A person decides; why.
    Manual(String),
    /// A node of that name is listed under another key: a person decides whether the machine was made anew.
    Replaces(Fingerprint),
    /// It cannot be listed; why.
    Never(String),
}

impl Pending {
    /// Why nobody but a person who names its key may list it; none for a worker whose token is proved good.
    pub fn needs_a_person(&self) -> Option<String> {
        if self.admission.document().role == ClusterRole::Server {
            return Some("it would be a server, which holds the keys of the cluster".to_owned());
        }
        match &self.eligibility {
            Eligibility::Never(why) => Some(why.clone()),
            Eligibility::Replaces(old) => Some(format!("it would take the place of the key {old}")),
            Eligibility::Automatic | Eligibility::Manual(_) => self.doubts.first().cloned(),
        }
    }
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
    let (mut pending, refused) = verify_enrolments(admin.trust_store(), reply.enrolments, &revoked);
    reply.doubles.iter().for_each(|double| doubt_the_first(&mut pending, double));
    Ok((pending, refused))
}

/// Of two machines with one name, key or machine id nobody knows which is the right one: the first waits for a person
/// too.
fn doubt_the_first(pending: &mut [Pending], double: &v1::DoubleEnrolment) {
    let beside = |p: &&mut Pending| {
        let enrolment = p.enrolment.document();
        enrolment.node.as_str() == double.beside_name && enrolment.key.fingerprint().to_string() == double.beside_key
    };
    for first in pending.iter_mut().filter(beside) {
        let from = double.enrolment.as_ref().map_or("", |e| e.peer_address.as_str());
        let doubt = format!("another machine came from {from} ({}); see `hostler node list --pending`", double.reason);
        if first.eligibility == Eligibility::Automatic {
            first.eligibility = Eligibility::Manual(doubt.clone());
        }
        first.doubts.push(doubt);
    }
}

/// A machine that enrolled with a good signature and was turned away because it is another one's double.
#[derive(Debug, Clone)]
pub struct Double {
    pub pending: Pending,
    /// Why, as the coordinator says.
    pub reason: String,
    /// The one beside it: its name, key and address, as the coordinator says.
    pub beside: String,
}

/// Machines that were turned away as doubles of others.
pub async fn doubles(admin: &mut Admin) -> Result<Vec<Double>, Error> {
    let request = admin.with_session(v1::Empty {});
    let reply = admin.client().list_enrolments(request).await?.into_inner();
    let store = admin.trust_store();
    let double = |d: v1::DoubleEnrolment| {
        let (mut verified, _) = verify_enrolments(store, vec![d.enrolment.unwrap_or_default()], &[]);
        let beside = format!("{} key {} from {}", d.beside_name, d.beside_key, d.beside_address);
        Some(Double { pending: verified.pop()?, reason: d.reason, beside })
    };
    Ok(reply.doubles.into_iter().filter_map(double).collect())
}

/// Verifies enrolments without asking anybody, by this machine's clock. Of the tokens in `revoked` the coordinator
/// says that they are.
pub fn verify_enrolments(
    store: &TrustStore,
    enrolments: Vec<v1::PendingEnrolment>,
    revoked: &[TokenId],
) -> (Vec<Pending>, Vec<Refused>) {
    judge_enrolments(store, enrolments, revoked, admin::now())
}

/// The same by another clock.
pub fn judge_enrolments(
    store: &TrustStore,
    enrolments: Vec<v1::PendingEnrolment>,
    revoked: &[TokenId],
    now: Timestamp,
) -> (Vec<Pending>, Vec<Refused>) {
    let (mut pending, mut refused) = (Vec::new(), Vec::new());
    let mut waiting: BTreeMap<TokenId, BTreeSet<Fingerprint>> = BTreeMap::new();
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
                let waiting = waiting.entry(admission.document().token.clone()).or_default();
                let roster = store.roster().map(Verified::document);
                let doubts = doubts(roster, &admission, &enrolment, waiting, revoked, now);
                waiting.insert(enrolment.document().key.fingerprint());
                let eligibility = eligibility(roster, &admission, &enrolment, &doubts);
                pending.push(Pending {
                    eligibility,
                    doubts,
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
    roster: Option<&Roster>,
    admission: &Verified<Admission>,
    enrolment: &Verified<Enrolment>,
    doubts: &[String],
) -> Eligibility {
    let enrolment = enrolment.document();
    let (name, key) = (&enrolment.node, enrolment.key.fingerprint());
    match roster.and_then(|r| r.with_key(&key)) {
        Some(listed) if listed.status == RosterStatus::Retired => {
            return Eligibility::Never(format!(
                "its key {key} is retired and counts never again; remove its state, so that it makes a new one"
            ));
        }
        Some(listed) if listed.name == *name => return Eligibility::Never("it is listed already".to_owned()),
        Some(other) => {
            return Eligibility::Never(format!(
                "its key {key} is listed as {}; a cloned disk? make a new key on one",
                other.name
            ));
        }
        None => {}
    }
    if let Some(same) = roster.and_then(|r| r.active(name)) {
        return Eligibility::Replaces(same.key.fingerprint());
    }
    if let Some(doubt) = doubts.first() {
        return Eligibility::Manual(doubt.clone());
    }
    match admission.document().approval {
        Approval::Automatic => Eligibility::Automatic,
        Approval::Manual => Eligibility::Manual("its token asks for approval".to_owned()),
    }
}

/// What speaks against the token: first what signed documents and the own clock say, last what others say of
/// themselves.
fn doubts(
    roster: Option<&Roster>,
    admission: &Verified<Admission>,
    enrolment: &Verified<Enrolment>,
    waiting: &BTreeSet<Fingerprint>,
    revoked: &[TokenId],
    now: Timestamp,
) -> Vec<String> {
    let (admission, enrolment) = (admission.document(), enrolment.document());
    let token = &admission.token;
    let mut doubts = Vec::new();
    if let Err(refused) = trust::check_token(admission, roster, &enrolment.key.fingerprint(), waiting) {
        doubts.push(refused.reason);
    }
    // When it enrolled is its own word and the coordinator's: what is listed after the expiry may have come after it.
    if now >= admission.expires {
        doubts.push(format!(
            "its token {token} expired at {}, and here it is {}; nothing proves that it came before",
            admission.expires,
            now.whole_seconds()
        ));
    }
    if admission.created > now.plus(CLOCK_SKEW) {
        doubts.push(format!(
            "its token {token} was made at {}, and here it is only {}; compare the clocks",
            admission.created,
            now.whole_seconds()
        ));
    }
    if revoked.contains(token) {
        doubts.push(format!("the coordinator says that its token {token} was revoked"));
    }
    if enrolment.created >= admission.expires {
        doubts.push(format!("it says that it enrolled at {}, when its token had expired", enrolment.created));
    }
    doubts
}
