//! `etcd.stop`: neither etcd nor the API server of this server runs, and their manifests lie aside.

use std::{path::Path, time::Duration};

use hostler_plan::step::restore::Stop;

use super::restored::{self, Lies, Places, STOPPED};
use crate::{
    control::span,
    distribution::kubeadm::state,
    steps::action::{Action, Check, StepContext, StepError},
};

/// An API server ends its requests for half a minute, and the kubelet looks at its folder every 20 s at the latest.
const PATIENCE: Duration = Duration::from_secs(300);

const LOOK: Duration = Duration::from_millis(500);

impl Action for Stop {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        if restored::is_restored(&self.restored, context)? {
            return Ok(Check::Done("etcd's data are restored already".to_owned()));
        }
        let snapshot = Places::of(&self.restored.name).snapshot;
        if context.host().measure_file(Path::new(&snapshot))?.is_none() {
            let expected = format!("the snapshot in {snapshot} before anything stops");
            return Ok(Check::Mismatch { expected, found: "none; make the plan again".to_owned() });
        }
        let mut is_aside = true;
        for component in STOPPED {
            match restored::lies(component, context)? {
                Lies::Aside => {}
                Lies::InPlace => is_aside = false,
                Lies::Nowhere => {
                    let (expected, found) = (restored::in_place(component), "none".to_owned());
                    return Ok(Check::Mismatch { expected, found });
                }
            }
        }
        Ok(match is_aside && restored::at_work(context)?.is_empty() {
            true => Check::Done("neither etcd nor the API server runs here".to_owned()),
            false => Check::Ready,
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        for component in STOPPED {
            if restored::lies(component, context)? == Lies::InPlace {
                let (from, to) = (restored::in_place(component), restored::aside(component));
                // What lies there was put back since, perhaps changed.
                context.host().remove(Path::new(&to))?;
                context.say(format!("stops {component}"));
                context.host().rename(Path::new(&from), Path::new(&to))?;
            }
        }
        Ok(())
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let began = context.now();
        loop {
            let running = restored::at_work(context)?;
            if running.is_empty() {
                let after = span(began, context.now());
                return Ok(format!("neither {} nor {} runs here, {after} after", state::ETCD, state::API_SERVER));
            }
            if context.now().since(began) >= PATIENCE {
                return Err(StepError::TimedOut(format!(
                    "{} still runs {} min after its manifest was taken away; see `ctr --namespace k8s.io tasks list` \
                     and `journalctl -u kubelet`, then make the plan again",
                    running.join(" and "),
                    PATIENCE.as_secs() / 60
                )));
            }
            context.say(format!("waits until {} has ended", running.join(" and ")));
            context.pause(LOOK)?;
        }
    }
}
