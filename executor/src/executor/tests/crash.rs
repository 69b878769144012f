//! An executor that is killed at any of its writes: the next one goes on, and no receipt is signed twice.

use std::panic::AssertUnwindSafe;

use super::*;
use crate::disk::crash::Killed;

#[test]
fn killed_at_every_write_the_task_ends_the_same_and_no_number_is_signed_twice() {
    let mut crashes = 0;
    for point in 0.. {
        let fleet = Fleet::new();
        let machine = prepared(&fleet);
        let plan = many_steps(&fleet);
        let mut signed: BTreeMap<u64, Digest> = BTreeMap::new();
        let mut crashed = false;
        let mut finished = false;
        let mut writes_left = point;
        for attempt in 0..8 {
            let (executor, sender, status, disk) = fleet.executor_that_may_die(&machine, writes_left, !crashed);
            let Some(executor) = executor else {
                crashed = true;
                continue;
            };
            offer(&sender, &plan, attempt > 0);
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| executor.run_until_idle()));
            writes_left = disk.crash.0.swap(i64::MAX, std::sync::atomic::Ordering::SeqCst);
            for receipt in &status.content().receipts {
                let number: Receipt = json::parse(&receipt.bytes).unwrap();
                let first = signed.entry(number.counter).or_insert(receipt.digest());
                assert_eq!(*first, receipt.digest(), "point {point}: number {} twice", number.counter);
                finished |= number.outcome == Outcome::Succeeded {};
            }
            match result {
                Ok(ended) => {
                    ended.unwrap();
                }
                Err(panic) => {
                    assert!(panic.downcast_ref::<Killed>().is_some(), "point {point}");
                    crashed = true;
                }
            }
            if finished {
                break;
            }
        }
        assert!(finished, "point {point}");
        assert_eq!(signed.len(), 1, "point {point}");
        let inner = machine.inner();
        assert_eq!(inner.acts.iter().filter(|a| a.starts_with("restart")).count(), 1, "point {point}");
        let reboots = inner.acts.iter().filter(|a| *a == "reboot").count();
        assert_eq!(reboots, 1, "point {point}: {:?}", inner.acts);
        if !crashed {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 40, "expected many points to die at, found {crashes}");
}

pub(super) fn offer(sender: &RequestSender, plan: &Signed, renew: bool) {
    if renew {
        sender.offer(Request::LeaseRenewed { grant: 1, lease_seconds: 600 }).unwrap();
    }
    for request in grant(plan) {
        sender.offer(request).unwrap();
    }
}

#[test]
fn killed_at_every_write_a_task_that_only_checks_is_granted_again_and_signed_once() {
    let mut crashes = 0;
    for point in 0.. {
        let fleet = Fleet::new();
        let machine = machine(&fleet);
        let plans: Vec<Signed> = (1..4).map(|seq| fleet.plan(seq, vec![Step::Noop(Noop {})], |_| {})).collect();
        let mut signed: BTreeMap<u64, Digest> = BTreeMap::new();
        let mut crashed = false;
        for plan in &plans {
            // The second process of a plan, and the third, find whatever the first one left.
            for _ in 0..3 {
                let (executor, sender, status, disk) = fleet.executor_that_may_die(&machine, point, !crashed);
                let Some(executor) = executor else {
                    crashed = true;
                    continue;
                };
                offer(&sender, plan, true);
                for receipt in signed.values() {
                    sender.offer(Request::ReceiptAcknowledged(*receipt)).unwrap();
                }
                let result = std::panic::catch_unwind(AssertUnwindSafe(|| executor.run_until_idle()));
                disk.crash.0.store(i64::MAX, std::sync::atomic::Ordering::SeqCst);
                crashed |= result.is_err();
                for receipt in &status.content().receipts {
                    let number = json::parse::<Receipt>(&receipt.bytes).unwrap().counter;
                    let first = signed.entry(number).or_insert(receipt.digest());
                    assert_eq!(*first, receipt.digest(), "point {point}: number {number} twice");
                }
            }
        }
        assert_eq!(signed.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "point {point}");
        if !crashed {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 8, "expected many points to die at, found {crashes}");
}
