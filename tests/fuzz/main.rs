//! The fuzzer: bytes that grow by coverage for the parser that `HOSTLER_PARSER` names.

#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls a C function by its name")]

mod parsers;

use std::sync::OnceLock;

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus {
    static PARSER: OnceLock<parsers::Parser> = OnceLock::new();
    let parser = PARSER.get_or_init(|| {
        let name = std::env::var("HOSTLER_PARSER").unwrap_or_default();
        let found = parsers::PARSERS.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("HOSTLER_PARSER: expected one of tests/fuzz/parsers.rs, found {name:?}")).1
    });
    parser(input);
    Corpus::Keep
});
