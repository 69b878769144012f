//! `hostler update os`: what waits is read and signed by the machines, shown, and then exactly that is installed.

use std::collections::BTreeMap;

use hostler_plan::{
    document::Receipt,
    planner::{self, Intent, Selection},
    text::count,
    update::{Pending, PendingPackage, WhyLeft},
};
use serde_json::{Value, json};

use super::{
    Context,
    plan::{self as plans, Run},
};
use crate::{
    args::{Output, PlanRequest, UpdateCommand, UpdateOsArgs},
    artifact,
    error::Error,
    output::{clean, event, note, print, table},
    rollout, update,
};

pub(super) async fn run(context: &Context, command: UpdateCommand) -> Result<(), Error> {
    match command {
        UpdateCommand::Os(args) => os(context, args).await,
    }
}

async fn os(context: &Context, args: UpdateOsArgs) -> Result<(), Error> {
    let pending = read(context, &args).await?;
    show(context, &pending)?;
    let is_idle =
        |list: &Pending| list.packages.is_empty() && list.unfinished.is_empty() && list.reboot_reasons().is_empty();
    if pending.iter().all(is_idle) {
        return print(
            context.output,
            || json!({ "event": "nothing_to_update", "nodes": pending.iter().map(|p| &p.node).collect::<Vec<_>>() }),
            || format!("nothing to update on {}: nothing was changed", count(pending.len(), "machine")),
        );
    }
    let wanted = planner::files(&pending);
    let bytes: u64 = wanted.iter().map(|(artifact, _)| artifact.size).sum();
    note(&format!("brings {} here, {:.1} MB", count(wanted.len(), "package"), bytes as f64 / 1e6));
    artifact::bring(&wanted, args.packages.as_deref(), &context.profile.kept_artifacts())?;
    let intent = Intent::Update { nodes: selection(&args), pending, accept_outage: args.outage.accept_outage };
    let request = PlanRequest { consent: args.consent, at_once: args.begin.now, ..intent.into() };
    let how = Run { options: args.options, out: None, yes: args.yes, no_watch: args.no_watch, artifacts: None };
    plans::run_request(context, request, how).await.map(drop)
}

fn selection(args: &UpdateOsArgs) -> Selection {
    if args.all { Selection::All } else { Selection::Named(args.nodes.clone()) }
}

/// Asks the machines by a plan that installs nothing.
async fn read(context: &Context, args: &UpdateOsArgs) -> Result<Vec<Pending>, Error> {
    let intent = Intent::ReadUpdates { nodes: selection(args), security_only: args.security_only };
    let how = Run { options: args.options.clone(), out: None, yes: args.yes, no_watch: false, artifacts: None };
    let digest = plans::run_request(context, intent.into(), how).await?;
    let mut admin = context.admin().await?;
    let detail = rollout::get(&mut admin, &digest.to_string()).await?;
    let evidence = rollout::verify(admin.trust_store(), &detail);
    let fleet = &admin.trust_store().root().fleet_id;
    let answers = |receipt: &&Receipt| receipt.plan == digest && receipt.outcome.is_success();
    evidence.receipts.iter().filter(answers).map(|receipt| update::pending(receipt, fleet)).collect()
}

fn show(context: &Context, pending: &[Pending]) -> Result<(), Error> {
    match context.output {
        Output::Json => {
            for list in pending {
                event(&as_json(list))?;
            }
        }
        Output::Text => pending.iter().for_each(|list| note(&as_text(list))),
    }
    Ok(())
}

fn as_json(list: &Pending) -> Value {
    json!({ "event": "pending", "node": list.node, "read": list.read, "system": list.system,
        "packages": list.packages, "left": list.left, "removals": list.removals, "unfinished": list.unfinished,
        "kernel": list.kernel, "reboot": list.reboot_reasons(), "touches_pods": list.touches_pods() })
}

fn as_text(list: &Pending) -> String {
    let security = list.packages.iter().filter(|package| package.security).count();
    let node = &list.node;
    let system = format!("{} {} {}", list.system.id, list.system.version, list.system.codename);
    let counted = count(list.packages.len(), "package");
    let mut text = format!("{node} ({}): {counted} to install, {security} for security", clean(system.trim_end()));
    let row = |package: &PendingPackage| {
        let from = package.from.as_ref().map_or_else(|| "new".to_owned(), ToString::to_string);
        let security = if package.security { "security" } else { "" };
        let origin = clean(&package.origin).into_owned();
        [package.name_on(&list.system), from, package.to.to_string(), security.to_owned(), origin]
    };
    let rows: Vec<[String; 5]> = list.packages.iter().map(row).collect();
    if !rows.is_empty() {
        text.push_str(&format!("\n{}", table(["PACKAGE", "FROM", "TO", "", "ORIGIN"], &rows)));
    }
    let mut left: BTreeMap<WhyLeft, Vec<&str>> = BTreeMap::new();
    list.left.iter().for_each(|one| left.entry(one.why).or_default().push(&one.package));
    for (why, names) in left {
        text.push_str(&format!("\n  stays: {} ({})", clean(&names.join(", ")), why.words()));
    }
    if !list.removals.is_empty() {
        let names = list.removals.join(", ");
        text.push_str(&format!("\n  only an upgrade with removals would remove: {}", clean(&names)));
    }
    if !list.unfinished.is_empty() {
        let names = list.unfinished.join(", ");
        text.push_str(&format!("\n  half installed, finished first: {}", clean(&names)));
    }
    let reasons = list.reboot_reasons();
    match reasons.as_slice() {
        [] => text.push_str("\n  no reboot is needed"),
        reasons => text.push_str(&format!("\n  a reboot is needed: {}", clean(&reasons.join("; ")))),
    }
    let touched = list.touches_pods();
    if !touched.is_empty() {
        text.push_str(&format!("\n  pods have to leave first: they run in {}", touched.join(", ")));
    }
    text
}
