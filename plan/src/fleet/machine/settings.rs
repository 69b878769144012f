//! What `[machine]` says of the services of a machine's own: cloud-init, the journal, updates, storage, sshd.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::Table;
use crate::{
    form::DevicePattern,
    step::machine::{CloudInit, RootLogin, SetSshd},
};

/// How the services of a machine's own are set. What is `None` stands nowhere in the file and is left alone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    pub cloud_init: Option<CloudInit>,
    pub journal: Option<Journal>,
    pub updates: Option<UpdatedBy>,
    /// Clients of storage that volumes need.
    pub storage_clients: Option<BTreeSet<StorageClient>>,
    /// Devices that multipath leaves alone.
    pub multipath_exclude: Option<Vec<DevicePattern>>,
    pub sshd: Option<SetSshd>,
}

/// Where the journal lies and how large it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journal {
    pub storage: JournalStorage,
    /// MiB that it takes at most.
    pub max_use_mib: u32,
}

/// Where the journal lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalStorage {
    /// On the disk.
    Persistent,
    /// In memory: it spares an SD card, and what was before a boot is gone.
    Volatile,
}

/// Who brings the packages of a machine's system up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdatedBy {
    /// Plans alone: apt's own timers stop, and nothing restarts or reboots by itself.
    Hostler,
    /// The machine itself, as its distribution does.
    Machine,
}

/// A client of storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageClient {
    Nfs,
    Iscsi,
}

/// MiB of a journal: less holds no boot, more is no limit.
const MAX_USE_MIB: (i64, i64) = (16, 65_536);

impl Settings {
    /// These with what a group says over them.
    pub(super) fn with(self, over: Settings) -> Settings {
        Settings {
            cloud_init: over.cloud_init.or(self.cloud_init),
            journal: over.journal.or(self.journal),
            updates: over.updates.or(self.updates),
            storage_clients: over.storage_clients.or(self.storage_clients),
            multipath_exclude: over.multipath_exclude.or(self.multipath_exclude),
            sshd: over.sshd.or(self.sshd),
        }
    }
}

/// `journal` as it was written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalFragment {
    storage: Option<String>,
    max_use_mib: i64,
}

/// `sshd` as it was written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SshdFragment {
    password_authentication: bool,
    root_login: String,
}

impl Table<'_> {
    pub(super) fn cloud_init(&mut self, word: &str) -> Option<CloudInit> {
        self.word("cloud_init", word, &[("names", CloudInit::Names), ("off", CloudInit::Off)])
    }

    pub(super) fn updates(&mut self, word: &str) -> Option<UpdatedBy> {
        self.word("updates", word, &[("hostler", UpdatedBy::Hostler), ("machine", UpdatedBy::Machine)])
    }

    pub(super) fn journal(&mut self, written: &JournalFragment) -> Option<Journal> {
        let places = [("persistent", JournalStorage::Persistent), ("volatile", JournalStorage::Volatile)];
        let storage = match &written.storage {
            None => Some(JournalStorage::Persistent),
            Some(word) => self.word("journal storage", word, &places),
        };
        let (least, most) = MAX_USE_MIB;
        let found = written.max_use_mib;
        if !(least..=most).contains(&found) {
            self.error(&format!("journal max_use_mib: expected {least} to {most}, found {found}; change it"));
            return None;
        }
        Some(Journal { storage: storage?, max_use_mib: u32::try_from(found).ok()? })
    }

    pub(super) fn storage_clients(&mut self, written: &[String]) -> BTreeSet<StorageClient> {
        let known = [("nfs", StorageClient::Nfs), ("iscsi", StorageClient::Iscsi)];
        written.iter().filter_map(|word| self.word("storage_clients", word, &known)).collect()
    }

    pub(super) fn multipath_exclude(&mut self, written: &[String]) -> Vec<DevicePattern> {
        written.iter().filter_map(|pattern| self.form(DevicePattern::new(pattern.as_str()))).collect()
    }

    pub(super) fn sshd(&mut self, written: &SshdFragment) -> Option<SetSshd> {
        let words = [("no", RootLogin::No), ("keys", RootLogin::Keys)];
        let root_login = self.word("sshd root_login", &written.root_login, &words)?;
        Some(SetSshd { password_authentication: written.password_authentication, root_login })
    }

    /// One of a few words.
    fn word<T: Copy>(&mut self, key: &str, found: &str, words: &[(&str, T)]) -> Option<T> {
        let meant = words.iter().find(|(word, _)| *word == found).map(|(_, meant)| *meant);
        if meant.is_none() {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.error(&format!("{key}: expected {}, found {found:?}; write one of them", known.join(" or ")));
        }
        meant
    }
}
