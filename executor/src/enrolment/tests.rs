//! An enrolment against what a join string proves, on a machine in memory.

use std::time::Duration;

use hostler_fixtures::{self as made, fresh_key, public, signed, signer};
use hostler_plan::{
    document::{Root, SignerRole},
    timestamp::Timestamp,
};
use ssh_key::LineEnding;

use super::*;
use crate::testing::Machine;

/// A machine with a join string, and what an honest coordinator answers.
struct Invited {
    directory: tempfile::TempDir,
    disk: Arc<Disk>,
    enroller: Enroller,
    admin: PrivateKey,
    token: PrivateKey,
    root: Root,
    now: Timestamp,
}

impl Invited {
    fn new() -> Self {
        let (admin, token) = (fresh_key(), fresh_key());
        let now = build_time().plus(Duration::from_secs(3600)).whole_seconds();
        let root = made::root(now, vec![signer("ada", public(&admin), SignerRole::Admin)]);
        let directory = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::open(&directory.path().join("executor")).unwrap());
        let keys = Arc::new(Keys::load_or_make(&disk, false).unwrap());
        let enroller = Enroller {
            disk: Arc::downgrade(&disk),
            keys,
            host: Arc::new(Machine::new(now)),
            join_files: JoinFiles::new(["none", "join"].map(|name| directory.path().join(name)).to_vec(), None),
            name: "w1".parse().unwrap(),
            member: None,
        };
        let invited = Self { directory, disk, enroller, admin, token, root, now };
        invited.put(&invited.join());
        invited
    }

    fn join(&self) -> JoinString {
        JoinString {
            fleet_id: self.root.fleet_id.clone(),
            address: "c:1".into(),
            ca_pin: self.root.coordinator_ca[0],
            root: self.signed_root(&self.root).digest(),
            token: made::token_id(&public(&self.token)),
            token_key: self.token.to_openssh(LineEnding::LF).unwrap().to_string(),
        }
    }

    fn put(&self, join: &JoinString) {
        std::fs::write(self.directory.path().join("join"), join.encode()).unwrap();
    }

    fn signed_root(&self, root: &Root) -> Signed {
        signed(DocumentKind::Root, root, &[&self.admin])
    }

    fn answer(&self) -> Admitted {
        let admission = made::admission(&self.root, self.now, public(&self.token));
        Admitted {
            roots: vec![self.signed_root(&self.root)],
            roster: None,
            admission: Some(signed(DocumentKind::Admission, &admission, &[&self.admin])),
        }
    }

    /// Refused for that reason, and nothing is kept.
    fn refuses(&mut self, answer: &Admitted, refusal: Refusal) {
        let found = self.enroller.admit(answer).unwrap_err();
        assert!(matches!(&found, NodeError::Refused(r) if r.refusal == refusal), "{refusal}: {found}");
        assert!(membership(&self.disk).unwrap().is_none());
        assert!(StateFile::open(&self.disk).unwrap().1.is_none());
        assert!(self.directory.path().join("join").exists());
    }
}

#[test]
fn an_enrolment_is_signed_by_node_and_token_and_its_answer_makes_a_member() {
    let mut invited = Invited::new();
    let invitation = invited.enroller.invitation().unwrap().unwrap();
    assert_eq!((invitation.address.as_str(), invitation.node.as_str()), ("c:1", "w1"));
    let tls_key = Digest::of(b"tls");
    let enrolment = invited.enroller.enrol(tls_key).unwrap();
    let root = TrustedRoot::first(&invited.signed_root(&invited.root), &invited.join().root).unwrap();
    let purpose = || Purpose::Starting(invited.now);
    let admission = trust::admission(&root, invited.answer().admission.as_ref().unwrap(), purpose()).unwrap();
    let verified = trust::enrolment(&admission, &enrolment, purpose()).unwrap();
    assert_eq!(verified.document().tls_key, tls_key);
    assert_eq!(verified.document().key, invited.enroller.keys.public());

    let answer = invited.answer();
    let member = invited.enroller.admit(&answer).unwrap();
    assert_eq!(membership(&invited.disk).unwrap(), Some(member.clone()));
    assert_eq!(invited.enroller.identity().member, Some(member));
    assert!(!invited.directory.path().join("join").exists(), "the join string has served");
    // Another answer changes nothing any more.
    invited.put(&invited.join());
    assert!(invited.enroller.admit(&answer).is_err() && invited.enroller.enrol(tls_key).is_err());
}

#[test]
fn an_answer_that_the_join_string_does_not_prove_changes_nothing() {
    let mut invited = Invited::new();
    let good = invited.answer();
    let changed = invited.root.clone();
    let other = Root { created: changed.created.plus(Duration::from_secs(1)), ..changed };
    let other = invited.signed_root(&other);
    let stranger = Invited::new();
    let foreign = made::admission(&invited.root, invited.now, public(&stranger.token));
    let foreign = signed(DocumentKind::Admission, &foreign, &[&invited.admin]);
    for (answer, refusal) in [
        (Admitted { roots: vec![], ..good.clone() }, Refusal::RootChain),
        (Admitted { roots: vec![other], ..good.clone() }, Refusal::RootChain),
        (stranger.answer(), Refusal::RootChain),
        (Admitted { admission: None, ..good.clone() }, Refusal::Malformed),
        (Admitted { admission: Some(foreign), ..good.clone() }, Refusal::NotAllowed),
        (Admitted { admission: stranger.answer().admission, ..good.clone() }, Refusal::BadSignature),
        (Admitted { roster: stranger.answer().admission, ..good.clone() }, Refusal::BadSignature),
    ] {
        invited.refuses(&answer, refusal);
    }
    invited.put(&JoinString { ca_pin: Digest::of(b"another CA"), ..invited.join() });
    invited.refuses(&good, Refusal::RootChain);
    invited.put(&invited.join());
    invited.enroller.admit(&good).unwrap();
}

#[test]
fn what_is_no_join_string_is_said_and_an_empty_file_is_none() {
    let mut invited = Invited::new();
    let join = invited.directory.path().join("join");
    std::fs::write(&join, "hostler1.???").unwrap();
    let found = invited.enroller.invitation().unwrap_err().to_string();
    assert!(found.contains("copy the whole line again") && found.contains("join:"), "{found}");
    std::fs::write(&join, "x".repeat(10_000)).unwrap();
    assert!(invited.enroller.invitation().is_err());
    std::fs::write(&join, "\n").unwrap();
    let places = invited.enroller.invitation().unwrap().unwrap_err().places;
    assert!(places.contains(" or ") && places.ends_with("/join"), "{places}");
    assert!(invited.enroller.enrol(Digest::of(b"tls")).is_err());
}

#[test]
fn a_node_that_is_no_member_answers_no_challenge() {
    let invited = Invited::new();
    assert!(invited.enroller.renew(&Digest::of(b"tls"), &[0; 32]).is_err());
}

/// The answer with a roster that lists this node's key so, and revokes these tokens.
fn with_roster(invited: &Invited, change: impl FnOnce(&mut hostler_plan::document::Roster)) -> Admitted {
    let own = made::node("w1", invited.enroller.keys.public(), hostler_plan::step::ClusterRole::Worker);
    let mut roster = made::roster(&invited.root, invited.now, vec![own]);
    change(&mut roster);
    let roster = signed(DocumentKind::Roster, &roster, &[&invited.admin]);
    Admitted { roster: Some(roster), ..invited.answer() }
}

#[test]
fn the_signed_roster_names_a_machine_that_came_under_another_name() {
    let mut invited = Invited::new();
    let answer = with_roster(&invited, |r| r.nodes[0].name = "w7".parse().unwrap());
    assert_eq!(invited.enroller.admit(&answer).unwrap().node.as_str(), "w7");
    assert_eq!(membership(&invited.disk).unwrap().unwrap().node.as_str(), "w7");
    assert_eq!(invited.enroller.identity().node.as_str(), "w7");
}

#[test]
fn a_new_node_judges_its_token_by_the_roster_that_it_is_shown() {
    let mut invited = Invited::new();
    let token = made::token_id(&public(&invited.token));
    let revoked = with_roster(&invited, |r| {
        r.nodes.clear();
        r.revoked_tokens.push(token.clone());
    });
    invited.refuses(&revoked, Refusal::Revoked);
    let spent = with_roster(&invited, |r| {
        r.nodes[0].key = public(&fresh_key());
        r.nodes[0].enrolled.token = token.clone();
    });
    invited.refuses(&spent, Refusal::NotAllowed);
    // Who is listed stays in, also when the answer to its first try was lost and the token revoked since.
    let again = with_roster(&invited, |r| r.revoked_tokens.push(token.clone()));
    invited.enroller.admit(&again).unwrap();
}

#[test]
fn a_join_string_that_served_is_removed_after_a_crash_too() {
    let mut invited = Invited::new();
    let path = invited.directory.path().join("join");
    invited.enroller.forget_served();
    assert!(path.exists(), "it has not served");
    let answer = invited.answer();
    invited.enroller.admit(&answer).unwrap();
    // The machine went down between the membership and the removal.
    invited.put(&invited.join());
    invited.enroller.forget_served();
    assert!(!path.exists());
    let other = JoinString { fleet_id: hostler_plan::id::FleetId::new("0bad".repeat(8)).unwrap(), ..invited.join() };
    invited.put(&other);
    invited.enroller.forget_served();
    assert!(path.exists(), "another fleet's is not ours to remove");
}
