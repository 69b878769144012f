//! `kubeadm.reset`: nothing of a cluster is on this machine any more. Whether the cluster can be reached does not
//! matter: what was to be told to it was told by another server before.

use std::{path::Path, time::Duration};

use hostler_plan::step::{UnitState, kubeadm::Reset};

use super::run;
use crate::{
    control::POLL,
    distribution::kubeadm::{
        ASIDE, BACKUPS, BOOTSTRAP_KUBECONFIG, CNI_CONFIG, CONFIGURING, ETCD_DATA, KUBELET_CONFIG, KUBELET_PKI,
        KUBELET_UNIT, MANIFESTS, MARKER, PKI, QUICK, RUN_CONFIG, RUN_DISCOVERY, state,
    },
    host::{HostError, UnitActivity},
    steps::{
        action::{Action, Check, StepContext, StepError},
        membership::MACHINE_ID,
    },
};

/// The kubelet ends its watches within a moment.
const PATIENCE: Duration = Duration::from_secs(120);

/// Folders that are emptied; each may be a mount of its own.
const FOLDERS: [&str; 6] = [MANIFESTS, PKI, BACKUPS, ETCD_DATA, KUBELET_PKI, CNI_CONFIG];

/// What stays of pods' networks until it is removed or the machine starts anew: the bridges of common network add-ons,
/// and kube-proxy's tables. Rules in iptables go with the next start.
const NETWORK: [&[&str]; 5] = [
    &["ip", "link", "delete", "cni0"],
    &["ip", "link", "delete", "flannel.1"],
    &["ip", "link", "delete", "kube-ipvs0"],
    &["nft", "delete", "table", "ip", "kube-proxy"],
    &["nft", "delete", "table", "ip6", "kube-proxy"],
];

impl Action for Reset {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        run::documents(self.config.as_str())?;
        if run::is_there(context)? {
            return Ok(Check::Ready);
        }
        if left(context)?.is_some() {
            return Ok(Check::Ready);
        }
        note_machine(context)?;
        Ok(Check::Done("nothing of a cluster is on this machine".into()))
    }

    fn apply(&self, context: &mut StepContext<'_>) -> Result<(), StepError> {
        if run::is_there(context)? || !state::leftovers(context.host())?.is_empty() {
            let documents = run::documents(self.config.as_str())?;
            run::run(&["reset", "--config", RUN_CONFIG], false, context, |_, context| {
                run::write(RUN_CONFIG, &documents.write(), 0o600, context)
            })?;
        }
        let host = context.host();
        if host.unit(KUBELET_UNIT)?.exists {
            host.set_unit(KUBELET_UNIT, UnitState::Stopped, false)?;
        }
        for folder in FOLDERS {
            for name in host.list_folder(Path::new(folder))? {
                host.remove(&Path::new(folder).join(name))?;
            }
        }
        for name in host.list_folder(Path::new("/etc/kubernetes"))?.iter().filter(|name| name.ends_with(".conf")) {
            host.remove(&Path::new("/etc/kubernetes").join(name))?;
        }
        for file in [KUBELET_CONFIG, BOOTSTRAP_KUBECONFIG, MARKER, CONFIGURING, ASIDE, RUN_CONFIG, RUN_DISCOVERY] {
            host.remove(Path::new(file))?;
        }
        for command in NETWORK {
            match host.run(command, QUICK) {
                // It is not there.
                Ok(_) | Err(HostError::Missing { .. } | HostError::Command { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn verify(&self, context: &mut StepContext<'_>) -> Result<String, StepError> {
        let began = context.now();
        loop {
            let Some(left) = left(context)? else {
                note_machine(context)?;
                return Ok("nothing of the cluster is on this machine; rules in iptables go with its next start".into());
            };
            if context.now().since(began) >= PATIENCE {
                return Err(StepError::TimedOut(format!("expected nothing of the cluster, found {left}")));
            }
            context.pause(POLL)?;
        }
    }
}

/// Which machine was emptied, for the server that removes the Node of just that one.
fn note_machine(context: &mut StepContext<'_>) -> Result<(), StepError> {
    let machine_id = context.host().hardware()?.machine_id;
    context.observe(MACHINE_ID, machine_id);
    Ok(())
}

/// What is still there.
fn left(context: &StepContext<'_>) -> Result<Option<String>, StepError> {
    let host = context.host();
    let mut found = state::leftovers(host)?;
    if matches!(host.unit(KUBELET_UNIT)?.activity, UnitActivity::Active | UnitActivity::Changing) {
        found.push(format!("{KUBELET_UNIT} that runs"));
    }
    Ok((!found.is_empty()).then(|| found.join(", ")))
}
