//! `kubeadm.reach`: from this node the API server answers where all nodes are to find it.

use std::path::Path;

use hostler_plan::step::configure::Reach;

use crate::{
    distribution::kubeadm::{ADMIN_KUBECONFIG, KUBELET_KUBECONFIG},
    steps::action::{Action, Check, StepContext, StepError},
};

/// A name that every API server of kubeadm's has in its certificate, whatever else it is called: by it the certificate
/// is known before it has the new endpoint's.
const ALWAYS_NAMED: &str = "kubernetes";

impl Action for Reach {
    fn preflight(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        match self.check(context)? {
            Check::Done(_) | Check::Ready => Ok(()),
            Check::Mismatch { expected, found } => Err(StepError::mismatch(&expected, &found)),
        }
    }

    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let host = context.host();
        let files = [ADMIN_KUBECONFIG, KUBELET_KUBECONFIG];
        let mut there = Vec::new();
        for file in files {
            there.extend(host.read_file(Path::new(file))?.map(|_| file));
        }
        let expected = format!("the API server at {}", self.endpoint);
        let Some(file) = there.first() else {
            return Ok(Check::Mismatch { expected, found: "a machine that is no node; join it first".into() });
        };
        Ok(match host.is_ready_at(Path::new(file), self.endpoint.as_str(), ALWAYS_NAMED) {
            Ok(()) => Check::Done(format!("the API server answers at {}", self.endpoint)),
            Err(error) => Check::Mismatch {
                expected,
                found: format!(
                    "{error}; its name has to lead to the servers or their balancer from every node (hosts of \
                     [machine], or DNS), and /readyz has to answer there, before anything is changed"
                ),
            },
        })
    }

    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }
}
