//! Going on with what is left of a ledger: the loss is a record of its own.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use hostler_daemon::durable::end;
use hostler_plan::{
    entry::Entry,
    ledger::{Damage, Head, encode},
    timestamp::Timestamp,
};

use super::{
    head,
    ledger::{FILE_NAME, LedgerError, put_aside, scan},
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
    let last = scanned.records.last().map(|last| &last.record.entry);
    if had.is_some() && matches!(last, Some(Entry::Restored { lost, .. }) if *lost == had) {
        // It was marked before, and the disk ended behind that.
        head::set(folder, scanned.head).map_err(read)?;
    } else if lost.is_some() || matches!(scanned.damage, Some(Damage::Record { .. })) {
        // The head behind it: until then the ledger is too short, and this is done again.
        let (lines, head) = marks(now, &scanned.records, scanned.head, had);
        write_behind(&file, &path, &lines).and_then(|()| head::set(folder, head)).map_err(read)?;
    }
    Ok(Recovered { kept_records: scanned.head.next_index, lost, damage: scanned.damage, aside })
}

/// The lines that say, behind `records`, that what followed them is lost, and the head that they lead to; `had` is what
/// had been acknowledged, where that is known.
pub(super) fn marks(now: Timestamp, records: &[Written], head: Head, had: Option<Head>) -> (Vec<u8>, Head) {
    let restored = |w: &&Written| matches!(w.record.entry, Entry::Restored { .. });
    let generation = records.iter().filter(restored).count() as u64 + 1;
    let last = records.last().map_or(now, |w| w.record.at);
    let back = (now < last).then_some(Entry::ClockSetBack { last });
    let entries = back.into_iter().chain([Entry::Restored { generation, lost: had }]);
    entries.fold((Vec::new(), head), |(mut lines, head), entry| {
        let (line, _, next) = encode(head, now, entry);
        lines.extend(line);
        (lines, next)
    })
}

/// Writes lines behind what is there, or none of them.
fn write_behind(mut file: &File, path: &Path, lines: &[u8]) -> io::Result<()> {
    end::before_write(path)?;
    let good = file.seek(SeekFrom::End(0))?;
    file.write_all(lines).and_then(|()| file.sync_all()).inspect_err(|_| {
        // A line that is not whole was never acknowledged, so that what cannot be cut off does no harm.
        let _ = file.set_len(good);
    })
}
