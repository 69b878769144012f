//! The gate before a task against a small model of it, for every subset of receipts and every wrong field.

use std::{collections::BTreeMap, time::Duration};

use hostler_plan::{
    document::{DocumentKind, Outcome, Plan, PlanKind, Receipt, Roster, Signed, Task},
    id::{Digest, Epoch, Seq},
    refusal::{Refusal, Refused},
    signature::sign,
    timestamp::Timestamp,
    trust::{self, MAX_GATE_RECEIPTS, Verified, check_receipt_fits, order_kept, order_met},
};
use proptest::prelude::*;

use crate::fleet::*;

const TASKS: [(&str, &str, u64); 6] =
    [("s1.a", "s1", 5), ("w1.b", "w1", 5), ("w2.c", "w2", 5), ("s1.d", "s1", 6), ("w1.e", "w1", 6), ("w2.f", "w2", 6)];

/// Six tasks on three nodes and a last one after all of them.
fn wide_plan() -> Verified<Plan> {
    let mut plan = noop_plan(PlanKind::Check);
    let template = plan.tasks[0].clone();
    let task =
        |id: &str, node: &str| Task { id: task_id(id), node: name(node), subject: name(node), ..template.clone() };
    plan.tasks = TASKS.iter().map(|(id, node, _)| task(id, node)).collect();
    let mut last = task("w1.last", "w1");
    last.after = plan.tasks.iter().map(|t| t.id.clone()).collect();
    plan.tasks.push(last);
    verified_plan(&plan)
}

/// What the model knows of a receipt, without any cryptography.
#[derive(Debug, Clone)]
struct Claim {
    task: &'static str,
    node: &'static str,
    counter: u64,
    /// It verifies under the key of `node`.
    genuine: bool,
    /// It names this plan, epoch and seq.
    bound: bool,
    success: bool,
    signed: Signed,
}

#[derive(Debug, PartialEq)]
enum Model {
    Met(Vec<Digest>),
    NotMet,
    Doubled,
}

/// The rule, as a person would say it.
fn model(claims: &[&Claim]) -> Model {
    let genuine: Vec<_> = claims.iter().filter(|c| c.genuine).collect();
    let mut numbers = BTreeMap::new();
    for claim in &genuine {
        let digest = claim.signed.digest();
        if *numbers.entry((claim.node, claim.counter)).or_insert(digest) != digest {
            return Model::Doubled;
        }
    }
    let mut relied_on = Vec::new();
    for (task, node, _) in TASKS {
        let about = genuine.iter().filter(|c| c.bound && c.task == task && c.node == node);
        match about.max_by_key(|c| c.counter) {
            Some(newest) if newest.success => relied_on.push(newest.signed.digest()),
            _ => return Model::NotMet,
        }
    }
    Model::Met(relied_on)
}

fn gate(plan: &Verified<Plan>, roster: &Verified<Roster>, claims: &[&Claim]) -> Model {
    let receipts: Vec<Signed> = claims.iter().map(|c| c.signed.clone()).collect();
    match order_met(plan, &task_id("w1.last"), &receipts, roster) {
        Ok(relied_on) => Model::Met(relied_on),
        Err(Refused { refusal: Refusal::OrderNotMet, .. }) => Model::NotMet,
        Err(Refused { refusal: Refusal::Replay, .. }) => Model::Doubled,
        Err(other) => panic!("{other}"),
    }
}

fn good_claims(plan: &Verified<Plan>) -> Vec<Claim> {
    TASKS
        .iter()
        .map(|(task, node, counter)| {
            let signed = signed_receipt(&receipt(plan, task, *counter));
            Claim { task, node, counter: *counter, genuine: true, bound: true, success: true, signed }
        })
        .collect()
}

/// The good receipt of one task with one field changed, once for each field that matters.
fn changed_claims(plan: &Verified<Plan>, good: &Claim) -> Vec<Claim> {
    let seed = node_seed(good.node);
    let receipt = receipt(plan, good.task, good.counter);
    let claim = |change: &dyn Fn(&mut Receipt), edit: &dyn Fn(&mut Claim)| {
        let mut receipt = receipt.clone();
        change(&mut receipt);
        let signed = signed(DocumentKind::Receipt, &receipt, &[seed]);
        let mut claim = Claim { counter: receipt.counter, signed, ..good.clone() };
        edit(&mut claim);
        claim
    };
    let failed = |r: &mut Receipt| r.outcome = Outcome::Failed { reason: "no".to_owned() };
    let other_node = if good.node == "s1" { "w1" } else { "s1" };
    let resigned = |kind, seed: u8| {
        let bytes = good.signed.bytes.clone();
        let signatures = vec![sign(&key(seed), kind, &bytes).unwrap()];
        Claim { genuine: false, signed: Signed { bytes, signatures }, ..good.clone() }
    };
    // A node that speaks for another one: all in order, but not its task.
    let mut usurped = Receipt { node: name(other_node), counter: 9, ..receipt.clone() };
    usurped.previous = Some(Digest::of(b"the receipt before"));
    let usurped = Claim { node: other_node, counter: 9, signed: signed_receipt(&usurped), ..good.clone() };
    vec![
        usurped,
        claim(&|r| r.plan = Digest::of(b"another plan"), &|c| c.bound = false),
        claim(&|r| r.epoch = Epoch(2), &|c| c.bound = false),
        claim(&|r| r.seq = Seq(41), &|c| c.bound = false),
        claim(&|r| r.task = task_id("w1.last"), &|c| c.task = "w1.last"),
        claim(&|r| r.fleet_id = other_fleet(), &|c| c.genuine = false),
        claim(&|r| r.node = name(other_node), &|c| c.genuine = false),
        claim(&failed, &|c| c.success = false),
        claim(&|r| (failed(r), r.counter = 4).0, &|c| c.success = false),
        claim(&|r| (failed(r), r.counter = 9).0, &|c| c.success = false),
        claim(&|r| r.counter = 9, &|_| ()),
        claim(&|r| r.grant = 2, &|_| ()),
        resigned(DocumentKind::Receipt, STRANGER),
        resigned(DocumentKind::Receipt, node_seed(other_node)),
        resigned(DocumentKind::Plan, seed),
        Claim { genuine: false, signed: Signed { signatures: Vec::new(), ..good.signed.clone() }, ..good.clone() },
    ]
}

#[test]
fn the_gate_agrees_with_its_model_for_every_subset_and_every_wrong_field() {
    let (plan, roster) = (wide_plan(), verified_roster(&roster()));
    let good = good_claims(&plan);
    let mut seen = [0; 3];
    for subset in 0..1_u32 << good.len() {
        let chosen: Vec<&Claim> = (0..good.len()).filter(|i| subset & (1 << i) != 0).map(|i| &good[i]).collect();
        let expected = model(&chosen);
        assert_eq!(matches!(expected, Model::Met(_)), subset == 63);
        assert_eq!(gate(&plan, &roster, &chosen), expected);
    }
    for (i, replaced) in good.iter().enumerate() {
        for changed in changed_claims(&plan, replaced) {
            let instead: Vec<&Claim> =
                good.iter().enumerate().map(|(j, claim)| if i == j { &changed } else { claim }).collect();
            let beside: Vec<&Claim> = good.iter().chain([&changed]).collect();
            for claims in [instead, beside] {
                let expected = model(&claims);
                seen[match expected {
                    Model::Met(_) => 0,
                    Model::NotMet => 1,
                    Model::Doubled => 2,
                }] += 1;
                assert_eq!(gate(&plan, &roster, &claims), expected, "{changed:?}");
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 10), "every answer was tried: {seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Late, twice, in any order and mixed with anything.
    #[test]
    fn the_gate_agrees_with_its_model_for_any_pile_of_receipts(picks in prop::collection::vec(0_usize..102, 0..9)) {
        thread_local! {
            static WORLD: (Verified<Plan>, Verified<Roster>, Vec<Claim>) = {
                let plan = wide_plan();
                let good = good_claims(&plan);
                let changed: Vec<Claim> = good.iter().flat_map(|g| changed_claims(&plan, g)).collect();
                let pile = good.into_iter().chain(changed).collect();
                (plan, verified_roster(&roster()), pile)
            };
        }
        WORLD.with(|(plan, roster, pile)| {
            let claims: Vec<&Claim> = pile[..6].iter().chain(picks.iter().map(|i| &pile[*i])).collect();
            for from in 0..2 {
                prop_assert_eq!(gate(plan, roster, &claims[from..]), model(&claims[from..]));
            }
            Ok(())
        })?;
    }
}

#[test]
fn the_gate_says_what_is_missing() {
    let (plan, roster) = (verified_plan(&plan()), verified_roster(&roster()));
    let good = signed_receipt(&receipt(&plan, "s1.stage", 1));
    let check = |task: &str, receipts: &[Signed]| order_met(&plan, &task_id(task), receipts, &roster);
    assert_eq!(check("s1.stage", &[]), Ok(vec![]));
    assert_eq!(check("w1.stage", std::slice::from_ref(&good)), Ok(vec![good.digest()]));
    assert_refused(
        check("w2.stage", std::slice::from_ref(&good)),
        Refusal::OrderNotMet,
        &["before task w2.stage", "a receipt of w1 that task w1.stage succeeded", "found none", "next receipt"],
    );
    let mut failed = receipt(&plan, "s1.stage", 1);
    failed.outcome = Outcome::Failed { reason: "disk full".to_owned() };
    assert_refused(
        check("w1.stage", &[signed_receipt(&failed)]),
        Refusal::OrderNotMet,
        &["failed: disk full", "new plan"],
    );
    let forged = signed(DocumentKind::Receipt, &receipt(&plan, "s1.stage", 1), &[ADA]);
    assert_refused(check("w1.stage", &[forged]), Refusal::OrderNotMet, &["one that does not count", "s1's key"]);
    assert_refused(check("w9.stage", &[]), Refusal::OrderNotMet, &["no such task"]);
    let flood = vec![good; MAX_GATE_RECEIPTS + 1];
    assert_refused(check("w1.stage", &flood), Refusal::Malformed, &["at most 1024 receipts"]);
}

#[test]
fn a_machine_that_took_over_a_name_proves_nothing() {
    let plan = verified_plan(&plan());
    let mut replaced = roster();
    replaced.version = 4;
    replaced.nodes[0].key = public(STRANGER);
    let receipt = signed(DocumentKind::Receipt, &receipt(&plan, "s1.stage", 1), &[STRANGER]);
    let roster = verified_roster(&replaced);
    assert!(trust::receipt(&roster, &receipt).is_ok());
    assert_refused(order_met(&plan, &task_id("w1.stage"), &[receipt], &roster), Refusal::OrderNotMet, &["found none"]);
}

#[test]
fn files_alone_tell_afterwards_whether_the_order_was_kept() {
    let (plan, roster) = (verified_plan(&plan()), verified_roster(&roster()));
    let verified = |receipt: &Receipt| trust::receipt(&roster, &signed_receipt(receipt)).unwrap();
    let s1 = verified(&receipt(&plan, "s1.stage", 1));
    let mut relying = receipt(&plan, "w1.stage", 1);
    relying.relied_on = vec![s1.digest()];
    let w1 = verified(&relying);
    let mut last = receipt(&plan, "w2.stage", 1);
    last.relied_on = vec![w1.digest(), s1.digest()];
    let w2 = verified(&last);
    assert_eq!(order_kept(&plan, &[]), Ok(()));
    assert_eq!(order_kept(&plan, &[w2.clone(), s1.clone(), w1.clone()]), Ok(()), "in any order");

    let mut half = receipt(&plan, "w2.stage", 1);
    half.relied_on = vec![s1.digest()];
    let half = order_kept(&plan, &[s1.clone(), w1.clone(), verified(&half)]);
    assert_refused(half, Refusal::OrderNotMet, &["w1.stage succeeded before it did w2.stage"]);
    let missing = order_kept(&plan, &[w1.clone(), w2.clone()]);
    assert_refused(missing, Refusal::OrderNotMet, &["w1 to have held", "s1.stage succeeded before it did w1.stage"]);
    let skipped = verified(&receipt(&plan, "w1.stage", 1));
    let skipped = order_kept(&plan, &[s1.clone(), skipped]);
    assert_refused(skipped, Refusal::OrderNotMet, &["s1.stage succeeded before it did w1.stage"]);
    let mut failed = receipt(&plan, "s1.stage", 1);
    failed.outcome = Outcome::Failed { reason: "no".to_owned() };
    let failed = verified(&failed);
    relying.relied_on = vec![failed.digest()];
    let went_on = order_kept(&plan, &[failed, verified(&relying)]);
    assert_refused(went_on, Refusal::OrderNotMet, &["s1.stage succeeded before it did w1.stage"]);
    relying.outcome = Outcome::Refused { refusal: Refusal::OrderNotMet, reason: "not yet".to_owned() };
    assert_eq!(order_kept(&plan, &[verified(&relying)]), Ok(()), "a refusal touched nothing");
    let mut other = receipt(&plan, "s1.stage", 1);
    other.node = name("w1");
    assert_refused(order_kept(&plan, &[verified(&other)]), Refusal::OrderNotMet, &["one of its tasks", "s1.stage"]);
}

/// A receipt of success that the gate would take but for one thing that cannot be: by itself, and through the gate.
#[test]
fn a_receipt_of_work_that_cannot_have_been_proves_nothing() {
    let (plan, roster) = (verified_plan(&plan()), verified_roster(&roster()));
    let (created, skew) = (plan.document().created, trust::CLOCK_SKEW);
    let of = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = receipt(&plan, "s1.stage", 1);
        change(&mut receipt);
        let alone = check_receipt_fits(plan.document(), &receipt);
        let gate = order_met(&plan, &task_id("w1.stage"), &[signed_receipt(&receipt)], &roster).map(drop);
        assert_eq!(alone.is_ok(), gate.is_ok(), "the gate asks it: {alone:?}, {gate:?}");
        alone
    };
    assert_eq!(of(&|_| {}), Ok(()));
    let before = |at: Timestamp, by: Duration| Timestamp::from_unix_seconds(at.unix_seconds() - by.as_secs());
    let early = |seconds| move |r: &mut Receipt| r.started = before(created, skew + Duration::from_secs(seconds));
    assert_eq!(of(&early(0)), Ok(()), "the admin's clock may run ahead of the node's by so much");
    assert_refused(of(&early(1)), Refusal::OrderNotMet, &["receipt 1 of s1", "after its plan was made", "clock"]);
    assert_refused(of(&|r| r.grant = 0), Refusal::OrderNotMet, &["a grant from 1 on", "grant 0"]);
    let backwards = of(&|r| r.ended = before(r.started, Duration::from_secs(1)));
    assert_refused(backwards, Refusal::OrderNotMet, &["begun before it ended"]);
    assert_eq!(of(&|r| r.ended = r.started), Ok(()), "in no time");
}
