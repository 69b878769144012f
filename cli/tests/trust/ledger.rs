//! A ledger that was edited is named at the exact record, even where every line's hash was made anew.

use std::process::Command;

use crate::fleet::{Fleet, anna, entries, ledger, node_key, sign};
use hostler_cli::ledger::{Flaw, verify};
use hostler_plan::{
    document::{DocumentKind, Outcome, Receipt},
    entry::{Entry, StoredDocument},
    id::Digest,
    json,
    ledger::Damage,
    refusal::Refusal,
};

fn flaw(entries: &[Entry], first: Option<&Digest>) -> (u64, Refusal) {
    match verify(&ledger(entries), first).expect_err("the edit is noticed") {
        Flaw::Record { index, refused, .. } => (index, refused.refusal),
        Flaw::Damage(damage) => panic!("the chain itself was whole: {damage}"),
    }
}

#[test]
fn an_honest_ledger_is_whole() {
    let fleet = Fleet::new(1);
    let entries = entries(&fleet);
    let report = verify(&ledger(&entries), Some(&fleet.root.digest())).unwrap();
    assert_eq!((report.records, report.receipts, report.grants, report.plans), (10, 3, 3, 1));
    assert_eq!(report.first_root, Some(fleet.root.digest()));
}

#[test]
fn every_flipped_byte_names_its_record() {
    let bytes = ledger(&entries(&Fleet::new(1)));
    let mut record = 0;
    for at in 0..bytes.len() {
        // Every 97th byte, and every end of a line.
        if at % 97 == 0 || bytes[at] == b'\n' {
            let mut edited = bytes.clone();
            edited[at] ^= 1;
            match verify(&edited, None).expect_err("damage is noticed") {
                Flaw::Damage(Damage::Record { index, .. } | Damage::Torn { index, .. }) => {
                    assert_eq!(index, record, "byte {at}");
                }
                Flaw::Record { .. } => panic!("byte {at} passed the chain"),
            }
        }
        record += u64::from(bytes[at] == b'\n');
    }
}

#[test]
fn a_forger_who_makes_the_chain_anew_is_found_by_the_signatures_and_the_order() {
    let fleet = Fleet::new(1);
    let honest = entries(&fleet);
    let edit = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = honest.clone();
        change(&mut entries);
        flaw(&entries, Some(&fleet.root.digest()))
    };
    let forged_receipt = |entries: &mut Vec<Entry>, at: usize, key, change: &dyn Fn(&mut Receipt)| {
        let Entry::Document { document: StoredDocument(signed), .. } = &entries[at] else { panic!("a receipt") };
        let mut receipt: Receipt = json::parse(&signed.bytes).unwrap();
        change(&mut receipt);
        let signed = sign(DocumentKind::Receipt, json::write(&receipt), &[key]);
        entries[at] = Entry::Document { kind: DocumentKind::Receipt, document: StoredDocument(signed) };
    };
    // 0 root, 1 roster, 2 plan, then grant and receipt of a, b, c (3 to 8), 9 finished.
    assert_eq!(edit(&|e| drop(e.remove(0))).1, Refusal::RootChain, "no root");
    assert_eq!(edit(&|e| drop(e.remove(1))), (1, Refusal::RootChain), "no roster");
    assert_eq!(edit(&|e| drop(e.remove(3))), (3, Refusal::OrderNotMet), "a receipt without its grant");
    assert_eq!(edit(&|e| drop(e.remove(4))), (4, Refusal::OrderNotMet), "b granted without the receipt of a");
    assert_eq!(edit(&|e| drop(e.remove(8))), (8, Refusal::OrderNotMet), "finished without the receipt of c");
    assert_eq!(edit(&|e| e.swap(4, 5)), (4, Refusal::OrderNotMet), "b granted before a succeeded");
    assert_eq!(edit(&|e| forged_receipt(e, 6, anna(), &|_| {})), (6, Refusal::BadSignature), "not the node's key");
    assert_eq!(edit(&|e| forged_receipt(e, 6, node_key(0), &|_| {})).0, 6, "another node's key");
    assert_eq!(
        edit(&|e| forged_receipt(e, 6, node_key(1), &|r| r.relied_on.clear())),
        (6, Refusal::OrderNotMet),
        "a node that did not check the order"
    );
    assert_eq!(
        edit(&|e| forged_receipt(e, 6, node_key(1), &|r| r.counter = 3)).0,
        6,
        "a number without the receipts before it"
    );
    assert_eq!(
        edit(&|e| forged_receipt(e, 6, node_key(1), &|r| r.outcome = Outcome::Failed { reason: "x".into() })),
        (7, Refusal::OrderNotMet),
        "c granted although b failed"
    );
    let other = Fleet::new(2);
    assert_eq!(flaw(&entries(&other), Some(&fleet.root.digest())), (0, Refusal::RootChain), "another fleet");
}

#[test]
fn the_command_names_the_record_and_exits_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(1);
    fleet.hold(folder.path());
    let path = folder.path().join("ledger.copy");
    let run = |form: &str| {
        Command::new(env!("CARGO_BIN_EXE_hostler"))
            .env_clear()
            .args(["--home", folder.path().to_str().unwrap(), "--output", form, "ledger", "verify"])
            .arg(&path)
            .output()
            .unwrap()
    };
    let honest = ledger(&entries(&fleet));
    std::fs::write(&path, &honest).unwrap();
    let out = run("json");
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((report["records"].as_u64(), report["first_root_held"].as_bool()), (Some(10), Some(true)));

    let text = String::from_utf8(honest.clone()).unwrap();
    std::fs::write(&path, text.replacen("\"grant\":2", "\"grant\":9", 1)).unwrap();
    let out = run("text");
    assert_eq!(out.status.code(), Some(i32::from(Refusal::DamagedState.exit_code())));
    assert!(String::from_utf8_lossy(&out.stderr).contains("record 5"), "{out:?}");

    std::fs::write(&path, &honest[..honest.len() - 10]).unwrap();
    assert!(String::from_utf8_lossy(&run("text").stderr).contains("record 9"));

    let mut without = entries(&fleet);
    without.remove(4);
    std::fs::write(&path, ledger(&without)).unwrap();
    let out = run("text");
    assert_eq!(out.status.code(), Some(i32::from(Refusal::OrderNotMet.exit_code())));
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(message.contains("record 4") && message.contains("b.check"), "{message}");
}
