//! `etcd.start`: etcd and the API server of this server run by the restored data, and every member votes.

use std::{path::Path, time::Duration};

use hostler_plan::step::restore::Start;

use super::{
    complete::Asked,
    restored::{self, Lies, STOPPED},
    run,
};
use crate::{
    distribution::kubeadm::{etcd, state},
    host::HostError,
    steps::action::{Action, Check, StepContext, StepError},
};

/// Two images start on a Pi, and every other server does the same.
const PATIENCE: Duration = Duration::from_secs(600);

impl Action for Start {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let name = &self.restored.name;
        if !restored::is_restored(&self.restored, context)? {
            let expected = format!("etcd's data of restore {name}");
            return Ok(Check::Mismatch { expected, found: "others; make the plan again".into() });
        }
        for component in STOPPED {
            if restored::lies(component, context)? == Lies::Nowhere {
                let found = "none; put the manifest back by hand, and make the plan again".to_owned();
                return Ok(Check::Mismatch { expected: restored::aside(component), found });
            }
        }
        Ok(match missing(self, context)? {
            None => Check::Done(format!("etcd runs by the data of restore {name}, and every member votes")),
            Some(_) => Check::Ready,
        })
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        for component in STOPPED.into_iter().rev() {
            if restored::lies(component, context)? == Lies::Aside {
                context.say(format!("starts {component}"));
                let (from, to) = (restored::aside(component), restored::in_place(component));
                context.host().rename(Path::new(&from), Path::new(&to))?;
            }
        }
        Ok(())
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let missing = |context: &StepContext<'_>| missing(self, context);
        let after = run::await_all("etcd and the API server", PATIENCE, context, missing, |missing| {
            format!("the manifests are back, and {missing}: see `journalctl -u kubelet` on the servers")
        })?;
        Ok(format!("etcd and the API server run by the data of restore {}, {after} after", self.restored.name))
    }
}

/// What the restored cluster misses, seen from this server.
fn missing(step: &Start, context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    for component in STOPPED {
        if restored::lies(component, context)? != Lies::InPlace {
            return Ok(Some(format!("the manifest of {component} lies aside")));
        }
    }
    let members = match etcd::members(context.host()) {
        Ok(Some(members)) => members,
        Ok(None) => return Err(StepError::Failed("this machine has no etcdctl; add it to the artifacts".into())),
        // Until a majority of the servers has got there nobody answers.
        Err(HostError::Command { .. } | HostError::TimedOut { .. }) => {
            return Ok(Some("etcd does not answer yet".to_owned()));
        }
        Err(error) => return Err(error.into()),
    };
    for wanted in &step.restored.members {
        let found = members.iter().find(|member| member.name == wanted.name.as_str());
        let Some(found) = found.filter(|member| !member.is_learner) else {
            return Ok(Some(format!("{} is no voting member of etcd yet", wanted.name)));
        };
        if !found.answers(context.host())? {
            return Ok(Some(format!("etcd's member {} does not answer yet", wanted.name)));
        }
    }
    if let Some(stranger) = members.iter().find(|member| !is_wanted(step, &member.name)) {
        return Ok(Some(format!("etcd has the member {} that no plan names", stranger.said())));
    }
    let manifests = state::manifests(context.host())?;
    let Some(server) = state::own_server(&manifests) else {
        return Ok(Some("there is no API server among the static pods".to_owned()));
    };
    let asked = Asked { administrator: context.administrator()?, server: &server };
    Ok(asked.is_ready().err())
}

fn is_wanted(step: &Start, name: &str) -> bool {
    step.restored.members.iter().any(|member| member.name.as_str() == name)
}
