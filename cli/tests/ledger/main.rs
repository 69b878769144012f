//! What an auditor finds in ledgers that somebody made up: every record chained well, every signature genuine.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]
#![allow(clippy::result_large_err, reason = "a test makes few")]

mod book;

use std::{collections::BTreeMap, path::Path, process::Command};

use book::{Book, at, head_of};
use hostler_cli::{
    file::signature_path,
    ledger::{Expected, Flawed, Report, audit, compare, lay_down, new_folder},
};
use hostler_fixtures::{self as made, key, signed_bytes};
use hostler_plan::{
    document::{Decided, DocumentKind, Outcome, Plan, PlanKind, PlanRef},
    entry::{Entry, StoredDocument},
    id::{BootId, Digest, TokenId},
    ledger::{Head, encode},
    refusal::Refusal,
    timestamp::Timestamp,
};

/// Two nodes did what plan 1 says.
fn honest() -> Book {
    let mut book = Book::begun();
    let plan = book.plan(at(10), 1, &[]);
    book.grant(at(11), &plan, "a", 1);
    let first = book.succeed(at(12), &plan, "a", 1, &[]);
    book.grant(at(13), &plan, "b", 2);
    book.succeed(at(14), &plan, "b", 2, &[first]);
    book.add(at(15), Entry::Finished { plan: plan.digest });
    book
}

#[test]
fn an_honest_ledger_is_whole_and_no_more_is_claimed_than_was_checked() {
    let report = look(&honest()).unwrap();
    assert_eq!((report.records, report.documents, report.grants, report.unsigned), (8, 5, 2, 3));
    assert!(report.claims.is_empty() && report.notes.is_empty(), "{report:?}");
}

/// What an auditor says who knows nothing from elsewhere.
fn look(book: &Book) -> Result<Report, Flawed> {
    audit(&book.bytes(), &Expected::default())
}

/// What must be found in `book`.
#[track_caller]
fn finds(what: &str, book: &Book, expected: &str) {
    let flawed = look(book).expect_err(what);
    assert!(flawed.to_string().contains(expected), "{what}: expected {expected:?}, found {flawed}");
}

#[test]
fn a_decision_that_nobody_signed_is_found_or_shown_as_a_claim() {
    let mut halted = Book::begun();
    let plan = halted.plan(at(10), 1, &[]);
    halted.grant(at(11), &plan, "a", 1);
    halted.add(at(12), Entry::Halted { plan: plan.digest, by: "anna".into(), reason: "smoke".into() });
    let report = look(&halted).unwrap();
    assert!(report.claims[0].contains("halt") && report.claims[0].contains("anna"), "{:?}", report.claims);
    halted.grant(at(13), &plan, "b", 2);
    finds("a grant after a halt", &halted, "it halted");

    let mut paused = Book::begun();
    let plan = paused.plan(at(10), 1, &[]);
    paused.add(at(11), Entry::Paused { plan: plan.digest, by: "anna".into(), reason: String::new() });
    assert_eq!(look(&paused).unwrap().claims.len(), 1);
    let mut granted = paused.clone();
    granted.grant(at(12), &plan, "a", 1);
    finds("a grant in a pause", &granted, "paused");
    let mut resumed = paused.clone();
    resumed.add(at(12), Entry::Resumed { plan: plan.digest, by: "anna".into() });
    finds("a resume that anna never gave", &resumed, "signed");

    let mut book = Book::begun();
    let version = "v1.34.3+k3s1".parse().unwrap();
    book.add(at(11), Entry::Quarantined { node: made::name("a"), version, reason: "old".into() });
    book.add(at(12), Entry::QuarantineReleased { node: made::name("a"), version, by: "anna".into() });
    finds("a quarantine released by a word", &book, "signed");

    let mut book = Book::begun();
    book.add(at(11), Entry::TokenRevoked { token: TokenId::new("70ce0000").unwrap(), by: "anna".into() });
    finds("the end of a token that never was", &book, "70ce0000");
}

#[test]
fn a_signed_decision_counts_once_here_in_time_and_by_who_may() {
    let mut paused = Book::begun();
    let plan = paused.plan(at(10), 1, &[]);
    paused.add(at(11), Entry::Paused { plan: plan.digest, by: "anna".into(), reason: String::new() });
    let seen = paused.head();
    let resume = || Decided::Resume { plan: plan.digest };

    let mut good = paused.clone();
    good.decide(at(12), "anna", seen, at(12), resume());
    good.grant(at(13), &plan, "a", 1);
    let report = look(&good).unwrap();
    assert_eq!((report.decisions, report.claims.len()), (1, 0));

    let mut signed_later = paused.clone();
    signed_later.decide(at(12), "anna", seen, at(12), Decided::Pause { plan: plan.digest, reason: String::new() });
    assert!(look(&signed_later).unwrap().claims.is_empty(), "the signature came");

    let mut again = good.clone();
    again.add(at(14), Entry::Paused { plan: plan.digest, by: "anna".into(), reason: String::new() });
    again.entries.push((at(15), good.entries[good.entries.len() - 2].1.clone()));
    finds("the same decision again", &again, "once");

    let mut late = paused.clone();
    late.decide(at(12 + 601), "anna", seen, at(12), resume());
    finds("a decision handed in late", &late, "expired");

    let mut elsewhere = paused.clone();
    elsewhere.decide(at(12), "anna", Head { hash: Digest::of(b"other"), ..seen }, at(12), resume());
    finds("a decision about another ledger", &elsewhere, "go on from");

    let mut stranger = paused.clone();
    stranger.decide(at(12), "carl", seen, at(12), resume());
    finds("a decision by who is not in the root", &stranger, "bad_signature");

    let mut viewer = paused.clone();
    viewer.decide(at(12), "vera", seen, at(12), resume());
    finds("a decision by a viewer", &viewer, "not_allowed");
}

#[test]
fn void_expired_and_early_work_is_found() {
    let mut void = Book::begun();
    let first = void.plan(at(10), 1, &[]);
    void.plan(at(20), 2, &[]);
    void.grant(at(21), &first, "a", 1);
    finds("a grant of a void plan", &void, "it is over");
    void.succeed(at(22), &first, "a", 1, &[]);
    finds("the receipt of a void plan", &void, "receipt");
    let flaws = look(&void).unwrap_err().flaws;
    assert_eq!(flaws.len(), 2, "each is listed: {flaws:?}");

    let mut kept = Book::begun();
    let first = kept.plan(at(10), 1, &[]);
    kept.plan(at(20), 2, &[PlanRef { seq: first.plan.seq, digest: first.digest }]);
    kept.grant(at(21), &first, "a", 1);
    look(&kept).unwrap();

    let mut expired = Book::begun();
    let plan = expired.plan(at(10), 1, &[]);
    expired.grant(at(10 + 31 * 86_400), &plan, "a", 1);
    finds("a grant 30 days after the end", &expired, "expired");

    let mut early = Book::begun();
    let plan = early.plan_with(at(10), 1, &[], |plan| plan.not_before = at(5000));
    early.grant(at(11), &plan, "a", 1);
    finds("a grant before its time", &early, "from");

    let mut unfinished = Book::begun();
    let plan = unfinished.plan(at(10), 1, &[]);
    unfinished.add(at(11), Entry::Finished { plan: plan.digest });
    finds("finished without a success", &unfinished, "finished");
}

/// What the coordinator would have called overtaken, or never come to: forged ledgers show it.
#[test]
fn a_document_that_does_not_follow_the_one_before_it_is_found() {
    let one = || {
        let mut book = Book::begun();
        book.plan(at(10), 1, &[]);
        book
    };
    let other = Digest::of(b"what somebody else was shown");
    let mut good = one();
    good.plan(at(20), 2, &[]);
    good.roster_with(at(21), |_| {});
    good.root_with(at(22), |_| {});
    look(&good).unwrap();
    for prev in [None, Some(other)] {
        let mut book = one();
        book.plan_with(at(20), 2, &[], |plan| plan.prev = prev);
        finds("a plan after another one", &book, "expected plan 2 to follow");
        let mut book = one();
        book.roster_with(at(20), |roster| roster.prev = prev);
        finds("a roster after another one", &book, "expected roster 2 to follow");
    }
    let mut book = one();
    book.root_with(at(20), |root| root.prev = Some(other));
    finds("a root after another one", &book, "expected root 2 to follow");

    // What names both ends has its place on either side of a fork.
    let mut closes = one();
    let head = |book: &Book| {
        let Entry::Document { document: StoredDocument(signed), .. } = &book.entries.last().unwrap().1 else {
            panic!("{:?}", book.entries.last());
        };
        signed.digest()
    };
    let plan = head(&closes);
    closes.plan_with(at(20), 2, &[], |plan_2| (plan_2.prev, plan_2.also) = (Some(other), vec![plan]));
    look(&closes).unwrap();
}

#[test]
fn work_that_a_drain_goes_before_is_found() {
    let begun = |kind: PlanKind, keeps: bool, grant_first: bool| {
        let mut book = Book::begun();
        let disrupts = |plan: &mut Plan| {
            plan.kind = kind;
            plan.tasks.iter_mut().for_each(|task| (task.disrupts, task.after) = (true, Vec::new()));
        };
        let rollout = book.plan_with(at(10), 1, &[], disrupts);
        if grant_first {
            book.grant(at(11), &rollout, "a", 1);
        }
        let beside = PlanRef { seq: rollout.plan.seq, digest: rollout.digest };
        let beside = if keeps { vec![beside] } else { Vec::new() };
        let drain = book.plan_with(at(20), 2, &beside, |plan| plan.kind = PlanKind::Drain);
        (book, rollout, drain)
    };
    let (mut book, rollout, drain) = begun(PlanKind::Reboot, true, false);
    book.grant(at(21), &rollout, "a", 1);
    finds("a rollout that goes on beside an open drain", &book, "while plan 2, a drain, is open");
    let (mut book, ..) = begun(PlanKind::Reboot, true, false);
    book.add(at(21), Entry::Halted { plan: drain.digest, by: "anna".into(), reason: String::new() });
    book.grant(at(22), &rollout, "a", 1);
    look(&book).expect("the drain is over");
    let (mut book, rollout, _) = begun(PlanKind::Reboot, true, true);
    book.receipt(at(21), &rollout, "a", |r| r.outcome = Outcome::Failed { reason: "no".into() });
    book.grant(at(22), &rollout, "b", 2);
    finds("another node of it", &book, "while plan 2, a drain, is open");
    let (mut book, rollout, _) = begun(PlanKind::Check, true, false);
    book.grant(at(21), &rollout, "a", 1);
    look(&book).expect("a check disturbs nobody");
    let (mut book, rollout, _) = begun(PlanKind::Reboot, false, false);
    book.grant(at(21), &rollout, "a", 1);
    finds("a plan that the drain ended", &book, "found it is over");
}

#[test]
fn receipts_count_once_for_grants_of_this_ledger_and_within_their_plan() {
    let begun = || {
        let mut book = Book::begun();
        let plan = book.plan(at(10), 1, &[]);
        book.grant(at(11), &plan, "a", 1);
        (book, plan)
    };
    let (mut never, plan) = begun();
    never.receipt(at(12), &plan, "a", |r| r.grant = 99);
    finds("grant 99 that never was", &never, "grant 99");

    let (mut other, plan) = begun();
    other.grant(at(12), &plan, "b", 2);
    finds("a grant whose order is not met", &other, "a.check");

    let (mut twice, plan) = begun();
    twice.succeed(at(12), &plan, "a", 1, &[]);
    twice.succeed(at(13), &plan, "a", 1, &[]);
    finds("two receipts of one grant", &twice, "none yet");

    let (mut early, plan) = begun();
    early.receipt(at(12), &plan, "a", |r| (r.started, r.ended) = (Timestamp::from_unix_seconds(5), at(12)));
    finds("work from before its plan", &early, "from");

    let (mut late, plan) = begun();
    late.receipt(at(12), &plan, "a", |r| (r.started, r.ended) = (at(90 * 86_400), at(90 * 86_400)));
    finds("work begun after the end", &late, "expired");

    let (mut backwards, plan) = begun();
    backwards.receipt(at(12), &plan, "a", |r| (r.started, r.ended) = (at(100), at(90)));
    finds("work that ended before it began", &backwards, "from");

    let (mut greatest, plan) = begun();
    greatest.receipt(at(12), &plan, "a", |r| (r.counter, r.previous) = (u64::MAX, Some(Digest::ZERO)));
    finds("the greatest number", &greatest, "receipt 1 of a");

    let (mut removed, plan) = begun();
    let refused = Outcome::Refused { refusal: Refusal::OrderNotMet, reason: "no".into() };
    removed.receipt(at(12), &plan, "a", |r| r.outcome = refused);
    let at_refusal = removed.entries.len() - 1;
    let second = removed.plan(at(20), 2, &[]);
    removed.grant(at(21), &second, "a", 2);
    removed.succeed(at(22), &second, "a", 2, &[]);
    look(&removed).unwrap();
    removed.entries.remove(at_refusal);
    finds("a refusal that was taken out", &removed, "which names the one before it");
}

#[test]
fn time_goes_back_only_where_a_record_says_so() {
    let mut back = honest();
    back.add(at(1), Entry::Alarm { about: "x".into(), refusal: Refusal::Replay, reason: "y".into() });
    finds("time that goes back unmarked", &back, "unmarked");
    let mut marked = honest();
    let set_back = Entry::ClockSetBack { last: at(15) };
    marked.add(at(1), set_back.clone());
    marked.add(at(2), Entry::Alarm { about: "x".into(), refusal: Refusal::Replay, reason: "y".into() });
    let report = look(&marked).unwrap();
    assert!(report.notes[0].contains("went back"), "{:?}", report.notes);
    let mut lied = honest();
    lied.add(at(30), set_back);
    finds("a mark where time went on", &lied, "set back");
}

#[test]
fn a_cut_or_rewritten_ledger_is_found_by_who_saw_it_before() {
    let book = honest();
    let expected = Expected { first_root: None, head: Some(book.head()) };
    audit(&book.bytes(), &expected).unwrap();
    for cut in 1..=4 {
        let mut shorter = book.clone();
        shorter.entries.truncate(book.entries.len() - cut);
        look(&shorter).unwrap();
        let flawed = audit(&shorter.bytes(), &expected).unwrap_err();
        assert!(flawed.flaws.len() == 1 && flawed.to_string().contains("cut"), "{flawed}");
    }
    let mut longer = book.clone();
    longer.plan(at(20), 2, &[]);
    audit(&longer.bytes(), &expected).unwrap();
    let mut forked = book.clone();
    forked.entries.pop();
    forked.add(at(15), Entry::Alarm { about: "x".into(), refusal: Refusal::Replay, reason: "y".into() });
    let flawed = audit(&forked.bytes(), &expected).unwrap_err();
    assert!(flawed.to_string().contains("another record 7"), "{flawed}");

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, book: &Book| {
        let path = folder.path().join(name);
        std::fs::write(&path, book.bytes()).unwrap();
        path
    };
    let (annas, bens, later) = (file("anna", &book), file("ben", &forked), file("later", &longer));
    assert_eq!(compare(&annas, &later).unwrap(), None, "one goes on where the other ends");
    assert_eq!(compare(&annas, &bens).unwrap().unwrap().index, 7);
}

#[test]
fn two_ledgers_show_by_what_a_node_signed_that_it_was_shown() {
    let mut book = Book::begun();
    let plan = book.plan(at(10), 1, &[]);
    book.grant(at(11), &plan, "a", 1);
    let mut shown_this = book.clone();
    let head = book.head();
    shown_this.receipt(at(12), &plan, "a", |r| r.holds.head = Some(head));
    assert!(look(&shown_this).unwrap().notes.is_empty());
    book.receipt(at(12), &plan, "a", |r| r.holds.head = Some(Head { hash: Digest::of(b"bens"), ..head }));
    let report = look(&book).unwrap();
    assert!(report.notes[0].contains("two ledgers") && report.notes[0].contains("a signed"), "{:?}", report.notes);
}

#[test]
fn one_bad_line_does_not_hide_the_others() {
    let mut book = honest();
    let plan = book.plan(at(20), 2, &[]);
    book.grant(at(21), &plan, "b", 3);
    let bytes = book.bytes();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    let mut changed: Vec<Vec<u8>> = lines.iter().map(|l| l.to_vec()).collect();
    let text = String::from_utf8(changed[3].clone()).unwrap().replace("\"grant\":1", "\"grant\":0");
    changed[3] = text.into_bytes();
    let flawed = audit(&changed.concat(), &Expected::default()).unwrap_err();
    let text = flawed.to_string();
    assert!(text.contains("record 3") && text.contains("grant 3 of b.check"), "{text}");
    assert!(!text.contains("record 5 at byte"), "the chain goes on behind a bad line: {text}");
    assert_eq!(flawed.report.records, 10);
}

#[test]
fn a_part_that_was_lost_is_marked_and_nothing_is_granted_until_an_admin_adopts_what_is_left() {
    let mut book = Book::begun();
    let plan = book.plan(at(10), 1, &[]);
    book.add(at(11), Entry::Restored { generation: 1, lost: None });
    let mut granted = book.clone();
    granted.grant(at(12), &plan, "a", 1_000_001);
    finds("a grant after a loss", &granted, "lost");
    let seen = book.head();
    book.decide(at(12), "anna", seen, at(12), Decided::Adopt { before: Head::EMPTY, after: seen });
    let mut reused = book.clone();
    reused.grant(at(13), &plan, "a", 1);
    finds("the number of a grant that may have been given", &reused, "above 1000000");
    // The node did the task under a grant that was lost, and two receipts before it were lost as well.
    book.receipt(at(14), &plan, "a", |r| (r.grant, r.counter, r.previous) = (7, 3, Some(Digest::of(b"lost"))));
    let report = look(&book).unwrap();
    assert!(report.notes.iter().any(|n| n.contains("receipts 1 to 2 of a")), "{:?}", report.notes);
}

/// docs/verify.md: nothing of Hostler is needed to check the chain and the signatures.
#[test]
fn stock_tools_audit_a_ledger_as_the_handbook_says() {
    for tool in ["jq", "ssh-keygen", "sha256sum"] {
        if Command::new(tool).arg("--help").output().is_err() {
            return println!("skipped: there is no {tool} on this machine");
        }
    }
    let page = include_str!("../../../docs/verify.md");
    let script = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(script.lines().count() <= 40, "{} lines", script.lines().count());
    let folder = tempfile::tempdir().unwrap();
    let run = |bytes: &[u8], first: &str| {
        std::fs::write(folder.path().join("audit.sh"), script).unwrap();
        std::fs::write(folder.path().join("ledger"), bytes).unwrap();
        Command::new("bash").args(["audit.sh", "ledger", first]).current_dir(folder.path()).output().unwrap()
    };
    let bytes = honest().bytes();
    let whole = run(&bytes, "");
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let said = String::from_utf8(whole.stdout).unwrap();
    assert!(said.contains("8 records") && said.contains(&honest().head().hash.to_string()), "{said}");
    assert!(!run(&bytes, "sha256:another").status.success(), "another first root");
    let text = String::from_utf8(bytes).unwrap();
    assert!(!run(text.replace("\"grant\":1", "\"grant\":7").as_bytes(), "").status.success(), "a changed line");
    let mut forged = honest();
    let Entry::Document { document: StoredDocument(roster), .. } = forged.entries[1].1.clone() else {
        panic!("expected a roster")
    };
    let stranger = signed_bytes(DocumentKind::Roster, roster.bytes, &[&key(99)]);
    forged.entries[1].1 = Entry::Document { kind: DocumentKind::Roster, document: StoredDocument(stranger) };
    assert!(!run(&forged.bytes(), "").status.success(), "a roster by a stranger");
    assert!(!run(b"", "").status.success(), "nothing at all");
    a_folder_is_audited_with_its_files(folder.path());
}

/// The folder that `ledger export --out` makes, beside the script.
fn a_folder_is_audited_with_its_files(folder: &Path) {
    let (book, out) = (honest(), folder.join("out"));
    lay_down(&mut book.bytes().as_slice(), &out).unwrap();
    std::fs::write(out.join("ledger"), book.bytes()).unwrap();
    let run = || Command::new("bash").args(["audit.sh", "out"]).current_dir(folder).output().unwrap();
    let whole = run();
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    assert!(String::from_utf8(whole.stdout).unwrap().contains("8 records"));
    for name in ["plans/1-check.plan.json", "plans/1-check.plan.json.sig"] {
        let file = out.join(name);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, [&bytes[..], b" "].concat()).unwrap();
        let changed = run();
        assert!(!changed.status.success(), "{name}");
        assert!(String::from_utf8(changed.stderr).unwrap().contains(&format!("{name} is not in the ledger")));
        std::fs::write(&file, bytes).unwrap();
    }
}

/// Each document with its signatures, once, and every key that signed them.
#[test]
fn a_ledger_is_laid_down_as_files_and_nothing_is_lost_or_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let mut book = honest();
    // Another plan under the same number, as after an epoch, and a line that cannot be read.
    book.plan_with(at(90), 1, &[], |plan| plan.title = "another".into());
    let bytes = [book.bytes(), b"no record\n".to_vec()].concat();
    let found = lay_down(&mut bytes.as_slice(), folder.path()).unwrap();
    let documents = book.entries.iter().filter_map(|(_, entry)| {
        let Entry::Document { document, .. } = entry else { return None };
        Some(document.0.clone())
    });
    let mut expected = BTreeMap::new();
    for signed in documents {
        expected.insert(signed.digest(), signed.signatures.len());
    }
    assert_eq!((found.documents, found.unread), (expected.len(), 1));
    let mut files = vec![folder.path().to_owned()];
    let mut laid_down = BTreeMap::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "json") {
            let signatures = (1..9).filter(|n| signature_path(&path, *n).exists()).count();
            laid_down.insert(Digest::of(&std::fs::read(&path).unwrap()), signatures);
        }
    }
    assert_eq!(laid_down, expected);
    let keys = std::fs::read_to_string(folder.path().join("allowed_signers")).unwrap();
    assert!(["anna ", "otto ", "a ", "b "].iter().all(|who| keys.lines().any(|line| line.starts_with(who))), "{keys}");
    assert!(new_folder(folder.path()).unwrap_err().to_string().contains("new or empty"));
    new_folder(&folder.path().join("new")).unwrap();
}

#[test]
fn the_form_of_a_ledger_does_not_change() {
    let entry = Entry::Granted {
        plan: Digest::of(b"plan"),
        task: made::task_id("a.check"),
        grant: 1,
        node: made::name("a"),
        boot_id: BootId::new("b1").unwrap(),
        lease_seconds: 120,
        baseline: None,
    };
    let (line, ..) = encode(Head::EMPTY, at(0), entry);
    assert_eq!(
        head_of(&line).hash.hex(),
        Digest::of(format!("{} {}\n", "0".repeat(64), Digest::of(&line[65..line.len() - 1]).hex()).as_bytes()).hex(),
        "`sha256sum` alone follows the chain"
    );
}
