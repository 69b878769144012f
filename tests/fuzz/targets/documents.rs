//! Every kind of document, behind its signature: what is read must be what was written, byte by byte in meaning.

#![no_main]

use hostler_plan::{
    document::{Admission, Decision, Enrolment, Holding, Plan, Receipt, Root, Roster},
    json,
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 8 {
        0 => read::<Root>(bytes),
        1 => read::<Admission>(bytes),
        2 => read::<Enrolment>(bytes),
        3 => read::<Roster>(bytes),
        4 => read::<Plan>(bytes),
        5 => read::<Receipt>(bytes),
        6 => read::<Holding>(bytes),
        _ => read::<Decision>(bytes),
    }
});

fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(document) = json::parse::<T>(bytes) {
        let written = json::write(&document);
        assert_eq!(json::parse::<T>(&written).expect("what was written is a document"), document);
    }
}
