//! A ledger that somebody hands over: damage is named, and what is read is what stands there.

#![no_main]

use hostler_plan::{
    id::Digest,
    ledger::{self, Damage, Head},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match ledger::verify(input) {
        Ok((records, head)) => assert_eq!(records.len() as u64, head.next_index),
        Err(Damage::Record { offset, .. } | Damage::Torn { offset, .. }) => assert!(offset as usize <= input.len()),
    }
    // Behind the hash, which a fuzzer does not find.
    let Some(line) = input.split(|b| *b == b'\n').next() else { return };
    let json = line.get(65..).unwrap_or_default();
    let chained = Digest::of(&[&[0; 32], json].concat());
    let line = [chained.hex().as_bytes(), b" ", json, b"\n"].concat();
    let _ = ledger::decode(Head::EMPTY, 0, &line);
});
