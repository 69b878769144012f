//! The socket between agent and executor, both ways: what is read as a message can be written, and is then the same.

#![no_main]

use hostler_executor::protocol::{
    FromExecutor, ToExecutor,
    lines::{self, LineError},
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|input: &[u8]| {
    there_and_back::<ToExecutor>(input);
    there_and_back::<FromExecutor>(input);
});

fn there_and_back<T: Serialize + DeserializeOwned + PartialEq>(mut input: &[u8]) {
    while let Ok(Some(message)) = lines::read::<T>(&mut input) {
        let written = match lines::encode(&message) {
            Ok(written) => written,
            Err(LineError::TooLong) => continue,
            Err(error) => panic!("{error}"),
        };
        let again: T = lines::read(&mut written.as_slice()).expect("what was written is a message").expect("one");
        assert!(again == message);
    }
}
