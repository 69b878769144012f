//! What verdicts say to people: of every condition the sentence where it is bad, where it is well and where nobody
//! knows. `tests/sentences.txt` has them all; HOSTLER_BLESS=1 writes it anew when the words are meant to be others.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::{collections::BTreeMap, path::Path};

use hostler_fixtures::golden;
use hostler_plan::health::{Condition, Level, Side, Verdict};

/// Of any series: none of it is shown.
const FACT: &str = "node_some_series_bytes{device=\"sda\"}";

fn sentence(condition: Condition, value: Option<f64>) -> String {
    let row = condition.row();
    let verdict = Verdict {
        rule: row.rule,
        subject: "sda".into(),
        level: Level::Ok,
        required: false,
        condition: Some(condition),
        fact: FACT.into(),
        value,
        threshold: value.map(|_| row.raise),
        since_ms: 0,
        clear_seconds: None,
        damped: false,
        disk: None,
        numbers: BTreeMap::new(),
        accepted: None,
        advice: "look".into(),
    };
    verdict.sentence()
}

#[test]
fn every_sentence_is_one_for_a_person() {
    let mut all = String::new();
    for condition in Condition::ALL {
        let row = condition.row();
        let (bad, well) = match row.side {
            Side::Above => (row.raise * 1.034, 0.0),
            Side::Below => (row.raise * 0.756, row.raise * 2.0),
        };
        for (how, value) in [("bad", Some(bad)), ("well", Some(well)), ("unknown", None)] {
            let said = sentence(*condition, value);
            let words = said.strip_prefix(&format!("{} sda: ", row.rule)).unwrap();
            assert!(!words.contains(['_', '{']), "a series is no word of people: {said}");
            all.push_str(&format!("{} {how}: {}\n", condition.name(), words.strip_suffix("; look").unwrap()));
        }
    }
    golden::check(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sentences.txt")), &all);
}
