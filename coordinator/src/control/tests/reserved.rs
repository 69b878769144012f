//! Plans that some signed and that wait for others.

use hostler_plan::{document::PlanRef, id::Epoch};

use super::*;

fn half(plan: &Plan) -> Signed {
    signed(DocumentKind::Plan, plan, &[&key(ADMIN)])
}

impl Fleet {
    fn kept(&mut self, now: Timestamp) -> Vec<Digest> {
        self.control.reserved_plans(now).iter().map(Signed::digest).collect()
    }
}

#[test]
fn a_plan_that_somebody_signed_is_shown_to_all_until_it_is_submitted_given_up_void_or_expired() {
    let mut fleet = Fleet::new();
    fleet.submit(at(2), &fleet.plan(1)).unwrap();
    let waits = fleet.plan(2);
    fleet.control.reserve_plan(at(3), &half(&waits)).unwrap();
    fleet.control.reserve_plan(at(3), &half(&waits)).unwrap();
    assert_eq!(fleet.kept(at(4)), [half(&waits).digest()], "once");
    // The next plan lists it, and it waits on.
    let kept = PlanRef { seq: Seq(2), digest: half(&waits).digest() };
    fleet.submit(at(5), &Plan { keeps_valid: vec![kept], ..fleet.plan(3) }).unwrap();
    assert_eq!(fleet.kept(at(5)).len(), 1);
    fleet.submit(at(6), &waits).unwrap();
    assert_eq!(fleet.kept(at(6)), [], "it is in the ledger");

    let ended = fleet.plan(4);
    fleet.control.reserve_plan(at(7), &half(&ended)).unwrap();
    fleet.submit(at(8), &fleet.plan(5)).unwrap();
    assert_eq!(fleet.kept(at(8)), [], "the newest plan does not keep it");
    let given_up = fleet.plan(6);
    fleet.control.reserve_plan(at(9), &half(&given_up)).unwrap();
    fleet.control.give_up_plan(&half(&given_up).digest());
    assert_eq!(fleet.kept(at(9)), []);
    fleet.control.reserve_plan(at(9), &half(&given_up)).unwrap();
    assert_eq!(fleet.kept(given_up.expires), []);
}

#[test]
fn nothing_is_kept_that_nobody_who_may_has_signed_or_that_takes_a_number_far_away() {
    let mut fleet = Fleet::new();
    fleet.submit(at(2), &fleet.plan(1)).unwrap();
    let good = fleet.plan(2);
    let by_a_stranger = signed(DocumentKind::Plan, &good, &[&key(seed("a"))]);
    let unsigned = Signed { signatures: Vec::new(), ..half(&good) };
    let others = [
        Plan { seq: Seq(1), title: "another".to_owned(), ..good.clone() },
        Plan { seq: Seq(6000), ..good.clone() },
        Plan { epoch: Epoch(2), ..good.clone() },
        Plan { expires: at(3), ..good.clone() },
    ];
    for refused in others.iter().map(half).chain([by_a_stranger, unsigned]) {
        assert!(matches!(fleet.control.reserve_plan(at(4), &refused), Err(ControlError::Refused(_))));
    }
    assert_eq!(fleet.kept(at(4)), []);
    for n in 0..40 {
        let full = fleet.control.reserve_plan(at(5), &half(&Plan { seq: Seq(2 + n), ..good.clone() }));
        assert_eq!(full.is_ok(), n < 15, "plan {n}");
    }
    assert_eq!(fleet.kept(at(6)).len(), 15);
}
