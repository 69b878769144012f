//! What the world answers to the program on one of its machines.

use hostler_plan::{
    id::NodeName,
    step::{ClusterRole, UnitState},
};
use serde::Serialize;

use crate::{
    wire::{
        Answer, BudgetAnswer, Bytes, Failure, Identity, NodeAnswer, PodAnswer, Request, UnitAnswer, WireFile,
        WriteAnswer,
    },
    world::{
        K3S_PID, K3sError, NoSuchMachine, PodKey, World,
        cluster::{Cluster, KubeNode, PodState},
        machine::{File, Machine, Process},
    },
};

impl From<NoSuchMachine> for Failure {
    fn from(error: NoSuchMachine) -> Self {
        Failure::Protocol { reason: error.to_string() }
    }
}

impl From<K3sError> for Failure {
    fn from(error: K3sError) -> Self {
        match error {
            K3sError::Machine(error) => error.into(),
            K3sError::Silent => Failure::Silent { reason: error.to_string() },
            K3sError::Missing { what } => Failure::Missing { what },
            K3sError::NotABinary { .. }
            | K3sError::Token
            | K3sError::OtherRole { .. }
            | K3sError::ClusterExists(_)
            | K3sError::Usage { .. } => Failure::Program { reason: error.to_string() },
        }
    }
}

fn json<T: Serialize>(value: T) -> Answer {
    serde_json::to_value(value).map_err(|e| Failure::Protocol { reason: e.to_string() })
}

/// Answers one request of the program on `name`. The world's time has been set by the caller; the machines' clocks go
/// with it.
pub(crate) fn answer(world: &mut World, name: &NodeName, request: Request) -> Answer {
    let machine = world.machine(name)?;
    if !machine.is_up() {
        return Err(Failure::Off { power: machine.power });
    }
    match request {
        Request::Identity => json(Identity {
            hardware: machine.board.identity(),
            arch: machine.board.arch,
            boot_id: machine.boot_id.clone(),
        }),
        Request::Facts { at_ms } => json(world.facts(machine, at_ms)),
        Request::Reboot => json(world.reboot(name)?),
        Request::ReadFile { .. }
        | Request::WriteFile { .. }
        | Request::ModuleIsLoaded { .. }
        | Request::LoadModule { .. }
        | Request::ReadSysctl { .. }
        | Request::WriteSysctl { .. }
        | Request::PackageVersion { .. }
        | Request::InstallPackage { .. }
        | Request::Unit { .. }
        | Request::ReloadUnits
        | Request::HasFile { .. }
        | Request::InstallProgram { .. } => of_the_disk(world, name, request),
        Request::SetUnit { unit, state, enabled } => {
            json(world.set_unit(name, &unit, state == UnitState::Started, enabled)?)
        }
        Request::RestartUnit { unit } => json(world.restart_unit(name, &unit)?),
        Request::Run { arguments } => {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            json(world.run(name, &arguments)?)
        }
        Request::Nodes
        | Request::Node { .. }
        | Request::Pods { .. }
        | Request::Budgets
        | Request::Scale { .. }
        | Request::Evict { .. }
        | Request::SetSchedulable { .. }
        | Request::GiveUp { .. }
        | Request::Attachments => of_the_cluster(world, name, request),
    }
}

fn of_the_disk(world: &mut World, name: &NodeName, request: Request) -> Answer {
    let machine = world.machine_mut(name)?;
    match request {
        Request::ReadFile { path } => json(
            machine.files.get(&path).map(|file| WireFile { content: Bytes(file.content.clone()), mode: file.mode }),
        ),
        Request::WriteFile { path, file } => {
            machine.files.insert(path, File { mode: file.mode, content: file.content.0 });
            json(())
        }
        Request::ModuleIsLoaded { module } => json(machine.modules.contains(&module)),
        Request::LoadModule { module } => {
            machine.modules.insert(module);
            json(())
        }
        Request::ReadSysctl { key } => json(machine.sysctls.get(&key)),
        Request::WriteSysctl { key, value } => {
            machine.sysctls.insert(key, value);
            json(())
        }
        Request::PackageVersion { package } => json(machine.packages.get(&package)),
        Request::InstallPackage { package, version } => {
            machine.packages.insert(package, version);
            json(())
        }
        Request::Unit { unit } => json(unit_of(machine, &unit)),
        Request::ReloadUnits => {
            machine.reload_units();
            json(())
        }
        Request::HasFile { path } => json(machine.files.contains_key(&path)),
        Request::InstallProgram { path, content } => {
            machine.files.insert(path, File { mode: 0o755, content: content.0 });
            json(())
        }
        other @ (Request::Identity
        | Request::Facts { .. }
        | Request::SetUnit { .. }
        | Request::RestartUnit { .. }
        | Request::Reboot
        | Request::Run { .. }
        | Request::Nodes
        | Request::Node { .. }
        | Request::Pods { .. }
        | Request::Budgets
        | Request::Scale { .. }
        | Request::Evict { .. }
        | Request::SetSchedulable { .. }
        | Request::GiveUp { .. }
        | Request::Attachments) => {
            Err(Failure::Protocol { reason: format!("{other:?} is not about a machine's disk") })
        }
    }
}

fn unit_of(machine: &Machine, unit: &str) -> UnitAnswer {
    let process = machine.process_of(unit);
    UnitAnswer {
        unit: machine.units.get(unit).copied(),
        changing: matches!(process, Some(Process::Starting { .. })),
        main_pid: matches!(process, Some(Process::Running { .. })).then_some(K3S_PID),
    }
}

/// A node that is about to be changed, with its next version; or why it is not.
fn changed<'c>(cluster: &'c mut Cluster, node: &str, version: u64) -> Result<&'c mut KubeNode, WriteAnswer> {
    let found = cluster.nodes.iter_mut().find(|(name, _)| name.as_str() == node);
    let (_, node) = found.ok_or(WriteAnswer::Gone)?;
    if node.resource_version != version {
        return Err(WriteAnswer::Changed);
    }
    node.resource_version += 1;
    Ok(node)
}

fn of_the_cluster(world: &mut World, asker: &NodeName, request: Request) -> Answer {
    let machine = world.machine(asker)?;
    // A worker's kubelet may look at its own node and change it, and no other.
    let own = matches!(
        &request,
        Request::Node { node } | Request::SetSchedulable { node, .. } if node == asker.as_str()
    );
    if machine.k3s.role != Some(ClusterRole::Server) && !(own && machine.k3s.role.is_some()) {
        return Err(Failure::Missing { what: "credentials for an API server".into() });
    }
    if machine.k3s.running().is_none() || !world.api_answers() {
        return Err(Failure::Silent { reason: "connection refused on 127.0.0.1:6443".into() });
    }
    let now = world.now();
    let World { cluster, faults, .. } = world;
    let answer = |(name, node): (&NodeName, &KubeNode)| {
        let silent_ms = now.saturating_sub(node.heartbeat);
        NodeAnswer { name: name.to_string(), node: node.clone(), silent_ms }
    };
    match request {
        Request::Nodes => json(cluster.nodes.iter().map(answer).collect::<Vec<_>>()),
        Request::Node { node } => json(cluster.nodes.iter().find(|(name, _)| name.as_str() == node).map(answer)),
        Request::Pods { on_node, in_namespace } => {
            let wanted = |key: &PodKey, node: Option<&NodeName>| {
                on_node.as_deref().is_none_or(|on| node.is_some_and(|node| node.as_str() == on))
                    && in_namespace.as_ref().is_none_or(|namespace| key.namespace == *namespace)
            };
            let found = cluster.pods.iter().filter(|(key, pod)| wanted(key, pod.node.as_ref()));
            let pods: Vec<PodAnswer> = found
                .map(|(key, pod)| PodAnswer {
                    namespace: key.namespace.clone(),
                    name: key.name.clone(),
                    pod: pod.clone(),
                    going_for_ms: match pod.state {
                        PodState::Terminating { until } => Some(until.saturating_sub(now)),
                        PodState::Pending
                        | PodState::Starting { .. }
                        | PodState::Ready
                        | PodState::Lost
                        | PodState::Succeeded => None,
                    },
                })
                .collect();
            json(pods)
        }
        Request::Budgets => {
            let budgets: Vec<BudgetAnswer> = cluster
                .budgets
                .iter()
                .map(|budget| {
                    let mut status = cluster.allowance(budget);
                    if faults.budget_holds(&budget.full_name(), now) {
                        status.desired_healthy = status.current_healthy;
                        status.allowed = 0;
                    }
                    BudgetAnswer { budget: budget.clone(), status }
                })
                .collect();
            json(budgets)
        }
        Request::Scale { namespace, kind, name } => json(cluster.scale(&namespace, &kind, &name)),
        Request::Evict { namespace, name, uid } => {
            json(cluster.evict(&PodKey { namespace, name }, Some(&uid), now, faults))
        }
        Request::SetSchedulable { node, resource_version, unschedulable, annotation, note, manager } => {
            let kube = match changed(cluster, &node, resource_version) {
                Ok(kube) => kube,
                Err(answer) => return json(answer),
            };
            // As in `managedFields`: only who changes the field owns it.
            if kube.unschedulable != unschedulable {
                kube.unschedulable_by = unschedulable.then_some(manager);
            }
            kube.unschedulable = unschedulable;
            match note {
                Some(text) => kube.annotations.insert(annotation, text),
                None => kube.annotations.remove(&annotation),
            };
            json(WriteAnswer::Done)
        }
        Request::GiveUp { node, resource_version, dead } => json(match changed(cluster, &node, resource_version) {
            Ok(kube) => {
                kube.out_of_service = dead;
                WriteAnswer::Done
            }
            Err(answer) => answer,
        }),
        Request::Attachments => {
            let attached =
                cluster.volumes.iter().filter_map(|(name, volume)| Some((&volume.attached.as_ref()?.0, name)));
            json(attached.collect::<Vec<_>>())
        }
        other @ (Request::Identity
        | Request::Facts { .. }
        | Request::ReadFile { .. }
        | Request::WriteFile { .. }
        | Request::ModuleIsLoaded { .. }
        | Request::LoadModule { .. }
        | Request::ReadSysctl { .. }
        | Request::WriteSysctl { .. }
        | Request::PackageVersion { .. }
        | Request::InstallPackage { .. }
        | Request::Unit { .. }
        | Request::SetUnit { .. }
        | Request::RestartUnit { .. }
        | Request::ReloadUnits
        | Request::Reboot
        | Request::HasFile { .. }
        | Request::InstallProgram { .. }
        | Request::Run { .. }) => Err(Failure::Protocol { reason: format!("{other:?} is not about the cluster") }),
    }
}
