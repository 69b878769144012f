//! A pass logs one session key in, for one signer, here, for a while; and it is nothing else.

use hostler_fixtures as made;
use hostler_plan::{
    document::{Decided, Decision, DocumentKind, Pass, Root, Signed},
    id::Digest,
    json,
    refusal::{Refusal, Refused},
    timestamp::Timestamp,
    trust::{self, MAX_PASS_LIFETIME, Purpose, Verified},
};

use crate::fleet::*;

/// The seed of a session key.
const SESSION: u8 = 50;

fn of_ada() -> Pass {
    made::pass(&root(), &public(ADA), public(SESSION), noon())
}

fn ca() -> Digest {
    root().coordinator_ca[0]
}

fn judge(root: &Root, signed: &Signed, now: Timestamp) -> Result<Verified<Pass>, Refused> {
    trust::pass(&trusted(root), signed, &ca(), now)
}

fn refusal(pass: &Pass, kind: DocumentKind, seeds: &[u8]) -> Refusal {
    judge(&root(), &signed(kind, pass, seeds), noon()).expect_err("refused").refusal
}

#[test]
fn a_pass_counts_by_the_one_key_that_it_names() {
    use DocumentKind::{Login, Pass as Own};
    let counts = signed(Own, &of_ada(), &[ADA]);
    assert_eq!(judge(&root(), &counts, noon()).unwrap().document().session_key, public(SESSION));
    for (seeds, why) in [
        (&[BEN][..], "another admin"),
        (&[SESSION], "its own session key"),
        (&[ADA, BEN], "two"),
        (&[ADA, ADA], "twice"),
        (&[], "none"),
    ] {
        assert_eq!(refusal(&of_ada(), Own, seeds), Refusal::BadSignature, "{why}");
    }
    let of_stranger = Pass { signer: public(STRANGER).fingerprint(), ..of_ada() };
    assert_eq!(refusal(&of_stranger, Own, &[STRANGER]), Refusal::BadSignature, "nobody of the root");
    for kind in [DocumentKind::Root, DocumentKind::Plan, DocumentKind::Decision, Login] {
        assert_eq!(refusal(&of_ada(), kind, &[ADA]), Refusal::BadSignature, "in the namespace of a {}", kind.noun());
    }
}

#[test]
fn a_pass_of_another_fleet_of_other_coordinators_or_of_a_revoked_key_counts_nothing() {
    use DocumentKind::Pass as Own;
    assert_eq!(refusal(&Pass { fleet_id: other_fleet(), ..of_ada() }, Own, &[ADA]), Refusal::WrongFleet);
    let elsewhere = Pass { coordinator_ca: vec![Digest::of(b"another CA")], ..of_ada() };
    assert_eq!(refusal(&elsewhere, Own, &[ADA]), Refusal::WrongFleet);
    let both = Pass { coordinator_ca: vec![Digest::of(b"another CA"), ca()], ..of_ada() };
    assert!(judge(&root(), &signed(Own, &both, &[ADA]), noon()).is_ok(), "one of them is this one");
    let revoked = Root { revoked: vec![public(ADA).fingerprint()], ..root() };
    let signed = signed(Own, &of_ada(), &[ADA]);
    let refused = trust::pass(&trusted(&revoked), &signed, &ca(), noon()).expect_err("revoked");
    assert_eq!(refused.refusal, Refusal::Revoked);
}

#[test]
fn a_pass_is_in_time_for_eight_hours_at_most() {
    let until = |expires| Pass { expires, ..of_ada() };
    let at = |pass: &Pass, now| judge(&root(), &signed(DocumentKind::Pass, pass, &[ADA]), now).map_err(|r| r.refusal);
    let end = noon().plus(MAX_PASS_LIFETIME);
    let longest = until(end);
    let moment = std::time::Duration::from_millis(1);
    let just_before = Timestamp::from_unix_milliseconds(end.unix_milliseconds() - 1);
    assert!(at(&longest, just_before).is_ok());
    assert_eq!(at(&longest, end).err(), Some(Refusal::Expired), "not a moment longer");
    assert_eq!(at(&until(end.plus(moment)), noon()).err(), Some(Refusal::Expired), "too long");
    assert_eq!(at(&until(noon()), noon()).err(), Some(Refusal::Expired), "no time at all");
    let backwards = Pass { created: noon().plus(moment), ..until(noon().plus(moment)) };
    assert_eq!(at(&backwards, noon()).err(), Some(Refusal::Expired), "no time at all, by a clock that runs ahead");
    let ahead = |by| Pass { created: noon().plus(by), expires: noon().plus(by).plus(moment), ..of_ada() };
    assert!(at(&ahead(trust::CLOCK_SKEW), noon()).is_ok(), "the signer's clock runs ahead");
    assert_eq!(at(&ahead(trust::CLOCK_SKEW + moment), noon()).err(), Some(Refusal::Expired), "of the future");
}

#[test]
fn a_session_key_signs_nothing_that_counts() {
    let (root, roster) = (trusted(&root()), verified_roster(&roster()));
    let by_session = |kind, document: &dyn Fn() -> Vec<u8>| signed_bytes(kind, document(), &[SESSION]);
    let plan = by_session(DocumentKind::Plan, &|| json::write(&plan()));
    assert_eq!(
        trust::plan(&root, &roster, &plan, Purpose::Submitting(noon())).unwrap_err().refusal,
        Refusal::BadSignature
    );
    let admission = by_session(DocumentKind::Admission, &|| json::write(&admission()));
    assert_eq!(trust::admission(&root, &admission, now()).unwrap_err().refusal, Refusal::BadSignature);
    let own_roster = by_session(DocumentKind::Roster, &|| json::write(roster.document()));
    assert_eq!(trust::roster(&root, None, &own_roster, now()).unwrap_err().refusal, Refusal::BadSignature);
    let next = Root { version: 2, ..root.root().clone() };
    let next = by_session(DocumentKind::Root, &|| json::write(&next));
    assert_eq!(root.advance(&next).unwrap_err().refusal, Refusal::BadSignature);
    let resume = Decided::Resume { plan: Digest::of(b"plan") };
    let seen = hostler_plan::ledger::Head::EMPTY;
    let decision: Decision = made::decision(roster.document(), "ada", seen, noon(), resume);
    let decision = by_session(DocumentKind::Decision, &|| json::write(&decision));
    assert_eq!(trust::decision(&root, &decision).unwrap_err().refusal, Refusal::BadSignature);
    // Nor does it make another pass, for itself or for somebody else.
    let of_itself = Pass { signer: public(SESSION).fingerprint(), ..of_ada() };
    assert_eq!(refusal(&of_itself, DocumentKind::Pass, &[SESSION]), Refusal::BadSignature);
}
