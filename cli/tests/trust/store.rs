//! What a machine holds as proved, and what a coordinator cannot make it believe.

use crate::fleet::{Fleet, anna, bert, node_key, pending, sign};
use hostler_cli::{
    Error,
    roster::{Eligibility, verify_enrolments},
    trust_store::TrustStore,
};
use hostler_fixtures::{key, public, token_id};
use hostler_plan::{
    document::{Approval, DocumentKind, Root, Roster, Signed},
    id::{Epoch, TokenId},
    json,
    refusal::Refusal,
    timestamp::Timestamp,
};
use hostler_proto::v1::TrustChain;

fn trust_store(fleet: &Fleet) -> (tempfile::TempDir, TrustStore) {
    let home = tempfile::tempdir().unwrap();
    fleet.hold(home.path());
    let held = TrustStore::load(home.path()).unwrap().unwrap();
    (home, held)
}

fn root(fleet: &Fleet, keys: &[ssh_key::PrivateKey], change: impl FnOnce(&mut Root)) -> Signed {
    let mut root: Root = json::parse(&fleet.root.bytes).unwrap();
    root.version = 2;
    change(&mut root);
    sign(DocumentKind::Root, json::write(&root), keys)
}

fn roster(fleet: &Fleet, change: impl FnOnce(&mut Roster)) -> Signed {
    let mut roster: Roster = json::parse(&fleet.roster.bytes).unwrap();
    roster.version = 2;
    change(&mut roster);
    sign(DocumentKind::Roster, json::write(&roster), &[anna()])
}

fn refusal(result: Result<(), Error>) -> Refusal {
    let error = result.expect_err("refused");
    let Error::Refused(refused) = error else { panic!("expected a refusal, found {error}") };
    refused.refusal
}

fn chain(roots: &[&Signed], roster: Option<&Signed>) -> TrustChain {
    TrustChain { roots: roots.iter().map(|r| (*r).clone().into()).collect(), roster: roster.map(|r| r.clone().into()) }
}

#[test]
fn newer_roots_and_rosters_are_followed_and_survive_a_restart() {
    let fleet = Fleet::new(1);
    let (home, mut held) = trust_store(&fleet);
    let two = root(&fleet, &[anna()], |r| r.policy.max_plan_lifetime_seconds = 60);
    let next = roster(&fleet, |r| r.root_version = 2);
    held.follow(chain(&[&two], Some(&next))).unwrap();
    // The same answer again, and late.
    held.follow(chain(&[&two], Some(&next))).unwrap();
    let again = TrustStore::load(home.path()).unwrap().unwrap();
    assert_eq!((again.root().version, again.roster().unwrap().document().version), (2, 2));
    assert_eq!(again.first_root(), fleet.root.digest());
}

#[test]
fn what_does_not_follow_is_refused_and_changes_nothing() {
    let fleet = Fleet::new(1);
    let (home, mut held) = trust_store(&fleet);
    let stranger = root(&fleet, &[key(99)], |_| {});
    assert_eq!(refusal(held.follow(chain(&[&stranger], None))), Refusal::BadSignature);
    let skipped = root(&fleet, &[anna()], |r| r.version = 3);
    assert_eq!(refusal(held.follow(chain(&[&skipped], None))), Refusal::RootChain);
    let newer = roster(&fleet, |_| {});
    held.follow(chain(&[], Some(&newer))).unwrap();
    assert_eq!(refusal(held.follow(chain(&[], Some(&fleet.roster)))), Refusal::Replay, "an older roster");
    let twin = roster(&fleet, |r| drop(r.nodes.pop()));
    assert_eq!(refusal(held.follow(chain(&[], Some(&twin)))), Refusal::Replay, "other content, same version");
    let again = TrustStore::load(home.path()).unwrap().unwrap();
    assert_eq!(again.root().version, 1);
    assert_eq!(again.roster().unwrap().digest(), newer.digest());
}

#[test]
fn a_new_epoch_begins_without_the_old_roster() {
    let fleet = Fleet::new(1);
    let (home, mut held) = trust_store(&fleet);
    let two = root(&fleet, &[bert()], |r| r.epoch = Epoch(2));
    held.follow(chain(&[&two], None)).unwrap();
    assert!(held.roster().is_none());
    assert!(TrustStore::load(home.path()).unwrap().unwrap().roster().is_none());
    let fresh = roster(&fleet, |r| (r.version, r.epoch, r.root_version) = (1, Epoch(2), 2));
    held.follow(chain(&[], Some(&fresh))).unwrap();
    assert_eq!(TrustStore::load(home.path()).unwrap().unwrap().roster().unwrap().digest(), fresh.digest());
}

#[test]
fn only_what_its_admission_covers_is_listed_without_a_question() {
    let fleet = Fleet::new(1);
    let (_home, held) = trust_store(&fleet);
    let token = key(50);
    let eligibility = |item, revoked: &[TokenId]| {
        let (pending, refused) = verify_enrolments(&held, vec![item], revoked);
        assert!(refused.is_empty(), "{refused:?}");
        pending[0].eligibility.clone()
    };
    let new = || pending("new", &key(60), &token, |_, _| {});
    assert_eq!(eligibility(new(), &[]), Eligibility::Automatic);
    let revoked = token_id(&public(&token));
    assert!(matches!(eligibility(new(), &[revoked]), Eligibility::Manual(_)));
    let asks = pending("new", &key(60), &token, |a, _| a.approval = Approval::Manual);
    assert!(matches!(eligibility(asks, &[]), Eligibility::Manual(_)));
    let late = pending("new", &key(60), &token, |a, e| {
        e.created = Timestamp::from_unix_seconds(a.expires.unix_seconds());
    });
    assert!(matches!(eligibility(late, &[]), Eligibility::Manual(_)));
    let again = pending("a", &key(60), &token, |_, _| {});
    assert!(matches!(eligibility(again, &[]), Eligibility::Replaces(_)));
    let clone = pending("new", &node_key(0), &token, |_, _| {});
    assert!(matches!(eligibility(clone, &[]), Eligibility::Never(_)));
}

#[test]
fn a_coordinator_cannot_stretch_a_token_nor_make_an_enrolment() {
    let fleet = Fleet::new(1);
    let (_home, held) = trust_store(&fleet);
    let token = key(50);
    let three: Vec<_> = (0..3).map(|i| pending(&format!("n{i}"), &key(60 + i), &token, |_, _| {})).collect();
    let (pending_nodes, _) = verify_enrolments(&held, three, &[]);
    let automatic = pending_nodes.iter().filter(|p| p.eligibility == Eligibility::Automatic).count();
    assert_eq!((pending_nodes.len(), automatic), (3, 2), "a token for two admits two");

    // Made with a token key that no admission names.
    let mut forged = pending("new", &key(60), &key(51), |_, _| {});
    forged.admission = pending("new", &key(60), &token, |_, _| {}).admission;
    let (none, refused) = verify_enrolments(&held, vec![forged], &[]);
    assert!(none.is_empty());
    assert_eq!(refused[0].refusal, Refusal::BadSignature);
    // An admission that no admin signed.
    let mut forged = pending("new", &key(60), &token, |_, _| {});
    let admission = forged.admission.take().unwrap();
    forged.admission = Some(sign(DocumentKind::Admission, admission.content, &[key(99)]).into());
    let (none, refused) = verify_enrolments(&held, vec![forged], &[]);
    assert!(none.is_empty());
    assert_eq!(refused[0].refusal, Refusal::BadSignature);
}

#[test]
fn a_roster_whose_signer_was_revoked_lapses_and_locks_nobody_out() {
    let fleet = Fleet::new(1);
    let (home, mut mine) = trust_store(&fleet);
    let by_bert = sign(DocumentKind::Roster, roster(&fleet, |_| {}).bytes, &[bert()]);
    mine.follow(chain(&[], Some(&by_bert))).unwrap();
    let bert_key = hostler_plan::signature::PublicKey::from(bert().public_key().clone()).fingerprint();
    let two = root(&fleet, &[anna()], |r| r.revoked = vec![bert_key]);
    // The coordinator has no newer roster, and says so with every answer.
    for _ in 0..2 {
        mine.follow(chain(&[&two], Some(&by_bert))).unwrap();
        assert!(mine.roster().is_none(), "it counts no more");
        assert_eq!(mine.lapsed().unwrap().digest(), by_bert.digest());
    }
    let text = mine.require_roster().unwrap_err().to_string();
    assert!(text.contains("roster 2 does not count under root 2") && text.contains("root-2.json"), "{text}");
    let again = TrustStore::load(home.path()).unwrap().unwrap();
    assert_eq!(again.lapsed().unwrap().digest(), by_bert.digest(), "also after a restart");
    // A machine that begins now is in the same place.
    let new_home = tempfile::tempdir().unwrap();
    let mut new = TrustStore::begin(new_home.path(), &fleet.root, &fleet.root.digest()).unwrap();
    new.follow(chain(&[&two], Some(&by_bert))).unwrap();
    assert_eq!(new.lapsed().unwrap().digest(), by_bert.digest());
    // An older one, or one that never counted, is none.
    assert_eq!(refusal(mine.follow(chain(&[], Some(&fleet.roster)))), Refusal::Replay);
    let stranger = sign(DocumentKind::Roster, roster(&fleet, |r| r.version = 9).bytes, &[key(99)]);
    assert_eq!(refusal(mine.follow(chain(&[], Some(&stranger)))), Refusal::BadSignature);
    let renewed = roster(&fleet, |r| (r.version, r.root_version) = (3, 2));
    mine.follow(chain(&[], Some(&renewed))).unwrap();
    assert!(mine.lapsed().is_none() && mine.roster().is_some());
    let newer_by_bert = sign(DocumentKind::Roster, roster(&fleet, |r| r.version = 9).bytes, &[bert()]);
    assert_eq!(refusal(mine.follow(chain(&[], Some(&newer_by_bert)))), Refusal::Revoked, "a thief signs no more");
}
