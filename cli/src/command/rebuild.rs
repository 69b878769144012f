//! `hostler fleet rebuild`: the cluster of the fleet file made anew on bare machines, as a chain of two plans.

use std::time::Duration;

use hostler_plan::{
    id::NodeName,
    planner::{Intent, Selection},
    sequencer::Standing,
    text::count,
};

use super::{
    Context, leave,
    plan::{self, Run},
    restore,
};
use crate::{
    args::{PlanRequest, RebuildArgs},
    error::Error,
    output::note,
    plan::{inventory, read_fleet},
};

/// A server tells how it is within seconds of being Ready.
const UNTIL_SEEN: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_secs(2);

pub(super) async fn rebuild(context: &Context, args: RebuildArgs) -> Result<(), Error> {
    let (fleet, _) = read_fleet(context.profile.fleet()?)?;
    let Some(first) = fleet.servers().first().map(|server| server.name.clone()) else {
        return Err(Error::Usage("expected a server in the fleet file, found none".to_owned()));
    };
    let others = fleet.nodes.len() - 1;
    let sealed = match args.snapshot.as_deref().zip(args.recovery_key.as_deref()) {
        Some((which, recovery_key)) => {
            let asked = restore::Asked { which, recovery_key, accept_unproved: args.accept_unproved };
            Some(restore::seal_to(context, asked, std::slice::from_ref(&first)).await?)
        }
        None => None,
    };
    note(&match others {
        0 => format!("one plan: {first} begins"),
        others => {
            format!("two plans, each shown before it is signed: {first} begins, then {} join", count(others, "node"))
        }
    });
    // Its machines were listed a moment ago, and each comes back for its certificate.
    let mut admin = context.admin().await?;
    for node in &fleet.nodes {
        leave::await_connected(&mut admin, &node.name).await?;
    }
    let run = || Run {
        options: args.options.clone(),
        out: None,
        yes: args.yes,
        no_watch: false,
        artifacts: args.artifacts.clone(),
    };
    let snapshot = sealed.as_ref().map(|sealed| sealed.opened.clone());
    let begun = plan::run_request(context, Intent::Rebuild { snapshot }.into(), run()).await;
    if let Some(sealed) = sealed {
        sealed.remove();
    }
    begun?;
    if others == 0 {
        return Ok(());
    }
    await_seen(context, &first).await?;
    let joins: PlanRequest = Intent::Join { nodes: Selection::All }.into();
    plan::run_request(context, joins, run()).await.map(drop)
}

/// Waits until the coordinator has heard that the first server is Ready: others join by it.
async fn await_seen(context: &Context, first: &NodeName) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let began = tokio::time::Instant::now();
    loop {
        let seen = inventory(&mut admin).await?;
        if seen.nodes.get(first).is_some_and(|node| node.condition.standing == Standing::Ready) {
            return Ok(());
        }
        if began.elapsed() >= UNTIL_SEEN {
            return Err(Error::Failed(format!(
                "expected {first} to be seen Ready within {} s, found it is not; see `hostler nodes`, then bring the \
                 others in with `hostler plan join --all`",
                UNTIL_SEEN.as_secs()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}
