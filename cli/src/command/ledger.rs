//! `hostler ledger …`: verify a copy, or fetch one.

use std::path::Path;

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
    ledger::{self, Expected, Fork, Report},
    output::{note, print},
    trust_store::TrustStore,
};

pub(super) async fn run(context: &Context, command: LedgerCommand) -> Result<(), Error> {
    match command {
        LedgerCommand::Verify { file, other, older } => verify(context, &file, other.as_deref(), older),
        LedgerCommand::Adopt { yes } => adopt(context, yes).await,
        LedgerCommand::Export { to, from } => {
            let mut admin = context.admin().await?;
            match to {
                None => ledger::export(&mut admin, from, &mut std::io::stdout(), "standard output".as_ref()).await,
                Some(path) => {
                    let mut file = std::fs::File::create(&path).map_err(|e| Error::file("write", &path, e))?;
                    ledger::export(&mut admin, from, &mut file, &path).await?;
                    file.sync_all().map_err(|e| Error::file("write", &path, e))?;
                    note(&format!("wrote {0}; next: hostler ledger verify {0}", path.display()));
                    Ok(())
                }
            }
        }
    }
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
