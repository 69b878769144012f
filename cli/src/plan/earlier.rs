//! The plans before the next one, from their signed bytes: what may stand in `beside`, and what ends.

use std::collections::BTreeSet;

use hostler_plan::{
    document::{Plan, PlanRef, Signed},
    id::{Digest, Seq},
    planner::{Earlier, Fate, OpenPlan, Unproved},
    refusal::{Refusal, Refused},
};
use hostler_proto::v1;
use tonic::Code;

use super::reserved;
use crate::{Admin, admin::now, error::Error};

/// What may stand beside a plan whose predecessors are these: themselves and what they keep valid. Whatever is not
/// shown as signed bytes stands among the unproved.
pub async fn earlier(admin: &mut Admin, before: &[Digest]) -> Result<Earlier, Error> {
    let mut earlier = Earlier::default();
    let mut kept: Vec<PlanRef> = Vec::new();
    for digest in before {
        match show(admin, digest).await {
            Ok((open, plan)) => {
                kept.extend(plan.keeps_valid);
                earlier.open.push(open);
            }
            Err(e) => earlier.unproved.push(unproved(*digest, None, e)?),
        }
    }
    let mut seen: BTreeSet<Digest> = before.iter().copied().collect();
    for plan in kept.into_iter().filter(|plan| seen.insert(plan.digest)) {
        match show(admin, &plan.digest).await {
            Ok((open, _)) if open.plan == plan => earlier.open.push(open),
            Ok((open, _)) => {
                let why = format!("its signed bytes say that it is plan {}", open.plan.seq);
                earlier.unproved.push(Unproved { digest: plan.digest, seq: Some(plan.seq), why });
            }
            Err(e) => earlier.unproved.push(unproved(plan.digest, Some(plan.seq), e)?),
        }
    }
    // What is signed by some and waits for others is not in the ledger; here its signed bytes are known.
    for kept in reserved::all(admin.trust_store(), now())? {
        let before = earlier.unproved.len();
        earlier.unproved.retain(|other| other.digest != kept.digest());
        if earlier.unproved.len() < before {
            earlier.open.push(kept.open(admin.trust_store()));
        }
    }
    Ok(earlier)
}

/// A plan that the coordinator does not have, or instead of which it shows something else. What is wrong with the
/// connection says nothing about a plan.
pub(super) fn unproved(digest: Digest, seq: Option<Seq>, error: Error) -> Result<Unproved, Error> {
    match error {
        Error::Refused(_) | Error::Coordinator { code: Code::NotFound, .. } => {
            Ok(Unproved { digest, seq, why: format!("its signed bytes were not shown: {error}") })
        }
        other @ (Error::Coordinator { .. }
        | Error::Usage(_)
        | Error::Overtaken { .. }
        | Error::Blocked(_)
        | Error::RolloutStopped { .. }
        | Error::Interrupted(_)
        | Error::NotConfirmed
        | Error::Key(_)
        | Error::Profile(_)
        | Error::Connect(_)
        | Error::File { .. }
        | Error::Failed(_)) => Err(other),
    }
}

/// What becomes of earlier plans when somebody signs a plan that another made, from signed bytes. One that keeps valid
/// what cannot be shown, or what the plan before it ended, is nothing to sign.
pub async fn fates(admin: &mut Admin, plan: &Plan) -> Result<Vec<Fate>, Error> {
    // What it keeps may wait for signatures, and its maker have found it at the coordinator.
    let waiting = super::settle(admin, now()).await?;
    let before: Vec<Digest> = plan.prev.iter().chain(&plan.also).copied().collect();
    let mut earlier = earlier(admin, &before).await?;
    waiting.into_iter().filter(|open| open.plan.seq < plan.seq).for_each(|open| super::add(&mut earlier, open));
    Ok(judge(plan, earlier)?)
}

fn judge(plan: &Plan, earlier: Earlier) -> Result<Vec<Fate>, Refused> {
    for kept in &plan.keeps_valid {
        if earlier.open.iter().any(|open| open.plan == *kept) {
            continue;
        }
        let unproved = earlier.unproved.iter().find(|other| other.digest == kept.digest);
        let why = unproved.map_or("that the plan before this one ended it", |other| &other.why);
        return Err(Refused::new(
            Refusal::NotAllowed,
            format!(
                "plan {} keeps plan {} ({}) valid, expected it to be open until now and to be shown as signed bytes, \
                 found {why}; make the plan again",
                plan.seq, kept.seq, kept.digest
            ),
        ));
    }
    let open = earlier.open.into_iter().map(|open| match plan.keeps_valid.contains(&open.plan) {
        true => Fate::GoesOn(open),
        false => Fate::Ends(open),
    });
    Ok(open.chain(earlier.unproved.into_iter().map(Fate::Unproved)).collect())
}

/// Fetches a plan by its digest, and verifies it.
pub(super) async fn show(admin: &mut Admin, digest: &Digest) -> Result<(OpenPlan, Plan), Error> {
    let request = admin.with_session(v1::GetRolloutRequest { rollout: digest.to_string() });
    let detail = admin.client().get_rollout(request).await?.into_inner();
    let signed: Signed = detail.plan.unwrap_or_default().into();
    Ok(OpenPlan::verify(admin.trust_store().trusted(), digest, &signed)?)
}

#[cfg(test)]
mod tests {
    use hostler_fixtures as made;
    use hostler_plan::{document::SignerRole, step::ClusterRole, timestamp::Timestamp};

    use super::*;

    fn plan(seq: u64) -> Plan {
        let (admin, node) = (made::public(&made::key(200)), made::public(&made::key(1)));
        let created = Timestamp::from_unix_seconds(1_795_000_000);
        let root = made::root(created, vec![made::signer("ana", admin, SignerRole::Admin)]);
        made::plan(&made::roster(&root, created, vec![made::node("w1", node, ClusterRole::Worker)]), created, seq)
    }

    #[test]
    fn whoever_signs_the_plan_of_another_sees_what_goes_on_and_what_ends() {
        let [drain, upgrade] = [40, 41].map(|seq| OpenPlan::of(&plan(seq), Digest::of(&[seq as u8]), Vec::new()));
        let next = Plan { keeps_valid: vec![drain.plan], ..plan(42) };
        let earlier = Earlier { open: vec![drain.clone(), upgrade.clone()], ..Earlier::default() };
        assert_eq!(judge(&next, earlier), Ok(vec![Fate::GoesOn(drain), Fate::Ends(upgrade)]));
    }

    #[test]
    fn nobody_signs_a_plan_beside_one_that_ended_or_that_is_not_shown() {
        let dead = PlanRef { seq: Seq(12), digest: Digest::of(b"void for long") };
        let next = Plan { keeps_valid: vec![dead], ..plan(42) };
        let ended = judge(&next, Earlier::default()).expect_err("it is void");
        assert_eq!(ended.refusal, Refusal::NotAllowed);
        assert!(ended.reason.contains("plan 12") && ended.reason.contains("ended it"), "{}", ended.reason);
        let unproved =
            Unproved { digest: dead.digest, seq: Some(dead.seq), why: "its bytes were not shown".to_owned() };
        let hidden =
            judge(&next, Earlier { unproved: vec![unproved], ..Earlier::default() }).expect_err("it is hidden");
        assert!(hidden.reason.contains("its bytes were not shown"), "{}", hidden.reason);
        let other =
            OpenPlan { plan: PlanRef { seq: Seq(13), ..dead }, ..OpenPlan::of(&plan(13), dead.digest, Vec::new()) };
        assert!(judge(&next, Earlier { open: vec![other], ..Earlier::default() }).is_err(), "the number counts too");
    }
}
