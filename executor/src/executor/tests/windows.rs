//! Maintenance windows on a node, whatever its coordinator says of them.

use hostler_plan::{
    document::{Window, WindowSet, WindowTask, Windows},
    timestamp::Timestamp,
};

use super::{
    start::{Node, set_clock, with_lease},
    *,
};

const HOUR: u64 = 3600;

/// From one to three hours after the plan was made; its task needs half an hour.
fn windows(plan: &mut Plan) {
    let at = |hours: u64| plan.created.plus(Duration::from_secs(hours * HOUR));
    let window = |from, until| Window { from: at(from), until: at(until), offset_minutes: 60 };
    let windows = vec![window(1, 3), window(7, 9)];
    let tasks = vec![WindowTask { task: TaskId::new("w1.work").unwrap(), seconds: HOUR / 2 }];
    plan.windows =
        Some(Windows::Within { sets: vec![WindowSet { zone: "Europe/Berlin".parse().unwrap(), windows, tasks }] });
}

fn made(plan: &Signed) -> Timestamp {
    json::parse::<Plan>(&plan.bytes).unwrap().created
}

fn minutes(plan: &Signed, minutes: u64) -> Timestamp {
    made(plan).plus(Duration::from_secs(minutes * 60))
}

#[test]
fn a_coordinator_that_grants_outside_of_windows_begins_nothing() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a")], windows);
    let mut node = Node::new(&fleet, &machine);
    // Before, too late in the first one, between both.
    for (minute, said) in
        [(10, "in 50 min"), (151, "of the one that is open 29 min are left, and it needs 30 min"), (300, "in 2 h")]
    {
        set_clock(&machine, minutes(&plan, minute), true);
        node.work(&with_lease(&plan, 600));
        let sentence = node.sentence();
        assert!(sentence.starts_with("waits for the window ") && sentence.contains(said), "{minute}: {sentence}");
        assert_eq!((node.receipts().len(), machine.inner().files.len()), (0, 0), "{minute}");
    }
    set_clock(&machine, minutes(&plan, 7 * 60), true);
    node.work(&with_lease(&plan, 600));
    assert_eq!(node.receipts()[0].outcome, Outcome::Succeeded {}, "it goes on in the next one");
    assert!(machine.inner().files.contains_key(Path::new("/etc/a")));
}

#[test]
fn a_window_that_closes_on_a_task_at_work_lets_it_finish() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let steps = vec![file("/etc/a", "a"), Step::Reboot(Reboot {}), file("/etc/b", "b")];
    let plan = fleet.plan(1, steps, windows);
    set_clock(&machine, minutes(&plan, 150), true);
    let (executor, sender, _, disk) = fleet.executor(&machine).unwrap();
    with_lease(&plan, 600).into_iter().for_each(|request| sender.offer(request).unwrap());
    assert_eq!(executor.run_until_idle().unwrap(), Ended::Rebooting);
    drop(disk);
    // The boot took until after the window.
    set_clock(&machine, minutes(&plan, 200), true);
    let (receipts, refusals) = continue_with_lease(&fleet, &machine);
    assert_eq!(refusals, []);
    assert_eq!(receipts[0].outcome, Outcome::Succeeded {}, "{:?}", receipts[0].steps);
    assert!(machine.inner().files.contains_key(Path::new("/etc/b")), "the last step began outside");
}

#[test]
fn now_asks_for_no_window() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let plan = fleet.plan(1, vec![file("/etc/a", "a")], |plan| plan.windows = Some(Windows::AtOnce {}));
    let (receipts, _) = work(&fleet, &machine, &grant(&plan));
    assert_eq!(receipts[0].outcome, Outcome::Succeeded {});
}
