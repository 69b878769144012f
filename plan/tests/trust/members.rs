//! Who belongs to the fleet: where a new node's chain begins, and what is revoked for ever.

use hostler_plan::{
    document::{Admission, DocumentKind, Root, Signed},
    id::{Digest, Epoch},
    refusal::Refusal,
    trust::{self, TrustedRoot},
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
