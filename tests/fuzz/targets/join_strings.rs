//! Join strings and set-up codes, which people copy from anywhere.

#![no_main]

use hostler_proto::join::{JoinString, SetupCode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(join) = JoinString::parse(text) {
        assert!(JoinString::parse(&join.encode()).expect("what was written is a join string") == join);
    }
    if let Ok(code) = SetupCode::parse(text) {
        assert!(SetupCode::parse(&code.encode()).expect("what was written is a set-up code") == code);
    }
});
