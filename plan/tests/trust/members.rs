//! Who belongs to the fleet: where a new node's chain begins, what a token is good for, and what is revoked for ever.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hostler_plan::{
    document::{Admission, DocumentKind, Root, Roster, RosterStatus, Signed},
    id::{Digest, Epoch, TokenId},
    refusal::Refusal,
    trust::{self, TrustedRoot, check_token},
};

use crate::fleet::*;

/// Root 1, which lists ben; root 2, which revokes him; root 3, in a new epoch.
fn chain() -> [Signed; 3] {
    let sign = |root: &Root| signed(DocumentKind::Root, root, &[ADA]);
    let mut two = Root { version: 2, ..root() };
    two.revoked.push(public(BEN).fingerprint());
    let three = Root { version: 3, epoch: Epoch(2), ..two.clone() };
    [sign(&root()), sign(&two), sign(&three)]
}

#[test]
fn a_chain_that_ends_before_the_pinned_root_is_refused() {
    let [one, two, three] = chain();
    let begin = |served: &[&Signed], pinned: &Signed| {
        let served: Vec<Signed> = served.iter().map(|root| (*root).clone()).collect();
        TrustedRoot::begin(&served, &pinned.digest()).map(|(first, later)| (first.root().version, later.len()))
    };
    assert_refused(begin(&[&one], &two), Refusal::RootChain, &[&two.digest().to_string(), "found 1 root without it"]);
    assert_refused(begin(&[], &two), Refusal::RootChain, &["found 0 roots"]);
    assert_refused(begin(&[&one, &three], &two), Refusal::RootChain, &["found 2 roots"]);
    assert_eq!(
        begin(&[&one, &two, &three], &two).unwrap(),
        (2, 1),
        "earlier ones are not looked at, later ones follow"
    );
    assert_eq!(begin(&[&two, &three], &two).unwrap(), (2, 1), "and need not be served");
    assert_eq!(begin(&[&one, &two], &one).unwrap(), (1, 1), "an old string is good under later roots");
}

#[test]
fn a_token_counts_only_under_a_chain_that_came_by_its_root() {
    let [one, two, _] = chain();
    let held = TrustedRoot::first(&one, &one.digest()).unwrap();
    let newer = held.advance(&two).unwrap();
    let from_two = TrustedRoot::first(&two, &two.digest()).unwrap();
    let judge = |held: &TrustedRoot, version: u64, root: Digest| {
        let admission = Admission { root_version: version, root, ..admission() };
        trust::admission(held, &signed(DocumentKind::Admission, &admission, &[ADA]), now())
    };
    judge(&held, 1, one.digest()).unwrap();
    judge(&newer, 1, one.digest()).unwrap();
    judge(&newer, 2, two.digest()).unwrap();
    judge(&from_two, 1, one.digest()).unwrap();
    assert_refused(judge(&held, 2, two.digest()), Refusal::RootChain, &["root 2", "ends at root 1", "newer roots"]);
    let third = Root { version: 3, ..newer.root().clone() };
    let newest = newer.advance(&signed(DocumentKind::Root, &third, &[ADA])).unwrap();
    judge(&newest, 1, one.digest()).unwrap();
    judge(&newest, 2, two.digest()).unwrap();
    assert_refused(judge(&newest, 2, one.digest()), Refusal::RootChain, &["root 2", "another chain"]);
    let other = Digest::of(b"another root");
    assert_refused(judge(&held, 1, other), Refusal::RootChain, &["root 1", "another chain"]);
    assert_refused(judge(&newer, 1, other), Refusal::RootChain, &["root 1", "another chain"]);
}

#[test]
fn what_a_root_revoked_stays_revoked_in_every_later_one() {
    let [one, two, _] = chain();
    let held = TrustedRoot::first(&one, &one.digest()).unwrap().advance(&two).unwrap();
    let offer = |change: fn(&mut Root)| {
        let mut next = Root { version: 3, ..held.root().clone() };
        change(&mut next);
        held.advance(&signed(DocumentKind::Root, &next, &[ADA]))
    };
    offer(|_| ()).unwrap();
    offer(|r| r.signers.retain(|s| s.name != "ben")).unwrap();
    let ben = public(BEN).fingerprint().to_string();
    assert_refused(offer(|r| r.revoked.clear()), Refusal::Revoked, &["root 3", &ben, "stays so"]);
    let other = offer(|r| r.revoked = vec![public(STRANGER).fingerprint()]);
    assert_refused(other, Refusal::Revoked, &[&ben]);
    let in_a_new_epoch = offer(|r| {
        r.revoked.clear();
        r.epoch = Epoch(2);
    });
    assert_refused(in_a_new_epoch, Refusal::Revoked, &[&ben, "make a new key"]);
}

#[test]
fn uses_of_a_token_are_counted_from_the_signed_roster() {
    let token = Admission { uses: 2, ..admission() };
    let mut roster = roster();
    for node in &mut roster.nodes[..2] {
        node.enrolled.token = token.token.clone();
    }
    let (new, nobody) = (public(STRANGER).fingerprint(), BTreeSet::new());
    assert_refused(check_token(&token, Some(&roster), &new, &nobody), Refusal::NotAllowed, &["admits 2 nodes", "more"]);
    roster.nodes[0].status = RosterStatus::Retired;
    let spent = check_token(&token, Some(&roster), &new, &nobody);
    assert_refused(spent, Refusal::NotAllowed, &["2 others"]);
    check_token(&token, Some(&roster), &public(W1).fingerprint(), &nobody).expect("who is in stays in");
    check_token(&Admission { uses: 3, ..token.clone() }, Some(&roster), &new, &nobody).unwrap();
    let waits = BTreeSet::from([public(TOKEN).fingerprint()]);
    let full = check_token(&Admission { uses: 3, ..token.clone() }, Some(&roster), &new, &waits);
    assert_refused(full, Refusal::NotAllowed, &["3 others"]);
    check_token(&token, None, &new, &nobody).expect("nobody came in yet");
    let itself = BTreeSet::from([new.clone()]);
    check_token(&Admission { uses: 1, ..token }, None, &new, &itself).expect("a node that waits is not one more");
}

#[test]
fn a_token_that_a_roster_revokes_admits_nobody_and_never_comes_back() {
    let token = admission();
    let revoking = Roster { revoked_tokens: vec![token.token.clone()], ..roster() };
    let (new, nobody) = (public(STRANGER).fingerprint(), BTreeSet::new());
    assert_refused(check_token(&token, Some(&revoking), &new, &nobody), Refusal::Revoked, &["70ce4f00", "roster 3"]);
    check_token(&token, Some(&revoking), &public(W1).fingerprint(), &nobody).expect("who is in stays in");

    let mut retired = revoking.clone();
    retired.nodes[1].status = RosterStatus::Retired;
    let back = check_token(&token, Some(&retired), &public(W1).fingerprint(), &nobody);
    assert_refused(back, Refusal::Revoked, &["70ce4f00"]);

    let held = verified_roster(&revoking);
    let offer = |epoch: u64, tokens: &[&str]| {
        let revoked_tokens = tokens.iter().map(|t| TokenId::new(*t).unwrap()).collect();
        let next = Roster { version: 4, epoch: Epoch(epoch), revoked_tokens, ..roster() };
        let root = trusted(&Root { epoch: Epoch(epoch), ..root() });
        trust::roster(&root, Some(&held), &signed_roster(&next), now())
    };
    assert_refused(offer(1, &[]), Refusal::Revoked, &["roster 4", "70ce4f00", "stays so"]);
    assert_refused(offer(1, &["70ce4f01"]), Refusal::Revoked, &["70ce4f00"]);
    offer(1, &["70ce4f01", "70ce4f00"]).unwrap();
    offer(2, &[]).expect("a new epoch voids every token");
}

#[test]
fn a_name_may_have_belonged_to_keys_that_are_retired() {
    let offer = |status: RosterStatus, first: bool| {
        let mut roster = roster();
        let before = hostler_plan::document::RosterNode { key: public(STRANGER), status, ..roster.nodes[1].clone() };
        roster.nodes.insert(if first { 1 } else { 2 }, before);
        trust::roster(&trusted(&root()), None, &signed_roster(&roster), now())
    };
    offer(RosterStatus::Retired, false).unwrap();
    assert_refused(offer(RosterStatus::Retired, true), Refusal::Malformed, &["every node once", "w1"]);
    assert_refused(offer(RosterStatus::Active, false), Refusal::Malformed, &["every node once", "w1"]);
}

#[test]
fn no_secret_is_sealed_to_a_key_that_keeps_none() {
    let hexadecimal =
        |text: &str| -> [u8; 32] { std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()) };
    let mut weak: Vec<[u8; 32]> = vec![
        [0; 32],
        hexadecimal("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        hexadecimal("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    ];
    for (lowest, rest) in [(1, 0), (0xec, 0xff), (0xed, 0xff), (0xee, 0xff)] {
        let mut point = [rest; 32];
        (point[0], point[31]) = (lowest, rest & 0x7f);
        weak.push(point);
    }
    let other_bit = weak.clone().into_iter().map(|mut point| {
        point[31] |= 0x80;
        point
    });
    for point in weak.clone().into_iter().chain(other_bit) {
        let mut roster = roster();
        roster.nodes[1].seal_key = STANDARD.encode(point);
        let offered = trust::roster(&trusted(&root()), None, &signed_roster(&roster), now());
        assert_refused(offered, Refusal::Malformed, &["seal key", "w1"]);
        let good = trust::admission(&trusted(&root()), &signed(DocumentKind::Admission, &admission(), &[ADA]), now());
        let mut enrolment = enrolment();
        enrolment.seal_key = STANDARD.encode(point);
        let enrolment = signed(DocumentKind::Enrolment, &enrolment, &[TOKEN, W2]);
        assert_refused(trust::enrolment(&good.unwrap(), &enrolment, now()), Refusal::Malformed, &["seal key"]);
    }
}

#[test]
fn a_node_that_is_kept_behind_obeys_a_revoked_key_until_its_root_expires() {
    let [one, two, _] = chain();
    let behind = TrustedRoot::first(&one, &one.digest()).unwrap();
    let ahead = behind.advance(&two).unwrap();
    let roster = verified_roster(&roster());
    let late = |days: u64| noon().plus(std::time::Duration::from_secs(days * 86_400));
    let offer = |root: &TrustedRoot, days: u64| {
        let created = late(days);
        let plan = hostler_plan::document::Plan {
            created,
            not_before: created,
            expires: created.plus(std::time::Duration::from_secs(3600)),
            ..plan()
        };
        let by_ben = signed(DocumentKind::Plan, &plan, &[BEN]);
        trust::plan(root, &roster, &by_ben, trust::Purpose::Starting(created))
    };
    offer(&behind, 0).expect("it cannot know better");
    offer(&behind, 300).expect("and not for the life of its root");
    assert_refused(offer(&behind, 366), Refusal::Expired, &["root 1 expired"]);
    assert_refused(offer(&ahead, 0), Refusal::Revoked, &["revoked key"]);
}

#[test]
fn a_plan_of_a_revoked_signer_ends_where_the_root_arrives_and_by_its_own_expiry_elsewhere() {
    let [one, two, _] = chain();
    let behind = TrustedRoot::first(&one, &one.digest()).unwrap();
    let ahead = behind.advance(&two).unwrap();
    let roster = verified_roster(&roster());
    let by_ben = signed(DocumentKind::Plan, &plan(), &[BEN]);
    let start = |root: &TrustedRoot, at| trust::plan(root, &roster, &by_ben, trust::Purpose::Starting(at));
    start(&behind, noon()).unwrap();
    assert_refused(start(&ahead, noon()), Refusal::Revoked, &["revoked key"]);
    assert_refused(start(&behind, plan().expires), Refusal::Expired, &["expired"]);
}
