//! Going on with what is left of a ledger: the loss is a record of its own.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
};

use hostler_plan::{
    entry::Entry,
    ledger::{Damage, Head},
    timestamp::Timestamp,
};

use super::{
    head,
    ledger::{FILE_NAME, Ledger, LedgerError, put_aside, scan},
};
use crate::control::Written;

/// What `hostler-coordinator recover` did.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    pub kept_records: u64,
    /// What had been acknowledged and is not there any more.
    pub lost: Option<Head>,
    /// What was wrong with the record behind them.
    pub damage: Option<Damage>,
    /// Where everything from that record on was put.
    pub aside: Option<PathBuf>,
}

/// Keeps the records before the first damaged one and puts the rest aside in `ledger.damaged-OFFSET`. Where
/// acknowledged records are lost by it, the ledger says so from then on.
pub(crate) fn recover(folder: &Path, now: Timestamp) -> Result<Recovered, LedgerError> {
    let path = folder.join(FILE_NAME);
    let read = |source| LedgerError::Read { path: path.clone(), source };
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(read)?;
    let scanned = scan(&file).map_err(read)?;
    if scanned.records.is_empty() {
        return Err(LedgerError::Gone { path });
    }
    let had = head::read(folder);
    let lost = had.filter(|had| had.next_index > scanned.head.next_index);
    let aside = match &scanned.damage {
        None => None,
        Some(Damage::Record { offset, .. } | Damage::Torn { offset, .. }) => {
            Some(put_aside(&file, *offset, &folder.join(format!("{FILE_NAME}.damaged-{offset}"))).map_err(read)?)
        }
    };
    if lost.is_some() || matches!(scanned.damage, Some(Damage::Record { .. })) {
        mark_restored(folder, now, &scanned.records, scanned.head, had)?;
    }
    Ok(Recovered { kept_records: scanned.head.next_index, lost, damage: scanned.damage, aside })
}

/// Writes behind `records` that what followed them is lost; `had` is what had been acknowledged, where that is known.
pub(super) fn mark_restored(
    folder: &Path,
    now: Timestamp,
    records: &[Written],
    head: Head,
    had: Option<Head>,
) -> Result<(), LedgerError> {
    let path = folder.join(FILE_NAME);
    head::set(folder, head).map_err(|source| LedgerError::Read { path, source })?;
    let restored = |w: &&Written| matches!(w.record.entry, Entry::Restored { .. });
    let generation = records.iter().filter(restored).count() as u64 + 1;
    let last = records.last().map_or(now, |w| w.record.at);
    let back = (now < last).then_some(Entry::ClockSetBack { last });
    let entries = back.into_iter().chain([Entry::Restored { generation, lost: had }]).collect();
    Ledger::open(folder)?.ledger.append(now, entries)?;
    Ok(())
}
