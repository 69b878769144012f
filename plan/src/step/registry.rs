//! Steps for what a machine asks registries with, and no longer asks them with.

use serde::{Deserialize, Serialize};

use super::Operation;
use crate::{
    id::{ArtifactName, NodeName},
    registry::{RegistryHost, RegistryName},
};

/// Writes where the images of a registry are asked for, and with what: a file for root alone. The credentials stand in
/// an artifact that is sealed to this machine, and in nothing that the machine says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ensure {
    /// The sealed credentials.
    pub artifact: ArtifactName,
    pub registry: RegistryName,
    /// Who is asked, in this order; the registry itself last.
    pub hosts: Vec<RegistryHost>,
}

impl Operation for Ensure {
    fn artifact(&self) -> Option<&ArtifactName> {
        Some(&self.artifact)
    }
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { artifact, registry, hosts } = self;
        let host = |RegistryHost { url, ca, credentials }: &RegistryHost| {
            let by = if *ca { ", judged by the registry's ca.crt too" } else { "" };
            let with = if *credentials { "WITH CREDENTIALS" } else { "without credentials" };
            format!("{url} {with}{by}")
        };
        let hosts: Vec<String> = hosts.iter().map(host).collect();
        format!("images of {registry} from {}; credentials out of {artifact}", hosts.join(", then "))
    }
    fn sentence(&self, _: &NodeName) -> String {
        format!("writes with what {} is asked for images", self.registry)
    }
}

/// No credentials that Hostler wrote lie on the machine, but for these registries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forget {
    pub keep: Vec<RegistryName>,
}

impl Operation for Forget {
    fn acts_on_subject(&self) -> bool {
        false
    }
    fn said(&self) -> String {
        let Self { keep } = self;
        let names: Vec<&str> = keep.iter().map(RegistryName::as_str).collect();
        match names.is_empty() {
            true => "all credentials that hostler wrote for registries".to_owned(),
            false => format!("credentials that hostler wrote for registries other than {}", names.join(", ")),
        }
    }
    fn sentence(&self, _: &NodeName) -> String {
        "removes credentials of registries that the fleet file has no more".to_owned()
    }
}
