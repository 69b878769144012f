//! Who may decide what, under which root, and for how long.

use hostler_fixtures as made;
use hostler_plan::{
    document::{Decided, Decision, DocumentKind, Root},
    id::{Digest, Epoch},
    ledger::Head,
    refusal::{Refusal, Refused},
    trust::{self, MAX_DECISION_LIFETIME, Verified},
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
