//! `hostler node remove` and `hostler node replace`: what the cluster and the roster do together, one after the other.

use std::time::Duration;

use hostler_plan::{form::Reason, id::NodeName};

use super::{
    Context,
    members::{self, Consent, Handed},
    plan,
};
use crate::{
    Admin,
    args::{Interactive, NodeArgument, PlanOptions, RemoveArgs, ReplaceArgs},
    error::Error,
    node,
    output::note,
    roster,
};

/// A machine that a roster lists asks every few seconds whether it is listed, and is connected soon after.
const UNTIL_CONNECTED: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_secs(1);

/// `hostler node remove`: the cluster lets the nodes go, then the roster.
pub(super) async fn remove(context: &Context, args: Interactive<RemoveArgs>, keep_listed: bool) -> Result<(), Error> {
    let (nodes, yes, is_watched) = (args.request.nodes.nodes.clone(), args.yes, !args.no_watch);
    plan::run_interactive(context, args).await?;
    if keep_listed || !is_watched {
        return Ok(());
    }
    for name in &nodes {
        let mut admin = context.admin().await?;
        members::retire(context, &mut admin, name, Consent { yes, out: None }).await?;
    }
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    note(&format!("next: take {} out of the fleet file", names.join(", ")));
    Ok(())
}

/// `hostler node replace`: the roster takes the new machine for the old one, and the cluster does where it is proved
/// that the old one is off.
pub(super) async fn replace(
    context: &Context,
    mut admin: Admin,
    node: &NodeArgument,
    proof: Option<Reason>,
    consent: Consent,
) -> Result<(), Error> {
    let (name, yes) = (node.name.clone(), consent.yes);
    // One that was listed before is not listed again.
    if proof.is_none() || waits(&mut admin, &name).await? {
        let handed = members::settle(context, &mut admin, node, &name, consent).await?;
        if let (Handed::Waits(_), Some(_)) = (&handed, &proof) {
            note(&format!("then: hostler plan replace {name} --power-off-proof TEXT"));
            return Ok(());
        }
    }
    let Some(proof) = proof else { return Ok(()) };
    await_connected(&mut admin, &name).await?;
    let args = Interactive {
        request: ReplaceArgs { node: name, power_off_proof: Some(proof) },
        options: PlanOptions { lifetime: None },
        out: None,
        yes,
        no_watch: false,
        artifacts: None,
    };
    plan::run_interactive(context, args).await
}

/// Whether a machine that no roster lists came under that name.
async fn waits(admin: &mut Admin, name: &NodeName) -> Result<bool, Error> {
    let (pending, _) = roster::pending(admin).await?;
    let doubles = roster::doubles(admin).await?;
    let mut came = pending.iter().chain(doubles.iter().map(|double| &double.pending));
    Ok(came.any(|pending| pending.enrolment.document().node == *name))
}

/// Waits until the machine that the roster lists under that name is connected; the plan says what is wrong where it is
/// not.
pub(super) async fn await_connected(admin: &mut Admin, name: &NodeName) -> Result<(), Error> {
    let began = tokio::time::Instant::now();
    let key =
        admin.trust_store().require_roster()?.document().active(name).map(|node| node.key.fingerprint().to_string());
    let mut is_said = false;
    while began.elapsed() < UNTIL_CONNECTED {
        let nodes = node::list(admin).await?;
        if nodes.iter().any(|n| n.name == name.as_str() && n.connected && Some(&n.key) == key.as_ref()) {
            break;
        }
        if !is_said {
            note(&format!("waits until the new machine of {name} is connected"));
            is_said = true;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
