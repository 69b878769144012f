//! Every rule that a plan must keep, broken once.

use hostler_fixtures as made;
use hostler_plan::{
    document::{
        Artifact, DocumentKind, MAX_SIGNATURE_BYTES, MAX_SIGNATURES, NodeObject, Plan, PlanKind, PlanRef, Root,
        RosterStatus, Signed, Target,
    },
    id::{Arch, Digest, Epoch, Seq},
    json,
    refusal::{Refusal, Refused},
    step::{
        ClusterRole, Cordon, EnsureFile, EnsureModule, EnsurePackage, EnsureSysctl, Noop, Reboot, Step, Uncordon, k3s,
        restore::{Restored, Start, Stop},
    },
    trust::{self, Duty, MAX_KEPT_VALID, Purpose, Verified},
};

use crate::{fleet::*, stock_ssh::Seeded};

fn verify(signed: &Signed, purpose: Purpose) -> Result<Verified<Plan>, Refused> {
    trust::plan(&trusted(&root()), &verified_roster(&roster()), signed, purpose)
}

fn offer(change: impl Fn(&mut Plan)) -> Result<Verified<Plan>, Refused> {
    let mut plan = plan();
    change(&mut plan);
    let verified = verify(&signed_plan(&plan), now());
    // What is refused with its signatures is refused before anybody signs it.
    let held = verified_roster(&roster());
    let unsigned = trust::check_unsigned(&trusted(&root()), (held.document(), held.digest()), &plan, now());
    assert_eq!(unsigned, verified.clone().map(drop));
    verified
}

#[test]
fn a_good_plan_is_verified() {
    let plan = plan();
    let signed = signed_plan(&plan);
    let verified = verify(&signed, now()).unwrap();
    assert_eq!(*verified.document(), plan);
    assert_eq!((verified.digest(), verified.signed()), (signed.digest(), &signed));
}

#[test]
fn every_flipped_byte_is_refused() {
    let signed = signed_plan(&plan());
    let (root, roster) = (trusted(&root()), verified_roster(&roster()));
    for i in 0..signed.bytes.len() {
        let mut changed = signed.clone();
        changed.bytes[i] ^= 1;
        let refused = trust::plan(&root, &roster, &changed, now());
        assert_refused(refused, Refusal::BadSignature, &["does not verify", "was changed"]);
    }
    for i in 0..signed.signatures[0].len() {
        let mut armour = signed.signatures[0].clone().into_bytes();
        armour[i] ^= 1;
        let changed = Signed { signatures: vec![String::from_utf8(armour).unwrap()], ..signed.clone() };
        assert_refused(trust::plan(&root, &roster, &changed, now()), Refusal::BadSignature, &["signature 1 of 1"]);
    }
}

#[test]
fn bytes_that_are_not_exactly_one_document_are_refused() {
    let text = String::from_utf8(json::write(&plan())).unwrap();
    let offer = |text: String| verify(&signed_bytes(DocumentKind::Plan, text.into_bytes(), &[ADA]), now());
    assert!(offer(text.clone()).is_ok());
    let without_digest = {
        let line = text.lines().find(|l| l.contains("\"sha256\": ")).unwrap();
        text.replace(line, "")
    };
    let malformed = [
        (format!("{text}x"), "trailing"),
        (format!("{text}{text}"), "trailing"),
        (text.replacen("\"seq\": 42", "\"seq\": 42, \"seq\": 43", 1), "\"seq\" stands twice"),
        (text.replacen("\"size\": 3", "\"size\": 3, \"size\": 3", 1), "\"size\" stands twice"),
        (text.replacen("\"seq\": 42", "\"seq\": 42, \"sequence\": 43", 1), "unknown field"),
        (text.replacen("\"seq\": 42", "\"seq\": 42.0", 1), "only integers"),
        (text.replacen("\"seq\": 42", "\"seq\": -1", 1), "invalid value"),
        (without_digest, "missing field `sha256`"),
        (text.replacen("\"sha256\": \"sha256:", "\"sha256\": \"sha256:00", 1), "64 lower-case"),
        (text.replacen("artifact.stage", "shell.run", 1), "unknown variant `shell.run`"),
        (String::new(), "EOF"),
    ];
    for (text, word) in malformed {
        assert_refused(offer(text), Refusal::Malformed, &["not a valid document", word]);
    }
    let later = text.replacen("hostler-plan/v1", "hostler-plan/v2", 1);
    assert_refused(offer(later), Refusal::WrongFleet, &["hostler-plan/v1", "hostler-plan/v2"]);
}

/// What a careless or malicious admin could sign: judged without a panic, and what passes is whole.
#[test]
fn any_bytes_that_an_admin_signs_are_judged() {
    let mut seeded = Seeded(7);
    let good = json::write(&plan());
    let (root, roster) = (trusted(&root()), verified_roster(&roster()));
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..1500 {
        let mut bytes = good.clone();
        for _ in 0..=seeded.below(3) {
            let at = seeded.below(bytes.len());
            match seeded.below(4) {
                0 => bytes[at] = seeded.byte(),
                1 => bytes[at] = b"0123456789\"{}[]:,-. "[seeded.below(20)],
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"0123456789\"{}[]:,-. "[seeded.below(20)]),
            }
        }
        match trust::plan(&root, &roster, &signed_bytes(DocumentKind::Plan, bytes, &[ADA]), now()) {
            Ok(plan) => {
                assert_eq!(trust::check_work(roster.document(), plan.document()), Ok(()));
                passed += 1;
            }
            Err(why) => {
                assert_ne!(why.refusal, Refusal::BadSignature, "{why}");
                refused += 1;
            }
        }
    }
    assert!(passed > 10 && refused > 500, "passed {passed}, refused {refused}");
}

#[test]
fn nothing_of_a_stranger_is_parsed() {
    let offer = |seed| verify(&signed_bytes(DocumentKind::Plan, b"{\"a\":".to_vec(), &[seed]), now());
    assert_refused(offer(STRANGER), Refusal::BadSignature, &["unknown key"]);
    assert_refused(offer(ADA), Refusal::Malformed, &["not a valid document"]);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let most = DocumentKind::Plan.max_bytes();
    let zeros = Signed { bytes: vec![0; most + 1], signatures: vec!["x".to_owned()] };
    assert_refused(verify(&zeros, now()), Refusal::Malformed, &["at most 1048576 bytes", "found 1048577"]);
    let largest = Signed { bytes: vec![0; most], ..zeros };
    assert_refused(verify(&largest, now()), Refusal::BadSignature, &[]);

    let signed = signed_plan(&plan());
    let many = Signed { signatures: vec![signed.signatures[0].clone(); MAX_SIGNATURES + 1], ..signed.clone() };
    assert_refused(verify(&many, now()), Refusal::Malformed, &["at most 16 signatures", "found 17"]);
    assert!(verify(&Signed { signatures: many.signatures[1..].to_vec(), ..signed.clone() }, now()).is_ok());
    let long = Signed { signatures: vec!["x".repeat(MAX_SIGNATURE_BYTES + 1)], ..signed };
    assert_refused(verify(&long, now()), Refusal::Malformed, &["at most 16384 bytes"]);
}

#[test]
fn only_people_who_may_sign_this_kind_count() {
    let upgrade = plan();
    let by = |plan: &Plan, seeds: &[u8]| verify(&signed(DocumentKind::Plan, plan, seeds), now());
    assert_refused(by(&upgrade, &[]), Refusal::BadSignature, &["found no signature"]);
    assert_refused(by(&upgrade, &[STRANGER]), Refusal::BadSignature, &["unknown key"]);
    assert_refused(by(&upgrade, &[S1]), Refusal::BadSignature, &["unknown key"]);
    assert_refused(by(&upgrade, &[VIC]), Refusal::NotAllowed, &["only vic"]);
    assert_refused(by(&upgrade, &[OLGA]), Refusal::NotAllowed, &["plan of kind upgrade", "only olga"]);
    for kind in PlanKind::ALL {
        let plan = noop_plan(kind);
        assert!(by(&plan, &[BEN]).is_ok(), "{kind}");
        assert_eq!(by(&plan, &[OLGA]).is_ok(), kind.needs_only_operator(), "{kind}");
        assert!(by(&plan, &[VIC]).is_err(), "{kind}");
    }
    let receipt = signed(DocumentKind::Receipt, &upgrade, &[ADA]);
    assert_refused(verify(&receipt, now()), Refusal::BadSignature, &["namespace hostler-plan", "hostler-receipt"]);
}

#[test]
fn a_threshold_of_two_needs_two_people() {
    let mut root = root();
    root.thresholds.plan = 2;
    let (root, roster) = (trusted(&root), verified_roster(&roster()));
    let by = |seeds: &[u8]| trust::plan(&root, &roster, &signed(DocumentKind::Plan, &plan(), seeds), now());
    assert!(by(&[ADA, BEN]).is_ok());
    assert_refused(by(&[ADA, ADA]), Refusal::Threshold, &["2 different keys", "found 1 (ada)"]);
    assert_refused(by(&[ADA, OLGA]), Refusal::Threshold, &["2 different keys"]);
    assert_refused(by(&[ADA, STRANGER]), Refusal::Threshold, &["2 different keys"]);
    assert_refused(by(&[ADA]), Refusal::Threshold, &["have more people sign"]);
}

#[test]
fn a_revoked_key_counts_no_more() {
    let mut root = root();
    root.revoked = vec![public(ADA).fingerprint()];
    let signed_root = signed(DocumentKind::Root, &root, &[BEN]);
    let root = trust::TrustedRoot::first(&signed_root, &signed_root.digest()).unwrap();
    let refused = trust::plan(&root, &verified_roster(&roster()), &signed_plan(&plan()), now());
    assert_refused(refused, Refusal::Revoked, &[public(ADA).fingerprint().as_str()]);
}

#[test]
fn a_plan_of_another_fleet_or_epoch_is_refused() {
    assert_refused(offer(|p| p.fleet_id = other_fleet()), Refusal::WrongFleet, &["fleet 7d0f", "fleet 0bad"]);
    assert_refused(offer(|p| p.epoch = Epoch(0)), Refusal::Replay, &["epoch 1", "plan 42 of epoch 0"]);
    assert_refused(offer(|p| p.epoch = Epoch(2)), Refusal::RootChain, &["epoch 2", "newer roots first"]);
}

#[test]
fn a_plan_counts_only_in_its_time() {
    let signed = signed_plan(&plan());
    let starting = |time: &str| verify(&signed, Purpose::Starting(at(time)));
    assert!(starting("2026-11-21T08:00:00Z").is_ok());
    assert!(starting("2026-11-21T07:55:00Z").is_ok(), "clocks differ a little");
    assert_refused(starting("2026-11-21T07:54:59Z"), Refusal::Expired, &["valid from 2026-11-21T08:00:00Z"]);
    assert!(offer(|p| p.not_before = noon()).is_ok());
    let later = offer(|p| p.not_before = at("2026-11-21T12:00:01Z"));
    assert_refused(later, Refusal::Expired, &["valid from 2026-11-21T12:00:01Z", "tried again then"]);
    assert!(starting("2026-11-24T07:59:59Z").is_ok());
    assert_refused(starting("2026-11-24T08:00:00Z"), Refusal::Expired, &["plan 42 expired"]);
    assert!(verify(&signed, Purpose::Submitting(at("2026-11-21T07:00:00Z"))).is_ok(), "may be handed in early");
    assert_refused(verify(&signed, Purpose::Submitting(at("2026-11-25T00:00:00Z"))), Refusal::Expired, &["expired"]);
    assert!(verify(&signed, Purpose::Begun).is_ok(), "what has begun is finished");

    let week = at("2026-11-28T08:00:00Z");
    assert!(offer(|p| p.expires = week).is_ok());
    let longer = offer(|p| p.expires = at("2026-11-28T08:00:01Z"));
    assert_refused(longer, Refusal::Expired, &["at most 604800 s", "found 604801 s"]);
    let from_the_future = offer(|p| (p.created, p.expires) = (at("2036-01-01T00:00:00Z"), at("2036-01-07T00:00:00Z")));
    assert_refused(from_the_future, Refusal::Malformed, &["in this order"]);
    assert_refused(offer(|p| p.expires = p.not_before), Refusal::Malformed, &["in this order"]);
}

#[test]
fn a_plan_belongs_to_the_root_and_roster_that_are_held() {
    assert_refused(offer(|p| p.root_version = 2), Refusal::RootChain, &["root 2", "root 1"]);
    assert_refused(offer(|p| p.roster_version = 4), Refusal::DigestMismatch, &["roster 4", "roster 3"]);
    let other = Digest::of(b"another roster");
    assert_refused(offer(|p| p.roster = other), Refusal::DigestMismatch, &[&other.to_string()]);

    // The roster may grow while a rollout runs; the targets are pinned to their keys.
    let mut grown = roster();
    grown.version = 4;
    let check = |roster: &hostler_plan::document::Roster| {
        trust::plan(&trusted(&root()), &verified_roster(roster), &signed_plan(&plan()), now())
    };
    assert!(check(&grown).is_ok());
    grown.nodes[1].status = RosterStatus::Retired;
    assert_refused(check(&grown), Refusal::NotATarget, &["w1 to be active in roster 4"]);
    grown.nodes[1].status = RosterStatus::Active;
    grown.nodes[1].key = public(STRANGER);
    assert_refused(check(&grown), Refusal::NotATarget, &["w1", "key"]);
}

#[test]
fn a_roster_of_an_older_epoch_serves_no_plan() {
    let mut next = root();
    (next.version, next.epoch) = (2, Epoch(2));
    let mut plan = plan();
    plan.epoch = Epoch(2);
    let refused = trust::plan(&trusted(&next), &verified_roster(&roster()), &signed_plan(&plan), now());
    assert_refused(refused, Refusal::Replay, &["roster 3 of epoch 1", "sign the roster again"]);
}

#[test]
fn targets_are_the_nodes_of_the_roster() {
    assert_refused(offer(|p| p.targets.push(p.targets[0].clone())), Refusal::Malformed, &["every target once", "s1"]);
    let w9 = Target { node: name("w9"), key: public(STRANGER).fingerprint(), arch: Arch::Aarch64 };
    assert_refused(offer(|p| p.targets.push(w9.clone())), Refusal::NotATarget, &["w9 to be active"]);
    assert_refused(offer(|p| p.targets[1].key = w9.key.clone()), Refusal::NotATarget, &["w1", w9.key.as_str()]);
    assert_refused(offer(|p| p.targets[1].arch = Arch::X86_64), Refusal::NotATarget, &["w1", "x86_64"]);
    assert_refused(
        offer(|p| {
            p.targets.pop();
        }),
        Refusal::Malformed,
        &["node of task w2.stage among the targets"],
    );
    let idle = offer(|p| {
        p.tasks.pop();
    });
    assert_refused(idle, Refusal::Malformed, &["a task for every target", "w2"]);
}

#[test]
fn a_node_object_is_that_of_one_subject_on_one_machine() {
    let object = |(node, other, digit): &(&str, &str, &str)| NodeObject {
        node: name(node),
        name: name(other),
        machine_id: digit.repeat(32).parse().unwrap(),
    };
    let known = |objects: &[(&str, &str, &str)]| offer(|p| p.node_objects = objects.iter().map(object).collect());
    assert!(known(&[("w1", "w1.example.org", "a"), ("w2", "w1", "b")]).is_ok(), "names that changed places are two");
    for (word, objects) in [
        ("other names of the tasks' subjects, found w9 as w9.example.org", vec![("w9", "w9.example.org", "a")]),
        ("found w1 as w1", vec![("w1", "w1", "a")]),
        ("once, found b again", vec![("w1", "a", "a"), ("w1", "b", "b")]),
        ("once, found a again", vec![("w1", "a", "a"), ("w2", "a", "b")]),
        ("once, found b again", vec![("w1", "a", "a"), ("w2", "b", "a")]),
        ("w2 to be the Node of one subject", vec![("w1", "w2", "a")]),
    ] {
        assert_refused(known(&objects), Refusal::Malformed, &["plan 42", word, "make the plan again"]);
    }
    let zeros = serde_json::from_value::<NodeObject>(serde_json::json!(
        {"node": "w1", "name": "b", "machine_id": "0".repeat(32)}
    ));
    assert!(zeros.is_err(), "no machine id was made there");
}

#[test]
fn tasks_and_artifacts_leave_no_question_open() {
    let malformed: [Broken<Plan>; 21] = [
        ("at least one task", |p| (p.tasks, p.artifacts) = (Vec::new(), Vec::new())),
        ("every task once, found s1.stage", |p| p.tasks[1].id = p.tasks[0].id.clone()),
        ("after earlier tasks, each once, found w2.stage", |p| p.tasks[0].after = vec![p.tasks[2].id.clone()]),
        ("found w1.stage", |p| p.tasks[1].after = vec![p.tasks[1].id.clone()]),
        ("found w9.stage", |p| p.tasks[1].after = vec![task_id("w9.stage")]),
        ("each once, found s1.stage", |p| p.tasks[1].after = vec![task_id("s1.stage"), task_id("s1.stage")]),
        ("subject of task s1.stage in roster 3, found w9", |p| p.tasks[0].subject = name("w9")),
        ("steps in task s1.stage", |p| p.tasks[0].steps.clear()),
        ("every artifact once", |p| p.artifacts.push(p.artifacts[0].clone())),
        ("artifact k3s-aarch64 to have more than 0 bytes", |p| p.artifacts[0].size = 0),
        ("artifact k3s-aarch64 of task s1.stage in the plan", |p| p.artifacts.clear()),
        ("a step that uses artifact data", |p| {
            let data = Artifact { name: "data".parse().unwrap(), arch: None, ..p.artifacts[0].clone() };
            p.artifacts.push(data);
        }),
        ("for aarch64, the processor of s1, found x86_64", |p| p.artifacts[0].arch = Some(Arch::X86_64)),
        ("earlier plans beside it, each once, found 42", |p| {
            p.keeps_valid = vec![PlanRef { seq: p.seq, digest: Digest::of(b"") }];
        }),
        ("earlier plans beside it, each once, found 41", |p| {
            p.keeps_valid = [b"one", b"two"].map(|plan| PlanRef { seq: Seq(41), digest: Digest::of(plan) }).to_vec();
        }),
        ("other ends of a fork, each once", |p| p.also = vec![Digest::of(b"another end"); 2]),
        ("artifact.stage in task w1.stage to be about w1, where it acts, found it about w2", |p| {
            p.tasks[1].subject = name("w2");
        }),
        ("only a drain to continue another plan, found kind", |p| p.continues = Some(Digest::of(b"another"))),
        ("the plan that it continues to end, found it beside", |p| {
            p.tasks.truncate(1);
            p.tasks[0].steps = vec![Step::Noop(Noop {})];
            p.targets.retain(|target| target.node == p.tasks[0].node);
            (p.kind, p.artifacts) = (PlanKind::Drain, Vec::new());
            p.keeps_valid = vec![PlanRef { seq: Seq(1), digest: Digest::of(b"another") }];
            p.continues = Some(Digest::of(b"another"));
        }),
        ("a number of at least 1", |p| p.seq = Seq(0)),
        ("at most 15 plans beside it, found 16", |p| {
            p.keeps_valid =
                (0..=MAX_KEPT_VALID as u64).map(|i| PlanRef { seq: Seq(i), digest: Digest::of(b"") }).collect();
        }),
    ];
    for (word, breaking) in malformed {
        assert_refused(offer(breaking), Refusal::Malformed, &["plan ", word, "make the plan again"]);
    }
    assert!(offer(|p| p.artifacts[0].arch = None).is_ok(), "data fits every processor");
    let most = offer(|p| {
        p.keeps_valid = (0..MAX_KEPT_VALID as u64).map(|i| PlanRef { seq: Seq(i), digest: Digest::of(b"") }).collect();
    });
    assert!(most.is_ok(), "as many as may be beside it");
    assert!(trust::check_work(&roster(), &plan()).is_ok());
}

#[test]
fn a_join_uses_only_a_secret_from_a_task_it_comes_after() {
    let join = |admitted_by: &str, after: &[&str], subject: &str| {
        offer(|p| {
            p.tasks[0].steps = vec![Step::AdmitToK3s(k3s::Admit { lifetime_seconds: 600 })];
            p.tasks[0].subject = name(subject);
            p.tasks[1].after = after.iter().map(|a| task_id(a)).collect();
            p.tasks[1].steps = vec![Step::JoinK3s(k3s::Join {
                artifact: p.artifacts[0].name.clone(),
                version: "v1.34.3+k3s1".parse().unwrap(),
                role: ClusterRole::Worker,
                server_url: "https://s1:6443".parse().unwrap(),
                admitted_by: task_id(admitted_by),
            })];
        })
    };
    assert!(join("s1.stage", &["s1.stage"], "w1").is_ok());
    for refused in [
        join("s1.stage", &[], "w1"),
        join("s1.stage", &["s1.stage"], "w2"),
        join("w2.stage", &["s1.stage"], "w1"),
        join("w9.stage", &["s1.stage"], "w1"),
    ] {
        assert_refused(refused, Refusal::Malformed, &["task w1.stage", "the task that admits w1"]);
    }
}

#[test]
fn what_an_operator_may_sign_holds_nothing_else() {
    let steps = [
        Step::EnsureFile(EnsureFile {
            path: "/etc/sudoers".parse().unwrap(),
            mode: "0440".parse().unwrap(),
            content: "x".to_owned(),
        }),
        Step::EnsurePackage(EnsurePackage { package: "nc".parse().unwrap(), version: "1".parse().unwrap() }),
        Step::EnsureModule(EnsureModule { module: "m".parse().unwrap() }),
        Step::EnsureSysctl(EnsureSysctl { key: "k.k".parse().unwrap(), value: "v".parse().unwrap() }),
        Step::AdmitToK3s(k3s::Admit { lifetime_seconds: 1 }),
    ];
    let olga = &root().signers[2];
    let kinds: Vec<_> = PlanKind::ALL.into_iter().filter(|k| Duty::Plan(*k).allows(olga)).collect();
    assert_eq!(kinds.len(), 5);
    for kind in kinds.into_iter().filter(|k| *k != PlanKind::Stop) {
        for step in &steps {
            let mut plan = noop_plan(kind);
            plan.tasks[1].steps.push(step.clone());
            let refused = verify(&signed(DocumentKind::Plan, &plan, &[OLGA]), now());
            assert_refused(refused, Refusal::NotAllowed, &[step.op(), "task w1.stage", "kind"]);
        }
        let mut plan = noop_plan(kind);
        plan.tasks[1].steps.push(Step::Reboot(Reboot {}));
        let verified = verify(&signed(DocumentKind::Plan, &plan, &[OLGA]), now());
        assert_eq!(verified.is_ok(), kind == PlanKind::Reboot, "{kind}");
    }
}

#[test]
fn an_admin_with_listed_kinds_signs_only_those() {
    let mut limited: Root = root();
    limited.signers[0].plan_kinds = vec![PlanKind::Reboot];
    let (root, roster) = (trusted(&limited), verified_roster(&roster()));
    assert_refused(trust::plan(&root, &roster, &signed_plan(&plan()), now()), Refusal::NotAllowed, &["only ada"]);
    assert!(trust::plan(&root, &roster, &signed_plan(&noop_plan(PlanKind::Reboot)), now()).is_ok());
}

#[test]
fn a_stop_holds_nothing_and_one_operator_signs_it() {
    let mut root = root();
    root.thresholds.plan = 2;
    let by = |plan: &Plan, seeds: &[u8]| {
        let signed = signed(DocumentKind::Plan, plan, seeds);
        trust::plan(&trusted(&root), &verified_roster(&roster()), &signed, now())
    };
    assert!(by(&noop_plan(PlanKind::Stop), &[OLGA]).is_ok());
    assert!(by(&noop_plan(PlanKind::Drain), &[OLGA]).is_ok());
    assert_refused(by(&noop_plan(PlanKind::Reboot), &[OLGA]), Refusal::Threshold, &["2 different keys"]);
    let full = Plan { kind: PlanKind::Stop, ..noop_plan(PlanKind::Check) };
    assert_refused(by(&full, &[OLGA]), Refusal::Malformed, &["a stop", "3 tasks, 3 targets"]);
}

#[test]
fn a_task_that_finishes_only_puts_back_what_was_disrupted() {
    let finishing = |change: fn(&mut Plan)| {
        let mut plan = noop_plan(PlanKind::Reboot);
        plan.tasks[0].disrupts = true;
        plan.tasks[1].subject = name("s1");
        plan.tasks[1].steps = vec![Step::Uncordon(Uncordon {})];
        plan.tasks[1].finishes = true;
        change(&mut plan);
        verify(&signed_plan(&plan), now())
    };
    assert!(finishing(|_| ()).is_ok());
    assert_refused(finishing(|p| p.tasks[0].disrupts = false), Refusal::Malformed, &["w1.stage", "disrupts s1"]);
    assert_refused(finishing(|p| p.tasks[1].after.clear()), Refusal::Malformed, &["disrupts s1"]);
    assert_refused(finishing(|p| p.tasks[1].subject = name("w2")), Refusal::Malformed, &["disrupts w2"]);
    let cordon = |p: &mut Plan| p.tasks[1].steps = vec![Step::Cordon(Cordon { reason: "again".parse().unwrap() })];
    assert_refused(finishing(cordon), Refusal::Malformed, &["w1.stage, which finishes", "found kube.cordon"]);
}

#[test]
fn a_restore_is_carried_to_its_end_only_once_etcd_has_stopped_on_a_server() {
    let restored = || Restored { name: "20261129T001500Z-57".parse().unwrap(), members: Vec::new() };
    let restore = |change: fn(&mut Plan)| {
        let mut plan = noop_plan(PlanKind::Restore);
        plan.tasks.truncate(2);
        plan.tasks[0].steps = vec![Step::StopEtcd(Stop { restored: restored() })];
        plan.tasks[1].steps = vec![Step::StopEtcd(Stop { restored: restored() })];
        plan.tasks[1].finishes = true;
        plan.tasks.push(made::task(
            "w1.start",
            "w1",
            &["w1.stage"],
            vec![Step::StartEtcd(Start { restored: restored() })],
        ));
        plan.tasks[2].finishes = true;
        plan.targets.retain(|target| target.node.as_str() != "w2");
        change(&mut plan);
        trust::check_work(&roster(), &plan)
    };
    restore(|_| ()).unwrap();
    assert_refused(restore(|p| p.tasks[0].finishes = true), Refusal::Malformed, &["s1.stage, which finishes"]);
    let nothing = |p: &mut Plan| p.tasks[0].steps = vec![Step::Noop(Noop {})];
    assert_refused(restore(nothing), Refusal::Malformed, &["w1.stage, which finishes"]);
    assert_refused(restore(|p| p.tasks[1].after.clear()), Refusal::Malformed, &["w1.stage, which finishes"]);
}

#[test]
fn a_stop_counts_after_its_end_and_under_a_root_that_has_expired() {
    let stop = signed(DocumentKind::Plan, &noop_plan(PlanKind::Stop), &[OLGA]);
    let late = Purpose::Submitting(at("2036-01-01T00:00:00Z"));
    let offer = |signed: &Signed| trust::plan(&trusted(&root()), &verified_roster(&roster()), signed, late);
    assert!(offer(&stop).is_ok());
    assert_refused(offer(&signed_plan(&plan())), Refusal::Expired, &["root 1 expired"]);
}
