//! The steps as a node performs them: a file for each, in the folder of its family, and one list of all.

mod action;
mod apt;
mod cluster;
mod host;
mod k3s;
mod kube;
mod kubeadm;
mod membership;
mod started;

use hostler_plan::step::Step;

use crate::host::ClusterError;

pub(crate) use action::{Action, Check, StepClock, StepContext, StepError, Undone};
pub(crate) use kube::check_machine;

/// How a step is performed.
pub(crate) fn action(step: &Step) -> &dyn Action {
    match step {
        Step::Noop(step) => step,
        Step::StageArtifact(step) => step,
        Step::EnsureFile(step) => step,
        Step::EnsureModule(step) => step,
        Step::EnsureSysctl(step) => step,
        Step::EnsurePackage(step) => step,
        Step::EnsureUnit(step) => step,
        Step::CurrentUnit(step) => step,
        Step::Reboot(step) => step,
        Step::EnsureProgram(step) => step,
        Step::EnsureImages(step) => step,
        Step::InstallPackage(step) => step,
        Step::HoldPackage(step) => step,
        Step::SwapOff(step) => step,
        Step::EnsureHost(step) => step,
        Step::KernelArguments(step) => step,
        Step::BootKernel(step) => step,
        Step::FenceCloudInit(step) => step,
        Step::NamedInitiator(step) => step,
        Step::LastingNetwork(step) => step,
        Step::SetSshd(step) => step,
        Step::EnsureRegistry(step) => step,
        Step::ForgetRegistries(step) => step,
        Step::BootstrapK3s(step) => step,
        Step::AdmitToK3s(step) => step,
        Step::JoinK3s(step) => step,
        Step::UpgradeK3s(step) => step,
        Step::BootstrapKubeadm(step) => step,
        Step::AdmitToKubeadm(step) => step,
        Step::JoinKubeadm(step) => step,
        Step::RevokeKubeadm(step) => step,
        Step::UpgradeKubeadm(step) => step,
        Step::EnsureKubelet(step) => step,
        Step::ExpelFromKubeadm(step) => step,
        Step::ResetKubeadm(step) => step,
        Step::SnapshotEtcd(step) => step,
        Step::ReadCluster(step) => step,
        Step::ReadUpdates(step) => step,
        Step::InstallUpdates(step) => step,
        Step::RunsKernel(step) => step,
        Step::ReceiveEtcd(step) => step,
        Step::StopEtcd(step) => step,
        Step::RestoreEtcd(step) => step,
        Step::StartEtcd(step) => step,
        Step::SeedEtcd(step) => step,
        Step::BareOfKubeadm(step) => step,
        Step::ForgetNodes(step) => step,
        Step::RenewKubeadm(step) => step,
        Step::ReachKubeadm(step) => step,
        Step::CertifyKubeadm(step) => step,
        Step::ConfigureKubeadm(step) => step,
        Step::ConfigureKubelet(step) => step,
        Step::Describe(step) => step,
        Step::Cordon(step) => step,
        Step::Drain(step) => step,
        Step::Uncordon(step) => step,
        Step::AdoptCordon(step) => step,
        Step::ReleaseCordon(step) => step,
        Step::OutOfService(step) => step,
        Step::RemoveNode(step) => step,
        Step::Apply(step) => step,
        Step::NoRemovedApis(step) => step,
        Step::AwaitReady(step) => step,
    }
}

/// Why the API server that this machine asks does not answer; none where it does, where the machine asks none, or where
/// the step expects that it does not run.
pub(crate) fn silent(step: &Step, context: &StepContext<'_>) -> Option<String> {
    if step.restores() || step.rebuilds() || step.readies_machine() {
        return None;
    }
    let silent = |error: ClusterError| matches!(error, ClusterError::Silent(_)).then(|| error.to_string());
    context.host().cluster()?.nodes().err().and_then(silent)
}
