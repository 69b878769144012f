//! Who may decide what, under which root, and for how long.

use hostler_fixtures as made;
use hostler_plan::{
    document::{Decided, Decision, DocumentKind, NodeDecision, NodeMatter, Root, Signed},
    health::{Acceptance, Condition, Level, Release, Rule},
    id::{Digest, Epoch},
    ledger::Head,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, MAX_ACCEPTANCE, MAX_DECISION_LIFETIME, MAX_JUMP, NodeState, Verified},
};

use crate::fleet::*;

fn pause() -> Decided {
    Decided::Pause { plan: Digest::of(b"plan"), reason: "wait".to_owned() }
}

fn by(name: &str, decided: Decided) -> Decision {
    made::decision(&roster(), name, Head::EMPTY, noon(), decided)
}

fn judge(root: &Root, decision: &Decision, seeds: &[u8]) -> Result<Verified<Decision>, Refused> {
    trust::decision(&trusted(root), &signed(DocumentKind::Decision, decision, seeds))
}

#[test]
fn a_decision_counts_by_the_one_key_of_the_person_whom_it_names() {
    assert!(judge(&root(), &by("ada", pause()), &[ADA]).is_ok());
    for seeds in [&[][..], &[BEN], &[STRANGER], &[ADA, BEN], &[ADA, ADA]] {
        let refused = judge(&root(), &by("ada", pause()), seeds);
        assert_refused(refused, Refusal::BadSignature, &["one signature by a key of ada"]);
    }
    let revoked = Root { revoked: vec![public(ADA).fingerprint()], ..root() };
    assert_refused(judge(&revoked, &by("ada", pause()), &[ADA]), Refusal::Revoked, &["ada's, which is revoked"]);
    let before = Root { epoch: Epoch(2), ..root() };
    assert_refused(judge(&before, &by("ada", pause()), &[ADA]), Refusal::Replay, &["epoch 2", "epoch 1"]);
    let elsewhere = Decision { fleet_id: other_fleet(), ..by("ada", pause()) };
    assert_refused(judge(&root(), &elsewhere, &[ADA]), Refusal::WrongFleet, &["0bad"]);
}

#[test]
fn a_role_decides_only_what_it_may() {
    let revoke = || Decided::RevokeToken { token: admission().token };
    let adopt = || Decided::Adopt { before: Head::EMPTY, after: Head::EMPTY };
    assert!(judge(&root(), &by("olga", pause()), &[OLGA]).is_ok());
    assert!(judge(&root(), &by("ada", revoke()), &[ADA]).is_ok());
    for decided in [revoke(), adopt()] {
        let refused = judge(&root(), &by("olga", decided), &[OLGA]);
        assert_refused(refused, Refusal::NotAllowed, &["olga has the role operator"]);
    }
    assert_refused(judge(&root(), &by("vic", pause()), &[VIC]), Refusal::NotAllowed, &["vic has the role viewer"]);
}

#[test]
fn a_decision_lives_an_hour_at_most() {
    let until = |expires| judge(&root(), &Decision { expires, ..by("ada", pause()) }, &[ADA]).map_err(|r| r.refusal);
    let end = noon().plus(MAX_DECISION_LIFETIME);
    assert!(until(end).is_ok());
    assert_eq!(until(end.plus(std::time::Duration::from_millis(1))).err(), Some(Refusal::Malformed));
    assert_eq!(until(noon()).err(), Some(Refusal::Malformed), "no time at all");
    assert_eq!(until(at("2026-11-21T11:00:00Z")).err(), Some(Refusal::Malformed), "it ended before it was made");
}

fn acceptance(level: Level, required: bool, until: Timestamp) -> Acceptance {
    Acceptance {
        rule: Rule::NvmeWear,
        subject: "nvme0".to_owned(),
        disk: None,
        level,
        required,
        values: [(Condition::NvmeWorn, "0.95".parse().unwrap())].into(),
        until,
        reason: "a new one is ordered".parse().unwrap(),
    }
}

fn in_days(days: u64) -> Timestamp {
    noon().plus(std::time::Duration::from_secs(days * 86_400))
}

fn accepted() -> NodeMatter {
    NodeMatter::Accept(acceptance(Level::Degraded, true, in_days(30)))
}

/// A decision about w1.
fn about(number: u64, keeps: &[&Signed], about: NodeMatter) -> Decided {
    let keeps = keeps.iter().map(|signed| signed.digest()).collect();
    let key = identity("w1").key;
    Decided::Node(NodeDecision { node: name("w1"), key, number, keeps, also: Vec::new(), about })
}

fn by_ada(decided: Decided) -> Signed {
    signed(DocumentKind::Decision, &by("ada", decided), &[ADA])
}

#[test]
fn an_operator_accepts_what_is_not_both_required_and_critical() {
    let matter = |level, required| {
        let release =
            Release { subject: "sda".to_owned(), disk: None, level, required, reason: "tested".parse().unwrap() };
        [NodeMatter::Accept(acceptance(level, required, in_days(30))), NodeMatter::Release(release)]
    };
    for (level, required, operator) in [
        (Level::Degraded, true, true),
        (Level::Critical, false, true),
        (Level::Degraded, false, true),
        (Level::Critical, true, false),
    ] {
        for matter in matter(level, required) {
            let decided = about(1, &[], matter);
            assert!(judge(&root(), &by("ada", decided.clone()), &[ADA]).is_ok());
            let found = judge(&root(), &by("olga", decided.clone()), &[OLGA]);
            match operator {
                true => drop(found.unwrap()),
                false => assert_refused(found, Refusal::NotAllowed, &["olga has the role operator", "critical"]),
            }
            let viewer = judge(&root(), &by("vic", decided), &[VIC]);
            assert_refused(viewer, Refusal::NotAllowed, &["vic has the role viewer"]);
        }
    }
    let withdrawn = about(2, &[], NodeMatter::Withdraw { acceptance: Digest::of(b"one") });
    assert!(judge(&root(), &by("olga", withdrawn), &[OLGA]).is_ok());
}

#[test]
fn a_verdict_is_accepted_for_ninety_days_at_most_and_never_one_that_is_not_known() {
    let judged = |accepted: Acceptance| {
        judge(&root(), &by("ada", about(1, &[], NodeMatter::Accept(accepted))), &[ADA]).map(|_| ())
    };
    let until = |until| judged(acceptance(Level::Degraded, true, until));
    let last = noon().plus(MAX_ACCEPTANCE);
    assert_eq!((until(last), last), (Ok(()), in_days(90)));
    let later = last.plus(std::time::Duration::from_secs(1));
    assert_refused(until(later), Refusal::Malformed, &["at most 90 days", "--until"]);
    assert_refused(until(noon()), Refusal::Malformed, &["at most 90 days"]);
    assert_refused(until(at("2026-11-20T00:00:00Z")), Refusal::Malformed, &["at most 90 days"]);
    for level in [Level::Unknown, Level::Ok] {
        let refused = judged(acceptance(level, true, in_days(1)));
        assert_refused(refused, Refusal::Malformed, &["degraded or critical", level.word()]);
    }
    let silent = Acceptance { rule: Rule::Report, ..acceptance(Level::Critical, true, in_days(1)) };
    assert_refused(judged(silent), Refusal::Malformed, &["does not report is never well"]);
    let nothing = Acceptance { values: [].into(), ..acceptance(Level::Degraded, true, in_days(1)) };
    assert_refused(judged(nothing), Refusal::Malformed, &["number to compare with"]);
    let many: Vec<Signed> = (0..16u8).map(|n| signed_bytes(DocumentKind::Decision, vec![n], &[])).collect();
    let many: Vec<&Signed> = many.iter().collect();
    let full = judge(&root(), &by("ada", about(1, &many, accepted())), &[ADA]);
    assert_refused(full, Refusal::Malformed, &["beside at most 15 others"]);
    let zero = judge(&root(), &by("ada", about(0, &[], accepted())), &[ADA]);
    assert_refused(zero, Refusal::Malformed, &["expected decision 1"]);
}

/// How many verdicts a node takes as accepted at that time.
fn counts(state: &NodeState, at: Timestamp) -> usize {
    state.decisions().for_health(at, |at| at.unix_milliseconds()).accepted.len()
}

fn take(state: &NodeState, signed: &Signed) -> Result<NodeState, Refused> {
    state.accept_decision(clock(), &identity("w1"), signed)
}

/// The same node after a restart.
fn restarted(state: &NodeState) -> NodeState {
    let documents = state.documents();
    let find = |digest: &Digest| documents.iter().find(|(d, _)| d == digest).map(|(_, bytes)| bytes.to_vec());
    NodeState::from_index(&state.to_index(), find).unwrap()
}

#[test]
fn a_node_takes_what_is_about_it_and_its_key_and_keeps_it_over_a_restart_until_its_end() {
    let fresh = crate::state::fresh();
    let one = by_ada(about(1, &[], accepted()));
    let state = take(&fresh, &one).unwrap();
    assert_eq!((counts(&state, noon()), counts(&state, in_days(29)), counts(&state, in_days(30))), (1, 1, 0));
    assert_eq!(take(&state, &one).unwrap(), state, "again");
    assert_eq!(restarted(&state), state);
    let other = fresh.accept_decision(clock(), &identity("w2"), &one);
    assert_refused(other.map(|_| ()), Refusal::NotATarget, &["about w2", "about w1"]);
    let replaced = trust::Identity { key: identity("w2").key, ..identity("w1") };
    let refused = fresh.accept_decision(clock(), &replaced, &one);
    assert_refused(refused.map(|_| ()), Refusal::NotATarget, &["with key"]);
    assert_refused(take(&fresh, &by_ada(pause())).map(|_| ()), Refusal::NotATarget, &["about a node"]);
    let late = trust::Clock { now: in_days(40), synchronised: true };
    let over = fresh.accept_decision(late, &identity("w1"), &one).unwrap();
    assert_eq!(counts(&over, in_days(40)), 0, "one that is over ends those before it and nothing else");
}

#[test]
fn what_was_withdrawn_comes_back_neither_by_itself_nor_by_what_keeps_it() {
    let one = by_ada(about(1, &[], accepted()));
    let two = by_ada(about(2, &[&one], accepted()));
    let withdrawn = by_ada(about(3, &[&two], NodeMatter::Withdraw { acceptance: one.digest() }));
    let state = take(&crate::state::fresh(), &one).unwrap();
    let state = take(&state, &two).unwrap();
    assert_eq!(counts(&state, noon()), 2);
    let state = take(&state, &withdrawn).unwrap();
    assert_eq!(counts(&state, noon()), 1);
    let state = restarted(&state);
    assert_refused(take(&state, &one).map(|_| ()), Refusal::Replay, &["after number 3", "found number 1"]);
    // Who was shown an old state keeps it beside something newer.
    let keeps_it = by_ada(about(4, &[&one, &two], accepted()));
    let state = take(&state, &keeps_it).unwrap();
    assert_eq!(counts(&state, noon()), 2, "the newest and the second, and not the first");
    assert_refused(take(&state, &one).map(|_| ()), Refusal::Replay, &["after number 4"]);
    // Who was hidden the withdrawal learns of it by whatever comes next.
    let hidden = take(&take(&crate::state::fresh(), &one).unwrap(), &two).unwrap();
    let later = by_ada(about(4, &[&two], accepted()));
    assert_eq!(counts(&take(&hidden, &later).unwrap(), noon()), 2);
    assert_refused(take(&take(&hidden, &later).unwrap(), &withdrawn).map(|_| ()), Refusal::Replay, &[]);
}

#[test]
fn what_a_revoked_key_accepted_ends_with_the_root_that_says_so_and_all_of_it_with_an_epoch() {
    let olgas = signed(DocumentKind::Decision, &by("olga", about(1, &[], accepted())), &[OLGA]);
    let adas = by_ada(about(2, &[&olgas], accepted()));
    let state = take(&take(&crate::state::fresh(), &olgas).unwrap(), &adas).unwrap();
    let next = Root { version: 2, revoked: vec![public(OLGA).fingerprint()], ..root() };
    let after = state.accept_root(clock(), &signed(DocumentKind::Root, &next, &[ADA, BEN])).unwrap();
    assert_eq!((counts(&state, noon()), counts(&after, noon())), (2, 1));
    assert_eq!(after.decisions().number(), 2);
    let era = Root { version: 2, epoch: Epoch(2), ..root() };
    let after = state.accept_root(clock(), &signed(DocumentKind::Root, &era, &[ADA, BEN])).unwrap();
    assert_eq!((counts(&after, noon()), after.decisions().number()), (0, 0));
    assert_refused(take(&after, &adas).map(|_| ()), Refusal::Replay, &["epoch 2", "epoch 1"]);
}

#[test]
fn of_two_decisions_with_one_number_the_first_stays() {
    let one = by_ada(about(1, &[], accepted()));
    let other = by_ada(about(1, &[], NodeMatter::Accept(acceptance(Level::Degraded, true, in_days(60)))));
    let state = take(&crate::state::fresh(), &one).unwrap();
    assert_refused(take(&state, &other).map(|_| ()), Refusal::Replay, &["after number 1", "found number 1"]);
}

#[test]
fn a_withdrawal_is_held_no_longer_than_it_is_the_newest() {
    let one = by_ada(about(1, &[], accepted()));
    let withdrawn = by_ada(about(2, &[], NodeMatter::Withdraw { acceptance: one.digest() }));
    let state = take(&take(&crate::state::fresh(), &one).unwrap(), &withdrawn).unwrap();
    let next = by_ada(about(3, &[&withdrawn], accepted()));
    let held = take(&state, &next).unwrap().decisions().held().map(|held| held.digest()).collect::<Vec<_>>();
    assert_eq!(held, [next.digest()]);
}

/// One operator's key would end every later decision about the node.
#[test]
fn a_decision_jumps_only_so_far_from_the_newest_that_the_node_holds() {
    let at_number = |number| by_ada(about(number, &[], accepted()));
    let fresh = crate::state::fresh();
    for far in [u64::MAX, MAX_JUMP + 1] {
        assert_refused(
            take(&fresh, &at_number(far)).map(|_| ()),
            Refusal::Replay,
            &["decision 10000 about w1 at most"],
        );
    }
    let state = take(&fresh, &at_number(MAX_JUMP)).unwrap();
    let refused = take(&state, &at_number(2 * MAX_JUMP + 1)).map(|_| ());
    assert_refused(refused, Refusal::Replay, &["decision 20000 about w1 at most", "found 20001"]);
    assert_eq!(counts(&state, noon()), 1, "what it held stays");
    assert_eq!(take(&state, &at_number(MAX_JUMP + 1)).unwrap().decisions().number(), MAX_JUMP + 1);
}

#[test]
fn a_decision_names_few_others_that_end_with_it_and_each_once() {
    let also = |also: Vec<Digest>| {
        let Decided::Node(one) = about(1, &[], accepted()) else { unreachable!("it is about a node") };
        judge(&root(), &by("ada", Decided::Node(NodeDecision { also, ..one })), &[ADA]).map(|_| ())
    };
    let others = |many: u8| (0..many).map(|n| Digest::of(&[n])).collect::<Vec<_>>();
    assert_eq!(also(others(8)), Ok(()));
    assert_refused(also(others(9)), Refusal::Malformed, &["at most 8 others"]);
    assert_refused(also(vec![Digest::ZERO; 2]), Refusal::Malformed, &["each once"]);
}
