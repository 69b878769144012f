//! `hostler fleet …`: the fleet file beside what runs.

use hostler_plan::{step::ClusterRole, text::count};
use serde_json::json;

use super::{Context, rebuild};
use crate::{
    args::{DiffArgs, FleetCommand, InspectArgs, Interactive, ManyNodes, PlanOptions},
    error::Error,
    file::read_text,
    fleet::{self, Difference},
    output::{clean, file, note, print, table},
    plan::{self, MAX_FLEET_BYTES},
};

pub(super) async fn run(context: &Context, command: FleetCommand) -> Result<(), Error> {
    match command {
        FleetCommand::Check { file: path } => {
            let (fleet, unwise) = plan::read_fleet(&path)?;
            let unwise: Vec<String> = unwise.iter().map(ToString::to_string).collect();
            let servers = fleet.servers().len();
            let of = |role| fleet.nodes.iter().filter(|node| node.role == role).count();
            print(
                context.output,
                || {
                    json!({ "file": path.display().to_string(), "name": fleet.name, "version": fleet.version,
                        "distribution": fleet.distribution.to_string(), "servers": servers,
                        "workers": of(ClusterRole::Worker), "hosts": of(ClusterRole::Host),
                        "artifacts": fleet.artifacts.len(), "warnings": unwise })
                },
                || {
                    let mut text = format!(
                        "{}: fleet {}, {} {}, {}, {}, {}",
                        path.display(),
                        fleet.name,
                        fleet.distribution,
                        fleet.version,
                        count(servers, "server"),
                        count(of(ClusterRole::Worker), "worker"),
                        count(fleet.artifacts.len(), "artifact")
                    );
                    if of(ClusterRole::Host) > 0 {
                        text.push_str(&format!(", {}", count(of(ClusterRole::Host), "host")));
                    }
                    unwise.iter().for_each(|u| text.push_str(&format!("\n{}", clean(u))));
                    text
                },
            )
        }
        FleetCommand::Rebuild(args) => rebuild::rebuild(context, args).await,
        FleetCommand::Show => {
            let mut admin = context.admin().await?;
            let stored = fleet::stored(&mut admin).await?;
            if stored.is_empty() {
                return Err(Error::Failed(
                    "the coordinator has no fleet file yet; give it yours with `hostler fleet put`".into(),
                ));
            }
            match context.output {
                crate::args::Output::Text => file(&stored),
                crate::args::Output::Json => {
                    print(context.output, || json!({ "content": String::from_utf8_lossy(&stored) }), String::new)
                }
            }
        }
        FleetCommand::Diff(args) if args.machines => machines(context, args).await,
        FleetCommand::Diff(_) => diff(context).await,
        FleetCommand::Import(args) => super::import::run(context, args).await,
        FleetCommand::Put => {
            let path = context.profile.fleet()?;
            plan::read_fleet(path)?;
            let content = read_text(path, MAX_FLEET_BYTES)?.into_bytes();
            let mut admin = context.admin().await?;
            fleet::put(&mut admin, content).await?;
            let text = format!("the coordinator has {}", path.display());
            print(context.output, || json!({ "file": path.display().to_string() }), || text)
        }
    }
}

/// Asks the machines by a plan that changes nothing.
async fn machines(context: &Context, args: DiffArgs) -> Result<(), Error> {
    if args.nodes.is_empty() && !args.all {
        return Err(Error::Usage("expected the machines to ask by name, or --all, found neither".into()));
    }
    let inspect = Interactive {
        request: InspectArgs { nodes: ManyNodes { nodes: args.nodes, all: args.all } },
        options: PlanOptions { lifetime: None },
        out: None,
        yes: args.yes,
        no_watch: false,
        artifacts: None,
    };
    super::plan::run_interactive(context, inspect).await
}

async fn diff(context: &Context) -> Result<(), Error> {
    let path = context.profile.fleet()?;
    let (fleet, _) = plan::read_fleet(path)?;
    let own = read_text(path, MAX_FLEET_BYTES)?;
    let mut admin = context.admin().await?;
    let inventory = plan::inventory(&mut admin).await?;
    let roster = admin.trust_store().roster().map(|r| r.document().clone());
    let differences = fleet::differences(&fleet, roster.as_ref(), &inventory);
    let stored = fleet::stored(&mut admin).await?;
    let lines = fleet::line_changes(&String::from_utf8_lossy(&stored), &own);
    print(
        context.output,
        || {
            json!({ "differences": differences.iter().map(|d| json!({
                    "node": d.node, "expected": d.expected, "found": d.found, "next": d.next })).collect::<Vec<_>>(),
                "file_changes": lines })
        },
        || match differences.is_empty() {
            true => "the fleet is what its file says".to_owned(),
            false => table(["NODE", "EXPECTED", "FOUND", "NEXT"], &differences.iter().map(row).collect::<Vec<_>>()),
        },
    )?;
    if !lines.is_empty() && context.output == crate::args::Output::Text {
        note(&format!(
            "the coordinator's copy (-) differs from {} (+); update it with `hostler fleet put`:",
            path.display()
        ));
        lines.iter().for_each(|l| note(&clean(l)));
    }
    Ok(())
}

fn row(d: &Difference) -> [String; 4] {
    let node = d.node.as_ref().map_or("-".to_owned(), ToString::to_string);
    [node, d.expected.clone(), d.found.clone(), d.next.clone()]
}
