//! The next root: what changes, what an admin must not sign, and that nodes follow what may be signed.

use std::collections::BTreeMap;

use hostler_plan::{
    document::{DocumentKind, PlanKind, Policy, Root, SignatureThresholds, SignerRole},
    id::{Digest, Epoch},
    refusal::{Refusal, Refused},
    trust::{Amendment, amend, check_next, differences},
};

use crate::fleet::*;

fn pin() -> Digest {
    Digest::of(b"coordinator CA")
}

/// The next root with these changes, as far as a person should sign it.
fn next(held: &Root, changes: &[Amendment]) -> Result<Root, Refused> {
    let next = amend(held, changes, noon())?;
    check_next(held, &next, Some(&pin()), noon())?;
    Ok(next)
}

fn thresholds(root: u32, plan: u32) -> Amendment {
    Amendment::Thresholds(SignatureThresholds { root, admission: 1, roster: 1, plan, plan_kinds: BTreeMap::new() })
}

#[test]
fn each_change_is_made_said_and_followed_by_a_node() {
    let key = |seed| public(seed).fingerprint();
    let cordon = Policy { cordon_when_critical: true, ..root().policy };
    let short = Policy { max_plan_lifetime_seconds: 3600, ..root().policy };
    let mut kinds = root().thresholds;
    kinds.plan_kinds = [(PlanKind::Drain, 2), (PlanKind::Upgrade, 2)].into();
    let cases: [(&[Amendment], &[&str]); 13] = [
        (
            &[Amendment::AddSigner(signer("new", STRANGER, SignerRole::Operator))],
            &["new signs as operator with SHA256:"],
        ),
        (&[Amendment::RemoveSigner(key(BEN))], &["ben is no signer any more"]),
        (&[Amendment::Revoke(key(BEN))], &["of ben is revoked for ever", "only ben signed becomes void"]),
        (&[Amendment::Revoke(key(STRANGER))], &["which no signer has"]),
        (
            &[Amendment::RemoveSigner(key(BEN)), Amendment::AddSigner(signer("ben", BEN, SignerRole::Viewer))],
            &["ben signs as viewer instead of admin"],
        ),
        (&[thresholds(2, 2)], &["a root needs 2 of 2 keys instead of 1", "a plan needs 2 of 3 keys instead of 1"]),
        (
            &[Amendment::Thresholds(kinds)],
            &["a plan of kind drain needs 2 of 3 keys instead of 1", "a plan of kind upgrade needs 2 of 2 keys"],
        ),
        (&[Amendment::Policy(cordon)], &["cordons itself until that is over"]),
        (&[Amendment::Policy(short)], &["a plan lives 1 h at most instead of 7 d; plans that live longer become void"]),
        (&[Amendment::AddCoordinatorCa(Digest::of(b"new"))], &["a coordinator with CA sha256:"]),
        (&[Amendment::Expires(at("2028-11-01T00:00:00Z"))], &["expires at 2028-11-01T00:00:00Z instead of 2027-11-01"]),
        (&[Amendment::AddRecoveryKey(recovery_key("safe", 7))], &["every Secret of the cluster, are sealed to age1"]),
        (&[Amendment::RaiseEpoch], &["epoch 2 begins: every plan, roster and token signed before becomes void"]),
    ];
    for (changes, sentences) in cases {
        let (held, next) = (root(), next(&root(), changes).unwrap());
        let said = differences(&held, &next);
        for sentence in sentences {
            assert!(said.iter().any(|s| s.contains(sentence)), "{sentence}: {said:?}");
        }
        assert_eq!(next.version, 2);
        assert!(trusted(&held).advance(&signed(DocumentKind::Root, &next, &[ADA, BEN])).is_ok(), "{changes:?}");
    }
    assert_eq!(differences(&root(), &amend(&root(), &[], noon()).unwrap()), Vec::<String>::new());
}

#[test]
fn what_an_admin_must_not_sign_is_refused_with_the_reason() {
    let key = |seed| public(seed).fingerprint();
    let both = |change: fn(hostler_plan::id::Fingerprint) -> Amendment| vec![change(key(ADA)), change(key(BEN))];
    let cases: [(Vec<Amendment>, Refusal, &[&str]); 11] = [
        (vec![thresholds(3, 1)], Refusal::Malformed, &["threshold of 1 to 2 for signing a root", "found 3"]),
        (vec![thresholds(1, 4)], Refusal::Malformed, &["threshold of 1 to 3 for signing a plan", "found 4"]),
        (vec![thresholds(0, 1)], Refusal::Malformed, &["found 0"]),
        (vec![thresholds(2, 1), Amendment::Revoke(key(BEN))], Refusal::Malformed, &["1 of its keys", "found 2"]),
        (both(Amendment::RemoveSigner), Refusal::Malformed, &["at least one admin", "nobody could sign"]),
        (both(Amendment::Revoke), Refusal::Malformed, &["at least one admin"]),
        (vec![Amendment::RemoveCoordinatorCa(pin())], Refusal::RootChain, &["in use now", "nobody could connect"]),
        (vec![Amendment::RemoveCoordinatorCa(Digest::of(b"x"))], Refusal::Malformed, &["it is not pinned"]),
        (vec![Amendment::Expires(noon())], Refusal::Expired, &["expected it to expire after", "--lifetime"]),
        (vec![Amendment::RemoveSigner(key(STRANGER))], Refusal::Malformed, &["found none", "hostler trust show"]),
        (
            vec![Amendment::AddSigner(signer("twin", BEN, SignerRole::Admin))],
            Refusal::Malformed,
            &["every key once", "twin"],
        ),
    ];
    for (changes, refusal, words) in cases {
        assert_refused(next(&root(), &changes), refusal, words);
    }
    // The pin in use may go only from a root that a connected admin did not ask about.
    let two = next(&root(), &[Amendment::AddCoordinatorCa(Digest::of(b"new"))]).unwrap();
    assert_refused(
        next(&two, &[Amendment::RemoveCoordinatorCa(pin())]),
        Refusal::RootChain,
        &["pin the new one first"],
    );
}

#[test]
fn a_root_from_another_hand_is_judged_alike() {
    let offer = |change: fn(&mut Root)| {
        let mut held = root();
        held.epoch = Epoch(5);
        held.revoked = vec![public(STRANGER).fingerprint()];
        let mut next = amend(&held, &[], noon()).unwrap();
        change(&mut next);
        check_next(&held, &next, None, noon())
    };
    assert!(offer(|_| ()).is_ok());
    assert_refused(offer(|r| r.version = 3), Refusal::RootChain, &["root 3: expected root 2", "trust amend"]);
    assert_refused(offer(|r| r.version = 1), Refusal::RootChain, &["expected root 2"]);
    assert_refused(offer(|r| r.epoch = Epoch(4)), Refusal::RootChain, &["expected epoch 5", "found epoch 4"]);
    assert_refused(offer(|r| r.epoch = Epoch(u64::MAX)), Refusal::RootChain, &["expected epoch 5 or the next one"]);
    assert_refused(offer(|r| r.fleet_id = other_fleet()), Refusal::WrongFleet, &["7d0f", "0bad"]);
    assert_refused(offer(|r| r.revoked.clear()), Refusal::Revoked, &["was revoked and stays so"]);
    assert_refused(offer(|r| r.coordinator_ca.clear()), Refusal::Malformed, &["at least one coordinator CA"]);
    let no_time = "lifetimes of more than 0 seconds";
    assert_refused(offer(|r| r.policy.max_plan_lifetime_seconds = 0), Refusal::Malformed, &[no_time]);
    assert_refused(offer(|r| r.policy.max_admission_lifetime_seconds = 0), Refusal::Malformed, &[no_time]);
    let mut held = root();
    held.revoked = vec![public(STRANGER).fingerprint()];
    let back = Amendment::AddSigner(signer("back", STRANGER, SignerRole::Admin));
    assert_refused(amend(&held, &[back], noon()), Refusal::Revoked, &["found SHA256:", "make a new key"]);
    assert_refused(
        amend(&held, &[Amendment::Revoke(public(STRANGER).fingerprint())], noon()),
        Refusal::Malformed,
        &["revoked already"],
    );
}

#[test]
fn the_policy_of_a_root_made_before_the_flag_reads_as_off_and_writes_as_before() {
    let bytes = hostler_plan::json::write(&root());
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(!text.contains("cordon_when_critical"), "{text}");
    let read: Root = hostler_plan::json::parse(&bytes).unwrap();
    assert!(!read.policy.cordon_when_critical);
    let on = Policy { cordon_when_critical: true, ..root().policy };
    let on = hostler_plan::json::write(&Root { policy: on, ..root() });
    assert!(hostler_plan::json::parse::<Root>(&on).unwrap().policy.cordon_when_critical);
}
