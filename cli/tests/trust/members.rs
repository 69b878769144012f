//! What a token is good for, whatever the coordinator counts, and by whose clock.

use std::time::Duration;

use hostler_cli::{
    roster::{Eligibility, Pending, judge_enrolments},
    trust_store::TrustStore,
};
use hostler_fixtures::{key, public, token_id};
use hostler_plan::{
    document::{DocumentKind, Roster, RosterNode, RosterStatus},
    json,
    step::ClusterRole,
};
use hostler_proto::v1::TrustChain;

use crate::fleet::{Fleet, anna, now, pending, sign};

/// A machine whose roster, the second one, was changed so.
fn held(change: impl FnOnce(&mut Roster)) -> (tempfile::TempDir, TrustStore) {
    let fleet = Fleet::new(1);
    let home = tempfile::tempdir().unwrap();
    fleet.hold(home.path());
    let mut store = TrustStore::load(home.path()).unwrap().unwrap();
    let mut roster: Roster = json::parse(&fleet.roster.bytes).unwrap();
    roster.version = 2;
    change(&mut roster);
    let roster = sign(DocumentKind::Roster, json::write(&roster), &[anna()]);
    store.follow(TrustChain { roots: Vec::new(), roster: Some(roster.into()) }).unwrap();
    (home, store)
}

fn judge(store: &TrustStore, item: hostler_proto::v1::PendingEnrolment, after: Duration) -> Pending {
    let (mut pending, refused) = judge_enrolments(store, vec![item], &[], now().plus(after));
    assert!(refused.is_empty(), "{refused:?}");
    pending.pop().unwrap()
}

fn by_token(roster: &mut Roster, name: &str, status: RosterStatus) {
    let token = token_id(&public(&key(50)));
    let mut node: RosterNode = roster.nodes[0].clone();
    (node.name, node.key, node.status) = (name.parse().unwrap(), public(&key(name.len() as u8 + 200)), status);
    node.enrolled.token = token;
    roster.nodes.push(node);
}

const SOON: Duration = Duration::from_secs(1);

#[test]
fn a_leaked_token_lists_no_machine_after_machine() {
    // The coordinator shows one machine a call; the rosters that list them count.
    let (_home, store) = held(|r| by_token(r, "n1", RosterStatus::Active));
    let next = || pending("new", &key(60), &key(50), |_, _| {});
    assert_eq!(judge(&store, next(), SOON).eligibility, Eligibility::Automatic, "the second of two");
    let (_home, store) = held(|r| {
        by_token(r, "n1", RosterStatus::Retired);
        by_token(r, "n22", RosterStatus::Active);
    });
    let third = judge(&store, next(), SOON);
    assert!(matches!(&third.eligibility, Eligibility::Manual(why) if why.contains("admits 2 nodes")), "{third:?}");
    assert!(third.needs_a_person().is_some());
}

#[test]
fn a_token_expires_by_the_clock_of_the_admin() {
    let (_home, store) = held(|_| ());
    let item = || pending("new", &key(60), &key(50), |_, _| {});
    assert!(judge(&store, item(), SOON).needs_a_person().is_none(), "a worker whose token is proved good");
    // What the machine and the coordinator say of the time is the same as before.
    let late = judge(&store, item(), Duration::from_secs(3600));
    assert!(matches!(&late.eligibility, Eligibility::Manual(why) if why.contains("expired")), "{late:?}");
    assert!(late.needs_a_person().unwrap().contains("nothing proves"), "{late:?}");
}

#[test]
fn a_signed_revocation_counts_when_the_coordinator_forgets_it() {
    let (_home, store) = held(|r| r.revoked_tokens.push(token_id(&public(&key(50)))));
    let revoked = judge(&store, pending("new", &key(60), &key(50), |_, _| {}), SOON);
    assert!(matches!(&revoked.eligibility, Eligibility::Manual(why) if why.contains("revoked by roster 2")));
}

#[test]
fn a_server_is_never_listed_without_a_person() {
    let (_home, store) = held(|_| ());
    let server = judge(&store, pending("new", &key(60), &key(50), |a, _| a.role = ClusterRole::Server), SOON);
    assert_eq!(server.eligibility, Eligibility::Automatic);
    assert!(server.needs_a_person().unwrap().contains("server"));
}

#[test]
fn a_retired_key_never_comes_back() {
    let (_home, store) = held(|r| by_token(r, "n1", RosterStatus::Retired));
    let again = judge(&store, pending("n1", &key(202), &key(51), |_, _| {}), SOON);
    assert!(matches!(&again.eligibility, Eligibility::Never(why) if why.contains("retired")), "{again:?}");
}
