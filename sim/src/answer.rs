//! What the world answers to the program on one of its machines.

use hostler_plan::{
    id::NodeName,
    step::{ClusterRole, UnitState},
};
use serde::Serialize;

use crate::{
    wire::{
        Answer, BudgetAnswer, Bytes, Failure, Identity, NodeAnswer, PodAnswer, Request, RunAnswer, RunEnded,
        UnitAnswer, WireFile, WriteAnswer,
    },
    world::{
        K3S_PID, K3sError, NoSuchMachine, PodKey, World,
        cluster::{Cluster, KubeNode, PodState},
        kubeadm::{At, KUBELET_PID, RunState},
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
            | K3sError::Failed { .. }
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
        | Request::InstallProgram { .. }
        | Request::ListFolder { .. }
        | Request::Rename { .. }
        | Request::Remove { .. } => of_the_disk(world, name, request),
        Request::StartRun { unit, purpose, arguments } => json(world.start_run(name, &unit, &purpose, &arguments)?),
        Request::Started { unit } => json(started(machine, &unit)),
        Request::ForgetRun { unit } => {
            world.machine_mut(name)?.kubeadm.runs.remove(&unit);
            json(())
        }
        Request::ImportImages { content } => json(world.import_images(name, &content.0)?),
        Request::DescribePackage { content } => json(world.describe_package(&content.0)?),
        Request::KubeGet { server, path } => {
            let at = server.as_deref().map_or(At::Cluster, At::Machine);
            json(administered(world, name)?.kubeadm_get(&at, &path).map_err(silent)?)
        }
        Request::KubeReady { server, name } => json(world.kubeadm_ready(&server, &name).map_err(silent)?),
        Request::KubeFind { object } => json(administered(world, name)?.kubeadm_find(&object).map_err(silent)?),
        Request::KubeApply { object, really } => {
            json(administered(world, name)?.kubeadm_apply(&object, really).map_err(silent)?)
        }
        Request::KubeDelete { path } => json(administered(world, name)?.kubeadm_delete(&path).map_err(silent)?),
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
    let now = world.now();
    let machine = world.machine_mut(name)?;
    match request {
        Request::ReadFile { path } => json(
            machine.files.get(&path).map(|file| WireFile { content: Bytes(file.content.clone()), mode: file.mode }),
        ),
        Request::WriteFile { path, file } => {
            machine.kubeadm.changed.insert(path.clone(), now);
            machine.files.insert(path, File { mode: file.mode, content: file.content.0 });
            json(())
        }
        Request::ModuleIsLoaded { module } => json(machine.modules.contains(&module)),
        Request::LoadModule { module } => {
            machine.load_module(&module);
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
        Request::Unit { unit } => {
            // systemd reads the file of a unit that it is asked for and has not met.
            machine.reload_units();
            json(unit_of(machine, &unit))
        }
        Request::ListFolder { path } => json(machine.names_in(&path)),
        Request::Rename { from, to } => {
            machine.rename(&from, &to)?;
            json(())
        }
        Request::Remove { path } => {
            machine.remove(&path);
            json(())
        }
        Request::ReloadUnits => {
            machine.reload_units();
            json(())
        }
        Request::HasFile { path } => json(machine.files.contains_key(&path)),
        Request::InstallProgram { path, content } => {
            machine.kubeadm.changed.insert(path.clone(), now);
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
        | Request::StartRun { .. }
        | Request::Started { .. }
        | Request::ForgetRun { .. }
        | Request::ImportImages { .. }
        | Request::DescribePackage { .. }
        | Request::KubeGet { .. }
        | Request::KubeReady { .. }
        | Request::KubeFind { .. }
        | Request::KubeApply { .. }
        | Request::KubeDelete { .. }
        | Request::GiveUp { .. }
        | Request::Attachments) => {
            Err(Failure::Protocol { reason: format!("{other:?} is not about a machine's disk") })
        }
    }
}

/// A program that was started as a unit.
fn started(machine: &Machine, unit: &str) -> Option<RunAnswer> {
    let run = machine.kubeadm.runs.get(unit)?;
    let ended = match &run.state {
        RunState::Running => None,
        RunState::Ended { code, output } => Some(RunEnded { code: *code, output: output.clone() }),
    };
    Some(RunAnswer { purpose: run.purpose.clone(), ended })
}

/// The world for who has the administrator's credentials, which lie on servers alone.
fn administered<'w>(world: &'w mut World, name: &NodeName) -> Result<&'w mut World, Failure> {
    if world.machine(name)?.has_administrator() {
        return Ok(world);
    }
    Err(Failure::Missing { what: "administrator's credentials for an API server".into() })
}

fn silent(reason: String) -> Failure {
    Failure::Silent { reason }
}

fn unit_of(machine: &Machine, unit: &str) -> UnitAnswer {
    let process = machine.process_of(unit);
    let pid = if machine.k3s.role.is_some() { K3S_PID } else { KUBELET_PID };
    UnitAnswer {
        unit: machine.units.get(unit).copied(),
        changing: matches!(process, Some(Process::Starting { .. })),
        main_pid: matches!(process, Some(Process::Running { .. })).then_some(pid),
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
    let role = machine.k3s.role.or_else(|| machine.kubeadm_role());
    if role != Some(ClusterRole::Server) && !(own && role.is_some()) {
        return Err(Failure::Missing { what: "credentials for an API server".into() });
    }
    let reaches = machine.k3s.role.is_none() || machine.k3s.running().is_some();
    if !reaches || !world.api_answers() {
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
        | Request::ListFolder { .. }
        | Request::Rename { .. }
        | Request::Remove { .. }
        | Request::StartRun { .. }
        | Request::Started { .. }
        | Request::ForgetRun { .. }
        | Request::ImportImages { .. }
        | Request::DescribePackage { .. }
        | Request::KubeGet { .. }
        | Request::KubeReady { .. }
        | Request::KubeFind { .. }
        | Request::KubeApply { .. }
        | Request::KubeDelete { .. }
        | Request::Run { .. }) => Err(Failure::Protocol { reason: format!("{other:?} is not about the cluster") }),
    }
}
