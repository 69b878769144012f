//! A disk without room: nothing is lost, it is said, and work goes on by itself once there is some.

use std::cell::RefCell;

use hostler_daemon::durable::end::EndOfDisk;
use hostler_plan::step::StageArtifact;

use super::{crash::offer, *};
use crate::testing::TestCluster;

/// The disk is full from any write on, through restarts, until somebody makes room.
#[test]
fn a_disk_that_is_full_from_any_write_on_costs_nothing_and_the_task_goes_on_once_there_is_room() {
    let mut points = 0;
    for writes in 0.. {
        let fleet = Fleet::new();
        let machine = prepared(&fleet);
        let plan = many_steps(&fleet);
        let mut signed: BTreeMap<u64, Digest> = BTreeMap::new();
        let mut finished = false;
        let mut full = Some(EndOfDisk::after(fleet.directory.path(), writes));
        let mut failed = false;
        for attempt in 0..10 {
            if attempt == 3 {
                failed = full.take().is_some_and(|end| end.has_failed());
            }
            let (executor, sender, status, _disk) = match fleet.executor(&machine) {
                Ok(parts) => parts,
                Err(error) => {
                    assert!(full.is_some() && error.to_string().contains("check the space"), "{writes}: {error}");
                    continue;
                }
            };
            offer(&sender, &plan, attempt > 0);
            if let Err(error) = executor.run_until_idle() {
                assert!(full.is_some() && error.to_string().contains("check the space"), "{writes}: {error}");
            }
            for receipt in &status.content().receipts {
                let number: Receipt = json::parse(&receipt.bytes).unwrap();
                let first = signed.entry(number.counter).or_insert(receipt.digest());
                assert_eq!(*first, receipt.digest(), "{writes}: number {} twice", number.counter);
                assert_eq!(number.outcome, Outcome::Succeeded {}, "{writes}: it had not failed for good");
                finished = true;
            }
        }
        assert!(finished, "{writes}");
        assert_eq!(signed.len(), 1, "{writes}");
        let inner = machine.inner();
        for act in ["restart", "reboot"] {
            let acts = inner.acts.iter().filter(|a| a.starts_with(act)).count();
            assert_eq!(acts, 1, "{writes}: {act} {:?}", inner.acts);
        }
        if !failed {
            break;
        }
        points = writes;
    }
    assert!(points > 40, "expected many points to be full at, found {points}");
}

thread_local! {
    /// The disk that is full, who fetches, and how often it did.
    static FETCHES: RefCell<(Option<EndOfDisk>, Option<RequestSender>, u32)> = const { RefCell::new((None, None, 0)) };
}

/// The network side has it each time that the executor waits; the third time there is room.
fn fetch(cluster: &mut crate::testing::State) {
    cluster.next = Some(fetch);
    FETCHES.with_borrow_mut(|(full, sender, times)| {
        *times += 1;
        full.take_if(|end| *times > 2 && end.has_failed());
        let fetched = Request::Fetched { digest: Digest::of(NEW), result: Ok(()) };
        sender.as_ref().unwrap().offer(fetched).unwrap();
    });
}

#[test]
fn an_artifact_for_which_there_is_no_room_is_waited_for_and_leaves_no_half_of_itself() {
    let fleet = Fleet::new();
    let now = fleet.now.plus(Duration::from_secs(60));
    let machine = Arc::new(Machine::new(now).with_cluster(TestCluster::new(now, &[])));
    machine.cluster.as_ref().unwrap().state().next = Some(fetch);
    let downloads = fleet.downloads().folder;
    std::fs::create_dir_all(&downloads).unwrap();
    std::fs::write(downloads.join(Digest::of(NEW).hex()), NEW).unwrap();
    let stage = Step::StageArtifact(StageArtifact { artifact: "k3s".parse().unwrap() });
    let plan = fleet.plan(1, vec![stage], |p| {
        (p.kind, p.artifacts) = (PlanKind::Upgrade, vec![artifact("k3s", NEW)]);
    });
    let (executor, sender, status, disk) = fleet.executor(&machine).unwrap();
    offer(&sender, &plan, false);
    let folder = disk.path("artifacts");
    FETCHES.set((Some(EndOfDisk::after(&folder, 0)), Some(sender), 0));
    executor.run_until_idle().unwrap();
    let (full, _, times) = FETCHES.take();
    assert!(full.is_none() && times > 2, "it was full, and then there was room");
    let receipt: Receipt = json::parse(&status.content().receipts[0].bytes).unwrap();
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [std::ffi::OsString::from(Digest::of(NEW).hex())]);
}
