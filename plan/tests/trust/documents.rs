//! Roots, rosters, admissions, enrolments, receipts and thresholds.

use hostler_plan::{
    document::{Admission, DocumentKind, PlanKind, Root, RosterStatus, Signed, SignerRole},
    id::{Digest, Epoch, TokenId},
    json,
    refusal::Refusal,
    trust::{self, Draft, Duty, Purpose, SignedBy, TrustedRoot, counted},
};

use crate::fleet::*;

fn second(change: impl Fn(&mut Root)) -> Root {
    let mut next = root();
    next.version = 2;
    change(&mut next);
    next
}

#[test]
fn a_root_is_followed_only_by_the_next_one() {
    let held = trusted(&root());
    let offer = |next: &Root| held.advance(&signed(DocumentKind::Root, next, &[ADA]));
    assert_eq!(offer(&second(|_| ())).unwrap().root().version, 2);
    assert_eq!(held.advance(held.signed()).unwrap(), held, "the same root twice changes nothing");

    assert_refused(offer(&second(|r| r.version = 3)), Refusal::RootChain, &["expected root 2", "found root 3"]);
    assert_refused(offer(&second(|r| r.version = u64::MAX)), Refusal::RootChain, &["found root 18446744073709551615"]);
    let other = second(|r| (r.version, r.created) = (1, at("2026-11-02T00:00:00Z")));
    assert_refused(offer(&other), Refusal::RootChain, &[&held.digest().to_string(), "same version"]);
    assert_refused(offer(&second(|r| r.fleet_id = other_fleet())), Refusal::WrongFleet, &["7d0f", "0bad"]);
    assert_refused(offer(&second(|r| r.epoch = Epoch(0))), Refusal::RootChain, &["epoch 1 or higher", "found 0"]);
    assert_refused(offer(&second(|r| r.coordinator_ca.clear())), Refusal::Malformed, &["root 2", "coordinator CA"]);
    let newest = offer(&second(|_| ())).unwrap();
    assert_refused(newest.advance(held.signed()), Refusal::RootChain, &["expected root 3", "found root 1"]);
}

#[test]
fn a_root_that_names_both_ends_of_a_fork_is_followed_from_either_and_from_no_third() {
    let held = trusted(&root());
    let sign = |root: &Root| signed(DocumentKind::Root, root, &[ADA]);
    let follow = |held: &TrustedRoot, next: &Root| held.advance(&sign(next));
    let after = |root: &TrustedRoot| Some(root.digest());
    let ends = [1, 2, 3].map(|hour| {
        let twin = second(|r| (r.prev, r.created) = (after(&held), at(&format!("2026-11-02T0{hour}:00:00Z"))));
        follow(&held, &twin).unwrap()
    });
    let [one, other, third] = &ends;
    let next = |also: Vec<_>| Root { version: 3, prev: after(one), also, ..root() };
    assert!(follow(one, &next(Vec::new())).is_ok());
    let blind = follow(other, &next(Vec::new()));
    let both = [one.digest().to_string(), other.digest().to_string()];
    assert_refused(blind, Refusal::RootChain, &[&both[0], &both[1], "names both"]);
    let closing = next(vec![other.digest()]);
    assert_eq!(follow(one, &closing).unwrap(), follow(other, &closing).unwrap());
    assert_refused(follow(third, &closing), Refusal::RootChain, &[&third.digest().to_string()]);
    assert!(follow(other, &Root { prev: None, ..next(Vec::new()) }).is_ok(), "made before roots named any");
    for also in [vec![one.digest()], vec![other.digest(); 2], (0..9).map(|n| Digest::of(&[n])).collect()] {
        assert_refused(follow(one, &next(also)), Refusal::Malformed, &["other ends of a fork"]);
    }

    // Two admins at once: what follows a root of this chain lost its place, and what follows none is none of its own.
    let chain = [held.clone(), one.clone()];
    let winner = |root: &Root| Draft::root(sign(root)).unwrap().overtaken_by(chain.iter()).map(TrustedRoot::digest);
    assert_eq!(winner(other.root()), after(one));
    assert_eq!(winner(one.root()), None, "itself");
    assert_eq!(winner(&closing), None, "it is the next one");
    let stranger = signed(DocumentKind::Root, other.root(), &[STRANGER]);
    assert!(Draft::root(stranger).unwrap().overtaken_by(chain.iter()).is_none(), "nobody who may has signed it");
}

#[test]
fn the_next_root_needs_the_thresholds_of_both() {
    let mut two = root();
    two.thresholds.root = 2;
    let held = trusted(&two);
    let offer = |held: &TrustedRoot, next: &Root, seeds: &[u8]| held.advance(&signed(DocumentKind::Root, next, seeds));

    let relaxed = second(|r| r.thresholds.root = 1);
    assert_refused(
        offer(&held, &relaxed, &[ADA]),
        Refusal::Threshold,
        &["2 different keys that root 1", "found 1 (ada)"],
    );
    assert!(offer(&held, &relaxed, &[ADA, BEN]).is_ok());

    let held = trusted(&root());
    let stricter = second(|r| r.thresholds.root = 2);
    assert_refused(offer(&held, &stricter, &[ADA]), Refusal::Threshold, &["2 different keys that root 2"]);

    let usurped = second(|r| {
        r.signers.remove(0);
        r.signers[0].key = public(STRANGER);
    });
    assert_refused(offer(&held, &usurped, &[STRANGER]), Refusal::BadSignature, &["root 1", "unknown key"]);
    assert!(offer(&held, &usurped, &[ADA, STRANGER]).is_ok(), "a key can be handed over by its holder");
}

#[test]
fn the_first_root_is_the_one_that_the_join_string_names() {
    let good = signed(DocumentKind::Root, &root(), &[ADA]);
    assert!(TrustedRoot::first(&good, &good.digest()).is_ok());
    let other = signed(DocumentKind::Root, &second(|_| ()), &[ADA]);
    assert_refused(TrustedRoot::first(&other, &good.digest()), Refusal::RootChain, &[&good.digest().to_string()]);
    let unsigned = Signed { signatures: Vec::new(), ..good.clone() };
    assert_refused(TrustedRoot::first(&unsigned, &good.digest()), Refusal::BadSignature, &["found no signature"]);
    let stranger = signed(DocumentKind::Root, &root(), &[STRANGER]);
    assert_refused(TrustedRoot::first(&stranger, &good.digest()), Refusal::BadSignature, &["unknown key"]);
}

#[test]
fn a_root_under_which_no_fleet_could_live_is_refused() {
    let broken: [Broken<Root>; 15] = [
        ("version", |r| r.version = 0),
        ("to expire after", |r| r.expires = r.created),
        ("coordinator CA", |r| r.coordinator_ca.clear()),
        ("lifetime", |r| r.policy.max_plan_lifetime_seconds = 0),
        ("lifetime", |r| r.policy.max_admission_lifetime_seconds = 0),
        ("names of signers", |r| r.signers[0].name = "a\nb".to_owned()),
        ("names of signers", |r| r.signers[0].name = " ada".to_owned()),
        ("names of signers", |r| r.signers[0].name = String::new()),
        ("names of signers", |r| r.signers[0].name = "a".repeat(255)),
        ("every key once", |r| r.signers[1].key = public(ADA)),
        ("threshold of 1 to 2", |r| r.thresholds.root = 3),
        ("threshold of 1 to 2", |r| r.thresholds.roster = 0),
        ("threshold of 1 to 3", |r| r.thresholds.plan = 4),
        ("threshold of 1 to 1", |r| {
            r.revoked.push(public(BEN).fingerprint());
            r.thresholds.admission = 2;
        }),
        ("threshold of 1 to 0", |r| r.signers.iter_mut().for_each(|s| s.role = SignerRole::Operator)),
    ];
    for (word, breaking) in broken {
        let mut root = root();
        breaking(&mut root);
        let signed = signed(DocumentKind::Root, &root, &[ADA, BEN]);
        assert_refused(TrustedRoot::first(&signed, &signed.digest()), Refusal::Malformed, &[word]);
    }
}

#[test]
fn a_root_with_a_key_type_that_does_not_count_is_refused() {
    // RSA 2048, made by `ssh-keygen -t rsa`.
    let rsa = include_str!("../vectors/rsa.pub").trim_end();
    let rsa = rsa.rsplit_once(' ').unwrap().0;
    let text = String::from_utf8(json::write(&root())).unwrap().replace(&public(VIC).to_string(), rsa);
    let signed = signed_bytes(DocumentKind::Root, text.into_bytes(), &[ADA]);
    assert_refused(TrustedRoot::first(&signed, &signed.digest()), Refusal::Malformed, &["ssh-rsa of vic"]);

    // Neither as a node's key nor as a token's.
    let with_rsa = |kind, document: Vec<u8>, seed| {
        let text = String::from_utf8(document).unwrap().replace(&public(seed).to_string(), rsa);
        signed_bytes(kind, text.into_bytes(), &[ADA])
    };
    let roster = with_rsa(DocumentKind::Roster, json::write(&roster()), W2);
    let offered = trust::roster(&trusted(&root()), None, &roster, now());
    assert_refused(offered, Refusal::Malformed, &["ssh-rsa of w2"]);
    let admission = with_rsa(DocumentKind::Admission, json::write(&admission()), TOKEN);
    let offered = trust::admission(&trusted(&root()), &admission, now());
    assert_refused(offered, Refusal::Malformed, &["an ed25519 key made for this token"]);
}

#[test]
fn an_expired_root_is_followed_but_nothing_counts_under_it() {
    let mut old = root();
    old.expires = at("2026-11-02T00:00:00Z");
    let held = trusted(&old);
    assert!(held.advance(&signed(DocumentKind::Root, &second(|_| ()), &[ADA])).is_ok());
    assert_refused(held.check_expiry(noon()), Refusal::Expired, &["root 1 expired at 2026-11-02"]);
    assert!(held.check_expiry(at("2026-11-01T23:59:59Z")).is_ok());
    assert!(held.check_expiry(old.expires).is_err(), "not a moment longer");
    assert!(held.expiry_notice(old.expires).unwrap().contains("root 1 expired at 2026-11-02"));
    assert!(held.expiry_notice(at("2026-11-01T23:59:59Z")).is_some_and(|notice| !notice.contains("expired")));
    assert_eq!(held.expiry_notice(at("2026-09-02T23:59:59Z")), None, "more than sixty days before");
    assert_refused(trust::roster(&held, None, &signed_roster(&roster()), now()), Refusal::Expired, &["root 1"]);
    let admission = signed(DocumentKind::Admission, &admission(), &[ADA]);
    assert_refused(trust::admission(&held, &admission, now()), Refusal::Expired, &["root 1"]);
    let plan = trust::plan(&held, &verified_roster(&roster()), &signed_plan(&plan()), Purpose::Submitting(noon()));
    assert_refused(plan, Refusal::Expired, &["root 1"]);
}

#[test]
fn thresholds_count_different_keys_that_may() {
    let mut root = root();
    root.thresholds.plan = 2;
    root.thresholds.roster = 2;
    root.revoked = vec![public(VIC).fingerprint()];
    let bytes = json::write(&plan());
    let by = |seeds: &[u8]| {
        SignedBy::of(DocumentKind::Plan, &signed_bytes(DocumentKind::Plan, bytes.clone(), seeds)).unwrap()
    };
    let drain = Duty::Plan(PlanKind::Drain);
    assert!(trust::threshold(&root, drain, &by(&[ADA, OLGA])).is_ok());
    assert!(trust::threshold(&root, drain, &by(&[STRANGER, ADA, VIC, BEN])).is_ok(), "others do not disturb");
    assert_eq!(counted(&root, drain, &by(&[OLGA, STRANGER])).len(), 1);

    let upgrade = Duty::Plan(PlanKind::Upgrade);
    for few in [&[ADA, ADA][..], &[ADA, OLGA], &[ADA, STRANGER], &[ADA, VIC], &[ADA]] {
        assert_refused(trust::threshold(&root, upgrade, &by(few)), Refusal::Threshold, &["2 different", "1 (ada)"]);
    }
    assert_refused(trust::threshold(&root, upgrade, &by(&[OLGA])), Refusal::NotAllowed, &["only olga"]);
    assert_refused(trust::threshold(&root, upgrade, &by(&[VIC])), Refusal::Revoked, &["revoked key"]);
    assert_refused(trust::threshold(&root, upgrade, &by(&[STRANGER])), Refusal::BadSignature, &["unknown key"]);
    assert_refused(trust::threshold(&root, upgrade, &by(&[])), Refusal::BadSignature, &["found no signature"]);
    assert_refused(trust::threshold(&root, Duty::Roster, &by(&[ADA, OLGA])), Refusal::Threshold, &["roster"]);

    root.thresholds.roster = 0;
    assert!(trust::threshold(&root, Duty::Roster, &by(&[])).is_err(), "nothing counts without a signature");
    root.signers[1].plan_kinds = vec![PlanKind::Reboot];
    assert_refused(trust::threshold(&root, upgrade, &by(&[ADA, BEN])), Refusal::Threshold, &["1 (ada)"]);
    assert!(trust::threshold(&root, Duty::Plan(PlanKind::Reboot), &by(&[ADA, BEN])).is_ok());
}

#[test]
fn one_broken_signature_refuses_the_document() {
    let mut signed = signed_plan(&plan());
    signed.signatures.push(signed.signatures[0].replace("AAAA", "AAAB"));
    let refused = SignedBy::of(DocumentKind::Plan, &signed);
    assert_refused(refused, Refusal::BadSignature, &["signature 2 of 2 beside the plan"]);
}

#[test]
fn a_roster_never_goes_back() {
    let root = trusted(&root());
    let held = verified_roster(&roster());
    let offer = |change: fn(&mut hostler_plan::document::Roster)| {
        let mut next = roster();
        change(&mut next);
        trust::roster(&root, Some(&held), &signed_roster(&next), now())
    };
    assert_eq!(offer(|_| ()).unwrap().digest(), held.digest(), "the same roster twice changes nothing");
    assert!(offer(|r| r.version = 4).is_ok());
    assert!(offer(|r| r.version = 90).is_ok());
    assert_refused(offer(|r| r.version = 2), Refusal::Replay, &["expected roster 3 or a later", "found roster 2"]);
    let twin = offer(|r| r.nodes[0].status = RosterStatus::Retired);
    assert_refused(twin, Refusal::Replay, &[&held.digest().to_string(), "same version", "found sha256:"]);

    let other_fleet = offer(|r| r.fleet_id = crate::fleet::other_fleet());
    assert_refused(other_fleet, Refusal::WrongFleet, &["0bad"]);
    assert_refused(offer(|r| (r.version, r.root_version) = (4, 2)), Refusal::RootChain, &["newer roots first"]);
    assert_refused(offer(|r| (r.version, r.epoch) = (4, Epoch(2))), Refusal::RootChain, &["epoch 2"]);
    assert_refused(offer(|r| (r.version, r.epoch) = (4, Epoch(0))), Refusal::Replay, &["epoch 1", "epoch 0"]);
    let mut next = roster();
    next.version = 4;
    let by_operator = signed(DocumentKind::Roster, &next, &[OLGA]);
    assert_refused(trust::roster(&root, Some(&held), &by_operator, now()), Refusal::NotAllowed, &["olga"]);
    let as_plan = signed(DocumentKind::Plan, &next, &[ADA]);
    assert_refused(
        trust::roster(&root, Some(&held), &as_plan, now()),
        Refusal::BadSignature,
        &["namespace hostler-roster", "hostler-plan"],
    );
}

#[test]
fn a_new_epoch_recovers_from_a_roster_with_the_highest_version() {
    let mut stolen = roster();
    stolen.version = u64::MAX;
    let held = verified_roster(&stolen);
    let mut fresh = roster();
    (fresh.epoch, fresh.version, fresh.root_version) = (Epoch(2), 1, 2);
    let root = trusted(&second(|r| r.epoch = Epoch(2)));
    assert!(trust::roster(&root, Some(&held), &signed_roster(&fresh), now()).is_ok());
}

#[test]
fn a_roster_lists_everything_once() {
    let offer = |change: fn(&mut hostler_plan::document::Roster)| {
        let mut roster = roster();
        change(&mut roster);
        trust::roster(&trusted(&root()), None, &signed_roster(&roster), now())
    };
    assert_refused(offer(|r| r.version = 0), Refusal::Malformed, &["version of at least 1"]);
    let twice = offer(|r| r.also = vec![Digest::of(b"another end"); 2]);
    assert_refused(twice, Refusal::Malformed, &["other ends of a fork, each once"]);
    assert_refused(offer(|r| r.nodes[1].name = name("s1")), Refusal::Malformed, &["every node once", "s1"]);
    assert_refused(offer(|r| r.nodes[1].key = public(S1)), Refusal::Malformed, &["every key once", "w1"]);
    assert_refused(offer(|r| r.nodes[1].seal_key = "AAAA".to_owned()), Refusal::Malformed, &["seal key", "w1"]);
}

#[test]
fn an_admission_lives_only_as_long_as_it_says() {
    let offer = |change: fn(&mut Admission), seeds: &[u8], purpose| {
        let mut admission = admission();
        change(&mut admission);
        trust::admission(&trusted(&root()), &signed(DocumentKind::Admission, &admission, seeds), purpose)
    };
    assert!(offer(|_| (), &[ADA], now()).is_ok());
    assert_refused(offer(|_| (), &[OLGA], now()), Refusal::NotAllowed, &["olga"]);
    let end = Purpose::Starting(admission().expires);
    assert_refused(offer(|_| (), &[ADA], end), Refusal::Expired, &["token 70ce4f00 expired"]);
    assert!(offer(|_| (), &[ADA], Purpose::Begun).is_ok());
    assert!(offer(|a| a.expires = at("2026-11-22T11:45:00Z"), &[ADA], now()).is_ok(), "as long as the policy says");
    let too_long: fn(&mut Admission) = |a| a.expires = at("2026-11-22T11:45:01Z");
    assert_refused(offer(too_long, &[ADA], now()), Refusal::Expired, &["at most 86400 s", "found 86401 s"]);
    let from_the_future: fn(&mut Admission) = |a| a.created = at("2026-11-21T12:05:01Z");
    assert_refused(offer(from_the_future, &[ADA], now()), Refusal::Expired, &["compare `date` on both machines"]);
    assert!(offer(|a| a.created = at("2026-11-21T12:05:00Z"), &[ADA], now()).is_ok(), "clocks differ a little");
    assert_refused(offer(|a| a.expires = a.created, &[ADA], now()), Refusal::Malformed, &["to expire after"]);
    assert_refused(offer(|a| a.uses = 0, &[ADA], now()), Refusal::Malformed, &["one use"]);
    assert_refused(offer(|a| a.token_key = public(OLGA), &[ADA], now()), Refusal::Malformed, &["made for this token"]);
    assert_refused(offer(|a| a.fleet_id = other_fleet(), &[ADA], now()), Refusal::WrongFleet, &["0bad"]);
    assert_refused(offer(|a| a.epoch = Epoch(0), &[ADA], now()), Refusal::Replay, &["epoch 0"]);
    assert_refused(offer(|a| a.epoch = Epoch(2), &[ADA], now()), Refusal::RootChain, &["epoch 2"]);
}

#[test]
fn an_enrolment_is_signed_by_the_token_and_by_the_node() {
    let admission =
        trust::admission(&trusted(&root()), &signed(DocumentKind::Admission, &admission(), &[ADA]), now()).unwrap();
    let offer = |change: fn(&mut hostler_plan::document::Enrolment), seeds: &[u8], purpose| {
        let mut enrolment = enrolment();
        change(&mut enrolment);
        trust::enrolment(&admission, &signed(DocumentKind::Enrolment, &enrolment, seeds), purpose)
    };
    assert_eq!(offer(|_| (), &[TOKEN, W2], now()).unwrap().document().node, name("w2"));
    assert!(offer(|_| (), &[W2, TOKEN], now()).is_ok(), "in any order");
    assert_refused(offer(|_| (), &[W2], now()), Refusal::BadSignature, &["key of token 70ce4f00"]);
    assert_refused(offer(|_| (), &[ADA, W2], now()), Refusal::BadSignature, &["key of token"]);
    assert_refused(offer(|_| (), &[TOKEN], now()), Refusal::BadSignature, &["own key"]);
    assert_refused(offer(|_| (), &[TOKEN, W1], now()), Refusal::BadSignature, &["own key"]);
    assert_refused(offer(|_| (), &[TOKEN, W2, W1], now()), Refusal::BadSignature, &["two signatures"]);
    assert_refused(offer(|_| (), &[TOKEN, W2, W2], now()), Refusal::BadSignature, &["two signatures"]);
    assert_refused(offer(|e| e.key = public(TOKEN), &[TOKEN, TOKEN], now()), Refusal::Malformed, &["key of its own"]);
    assert_refused(offer(|e| e.fleet_id = other_fleet(), &[TOKEN, W2], now()), Refusal::WrongFleet, &["0bad"]);
    let other_token: fn(&mut hostler_plan::document::Enrolment) = |e| e.token = TokenId::new("00000000").unwrap();
    assert_refused(offer(other_token, &[TOKEN, W2], now()), Refusal::NotAllowed, &["00000000"]);
    assert_refused(offer(|e| e.seal_key.clear(), &[TOKEN, W2], now()), Refusal::Malformed, &["seal key"]);
    let late = Purpose::Starting(at("2026-11-21T12:15:00Z"));
    assert_refused(offer(|_| (), &[TOKEN, W2], late), Refusal::Expired, &["make a new token"]);
    assert!(offer(|_| (), &[TOKEN, W2], Purpose::Begun).is_ok());
}

#[test]
fn a_receipt_counts_only_under_the_roster_key_of_its_node() {
    let plan = verified_plan(&plan());
    let roster = verified_roster(&roster());
    let good = receipt(&plan, "w1.stage", 1);
    assert!(trust::receipt(&roster, &signed_receipt(&good)).is_ok());
    for seeds in [&[][..], &[W2], &[ADA], &[W1, W2], &[W1, W1]] {
        let offered = signed(DocumentKind::Receipt, &good, seeds);
        assert_refused(trust::receipt(&roster, &offered), Refusal::BadSignature, &["w1's key"]);
    }
    let mut unknown = good.clone();
    unknown.node = name("w9");
    let offered = signed(DocumentKind::Receipt, &unknown, &[W1]);
    assert_refused(trust::receipt(&roster, &offered), Refusal::BadSignature, &["w9"]);
    let mut foreign = good.clone();
    foreign.fleet_id = other_fleet();
    assert_refused(trust::receipt(&roster, &signed_receipt(&foreign)), Refusal::WrongFleet, &["0bad"]);
    for (counter, previous) in [(0, None), (2, None), (1, good.relied_on.first().copied().or(Some(plan.digest())))] {
        let unchained = hostler_plan::document::Receipt { counter, previous, ..good.clone() };
        assert_refused(trust::receipt(&roster, &signed_receipt(&unchained)), Refusal::Malformed, &["the one before"]);
    }
    let mut retired = crate::fleet::roster();
    retired.nodes[1].status = RosterStatus::Retired;
    assert_refused(
        trust::receipt(&verified_roster(&retired), &signed_receipt(&good)),
        Refusal::Revoked,
        &["w1, which is retired"],
    );
}

#[test]
fn a_document_of_another_type_is_named_before_its_content() {
    let plan_as_roster = signed(DocumentKind::Roster, &plan(), &[ADA]);
    let offered = trust::roster(&trusted(&root()), None, &plan_as_roster, now());
    assert_refused(offered, Refusal::WrongFleet, &["hostler-roster/v1", "hostler-plan/v1"]);
}
