//! Which machines may be listed without a question.

use std::str::FromStr;

use clap::Args;
use hostler_plan::id::{Fingerprint, NodeName};

/// What a command that brings nodes in may list.
#[derive(Debug, Clone, Default, Args)]
pub struct Listing {
    /// Do not ask before workers are listed whose tokens are proved good; servers and others are left out
    #[arg(long)]
    pub yes: bool,
    /// List this node as a server without asking, if this is its key. May be repeated
    #[arg(long, value_name = "NAME=FINGERPRINT")]
    pub accept_server: Vec<NamedKey>,
}

/// A node's name with the fingerprint of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    pub name: NodeName,
    pub key: Fingerprint,
}

/// A node's name, perhaps with the fingerprint of its key: `pi-9` or `pi-9=SHA256:…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeArgument {
    pub name: NodeName,
    pub key: Option<Fingerprint>,
}

impl FromStr for NodeArgument {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, key) = text.split_once('=').map_or((text, None), |(name, key)| (name, Some(key)));
        let name = NodeName::new(name).map_err(|e| e.to_string())?;
        let key = key.map(|key| key.parse().map_err(|e| format!("{name}: {e}"))).transpose()?;
        Ok(Self { name, key })
    }
}

impl FromStr for NamedKey {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let NodeArgument { name, key } = text.parse()?;
        let key = key.ok_or_else(|| {
            format!("expected {name}=FINGERPRINT as `hostler node list --pending` shows it, found no fingerprint")
        })?;
        Ok(Self { name, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_with_or_without_its_key() {
        let key = format!("SHA256:{}", "A".repeat(43));
        let both: NodeArgument = format!("pi-9={key}").parse().expect("valid");
        assert_eq!((both.name.as_str(), both.key.expect("a key").to_string()), ("pi-9", key));
        assert_eq!("pi-9".parse::<NodeArgument>().expect("valid").key, None);
        for bad in ["", "pi-9=", "pi-9=SHA256:short", "Pi 9"] {
            assert!(bad.parse::<NodeArgument>().is_err(), "{bad}");
        }
        let error = "pi-9".parse::<NamedKey>().expect_err("no key");
        assert!(error.contains("node list --pending"), "{error}");
    }
}
