//! What a person reads when drains have ended.

use std::time::Duration;

use hostler_fixtures as made;
use hostler_plan::{
    document::{MAX_PODS, Outcome, Plan, PodFate, PodReport, Receipt, Task},
    drain::{DrainSummary, Service, summaries},
    step::{Drain, Reaction, Step, Uncordon},
};

use crate::made::now;

fn report(pod: &str, fate: PodFate, reason: &str) -> PodReport {
    PodReport { pod: pod.into(), fate, reason: reason.into() }
}

/// A plan whose one task drains `w1`.
fn plan(drain: Drain) -> Plan {
    let root = made::root(now(), Vec::new());
    let node = made::node("s1", made::public(&made::key(1)), hostler_plan::step::ClusterRole::Server);
    let mut plan = made::plan(&made::roster(&root, now(), vec![node]), now(), 7);
    plan.tasks = vec![about_w1("w1.drain", Step::Drain(drain))];
    plan
}

fn about_w1(id: &str, step: Step) -> Task {
    Task { subject: "w1".parse().unwrap(), ..made::task(id, "s1", &[], vec![step]) }
}

fn usual() -> Drain {
    made::cluster::drain(600)
}

fn receipt(plan: &Plan, outcome: Outcome, pods: &[PodReport]) -> Receipt {
    let receipt = made::receipt(plan, "w1.drain");
    Receipt { outcome, pods: pods.to_vec(), ended: receipt.started.plus(Duration::from_secs(125)), ..receipt }
}

fn summary(drain: Drain, outcome: Outcome, pods: &[PodReport]) -> DrainSummary {
    let plan = plan(drain);
    summaries(&plan, &[receipt(&plan, outcome, pods)]).remove(0)
}

#[test]
fn a_drained_node_says_what_moved_what_stays_what_is_down_what_waits_and_what_to_do() {
    let pods = [
        report("shop/web-0", PodFate::Moved, ""),
        report("shop/web-1", PodFate::Moved, ""),
        report("shop/cart-0", PodFate::Down, "volume pv-7 exists on w1 only"),
        report("shop/api-0", PodFate::Pending, "shop/api-9 waits for a node: 0/3 nodes: 3 Insufficient cpu"),
        report("shop/job-0", PodFate::Ended, ""),
        report("kube-system/proxy", PodFate::Stays, "of a DaemonSet"),
    ];
    let said = summary(usual(), Outcome::Succeeded {}, &pods);
    assert_eq!(
        said.to_string(),
        "w1 is drained: 3 pods moved, 1 is down, 1 ended, 1 stays; shop/cart-0 is down until w1 is schedulable again \
         (volume pv-7 exists on w1 only); shop/api-0 went and is Pending elsewhere (shop/api-9 waits for a node: 0/3 \
         nodes: 3 Insufficient cpu). It took 2 min\n  next: w1 can be switched off or worked on; `hostler uncordon w1` \
         puts it back into service"
    );
    let nothing = summary(usual(), Outcome::Succeeded {}, &[]);
    assert!(nothing.sentence.starts_with("w1 is drained: no pod had to move. It took"), "{nothing}");
    let forged = [report("shop/web-0", PodFate::Down, "a volume\n  next: \x1b[2Jreboot it")];
    let forged = summary(usual(), Outcome::Succeeded {}, &forged).to_string();
    assert!(forged.lines().count() == 2 && !forged.contains('\x1b'), "{forged}");
    let full = vec![report("shop/web-0", PodFate::Moved, ""); MAX_PODS];
    let full = summary(usual(), Outcome::Succeeded {}, &full);
    assert!(full.sentence.contains(": at least 512 pods moved"), "{full}");
    let many: Vec<PodReport> = (0..9).map(|n| report(&format!("shop/db-{n}"), PodFate::Down, "")).collect();
    let many = summary(usual(), Outcome::Succeeded {}, &many);
    assert_eq!((many.sentence.matches("shop/db-").count(), many.down.len()), (5, 9), "{many}");
    assert!(many.sentence.contains("shop/db-4 is down until w1 is schedulable again and 4 more."), "{many}");
}

#[test]
fn a_node_that_the_same_plan_puts_back_is_said_to_be_back_by_that_receipt_alone() {
    let mut plan = plan(usual());
    plan.tasks.push(about_w1("w1.uncordon", Step::Uncordon(Uncordon {})));
    let down = report("shop/cart-0", PodFate::Down, "its volume is on w1 only");
    let mut receipts = vec![receipt(&plan, Outcome::Succeeded {}, &[down])];
    let said = |receipts: &[Receipt]| summaries(&plan, receipts).remove(0);
    let out = said(&receipts);
    assert_eq!(out.service, Service::ToBePutBack);
    assert!(out.next.contains("`hostler why w1`") && out.next.contains("`hostler uncordon w1`"), "{out}");
    let failed = Outcome::Failed { reason: "its kubelet is silent".into() };
    receipts.push(Receipt { outcome: failed, ..made::receipt(&plan, "w1.uncordon") });
    assert_eq!(said(&receipts), out, "it was tried");
    receipts[1].outcome = Outcome::Succeeded {};
    let back = said(&receipts);
    assert_eq!((back.service, back.next.as_str()), (Service::Back, ""));
    assert!(back.sentence.contains("is back in service") && back.sentence.contains("was down until w1 was"), "{back}");
}

#[test]
fn a_drain_that_did_not_end_well_says_why_what_is_left_and_the_way_on() {
    let reason = || "w1 stopped, 1 pod moved: budget shop/db allows none (shop/db-0)".to_owned();
    let left = [
        report("shop/web-0", PodFate::Moved, ""),
        report("shop/db-0", PodFate::Left, "budget shop/db allows none"),
        report("shop/db-1", PodFate::Left, "its turn did not come"),
    ];
    let blocked = Outcome::Blocked { reason: reason(), blockers: Vec::new() };
    let said = summary(usual(), blocked.clone(), &left);
    assert!(said.sentence.starts_with("w1 is not drained, blocked: w1 stopped, 1 pod moved"), "{said}");
    assert_eq!(said.sentence.matches("shop/db-0").count(), 1, "{said}");
    assert!(said.sentence.contains("shop/db-1 is still there (its turn did not come)"), "{said}");
    let asks =
        Drain { reactions: hostler_plan::step::Reactions { never: Reaction::Ask, ..Default::default() }, ..usual() };
    for (drain, outcome, next) in [
        (usual(), blocked.clone(), "`hostler drain w1 --explain`"),
        (asks, blocked, "`hostler drain w1 --continue`"),
        (usual(), Outcome::TimedOut { reason: reason() }, "--timeout"),
        (usual(), Outcome::Unreachable { reason: reason() }, "its power; it stays cordoned"),
        (usual(), Outcome::TakenOver { reason: reason(), by: Some("kubectl-cordon".into()) }, "ask kubectl-cordon"),
        (usual(), Outcome::TakenOver { reason: reason(), by: None }, "ask whoever did it"),
        (usual(), Outcome::Failed { reason: reason() }, "`hostler why w1`"),
    ] {
        let said = summary(drain, outcome.clone(), &left);
        assert!(said.next.contains(next), "{outcome}: {said}");
        assert_eq!((said.service, said.outcome), (Service::AsItSays, outcome.word()));
    }
}
