//! `hostler ledger …`: verify a copy, or fetch one.

use hostler_plan::text::count;
use serde_json::json;

use super::Context;
use crate::{
    args::LedgerCommand,
    error::Error,
    ledger::{self, Report},
    output::{note, print},
    trust_store::TrustStore,
};

pub(super) async fn run(context: &Context, command: LedgerCommand) -> Result<(), Error> {
    match command {
        LedgerCommand::Verify { file } => {
            let store = TrustStore::load(&context.profile.home)?;
            let first = store.as_ref().map(TrustStore::first_root);
            if first.is_none() {
                note("no root is held in this profile: the ledger's own first root is taken; compare its digest below");
            }
            let report = ledger::verify_file(&file, first.as_ref())?;
            print(
                context.output,
                || {
                    let mut value = json!(report);
                    value["first_root_held"] = json!(first.is_some());
                    value
                },
                || text(&report),
            )
        }
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

fn text(report: &Report) -> String {
    let digest = |d: &Option<_>| d.as_ref().map_or("none".to_owned(), ToString::to_string);
    format!(
        "whole: {}, every line follows the one before, every signature counts\n  head        {}\n  \
         first root  {}\n  holds       {}, {}, {}, {}, {}, {}, {}\n  \
         alarms      {} (refusals by nodes and by the coordinator)",
        count(report.records, "record"),
        digest(&report.head),
        digest(&report.first_root),
        count(report.roots, "root"),
        count(report.rosters, "roster"),
        count(report.admissions, "admission"),
        count(report.enrolments, "enrolment"),
        count(report.plans, "plan"),
        count(report.grants, "grant"),
        count(report.receipts, "receipt"),
        report.alarms
    )
}
