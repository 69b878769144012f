//! What a person reads about the pods of the nodes that a plan drains.

use hostler_fixtures as made;
use hostler_plan::{
    cluster::{Attachment, BudgetLimit, NodeReady},
    document::{LeftOut, Plan, View},
    drain::{Allowed, CarriedOver, Look, NotShown, PodsPreview},
    id::{Nonce, Seq},
    step::{Drain, EmptyDirs, Loss, NewOwners, OutOfService, Reaction, Step},
    timestamp::Timestamp,
};

use crate::made::*;

/// A plan that drains s1, and the view of it.
fn plan(look: &Look, allowed: &Allowed) -> (Plan, View) {
    let root = made::root(now(), Vec::new());
    let node = |name, seed| made::node(name, made::public(&made::key(seed)), hostler_plan::step::ClusterRole::Server);
    let roster = made::roster(&root, now(), vec![node("s1", 1), node("w1", 2)]);
    let view = View { nodes: vec![look.view()], ..made::view(&roster, "w1", &Nonce::from_bytes([7; 32])) };
    let mut plan = made::plan(&roster, now(), 7);
    let mut drain = made::cluster::drain(600);
    allowed.write(&mut drain, Some(&[&view.nodes[0]]), NewOwners::Ask).unwrap();
    plan.tasks[0].steps = vec![Step::Drain(drain)];
    (plan, view)
}

fn preview(look: &Look, allowed: &Allowed) -> PodsPreview {
    let (plan, view) = plan(look, allowed);
    PodsPreview::of(&plan, vec![view], Vec::new())
}

/// An application that moves, one that is down, one with data, one that never goes and what stays.
fn shop() -> Look {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("web", &["s1", "s1", "w1"]);
    look.deploy("db", &["s1"]);
    look.pod("db-0").placement.node_selector = [("disk".to_owned(), "nvme".to_owned())].into();
    look.deploy("cache", &["s1", "s1", "s1"]);
    for name in ["cache-0", "cache-1", "cache-2"] {
        look.pod(name).empty_dirs.memory = true;
    }
    let mut logs = pod("logs", "logs", "s1");
    logs.owner.as_mut().unwrap().kind = "DaemonSet".into();
    look.pods.push(logs.into());
    look
}

#[test]
fn a_short_preview_counts_all_and_names_what_needs_something_or_is_down() {
    let text = preview(&shop(), &Allowed::default()).text(false);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("pods, as the server w1 read and signed them at 20"), "{text}");
    assert!(lines[1].starts_with("  s1: 7 pods: "), "{text}");
    for part in ["5 move", "1 down until the node is back", "1 stays", "about "] {
        assert!(lines[1].contains(part), "{part}: {text}");
    }
    assert!(text.contains("down     shop/db-0 (Deployment db): until the node is back: "), "{text}");
    assert!(
        text.contains("asks     shop/cache-0 and 2 more (Deployment cache): it loses emptyDir data in memory"),
        "{text}"
    );
    assert!(text.contains("--delete-emptydir-data=memory"), "{text}");
    assert!(!text.contains("shop/web-0") && !text.contains("shop/logs"), "{text}");
}

#[test]
fn everything_is_explained_pod_by_pod_on_demand() {
    let text = preview(&shop(), &Allowed::default()).text(true);
    for name in ["web-0", "web-1", "db-0", "cache-0", "cache-1", "cache-2", "logs"] {
        assert!(text.contains(&format!("shop/{name} (")), "{name}: {text}");
    }
    assert!(text.contains("moves    shop/web-0 (Deployment web): fits on w1; it may take 30 s to stop"), "{text}");
    assert!(text.contains("stays    shop/logs (DaemonSet logs): it belongs to the node"), "{text}");
}

#[test]
fn what_stands_in_the_way_is_said_once_an_owner_with_what_allows_it() {
    let mut look = shop();
    let refusal = preview(&look, &Allowed::default()).refusal().unwrap();
    assert_eq!(refusal.lines().count(), 1, "{refusal}");
    assert!(refusal.starts_with("s1: shop/cache-0 and 2 more: it keeps data in an emptyDir in memory"), "{refusal}");
    assert!(refusal.contains("--evict-anyway shop/cache-0, --delete-emptydir-data=memory"), "{refusal}");

    let memory = Allowed { delete_empty_dir_data: Some(EmptyDirs::Memory), ..Allowed::default() };
    let allowed = preview(&look, &memory);
    assert_eq!(allowed.refusal(), None);
    let text = allowed.text(false);
    assert!(
        text.contains("loses    shop/cache-0 and 2 more (Deployment cache): emptyDir data in memory, as this plan"),
        "{text}"
    );

    look.protect("web", BudgetLimit::MaxUnavailable(0));
    let refusal = preview(&look, &memory).refusal().unwrap();
    assert!(refusal.starts_with("s1: shop/web-0 and 1 more: budget shop/web allows 0 pods"), "{refusal}");

    let (plan, mut view) = plan(&shop(), &memory);
    view.missing_rights = vec![hostler_plan::form::ClusterName::of("create pods/eviction")];
    let refusal = PodsPreview::of(&plan, vec![view], Vec::new()).refusal().unwrap();
    assert_eq!(refusal, "the server w1 may not create pods/eviction: give its account that right");
}

#[test]
fn pods_that_decide_and_that_no_view_has_room_for_refuse_a_plan_that_does_not_allow_it_of_every_pod() {
    let memory = Allowed { delete_empty_dir_data: Some(EmptyDirs::Memory), ..Allowed::default() };
    let (plan, view) = plan(&shop(), &memory);
    let refusal = |change: &dyn Fn(&mut Drain), left_out: LeftOut| {
        let (mut plan, mut view) = (plan.clone(), view.clone());
        view.nodes[0].left_out = left_out;
        plan.drains_mut().for_each(|(_, drain)| change(drain));
        let preview = PodsPreview::of(&plan, vec![view], Vec::new());
        let text = preview.text(false);
        assert!(
            text.contains("4000 pods more that no view has room for, 12 of which never go or lose something"),
            "{text}"
        );
        preview.refusal()
    };
    let left_out =
        |never, loses: &[Loss]| LeftOut { pods: 4000, deciding: 12, never, loses: loses.iter().copied().collect() };
    let nothing: &dyn Fn(&mut Drain) = &|_| ();
    let memory = left_out(0, &[Loss::EmptyDirMemory]);
    // The owners that were shown may lose theirs, and nobody else.
    let refused = refusal(nothing, memory.clone()).unwrap();
    assert!(
        refused.starts_with("s1: 12 pods that no view has room for: some of them lose emptyDir data in me"),
        "{refused}"
    );
    assert!(refused.contains("plan for fewer nodes") && refused.contains("--delete-emptydir-data=memory"), "{refused}");
    assert_eq!(refusal(&|drain| drain.delete_empty_dir_data = EmptyDirs::Memory, memory.clone()), None);
    assert_eq!(refusal(&|drain| drain.reactions.never = Reaction::Wait, memory), None, "as all that never goes");
    let bare = left_out(0, &[Loss::Unmanaged]);
    assert!(refusal(nothing, bare.clone()).unwrap().contains("--force-unmanaged"));
    assert_eq!(refusal(&|drain| drain.force_unmanaged = true, bare), None);
    let mut only_move = view.clone();
    only_move.nodes[0].left_out = LeftOut { pods: 4000, ..LeftOut::default() };
    assert_eq!(PodsPreview::of(&plan, vec![only_move], Vec::new()).refusal(), None);
    for never in [left_out(3, &[]), left_out(0, &[])] {
        let refused = refusal(&|drain| drain.force_unmanaged = true, never).unwrap();
        assert!(refused.contains("some of them never go"), "{refused}");
    }
}

#[test]
fn what_is_carried_over_is_shown_by_owner_with_the_plan_that_allowed_it() {
    let memory = Allowed { delete_empty_dir_data: Some(EmptyDirs::Memory), ..Allowed::default() };
    let (plan, view) = plan(&shop(), &memory);
    let (_, before) = plan.drains().next().unwrap();
    let what = Allowed::default().carry_over(&mut made::cluster::drain(600), before).unwrap();
    let mut preview = PodsPreview::of(&plan, vec![view], Vec::new());
    preview.carried = Some(CarriedOver { from: Seq(6), what: what.into_iter().collect() });
    let carried = "carried over from plan 6, which this one continues:\n    of shop/Deployment/cache it LOSES emptyDir";
    assert!(preview.text(false).contains(carried), "{}", preview.text(false));
}

#[test]
fn what_is_not_shown_is_said_and_refuses_nothing() {
    let (plan, _) = plan(&shop(), &Allowed::default());
    let not_shown = NotShown { nodes: vec!["s1".parse().unwrap()], why: "no server\nis connected".into() };
    let blind = PodsPreview::of(&plan, Vec::new(), vec![not_shown]);
    assert_eq!(blind.refusal(), None);
    assert!(
        blind.text(false).starts_with("pods are not shown: no server\\nis connected (s1)"),
        "{}",
        blind.text(false)
    );

    let mut look = shop();
    look.node("s1").ready = NodeReady::Unknown { since: now() };
    look.nodes[0].unschedulable = true;
    look.nodes[0].unschedulable_by = Some("kubectl-cordon".into());
    let text = preview(&look, &Allowed::default()).text(false);
    assert!(text.contains("s1: SILENT for ") && text.contains("cordoned by kubectl-cordon; 7 pods"), "{text}");
}

#[test]
fn a_dead_node_is_given_up_with_its_pods_and_volumes_in_sight() {
    let mut look = shop();
    let mut bare = pod("bare", "bare", "s1");
    bare.owner = None;
    look.pods.push(bare.into());
    look.node("s1").ready = NodeReady::Unknown { since: Timestamp::from_unix_seconds(now().unix_seconds() - 600) };
    look.attachments.push(Attachment {
        name: "csi-1".into(),
        node: "s1".into(),
        driver: "csi.example.com".into(),
        volume: Some("pv-1".into()),
    });
    // Budgets are not asked.
    look.protect("db", BudgetLimit::MaxUnavailable(0));
    let (mut plan, mut view) = plan(&look, &Allowed::default());
    view.nodes = vec![look.view()];
    let power_off_proof = "the breaker is off".parse().unwrap();
    plan.tasks[0].steps = vec![Step::OutOfService(OutOfService { power_off_proof })];
    plan.tasks[0].subject = "s1".parse().unwrap();
    view.missing_rights = vec![hostler_plan::form::ClusterName::of("create pods/eviction")];
    let preview = PodsPreview::of(&plan, vec![view], Vec::new());
    assert_eq!(preview.refusal(), None, "nobody is evicted");
    let text = preview.text(false);
    let first = "s1: silent for 10 min; 8 pods removed at once: 1 lost for ever, 1 down until the node is back, 5 \
                 started elsewhere, 1 back with the node; 1 volume detached";
    assert!(text.contains(first), "{text}");
    for line in [
        "lost     shop/bare (no controller): nobody starts it again",
        "down     shop/db-0 (Deployment db): ",
        "moves    shop/cache-0 (Deployment cache): fits on w1; its emptyDir data in memory is lost",
        "volume   pv-1 is detached at once, whoever still writes to it (driver csi.example.com)",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains("web-0") && preview.text(true).contains("shop/web-0"), "{text}");
}
