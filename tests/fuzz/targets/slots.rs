//! A node's state on a broken disk: one slot of any content is a state that holds together, or damage.

#![no_main]

use std::{cell::RefCell, fs};

use hostler_executor::{disk::Disk, state_file::StateFile};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

fuzz_target!(|input: &[u8]| {
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir_in("/dev/shm").expect("a folder in memory"));
        fs::write(folder.path().join("state.0"), input).expect("writes to memory");
        if let Ok((_, Some(stored))) = StateFile::open(&Disk::beside(folder.path())) {
            let index = stored.state.to_index();
            assert!(!index.is_empty());
        }
    });
});
