//! `kubeadm.renew`: what this server proves itself by lasts, and its components run by it.

use std::time::Duration;

use hostler_plan::step::kubeadm::Renew;

use super::{complete::Asked, restart, run, upgrade};
use crate::{
    distribution::kubeadm::{
        RENEWING,
        certificate::{self, Certificate},
        state,
    },
    steps::action::{Action, Check, StepContext, StepError},
};

/// An API server that restarts, with an etcd that restarts after it.
const PATIENCE: Duration = Duration::from_secs(600);

const DAY: Duration = Duration::from_secs(86_400);

impl Action for Renew {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let found = certificate::list(context.host())?;
        let Some(first) = found.first() else {
            let (expected, found) = ("certificates that kubeadm made and can renew here".into(), "none".into());
            return Ok(Check::Mismatch { expected, found });
        };
        if run::is_there(context)? || state::text(context.host(), RENEWING)?.is_some() || !self.lasts(first) {
            return Ok(Check::Ready);
        }
        context.observe("certificate_ends", first.ends.clone());
        Ok(Check::Done(format!("the first certificate to end is {}, on {}", first.name, first.ends)))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        let found = certificate::list(context.host())?;
        let is_over = found.first().is_some_and(|first| !first.lasts(Duration::ZERO));
        let since = match state::text(context.host(), RENEWING)? {
            Some(since) => since,
            None => {
                // With what is over nobody can be asked.
                if !is_over {
                    upgrade::all_must_be_well(context)?;
                }
                let since = context.host().now().whole_seconds().to_string();
                run::write(RENEWING, &since, 0o600, context)?;
                since
            }
        };
        if run::is_there(context)? || found.first().is_some_and(|first| !self.lasts(first)) {
            run::run(&["certs", "renew", "all"], false, context, |_, _| Ok(()))?;
            self.must_last(context)?;
        }
        // Each reads its kubeconfig and its certificates once; etcd last, because its clients have to come back to it.
        let mut manifests = state::manifests(context.host())?;
        manifests.sort_by_key(|manifest| RESTARTED.iter().position(|component| *component == manifest.component));
        for manifest in &manifests {
            context.say(format!("restarts {} with its new certificates", manifest.component));
            restart::since(manifest, &since, context)?;
            run::await_whole((manifest.component, "server"), PATIENCE, context, |context| {
                let Some(server) = state::own_server(&manifests) else { return Ok(None) };
                let asked = Asked { administrator: context.administrator()?, server: &server };
                let node = context.subject().as_str();
                Ok(asked.is_ready().and_then(|()| restart::runs(manifest, &since, node, &asked)).err())
            })?;
        }
        upgrade::all_must_be_well(context)?;
        Ok(context.host().remove(std::path::Path::new(RENEWING))?)
    }
}

/// In this order.
const RESTARTED: [&str; 4] = ["kube-controller-manager", "kube-scheduler", state::API_SERVER, state::ETCD];

trait Lasts {
    fn lasts(&self, certificate: &Certificate) -> bool;
    fn must_last(&self, context: &StepContext<'_>) -> Result<(), StepError>;
}

impl Lasts for Renew {
    /// What kubeadm has just made; where it gives them fewer days than are asked for, every plan would renew them anew.
    fn must_last(&self, context: &StepContext<'_>) -> Result<(), StepError> {
        match certificate::list(context.host())?.into_iter().next() {
            Some(first) if !self.lasts(&first) => Err(StepError::Failed(format!(
                "kubeadm's new certificates end on {}, and {} days are asked for; nothing was restarted: ask for fewer \
                 (--within), or let kubeadm make longer ones (certificateValidityPeriod)",
                first.ends, self.within_days
            ))),
            Some(_) | None => Ok(()),
        }
    }

    fn lasts(&self, certificate: &Certificate) -> bool {
        certificate.lasts(DAY * u32::try_from(self.within_days).unwrap_or(u32::MAX))
    }
}
