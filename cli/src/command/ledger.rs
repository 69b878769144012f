//! `hostler ledger …`: verify a copy, or fetch one.

use std::{
    fs::File,
    io::{BufReader, IsTerminal as _},
    path::Path,
};

use hostler_daemon::durable;
use hostler_plan::{
    refusal::{Refusal, Refused},
    text::count,
};
use serde_json::json;

use super::Context;
use crate::{
    args::LedgerCommand,
    ask::confirm,
    decision,
    error::Error,
    head::SeenHead,
    ledger::{self, Expected, Fork, LaidDown, Report},
    output::{note, print},
    trust_store::TrustStore,
};

pub(super) async fn run(context: &Context, command: LedgerCommand) -> Result<(), Error> {
    match command {
        LedgerCommand::Verify { file, other, older } => verify(context, &file, other.as_deref(), older),
        LedgerCommand::Adopt { yes } => adopt(context, yes).await,
        LedgerCommand::Export { to, out, from } => match (out, to) {
            (Some(folder), _) => export_folder(context, &folder).await,
            (None, Some(path)) => {
                export_file(context, from, &path).await?;
                note(&format!("wrote {0}; next: hostler ledger verify {0}", path.display()));
                Ok(())
            }
            (None, None) if std::io::stdout().is_terminal() => Err(Error::Usage(
                "expected a place for the ledger, found a terminal; use --out FOLDER, --to FILE or > FILE".to_owned(),
            )),
            (None, None) => {
                let mut admin = context.admin().await?;
                ledger::export(&mut admin, from, &mut std::io::stdout(), "standard output".as_ref()).await
            }
        },
    }
}

async fn export_file(context: &Context, from: u64, path: &Path) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let failed = |e| Error::file("write", path, e);
    // What is no file, such as a pipe, has no content to lose.
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        let mut file = File::create(path).map_err(failed)?;
        return ledger::export(&mut admin, from, &mut file, path).await;
    }
    // A copy that is cut short must not take the place of a whole one.
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut beside = place.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    let mut file = File::create(beside).map_err(failed)?;
    let written = ledger::export(&mut admin, from, &mut file, path).await;
    let placed = written.and_then(|()| durable::put_in_place(beside, &place).map_err(failed));
    if placed.is_err() {
        // What stays of it does no harm.
        let _ = std::fs::remove_file(beside);
    }
    placed
}

async fn export_folder(context: &Context, folder: &Path) -> Result<(), Error> {
    ledger::new_folder(folder)?;
    let file = folder.join("ledger");
    export_file(context, 0, &file).await?;
    let lines = File::open(&file).map_err(|e| Error::file("read", &file, e))?;
    let LaidDown { documents, unread } = ledger::lay_down(&mut BufReader::new(lines), folder)?;
    if unread > 0 {
        note(&format!("{} cannot be read and are not among the files", count(unread as u64, "record")));
    }
    let (documents, folder) = (count(documents as u64, "document"), folder.display());
    note(&format!("wrote {documents} to {folder}; next: hostler ledger verify {}", file.display()));
    Ok(())
}

async fn adopt(context: &Context, yes: bool) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let seen = admin.seen()?;
    let shown = seen.other.unwrap_or(seen.head);
    note(&format!("seen before: a ledger of {}\nshown now:   a ledger of {shown}", seen.head));
    confirm("Go on with the one that is shown now?", yes)?;
    let (before, after) = decision::adopt(&mut admin).await?;
    print(
        context.output,
        || json!({ "before": before, "after": after, "adopted": true }),
        || format!("adopted: the ledger of {after} holds"),
    )
}

fn verify(context: &Context, file: &Path, other: Option<&Path>, older: bool) -> Result<(), Error> {
    let store = TrustStore::load(&context.profile.home)?;
    let first_root = store.as_ref().map(TrustStore::first_root);
    if first_root.is_none() {
        note("no root is held in this profile: the ledger's own first root is taken; compare its digest below");
    }
    let head = if older { None } else { SeenHead::load(&context.profile.home.join("trust"))?.map(|seen| seen.head) };
    let expected = Expected { first_root, head };
    for copy in [Some(file), other].into_iter().flatten() {
        let report = ledger::verify_file(copy, &expected)?;
        print(
            context.output,
            || {
                let mut value = json!(report);
                value["first_root_held"] = json!(first_root.is_some());
                value["head_held"] = json!(head.is_some());
                value
            },
            || text(&report),
        )?;
    }
    match other.map(|other| ledger::compare(file, other)).transpose()?.flatten() {
        None => Ok(()),
        Some(Fork { index, hashes: [one, another] }) => Err(Refused::new(
            Refusal::Replay,
            format!(
                "expected two copies of one ledger, found that record {index} is {one} in the first and {another} \
                 in the \
                 second: the coordinator keeps two; ask every signer which they saw, and let an admin adopt one"
            ),
        )
        .into()),
    }
}

fn text(report: &Report) -> String {
    let digest = |d: &Option<_>| d.as_ref().map_or("none".to_owned(), ToString::to_string);
    let mut text = format!(
        "{}, each follows from the one before; {} whose signatures count; {} unsigned: the coordinator's claim\n  \
         head        {}\n  first root  {}\n  holds       {}, {}, {}, {}, {}, {}, {}, {}\n  \
         alarms      {} (refusals by nodes and by the coordinator)",
        count(report.records, "record"),
        count(report.documents, "document"),
        count(report.unsigned, "decision"),
        digest(&report.head),
        digest(&report.first_root),
        count(report.roots, "root"),
        count(report.rosters, "roster"),
        count(report.admissions, "admission"),
        count(report.enrolments, "enrolment"),
        count(report.plans, "plan"),
        count(report.grants, "grant"),
        count(report.receipts, "receipt"),
        count(report.decisions, "signed decision"),
        report.alarms
    );
    for (head, lines) in [("claim", &report.claims), ("note", &report.notes)] {
        lines.iter().for_each(|line| text.push_str(&format!("\n  {head:<12}{line}")));
    }
    text
}
