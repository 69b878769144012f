//! `kubeadm.join`: on the node that comes.

use std::time::Duration;

use hostler_plan::{
    document::Outcome,
    step::{ClusterRole, kubeadm::Join},
};

use super::{
    complete,
    material::{self, Material},
    run,
};
use crate::{
    distribution::kubeadm::{KUBELET_KUBECONFIG, RUN_CONFIG, RUN_DISCOVERY, config, state},
    steps::action::{Action, Check, StepContext, StepError, Undone},
};

/// After kubeadm has ended only the mirrors of static pods are still on their way.
const PATIENCE: Duration = Duration::from_secs(300);

impl Action for Join {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        run::documents(self.config.as_str())?;
        let found = run::found(context)?;
        if found.is_empty() {
            return Ok(Check::Ready);
        }
        let foreign = foreign(self, context)?;
        if foreign.is_none() {
            let is_whole = missing(self, context)?.is_none() && material::left(context.host())?.is_empty();
            if is_whole && !run::is_there(context)? {
                context.observe("version", self.version.to_string());
                return Ok(Check::Done(format!("a {} of the cluster at {}", self.role, self.version)));
            }
            if run::is_marked(self.config.as_str(), context)? {
                return Ok(Check::Ready);
            }
        }
        let foreign = foreign.map(|foreign| format!("{foreign}: ")).unwrap_or_default();
        Ok(run::leftovers("join", &format!("{foreign}{}", found.join(", "))))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        if run::is_there(context)? || missing(self, context)?.is_some() {
            join(self, context)?;
        }
        // What was secret of it has served.
        material::remove_left(context.host())?;
        Ok(())
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let after = run::await_whole(("node", "node"), PATIENCE, context, |context| missing(self, context))?;
        context.observe("version", self.version.to_string());
        Ok(format!("joined as {} at {}, {after} after kubeadm", self.role, self.version))
    }

    /// A join that failed leaves no token on the disk, and no key of the cluster on what did not become a server.
    fn undo(&self, _: &Outcome, context: &mut StepContext<'_>) -> Undone {
        match material::remove_left(context.host()) {
            Ok(removed) if removed.is_empty() => Undone::Nothing,
            Ok(_) => Undone::Said("what was secret of the join was deleted from this node".into()),
            Err(error) => {
                Undone::Said(format!("what was secret of the join could not be deleted from this node: {error}"))
            }
        }
    }
}

fn join(step: &Join, context: &mut StepContext<'_>) -> Result<(), StepError> {
    run::must_be(step.version, context)?;
    let material = Material::of_receipt(&step.admitted_by, context)?;
    let documents = run::documents(step.config.as_str())?;
    let again = run::begin(step.config.as_str(), context)?;
    run::run(&["join", "--config", RUN_CONFIG], again, context, |again, context| {
        let mut documents = documents.clone();
        documents.discover_with(&material.token).map_err(run::unfit)?;
        if again {
            documents.go_on("JoinConfiguration").map_err(run::unfit)?;
        }
        material.write_files(context)?;
        run::write(RUN_DISCOVERY, &config::discovery(&material.server, &material.ca), 0o600, context)?;
        run::write(RUN_CONFIG, &documents.write(), 0o600, context)
    })
}

fn missing(step: &Join, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    if let Some(missing) = complete::missing_of_node(step.version, context)? {
        return Ok(Some(missing));
    }
    match step.role {
        ClusterRole::Worker | ClusterRole::Host => Ok(None),
        ClusterRole::Server => complete::missing_of_server(step.version, context),
    }
}

/// Why the machine belongs to another cluster than the one that admitted it, where it does.
fn foreign(step: &Join, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let Some(kubeconfig) = state::text(context.host(), KUBELET_KUBECONFIG)? else { return Ok(None) };
    let material = Material::of_receipt(&step.admitted_by, context)?;
    Ok(match config::cluster_of(&kubeconfig) {
        Ok((_, ca)) if ca.trim() == material.ca.trim() => None,
        Ok((server, _)) => Some(format!("it is a node of another cluster, at {server}")),
        Err(reason) => Some(format!("{KUBELET_KUBECONFIG} cannot be read: {reason}")),
    })
}
