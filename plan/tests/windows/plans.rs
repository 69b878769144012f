//! Plans that wait for windows: what begins in them, for how long a plan lives, and what is said before it is signed.

use std::collections::BTreeMap;

use hostler_fixtures::{self as made, key, name, public};
use hostler_plan::{
    document::{Plan, PlanKind, RosterNode, SignerRole, Window, WindowSet, Windows},
    fleet::Fleet,
    id::{Digest, Epoch, Seq},
    json,
    planner::{self, Begins, Earlier, Intent, Inventory, InventoryNode, Numbering, PlanError, Preview, Selection},
    sequencer::{ClusterNode, Standing},
    show,
    trust::check_work,
};

use super::{at, fleet};

/// A Wednesday.
pub(crate) const CREATED: &str = "2026-12-02T12:00:00Z";
const DAY: u64 = 86_400;

pub(crate) const SATURDAYS: &str = r#"
[maintenance]
zone = "Europe/Berlin"
[[maintenance.windows]]
days = ["Saturday"]
start = "22:00"
end = "02:00"
"#;

/// How long nodes were away for a reboot before, in seconds.
type Away<'a> = &'a [(&'a str, u64)];

pub(crate) fn roster(fleet: &Fleet) -> hostler_plan::document::Roster {
    let root = made::root(at(CREATED), vec![made::signer("ana", public(&key(200)), SignerRole::Admin)]);
    let node = |(n, i): (&hostler_plan::fleet::FleetNode, u8)| RosterNode {
        arch: n.arch,
        ..made::node(n.name.as_str(), public(&key(i)), n.role)
    };
    made::roster(&root, at(CREATED), fleet.nodes.iter().zip(1..).map(node).collect())
}

pub(crate) fn planned(
    fleet: &Fleet,
    intent: &Intent,
    away: Away<'_>,
    begins: Begins,
) -> Result<(Plan, Preview), PlanError> {
    let roster = roster(fleet);
    let seen = |n: &hostler_plan::fleet::FleetNode| {
        let condition = ClusterNode { standing: Standing::Ready, version: Some(fleet.version), ..ClusterNode::UNKNOWN };
        let before = away.iter().filter(|(node, _)| *node == n.name.as_str());
        let away: BTreeMap<PlanKind, u64> = before.map(|(_, seconds)| (PlanKind::Reboot, *seconds)).collect();
        (n.name.clone(), InventoryNode { connected: true, condition, away, ..InventoryNode::UNSEEN })
    };
    let inventory = Inventory { nodes: fleet.nodes.iter().map(seen).collect(), ..Inventory::default() };
    let numbering = Numbering {
        epoch: Epoch(1),
        seq: Seq(7),
        prev: None,
        also: Vec::new(),
        root_version: 1,
        roster: Digest::of(b"roster"),
        created: at(CREATED),
        lifetime_seconds: DAY,
        begins,
    };
    planner::plan(fleet, &roster, &inventory, &Earlier::default(), intent, &numbering)
}

pub(crate) fn reboot(nodes: &[&str]) -> Intent {
    let nodes = Selection::Named(nodes.iter().map(|n| name(n)).collect());
    Intent::Reboot { nodes, accept_outage: vec![name("s1")] }
}

pub(crate) const WEEK: Begins = Begins::InWindows { most_seconds: 7 * DAY };

fn sets(plan: &Plan) -> &[WindowSet] {
    match &plan.windows {
        Some(Windows::Within { sets }) => sets,
        other => panic!("expected windows, found {other:?}"),
    }
}

#[test]
fn only_what_takes_a_node_out_of_service_waits_and_the_plan_lives_long_enough() {
    let fleet = fleet(SATURDAYS);
    let (plan, preview) = planned(&fleet, &reboot(&["w1", "w3"]), &[("w1", 900)], WEEK).unwrap();
    let [set] = sets(&plan) else { panic!("one set") };
    let window = Window { from: at("2026-12-05T21:00:00Z"), until: at("2026-12-06T01:00:00Z"), offset_minutes: 60 };
    assert_eq!(set.windows, [window]);
    let tasks: Vec<_> = set.tasks.iter().map(|known| (known.task.to_string(), known.seconds)).collect();
    // 600 s for the drain, 600 s and the soak for the return, half an hour for the work.
    assert_eq!(tasks, [("w1.drain".to_owned(), 900), ("w3.drain".to_owned(), 3060)]);
    assert_eq!(plan.expires, at("2026-12-06T02:00:00Z"), "an hour after the window that it needs");
    check_work(&roster(&fleet), &plan).unwrap();
    let said = preview.to_string();
    for words in [
        "begins within windows alone, first Saturday 22:00 Europe/Berlin for 4 h, with: w1, w3",
        "away for the last plans of kind reboot: w1 15 min",
        "51 min of a window are kept for nodes without a plan of kind reboot before: w3",
        "the first begins at 2026-12-05T21:00:00Z and all are back by 2026-12-05T22:06:00Z",
    ] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    let page = show::plan(&plan, &Digest::of(b"plan"));
    assert!(page.contains("Saturday 22:00 Europe/Berlin (UTC+01:00): from 2026-12-05T21:00:00Z"), "{page}");
    assert!(page.contains("with 900 s left or more begin w1.drain"), "{page}");
}

#[test]
fn a_plan_without_windows_is_written_as_before() {
    let (plan, _) = planned(&fleet(""), &reboot(&["w1"]), &[], WEEK).unwrap();
    assert_eq!((plan.windows.clone(), plan.expires), (None, at("2026-12-03T12:00:00Z")));
    assert!(!String::from_utf8(json::write(&plan)).unwrap().contains("windows"));
    let drain = Intent::drain(vec![name("w1")]);
    let (plan, _) = planned(&fleet(SATURDAYS), &drain, &[], WEEK).unwrap();
    assert_eq!(plan.windows, None, "who drains a node has a reason to do it now");
}

#[test]
fn now_stands_in_the_plan_and_is_seen_before_it_is_signed() {
    let fleet = fleet(SATURDAYS);
    let (plan, preview) = planned(&fleet, &reboot(&["w1"]), &[], Begins::AtOnce).unwrap();
    assert_eq!((plan.windows.clone(), plan.expires), (Some(Windows::AtOnce {}), at("2026-12-03T12:00:00Z")));
    check_work(&roster(&fleet), &plan).unwrap();
    let written = String::from_utf8(json::write(&plan)).unwrap();
    assert!(written.contains("\"windows\": {\n    \"begins\": \"at_once\"\n  }"), "{written}");
    assert_eq!(json::parse::<Plan>(written.as_bytes()).unwrap(), plan);
    assert!(preview.to_string().contains("warning: begins at once, whatever the maintenance windows"), "{preview}");
    assert!(show::plan(&plan, &Digest::of(b"plan")).contains("NONE IS WAITED FOR"));
}

#[test]
fn what_could_never_begin_is_refused_with_the_next_window() {
    let fleet = fleet(SATURDAYS);
    let day = Begins::InWindows { most_seconds: DAY };
    let never = planned(&fleet, &reboot(&["w1", "w3"]), &[], day).unwrap_err().to_string();
    for words in [
        "would end at 2026-12-03T12:00:00Z",
        "w1, w3 can begin",
        "Saturday 22:00 Europe/Berlin, from 2026-12-05",
        "--now",
    ] {
        assert!(never.contains(words), "{words:?} in {never}");
    }
    let long = planned(&fleet, &reboot(&["w1", "w3"]), &[("w3", 14_400)], WEEK).unwrap_err().to_string();
    let expected = "w3 was away for 4 h when this was done to it lately, and its longest maintenance window has 4 h";
    assert!(long.contains(expected) && !long.contains("w1"), "{long}");
}

#[test]
fn what_does_not_fit_into_the_windows_of_its_life_is_said() {
    let fleet = fleet(SATURDAYS);
    let away = [("w1", 9000), ("w2", 9000), ("w3", 9000)];
    let (plan, preview) = planned(&fleet, &reboot(&["w1", "w2", "w3"]), &away, WEEK).unwrap();
    assert_eq!(plan.expires, at("2026-12-09T12:00:00Z"), "as long as it may live");
    assert!(preview.to_string().contains("warning: by that the turn of w2, w3 does not come before"), "{preview}");
}

#[test]
fn a_window_that_is_too_short_for_a_node_is_named() {
    let two = format!("{SATURDAYS}[[maintenance.windows]]\ndays = [\"Fri\"]\nstart = \"01:00\"\nlength = \"20min\"\n");
    let (plan, preview) = planned(&fleet(&two), &reboot(&["w1", "w3"]), &[("w1", 300), ("w3", 2000)], WEEK).unwrap();
    assert_eq!(sets(&plan)[0].windows.len(), 2);
    let expected = "warning: the window Friday 01:00 Europe/Berlin has 20 min, too few for w3: nothing begins there";
    assert!(preview.to_string().contains(expected), "{preview}");
    // Where nothing is known, half of the longest window is enough.
    let short = SATURDAYS.replace("02:00", "23:00");
    let (plan, _) = planned(&fleet(&short), &reboot(&["w1"]), &[], WEEK).unwrap();
    assert_eq!(sets(&plan)[0].tasks[0].seconds, 1800);
}

#[test]
fn a_group_has_its_own_windows_and_none_of_its_nodes_waits_for_the_fleets() {
    let attic = r#"
[groups.attic.maintenance]
[[groups.attic.maintenance.windows]]
start = "03:00"
length = "2h"
"#;
    let fleet = fleet(&format!("{attic}{SATURDAYS}"));
    let (plan, _) = planned(&fleet, &reboot(&["w1", "w2"]), &[], WEEK).unwrap();
    let by_set: Vec<_> = sets(&plan).iter().map(|s| (s.tasks[0].task.to_string(), s.windows.len())).collect();
    // The canary goes first, on Saturday; w2's windows from then on and before are its own.
    assert_eq!(by_set[0], ("w1.drain".to_owned(), 1));
    assert!(by_set[1].0 == "w2.drain" && by_set[1].1 >= 4, "{by_set:?}");
    assert_eq!(sets(&plan)[1].windows[0].opens(), "Thursday 03:00");
    // Only the attic has windows: w1 begins at any time.
    let (plan, _) =
        planned(&super::fleet(&attic.replacen("]\n", "]\nzone = \"UTC\"\n", 1)), &reboot(&["w1", "w2"]), &[], WEEK)
            .unwrap();
    let [set] = sets(&plan) else { panic!("one set") };
    assert_eq!(set.tasks.len(), 1);
}

#[test]
fn windows_that_leave_something_open_are_no_plan() {
    let fleet = fleet(SATURDAYS);
    let (plan, _) = planned(&fleet, &reboot(&["w1", "w3"]), &[], WEEK).unwrap();
    let roster = roster(&fleet);
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        change(&mut plan);
        check_work(&roster, &plan).expect_err("should have been refused").reason
    };
    fn of(plan: &mut Plan) -> &mut Vec<WindowSet> {
        match &mut plan.windows {
            Some(Windows::Within { sets }) => sets,
            _ => panic!("windows"),
        }
    }
    type Case<'a> = (&'a dyn Fn(&mut Plan), &'a str);
    let cases: [Case<'_>; 11] = [
        (&|p| of(p).clear(), "1 to 512 windows, found 0"),
        (&|p| of(p)[0].windows.clear(), "expected windows and tasks"),
        (&|p| of(p)[0].tasks.clear(), "expected windows and tasks"),
        (&|p| of(p)[0].windows[0].until = of(p)[0].windows[0].from, "each opening before it closes"),
        (&|p| of(p)[0].windows[0].offset_minutes = i16::MIN, "each opening before it closes"),
        (
            &|p| {
                let w = of(p)[0].windows[0];
                of(p)[0].windows.push(w);
            },
            "in order and apart",
        ),
        (&|p| of(p)[0].tasks.reverse(), "once and in order"),
        (
            &|p| of(p)[0].tasks[0].task = "w1.ready".parse().unwrap(),
            "expected a task of the plan to begin in windows, found w1.ready",
        ),
        (&|p| of(p)[0].tasks[0].seconds = 14_401, "in which w1.drain can begin with 14401 s left, found none"),
        (
            &|p| {
                let again = of(p)[0].clone();
                of(p).push(again);
            },
            "windows for every task once, found w1.drain again",
        ),
        (&|p| p.expires = at("2026-12-05T21:00:00Z"), "expected a window before 2026-12-05T21:00:00Z"),
    ];
    for (change, words) in cases {
        let reason = refused(change);
        assert!(reason.contains(words), "{words:?} in {reason}");
    }
    let mut drain = plan.clone();
    drain.kind = PlanKind::Drain;
    drain.tasks.retain(|task| task.id.operation() == "drain");
    drain.tasks.iter_mut().for_each(|task| task.after.clear());
    drain.targets.retain(|target| target.node == name("s1"));
    let reason = check_work(&roster, &drain).expect_err("a drain waits for none").reason;
    assert!(reason.contains("no windows in a plan of kind drain"), "{reason}");
}
