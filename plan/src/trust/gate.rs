//! The order of tasks, proved by receipts before each begins.

use std::collections::BTreeMap;

use crate::{
    document::{Outcome, Plan, Receipt, Roster, Signed, Task},
    id::{Digest, NodeName, TaskId},
    refusal::{Refusal, Refused},
    trust::{CLOCK_SKEW, Verified, receipt},
};

/// Receipts that are looked at for one task: one that comes after every node of the largest fleet, and room.
pub const MAX_GATE_RECEIPTS: usize = 1024;

/// The gate before a task: for every task that it comes after, the newest receipt offered of that task's node must
/// verify under the roster, name this plan (digest, epoch, seq) and say that it succeeded. Gives the digests relied on,
/// in the order of `after`. Receipts may come from anyone and in any order; ones that prove nothing here are passed
/// over.
///
/// Refuses as `Replay` when a node signed two different receipts with one number: its key lives twice.
pub fn order_met(
    plan: &Verified<Plan>,
    task: &TaskId,
    receipts: &[Signed],
    roster: &Verified<Roster>,
) -> Result<Vec<Digest>, Refused> {
    if receipts.len() > MAX_GATE_RECEIPTS {
        return Err(Refused::new(
            Refusal::Malformed,
            format!(
                "expected at most {MAX_GATE_RECEIPTS} receipts for one task, found {}; offer only those it comes after",
                receipts.len()
            ),
        ));
    }
    let find = |id: &TaskId| {
        plan.document().task(id).ok_or_else(|| {
            Refused::new(
                Refusal::OrderNotMet,
                format!("expected task {id} in plan {}, found no such task", plan.digest().short()),
            )
        })
    };
    let waiting = find(task)?;
    let before: Vec<&Task> = waiting.after.iter().map(find).collect::<Result<_, _>>()?;
    let (offered, rejected) = sift(receipts, roster);
    refuse_doubles(&before, &offered)?;
    before
        .iter()
        .map(|earlier| {
            relied_on(plan, earlier, roster.document(), &offered, rejected.as_ref()).map_err(|r| said(task, r))
        })
        .collect()
}

/// Whether a receipt can be of work under its plan: done in this order, not before the plan was made, under a grant
/// that can be. What a coordinator granted is in its ledger, and the node knows nothing of it.
pub fn check_receipt_fits(plan: &Plan, receipt: &Receipt) -> Result<(), Refused> {
    let (node, number, created) = (&receipt.node, receipt.counter, plan.created);
    let what = if receipt.grant == 0 {
        "to be of a grant from 1 on, found grant 0".to_owned()
    } else if receipt.ended < receipt.started {
        format!("to have begun before it ended, found {} and {}", receipt.started, receipt.ended)
    } else if receipt.started.plus(CLOCK_SKEW) < created {
        // The admin's clock may run ahead of the node's.
        format!("to have begun after its plan was made at {created}, found {}", receipt.started)
    } else {
        return Ok(());
    };
    Err(Refused::new(
        Refusal::OrderNotMet,
        format!("expected receipt {number} of {node} {what}; look at the clock and the disk of {node}"),
    ))
}

/// The same question afterwards, from files alone: did every node that did a task hold the receipts it had to? Every
/// receipt of this plan must name, for each task that its own comes after, a receipt of success that is among these.
/// One that says the node refused is left out, because nothing was touched.
pub fn order_kept(plan: &Verified<Plan>, receipts: &[Verified<Receipt>]) -> Result<(), Refused> {
    let of_plan = || receipts.iter().filter(|r| r.document().plan == plan.digest());
    let succeeded: BTreeMap<Digest, (&TaskId, &NodeName)> = of_plan()
        .filter(|r| r.document().outcome.is_success())
        .map(|r| (r.digest(), (&r.document().task, &r.document().node)))
        .collect();
    for done in of_plan().filter(|r| !matches!(r.document().outcome, Outcome::Refused { .. })) {
        let done = done.document();
        let (id, node) = (&done.task, &done.node);
        let broken = |what: String| Err(Refused::new(Refusal::OrderNotMet, what));
        let Some(task) = plan.document().task(id).filter(|t| t.node == *node) else {
            return broken(format!(
                "expected receipt {} of {node} to be for one of its tasks in plan {}, found {id}; look at that machine",
                done.counter,
                plan.digest().short()
            ));
        };
        for earlier in task.after.iter().filter_map(|id| plan.document().task(id)) {
            let named = |d: &Digest| succeeded.get(d) == Some(&(&earlier.id, &earlier.node));
            if !done.relied_on.iter().any(named) {
                return broken(format!(
                    "expected {node} to have held a receipt that {} succeeded before it did {id}, found none that its \
                        receipt {} names; look at that machine",
                    earlier.id, done.counter
                ));
            }
        }
    }
    Ok(())
}

/// Those that verify, and why the first other one does not.
fn sift(receipts: &[Signed], roster: &Verified<Roster>) -> (Vec<Verified<Receipt>>, Option<Refused>) {
    let mut rejected = None;
    let verified = receipts
        .iter()
        .filter_map(|signed| receipt(roster, signed).map_err(|refused| rejected.get_or_insert(refused).clone()).ok())
        .collect();
    (verified, rejected)
}

fn refuse_doubles(before: &[&Task], offered: &[Verified<Receipt>]) -> Result<(), Refused> {
    let mut numbers: BTreeMap<(&NodeName, u64), Digest> = BTreeMap::new();
    for receipt in offered.iter().filter(|r| before.iter().any(|t| t.node == r.document().node)) {
        let (node, counter) = (&receipt.document().node, receipt.document().counter);
        let first = *numbers.entry((node, counter)).or_insert(receipt.digest());
        if first != receipt.digest() {
            return Err(Refused::new(
                Refusal::Replay,
                format!(
                    "expected one receipt number {counter} of {node}, found {first} and {}; two machines hold the key \
                        of {node}: quarantine both",
                    receipt.digest()
                ),
            ));
        }
    }
    Ok(())
}

fn said(task: &TaskId, refused: Refused) -> Refused {
    Refused::new(refused.refusal, format!("before task {task}: {}", refused.reason))
}

fn relied_on(
    plan: &Verified<Plan>,
    earlier: &Task,
    roster: &Roster,
    offered: &[Verified<Receipt>],
    rejected: Option<&Refused>,
) -> Result<Digest, Refused> {
    // The roster lists one key per name; the plan pins which. A machine that took over the name proves nothing.
    let pinned = plan.document().target(&earlier.node).map(|t| &t.key);
    let same_key = roster.active(&earlier.node).map(|n| n.key.fingerprint()).as_ref() == pinned;
    let about = |r: &&Verified<Receipt>| {
        let receipt = r.document();
        same_key
            && receipt.node == earlier.node
            && receipt.task == earlier.id
            && receipt.plan == plan.digest()
            && receipt.epoch == plan.document().epoch
            && receipt.seq == plan.document().seq
    };
    let newest = offered.iter().filter(about).max_by_key(|r| r.document().counter);
    let (id, node) = (&earlier.id, &earlier.node);
    let expected = format!("expected a receipt of {node} that task {id} succeeded in this plan");
    match newest {
        Some(receipt) if receipt.document().outcome.is_success() => {
            check_receipt_fits(plan.document(), receipt.document())?;
            Ok(receipt.digest())
        }
        Some(receipt) => Err(Refused::new(
            Refusal::OrderNotMet,
            format!("{expected}, found that it {}; sign a new plan to go on", receipt.document().outcome),
        )),
        None => Err(Refused::new(
            Refusal::OrderNotMet,
            match rejected {
                Some(refused) => format!(
                    "{expected}, found none, and one that does not count ({}); it is checked again with the next \
                        receipt",
                    refused.reason
                ),
                None => format!("{expected}, found none; it is checked again with the next receipt"),
            },
        )),
    }
}
