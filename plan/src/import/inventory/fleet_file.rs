//! From an inventory to a fleet file.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::Value;

use crate::{
    id::NodeName,
    import::{
        draft::{Entry, FileDraft, Table},
        secret::may_be_secret,
    },
    text::{clean, count},
};

use super::{Inventory, InventoryError, Place, TOOLS, Tool, Variable};

/// What is told at most of variables without a word here.
const MAX_TOLD: usize = 60;

/// The fleet file of an inventory, with what it cannot say. An inventory without servers is an error.
pub fn fleet_file(inventory: &Inventory, name: &str) -> Result<FileDraft, InventoryError> {
    let named = |groups: &[&str]| -> Vec<&str> { groups.iter().flat_map(|group| inventory.members(group)).collect() };
    let Some((tool, servers)) = TOOLS.iter().map(|tool| (tool, named(tool.servers))).find(|(_, s)| !s.is_empty())
    else {
        let groups: Vec<&str> = inventory.groups.keys().map(String::as_str).take(12).collect();
        let message = format!(
            "expected servers in a group {}, found the groups {}; rename one",
            TOOLS.map(|tool| tool.servers[0]).join(" or "),
            clean(&groups.join(", "))
        );
        return Err(InventoryError { place: Place { file: "the inventory".to_owned(), line: 1 }, message });
    };
    let mut reader = Reader { inventory, draft: FileDraft::default(), used: BTreeSet::new() };
    reader.top(tool, name, &servers);
    let workers: Vec<&str> = named(tool.workers).into_iter().filter(|host| !servers.contains(host)).collect();
    for (role, hosts) in [("server", &servers), ("worker", &workers)] {
        let mut seen = BTreeSet::new();
        hosts.iter().filter(|host| seen.insert(**host)).for_each(|host| reader.node(host, role));
    }
    (tool.more)(&mut reader, &servers);
    reader.rest(&servers, &workers);
    Ok(reader.draft)
}

/// What is made of an inventory.
pub(super) struct Reader<'a> {
    inventory: &'a Inventory,
    pub(super) draft: FileDraft,
    /// Variables that were read, or that say nothing of a cluster.
    used: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    /// A text; a number or truth as it is written. None where it is a template, or may be a secret.
    fn text(&mut self, host: &str, name: &str) -> Option<(String, &'a Place)> {
        self.used.insert(name.to_owned());
        let Variable { value, place } = self.inventory.variable(host, name)?;
        let text = plain(value)?;
        if text.contains("{{") || may_be_secret(name, &text) {
            self.draft.say(format!("{name} ({place}) is a template or may be a secret; write it yourself"));
            return None;
        }
        Some((text, place))
    }

    pub(super) fn shared(&mut self, name: &str) -> Option<(String, &'a Place)> {
        let host = self.inventory.hosts.iter().find(|host| self.inventory.variable(host, name).is_some())?;
        self.text(host, name)
    }

    /// A list, or words with commas between them.
    pub(super) fn list(&mut self, host: &str, name: &str) -> Vec<Value> {
        self.used.insert(name.to_owned());
        match self.inventory.variable(host, name).map(|variable| &variable.value) {
            Some(Value::Array(values)) => values.clone(),
            Some(Value::String(text)) => text.split(',').map(|word| Value::from(word.trim())).collect(),
            Some(_) | None => Vec::new(),
        }
    }

    fn top(&mut self, tool: &Tool, name: &str, servers: &[&str]) {
        let top = |key: &str, value: String, from: String| Entry::new(key, value, from);
        self.draft.top.push(top("name", name.to_owned(), "of the inventory's folder".to_owned()));
        self.draft.top.push(top("distribution", tool.distribution.to_owned(), format!("group {}", tool.servers[0])));
        let version = match self.shared(tool.version) {
            Some((text, place)) => {
                let text = if text.starts_with('v') { text } else { format!("v{text}") };
                top("version", text, place.to_string())
            }
            None => {
                self.draft.say(format!("no {} is there: write the version that runs", tool.version));
                top("version", tool.example.to_owned(), "NOT of the inventory: correct it".to_owned())
            }
        };
        self.draft.top.push(version);
        let (host, from) = self.endpoint(servers);
        self.draft.top.push(top("api", host, from));
    }

    /// Where nodes reach the cluster: a balancer, or the first server.
    fn endpoint(&mut self, servers: &[&str]) -> (String, String) {
        let port = self.shared("api_port").or_else(|| self.shared("kube_apiserver_port"));
        let mut port = port.map_or_else(|| "6443".to_owned(), |(port, _)| port);
        if let Some((name, place)) =
            self.shared("api_endpoint").or_else(|| self.shared("apiserver_loadbalancer_domain_name"))
        {
            return (format!("{name}:{port}"), place.to_string());
        }
        self.used.insert("loadbalancer_apiserver".to_owned());
        if let Some(Variable { value, place }) = self.inventory.shared("loadbalancer_apiserver")
            && let Some(address) = plain(&value["address"])
        {
            port = plain(&value["port"]).unwrap_or(port);
            return (format!("{address}:{port}"), place.to_string());
        }
        let first = servers.first().copied().unwrap_or_default();
        let host = self.address(first).unwrap_or_else(|| first.to_owned());
        (
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") },
            "the first server".to_owned(),
        )
    }

    /// At which the other nodes reach it.
    fn address(&mut self, host: &str) -> Option<String> {
        let found = ["ip", "access_ip", "ansible_host"].into_iter().find_map(|name| {
            let (text, _) = self.text(host, name)?;
            text.parse::<IpAddr>().ok()
        });
        found.or_else(|| host.parse().ok()).map(|address| address.to_string())
    }

    fn node(&mut self, host: &str, role: &str) {
        if NodeName::new(host).is_err() || host.parse::<IpAddr>().is_ok() {
            self.draft
                .say(format!("host {:?} is no name of a node: write it as `kubectl get nodes` does", clean(host)));
        }
        let mut table = Table::new("", format!("host {host}"));
        table.add("name", host);
        table.add("role", role);
        let arch = self.text(host, "ansible_architecture").or_else(|| self.text(host, "architecture"));
        let arch = match arch.as_ref().map(|(text, _)| text.as_str()) {
            Some("aarch64" | "arm64") => "aarch64",
            Some("x86_64" | "amd64") => "x86_64",
            Some(_) | None => {
                self.draft.say(format!("{host}: no inventory says its processor; x86_64 is written, see `uname -m`"));
                "x86_64"
            }
        };
        table.add("arch", arch);
        table.add("address", self.address(host).unwrap_or_default());
        self.used.insert("node_labels".to_owned());
        if let Some(Variable { value: Value::Object(labels), .. }) = self.inventory.variable(host, "node_labels") {
            let labels = labels.iter().filter_map(|(key, value)| Some((key.clone(), toml::Value::from(plain(value)?))));
            table.add("labels", labels.collect::<toml::Table>());
        }
        let taints: Vec<toml::Value> =
            self.list(host, "node_taints").iter().filter_map(|t| Some(toml::Value::from(plain(t)?))).collect();
        table.add("taints", taints);
        self.draft.nodes.push(table);
    }

    /// What no word was found for.
    fn rest(&mut self, servers: &[&str], workers: &[&str]) {
        let etcd = self.inventory.members("etcd");
        if let Some(outside) = etcd.iter().find(|host| !servers.contains(host)) {
            self.draft.say(format!("{outside} runs etcd and is no server: Hostler takes no care of such a member"));
        }
        for host in
            self.inventory.hosts.iter().filter(|h| !servers.contains(&h.as_str()) && !workers.contains(&h.as_str()))
        {
            self.draft.say(format!("host {} is neither server nor worker, and left out", clean(host)));
        }
        let known = |group: &str| {
            TOOLS
                .iter()
                .any(|tool| [tool.servers, tool.workers, tool.others].iter().any(|named| named.contains(&group)))
        };
        for name in self.inventory.groups.keys().filter(|name| !known(name)) {
            self.draft.say(format!("group {} has no word here", clean(name)));
        }
        let of_groups = self.inventory.groups.values().map(|group| &group.variables);
        let all = of_groups.chain(self.inventory.host_variables.values()).flatten();
        let is_unknown = |name: &str| !name.starts_with("ansible_") && !self.used.contains(name);
        let unknown: BTreeSet<(&str, &Place)> =
            all.filter(|(name, _)| is_unknown(name)).map(|(name, variable)| (name.as_str(), &variable.place)).collect();
        let told: Vec<String> =
            unknown.iter().take(MAX_TOLD).map(|(name, place)| format!("{} ({place})", clean(name))).collect();
        let more = unknown.len() - told.len();
        told.into_iter().for_each(|variable| self.draft.say(format!("variable {variable} has no word here")));
        if more > 0 {
            self.draft.say(format!("{} more have no word here", count(more, "variable")));
        }
    }
}

/// Text, number or truth as it is written.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
