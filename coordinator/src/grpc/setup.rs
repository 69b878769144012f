//! The code with which an empty coordinator takes its first root.

use std::{
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use hostler_plan::id::Digest;

use crate::store::head;

/// The code with which an empty coordinator takes its first root, once.
#[derive(Debug)]
pub(crate) struct Setup {
    code: Mutex<Option<String>>,
    pub(super) file: PathBuf,
}

impl Setup {
    /// `code` is none when there is a root already.
    pub(crate) fn new(code: Option<String>, file: PathBuf) -> Self {
        Self { code: Mutex::new(code), file }
    }

    /// Compares digests, so that time tells nothing about the code.
    pub(super) fn matches(&self, offered: &str) -> bool {
        let code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        code.as_ref().is_some_and(|c| Digest::of(c.as_bytes()) == Digest::of(offered.as_bytes()))
    }

    pub(super) fn is_open(&self) -> bool {
        self.code.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(super) fn close(&self) {
        *self.code.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(folder) = self.file.parent()
            && let Err(error) = head::note_root(folder)
        {
            tracing::warn!(folder = %folder.display(), %error, "it could not be noted that there is a root; check \
            the disk");
        }
        if let Err(error) = std::fs::remove_file(&self.file)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.file.display(), %error, "the used set-up code could not be removed");
        }
    }
}
