//! What is lost or goes back on a node's disk is noticed, and no task runs twice because of it.

use super::*;
use crate::keys::Keys;

/// The receipt files of a node.
fn receipt_files(fleet: &Fleet) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(fleet.directory.path().join("receipts")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Two plans side by side, each with its task done and its receipt in a file of its own or in the slots.
fn two_done(fleet: &Fleet, machine: &Arc<Machine>, acknowledged: bool) -> (Vec<Signed>, Vec<Signed>) {
    let first = fleet.plan(1, vec![file("/etc/a", "a")], |_| {});
    let beside = PlanRef { seq: Seq(1), digest: first.digest() };
    let second = fleet.plan(2, vec![file("/etc/b", "b")], |p| p.keeps_valid = vec![beside]);
    let plans = vec![first, second];
    let (executor, sender, status, _disk) = fleet.executor(machine).unwrap();
    for plan in &plans {
        grant(plan).into_iter().for_each(|request| sender.offer(request).unwrap());
    }
    executor.run_until_idle().unwrap();
    let receipts = status.content().receipts.clone();
    drop(_disk);
    if acknowledged {
        let acknowledged: Vec<Request> = receipts.iter().map(|r| Request::ReceiptAcknowledged(r.digest())).collect();
        work(fleet, machine, &acknowledged);
    }
    (plans, receipts)
}

#[test]
fn a_receipt_file_that_is_lost_broken_or_another_is_noticed_and_its_task_never_runs_again() {
    type Damage = fn(&Path, &Path);
    let damages: [Damage; 3] = [
        |file, _| std::fs::remove_file(file).unwrap(),
        |file, _| std::fs::write(file, b"rot").unwrap(),
        |file, other| std::fs::write(file, std::fs::read(other).unwrap()).unwrap(),
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        for acknowledged in [false, true] {
            let fleet = Fleet::new();
            let machine = machine(&fleet);
            let (plans, receipts) = two_done(&fleet, &machine, acknowledged);
            let files = receipt_files(&fleet);
            if index == 2 && files.len() == 1 {
                continue; // The newer one lies in the slots still.
            }
            damage(&files[0], files.last().unwrap());
            machine.inner().files.clear();
            let (executor, sender, status, _disk) = fleet.executor(&machine).unwrap();
            let lost = status.content().holding.lost_receipts.clone();
            assert_eq!(lost, [receipts[0].digest()], "case {index} {acknowledged}: asked for");
            let said = status.content().refusals.front().unwrap().refused.clone();
            assert_eq!(said.refusal, Refusal::DamagedState);
            assert!(said.reason.contains("receipt 1 of task w1.work"), "{}", said.reason);
            grant(&plans[0]).into_iter().for_each(|request| sender.offer(request).unwrap());
            sender.offer(Request::Welcome { own_receipts: vec![receipts[0].clone()], head: None }).unwrap();
            executor.run_until_idle().unwrap();
            assert!(machine.inner().files.is_empty(), "case {index} {acknowledged}: it ran once");
            assert!(status.content().holding.lost_receipts.is_empty(), "case {index}: found again");
            drop(_disk);
            let (_, _, status, _) = fleet.executor(&machine).unwrap();
            assert!(status.content().holding.lost_receipts.is_empty(), "case {index}: for good");
        }
    }
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn an_old_image_begins_nothing_before_it_heard_of_its_receipts_and_then_goes_on_from_the_newest() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let first = fleet.plan(1, vec![file("/etc/a", "a")], |_| {});
    work(&fleet, &machine, &[Request::Plan(first.clone())]);
    let image = tempfile::tempdir().unwrap();
    copy(fleet.directory.path(), image.path());
    let second = fleet.plan(2, vec![file("/etc/b", "b")], |_| {});
    let (executor, sender, status, disk) = fleet.executor(&machine).unwrap();
    for plan in [&first, &second] {
        grant(plan).into_iter().for_each(|request| sender.offer(request).unwrap());
    }
    executor.run_until_idle().unwrap();
    let receipts = status.content().receipts.clone();
    drop(disk);

    // The image comes back: plan 1 is open in it and nothing was signed.
    std::fs::remove_dir_all(fleet.directory.path()).unwrap();
    copy(image.path(), fleet.directory.path());
    machine.inner().files.clear();
    let (mut executor, sender, status, _disk) = fleet.executor(&machine).unwrap();
    executor.context.heard_of_receipts = false;
    let deliver = |executor: &mut crate::Executor, requests: Vec<Request>| {
        requests.into_iter().for_each(|request| sender.offer(request).unwrap());
        while let Ok(Some(request)) = executor.context.control.next(Some(Duration::ZERO)) {
            executor.handle(request).unwrap();
            executor.take_turns().unwrap();
        }
    };
    deliver(&mut executor, grant(&first));
    let sentence = status.content().progress.as_ref().unwrap().sentence.clone();
    assert!(sentence.contains("has not said yet which receipts"), "{sentence}");
    deliver(&mut executor, vec![Request::Welcome { own_receipts: receipts.clone(), head: None }]);
    assert_eq!(executor.context.state.next_receipt().0, 4, "two caught up, and one that says why the first plan ended");
    assert_eq!(executor.context.state.seq(), Seq(2));
    deliver(&mut executor, grant(&second));
    assert!(machine.inner().files.is_empty(), "neither task ran twice");

    let foreign = fleet.receipt_of_s1(&receipt_of_s1(&first, "w1.work", Outcome::Succeeded {}, vec![]));
    let heard = std::mem::replace(&mut executor.context.heard_of_receipts, false);
    deliver(&mut executor, vec![Request::Welcome { own_receipts: vec![foreign], head: None }]);
    assert!(heard && status.content().refusals.iter().any(|r| r.refused.refusal == Refusal::BadSignature));
}

#[test]
fn a_key_that_is_not_the_rosters_is_found_at_the_start() {
    for name in ["seal.key", "node.key"] {
        let fleet = Fleet::new();
        let machine = machine(&fleet);
        let other = tempfile::tempdir().unwrap();
        drop(Keys::load_or_make(&crate::disk::Disk::open(other.path()).unwrap(), false).unwrap());
        std::fs::copy(other.path().join(name), fleet.directory.path().join(name)).unwrap();
        let disk = crate::disk::Disk::beside(fleet.directory.path());
        let fleet = Fleet { keys: Arc::new(Keys::load_or_make(&disk, true).unwrap()), ..fleet };
        let Err(ExecutorError::Refused(refused)) = fleet.executor(&machine) else { panic!("{name}") };
        assert_eq!(refused.refusal, Refusal::DamagedState);
        assert!(refused.reason.contains(name) && refused.reason.contains("move its state folder away"), "{refused}");
    }
}

#[test]
fn what_a_node_holds_is_signed_whenever_it_changed() {
    let fleet = Fleet::new();
    let machine = machine(&fleet);
    let roster = trust::roster(
        &trust::TrustedRoot::first(&fleet.root, &fleet.root.digest()).unwrap(),
        None,
        &fleet.roster,
        trust::Purpose::Begun,
    )
    .unwrap();
    let (executor, sender, status, disk) = fleet.executor(&machine).unwrap();
    let held = |status: &crate::status::ExecutorStatus| status.content().holding_document.clone().unwrap();
    let before = held(&status);
    assert_eq!(trust::holding(&roster, &before).unwrap().document().open, []);
    let elsewhere = fleet.plan(7, vec![], |p| {
        p.targets.clear();
        p.tasks = vec![task("s1.work", "s1", "s1", &[], vec![Step::Noop(Noop {})])];
    });
    sender.offer(Request::Plan(elsewhere.clone())).unwrap();
    sender.offer(Request::Plan(elsewhere.clone())).unwrap();
    executor.run_until_idle().unwrap();
    let after = trust::holding(&roster, &held(&status)).unwrap();
    let this = PlanRef { seq: Seq(7), digest: elsewhere.digest() };
    assert_eq!((after.document().holds.plan, after.document().open.as_slice()), (Some(this), &[this][..]));
    drop((disk, before));
}
