//! Whether an API server reads what another one stored: by the providers of both `EncryptionConfiguration`s
//! (kubernetes.io/docs/tasks/administer-cluster/encrypt-data).
//!
//! What is stored begins with the kind of the provider and the name of its key, and is read by the one that has both.
//! So each provider by which something may have been written has to be among those that are asked for it. Nothing that
//! is said here holds a secret.

use serde::Deserialize;
use serde_json::{Map, Value};

/// As `apiserver.config.k8s.io/v1` writes it.
#[derive(Debug, Default, Deserialize)]
struct Configuration {
    resources: Vec<Resources>,
}

/// The first entry that names a resource holds for it.
#[derive(Debug, Deserialize)]
struct Resources {
    resources: Vec<String>,
    providers: Vec<Map<String, Value>>,
}

/// One provider with one of its keys; a KMS plugin and `identity` have none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Provider {
    kind: String,
    name: String,
    secret: String,
}

/// What of the configuration `there` the one `here` does not read, expected and found; none where it reads all of it.
/// Without a configuration everything is stored as it is.
pub(super) fn unreadable(there: Option<&str>, here: Option<&str>) -> Result<Option<(String, String)>, String> {
    let (there, here) = (read(there, "the snapshot's")?, read(here, "this server's")?);
    for written in &there.resources {
        let providers = written.all();
        for resource in &written.resources {
            if let Some(found) = here.lacks(resource, &providers) {
                return Ok(Some(found));
            }
        }
    }
    // What was not encrypted then is read by `identity` alone.
    for kept in &here.resources {
        let was_plain = |resource: &&String| !there.covers(resource);
        if let Some(resource) = kept.resources.iter().find(was_plain)
            && !kept.all().contains(&Provider::identity())
        {
            let expected = format!("an API server that reads {resource} as the snapshot has them, not encrypted");
            return Ok(Some((expected, format!("one without the provider identity for them; {NEXT}"))));
        }
    }
    Ok(None)
}

const NEXT: &str = "add it to --encryption-provider-config of every server behind the ones that are there, or take \
                    another snapshot";

fn read(text: Option<&str>, whose: &str) -> Result<Configuration, String> {
    let Some(text) = text else { return Ok(Configuration::default()) };
    // What a parser says quotes what it read.
    serde_saphyr::from_str(text).map_err(|_| {
        format!("expected an EncryptionConfiguration in {whose} encryption configuration, found what is none")
    })
}

impl Configuration {
    fn covers(&self, resource: &str) -> bool {
        self.resources.iter().flat_map(|entry| &entry.resources).any(|pattern| covers(pattern, resource))
    }

    /// A provider of these that this one does not ask for that resource, expected and found.
    fn lacks(&self, resource: &str, providers: &[Provider]) -> Option<(String, String)> {
        let expected = |provider: &Provider| format!("an API server that reads {resource} by {}", provider.said());
        for entry in &self.resources {
            let concerns = |pattern: &String| covers(pattern, resource) || covers(resource, pattern);
            if !entry.resources.iter().any(concerns) {
                continue;
            }
            let asked = entry.all();
            if let Some(missing) = providers.iter().find(|provider| !asked.contains(provider)) {
                let same = asked.iter().find(|other| (&other.kind, &other.name) == (&missing.kind, &missing.name));
                let found = match same {
                    Some(other) => format!("another secret under the name of {}", other.said()),
                    None => format!("one without it; {NEXT}"),
                };
                return Some((expected(missing), found));
            }
            if entry.resources.iter().any(|pattern| covers(pattern, resource)) {
                return None;
            }
        }
        let missing = providers.iter().find(|provider| **provider != Provider::identity())?;
        Some((expected(missing), format!("one that reads them as not encrypted; {NEXT}")))
    }
}

impl Resources {
    fn all(&self) -> Vec<Provider> {
        let of_one = |(kind, settings): (&String, &Value)| -> Vec<Provider> {
            let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
            let one = |name, secret| Provider { kind: kind.clone(), name, secret };
            match settings["keys"].as_array() {
                Some(keys) => keys.iter().map(|key| one(text(key, "name"), text(key, "secret"))).collect(),
                None => vec![one(text(settings, "name"), text(settings, "endpoint"))],
            }
        };
        self.providers.iter().flatten().flat_map(of_one).collect()
    }
}

impl Provider {
    fn identity() -> Self {
        Self { kind: "identity".to_owned(), name: String::new(), secret: String::new() }
    }

    fn said(&self) -> String {
        match self.name.as_str() {
            "" => format!("the provider {}", self.kind),
            name => format!("the key {name} of {}", self.kind),
        }
    }
}

/// Whether a pattern of such a configuration names that resource, or all that another pattern names: `secrets`,
/// `deployments.apps`, `*.apps`, `*.` for those without a group, `*.*`.
fn covers(pattern: &str, resource: &str) -> bool {
    let group = |name: &str| name.split_once('.').map_or("", |(_, group)| group).to_owned();
    match pattern.strip_prefix("*.") {
        Some("*") => true,
        Some(of) => group(resource) == of,
        None => pattern == resource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(resource: &str, providers: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
             - resources: [{resource}]\n  providers: [{providers}]\n"
        )
    }

    const ONE: &str = "{aescbc: {keys: [{name: one, secret: c2VjcmV0LW9uZQ==}]}}";
    const OTHER: &str = "{aescbc: {keys: [{name: one, secret: b3RoZXI=}]}}";
    const TWO: &str = "{aescbc: {keys: [{name: two, secret: dHdv}, {name: one, secret: c2VjcmV0LW9uZQ==}]}}";
    const KMS: &str = "{kms: {apiVersion: v2, name: vault, endpoint: 'unix:///run/kms.sock'}}";

    #[test]
    fn whoever_has_every_key_for_every_resource_reads_it_and_nobody_else() {
        let plain = "{identity: {}}";
        let cases = [
            (Some(("secrets", ONE)), Some(("secrets", ONE)), None),
            (Some(("secrets", ONE)), Some(("secrets", TWO)), None),
            (Some(("secrets", TWO)), Some(("secrets", ONE)), Some("the key two of aescbc")),
            (Some(("secrets", ONE)), Some(("secrets", OTHER)), Some("another secret under the name")),
            (Some(("secrets", ONE)), None, Some("as not encrypted")),
            (Some(("secrets", plain)), None, None),
            (None, Some(("secrets", ONE)), Some("without the provider identity")),
            (None, Some(("secrets", "{aescbc: {keys: [{name: one, secret: YQ==}]}}, {identity: {}}")), None),
            (Some(("secrets", KMS)), Some(("secrets", KMS)), None),
            (Some(("secrets", KMS)), Some(("secrets", ONE)), Some("the key vault of kms")),
            (Some(("secrets", ONE)), Some(("'*.'", ONE)), Some("without the provider identity")),
            (Some(("'*.'", ONE)), Some(("'*.*'", TWO)), Some("without the provider identity")),
            (Some(("'*.*'", ONE)), Some(("'*.*'", TWO)), None),
            (Some(("'*.*'", ONE)), Some(("secrets", ONE)), Some("as not encrypted")),
            (Some(("deployments.apps", ONE)), Some(("'*.apps'", KMS)), Some("the key one of aescbc")),
            (None, None, None),
        ];
        for (there, here, expected) in cases {
            let text = |of: Option<(&str, &str)>| of.map(|(resource, providers)| configuration(resource, providers));
            let found = unreadable(text(there).as_deref(), text(here).as_deref()).unwrap();
            let said = found.map(|(expected, found)| format!("{expected}; {found}"));
            assert_eq!(said.is_some(), expected.is_some(), "{there:?} {here:?}: {said:?}");
            assert!(said.as_deref().unwrap_or_default().contains(expected.unwrap_or_default()), "{said:?}");
            assert!(!said.unwrap_or_default().contains("=="), "no secret is said");
        }
    }

    #[test]
    fn an_entry_that_comes_first_holds() {
        let shadowed = format!("{}- resources: ['*.*']\n  providers: [{ONE}]\n", configuration("secrets", OTHER));
        let there = configuration("'*.*'", ONE);
        assert!(unreadable(Some(&there), Some(&shadowed)).unwrap().is_some());
        assert!(unreadable(Some("a: secret"), None).is_err_and(|said| !said.contains("secret:")));
    }
}
