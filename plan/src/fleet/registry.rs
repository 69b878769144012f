//! Registries of a fleet file: mirrors, authorities, and where the credentials lie. These are never in it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    Fleet,
    problem::{Found, Location},
};
use crate::registry::{FILE, FOLDER, RegistryHost, RegistryName, RegistryUrl};

/// Where the images of a registry are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registry {
    /// Asked before the registry itself, in this order.
    pub mirrors: Vec<RegistryUrl>,
    /// PEM certificates that the mirrors are judged by, or the registry itself where it has none; none for those of the
    /// machine.
    pub ca: Option<String>,
    /// The files of the admin's own, from the fleet file's folder, that say with what each of them is asked.
    pub credentials: BTreeMap<RegistryUrl, String>,
}

impl Registry {
    /// Everybody who is asked for the images of the registry of that name, in order; itself last.
    pub fn hosts(&self, name: &RegistryName) -> Vec<RegistryHost> {
        let itself = name.url();
        let urls = self.mirrors.iter().filter(|mirror| **mirror != itself).chain([&itself]);
        let is_judged = |url: &RegistryUrl| self.ca.is_some() && (*url != itself || self.mirrors.is_empty());
        let host = |url: &RegistryUrl| RegistryHost {
            url: url.clone(),
            ca: is_judged(url),
            credentials: self.credentials.contains_key(url),
        };
        urls.map(host).collect()
    }
}

/// A registry as it was written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryFragment {
    #[serde(default)]
    mirrors: Vec<String>,
    ca: Option<String>,
    credentials: Option<toml::Value>,
}

/// What to do with a secret.
pub(super) const PUT_ASIDE: &str = "The fleet file is kept in git and read by many: write the secret into a file of \
     its own that nobody else can read, with user and password, or token, and name that file with credentials = \
     \"FILE\"";

/// Words for a secret, where a file that holds one should be named.
const SECRETS: [&str; 8] = ["user", "username", "password", "pass", "token", "auth", "identitytoken", "authorization"];

/// Whether a key says that its value is a secret, or whose.
pub(super) fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key.to_ascii_lowercase().as_str())
}

/// Every registry that can be used. What is wrong with one is told without what it may hold.
pub(super) fn registries(
    found: &mut Found,
    of: &str,
    location: &Location,
    written: &BTreeMap<String, RegistryFragment>,
) -> BTreeMap<RegistryName, Registry> {
    let mut registries = BTreeMap::new();
    for (name, fragment) in written {
        let mut error = |message: String| found.error(location, format!("{of} registry {name:?}: {message}"));
        let Ok(registry) = RegistryName::new(name.as_str()) else {
            error("expected a host such as \"docker.io\" or \"registry.lab:5000\"; change it".to_owned());
            continue;
        };
        let mirrors = fragment.mirrors.iter().filter_map(|mirror| url(&mut error, mirror)).collect::<Vec<_>>();
        if fragment.ca.as_ref().is_some_and(|pem| !pem.trim_start().starts_with("-----BEGIN CERTIFICATE-----")) {
            let hint = "write the PEM text that begins with -----BEGIN CERTIFICATE-----";
            error(format!("its ca is no certificate; {hint}"));
        }
        let credentials = fragment.credentials.as_ref();
        let credentials = credentials.map(|value| files(&mut error, &registry, &mirrors, value)).unwrap_or_default();
        for open in credentials.keys().filter(|url| !url.is_encrypted()) {
            let message = format!(
                "{of} registry {name:?}: everybody on the way to {open} can read the credentials that it is asked \
                 with; write https://"
            );
            found.warning(location, message);
        }
        registries.insert(registry, Registry { mirrors, ca: fragment.ca.clone(), credentials });
    }
    registries
}

fn url(error: &mut impl FnMut(String), written: &str) -> Option<RegistryUrl> {
    if written.contains('@') {
        error(format!("a mirror is written with a user in front of '@'; remove it. {PUT_ASIDE}"));
        return None;
    }
    let read = RegistryUrl::new(written);
    if read.is_err() {
        error(format!("expected a mirror such as \"https://mirror.lab:5000\", found {written:?}; change it"));
    }
    read.ok()
}

/// Who is asked with what of which file: one for the registry itself, or a table for it and its mirrors.
fn files(
    error: &mut impl FnMut(String),
    registry: &RegistryName,
    mirrors: &[RegistryUrl],
    written: &toml::Value,
) -> BTreeMap<RegistryUrl, String> {
    const FORM: &str = "credentials: expected a file for the registry itself, credentials = \"FILE\", or a table with \
                        one for each who is asked, credentials = { \"https://mirror.lab:5000\" = \"FILE\" }";
    let Some(table) = written.as_table() else {
        let Some(file) = written.as_str().filter(|file| is_path(file)) else {
            error(format!("{FORM}, found neither. {PUT_ASIDE}"));
            return BTreeMap::new();
        };
        return BTreeMap::from([(registry.url(), file.to_owned())]);
    };
    let mut files = BTreeMap::new();
    for (key, file) in table {
        if is_secret(key) {
            error(format!("credentials: {key} stands in the fleet file. {PUT_ASIDE}"));
            continue;
        }
        let mirror = mirrors.iter().find(|mirror| mirror.as_str() == key);
        let Some(url) = mirror.cloned().or_else(|| (key == registry.as_str()).then(|| registry.url())) else {
            let known: Vec<String> = mirrors.iter().map(|mirror| format!("{:?}", mirror.as_str())).collect();
            let known = known.into_iter().chain([format!("\"{registry}\"")]).collect::<Vec<_>>().join(", ");
            let found = if key.contains('@') { "another one" } else { key };
            error(format!("credentials: expected one of those who are asked, {known}, found {found:?}; correct it"));
            continue;
        };
        match file.as_str().filter(|file| is_path(file)) {
            Some(file) => drop(files.insert(url, file.to_owned())),
            None => error(format!("{FORM}, found something else for {key:?}. {PUT_ASIDE}")),
        }
    }
    files
}

/// A text that names a file: what has lines in it is what should lie there.
fn is_path(text: &str) -> bool {
    crate::form::is_sentence(text, 1024) && !text.contains(['{', '"'])
}

/// That no file of the machine holds what registries are asked with, nor takes the place of one that does.
pub(super) fn check(found: &mut Found, fleet: &Fleet, location: &Location) {
    let mut told = BTreeSet::new();
    for machine in fleet.nodes.iter().map(|node| fleet.machine(node)) {
        let registries = machine.container_runtime.registries.iter().filter(|(_, r)| !r.credentials.is_empty());
        let written: Vec<String> = registries.map(|(name, _)| format!("{}/{FILE}", name.folder())).collect();
        for (path, file) in &machine.files {
            let path = path.as_str();
            let content = file.content.to_ascii_lowercase();
            let holds = path.starts_with(FOLDER) && content.contains("authorization")
                || path.ends_with("config.json") && content.contains("\"auths\"");
            let message = match (holds, written.iter().any(|other| other == path)) {
                (true, _) => format!("files: {path} holds what registries are asked with; remove it. {PUT_ASIDE}"),
                (false, true) => format!(
                    "files: {path} is written with the credentials of its registry; write them both through \
                     registries, or neither"
                ),
                (false, false) => continue,
            };
            if told.insert(message.clone()) {
                found.error(location, message);
            }
        }
    }
}

/// containerd's own words for a secret are as readable as ours would be.
pub(super) fn no_secrets(found: &mut Found, of: &str, location: &Location, config: &toml::Table) {
    if holds_secret(config, false) {
        let message =
            format!("{of} container_runtime: its config holds what registries are asked with; remove it. {PUT_ASIDE}");
        found.error(location, message);
    }
}

fn holds_secret(table: &toml::Table, below_registry: bool) -> bool {
    table.iter().any(|(key, value)| {
        let below = below_registry || key == "registry";
        below && is_secret(key) || value.as_table().is_some_and(|table| holds_secret(table, below))
    })
}
