//! Where containerd asks for images, and with what.

use super::super::super::sealed;
use crate::{
    fleet::{ContainerRuntime, Registry},
    id::NodeName,
    registry::{FILE, RegistryName, hosts_file},
    step::{Step, registry},
};

/// The files of a registry that everybody may read, by path: its authorities, and who is asked where nobody is asked
/// with credentials.
pub(super) fn files(name: &RegistryName, registry: &Registry) -> Vec<(String, String)> {
    let folder = name.folder();
    let ca = registry.ca.as_ref().map(|pem| (format!("{folder}/ca.crt"), pem.clone()));
    let open = registry.credentials.is_empty();
    let hosts = open.then(|| (format!("{folder}/{FILE}"), hosts_file(name, &registry.hosts(name), |_| None)));
    ca.into_iter().chain(hosts).collect()
}

/// A step for each registry that somebody is asked for with credentials.
pub(super) fn steps(node: &NodeName, runtime: &ContainerRuntime) -> Vec<Step> {
    let ensure = |(name, registry): (&RegistryName, &Registry)| {
        let (registry, hosts) = (name.clone(), registry.hosts(name));
        Step::EnsureRegistry(registry::Ensure { artifact: sealed::artifact_name(node), registry, hosts })
    };
    secret(runtime).map(ensure).collect()
}

/// Whatever an earlier fleet file gave credentials for, and this one does not.
pub(super) fn forget(runtime: &ContainerRuntime) -> Step {
    Step::ForgetRegistries(registry::Forget { keep: secret(runtime).map(|(name, _)| name.clone()).collect() })
}

fn secret(runtime: &ContainerRuntime) -> impl Iterator<Item = (&RegistryName, &Registry)> {
    runtime.registries.iter().filter(|(_, registry)| !registry.credentials.is_empty())
}
