//! Inventories of Ansible (<https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html>), as far as
//! they say of which machines a cluster is made.

mod fleet_file;
mod ini;
mod k3s;
mod kubeadm;
mod yaml;

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

pub use fleet_file::fleet_file;

/// Hosts of an inventory at most; a fleet may have as many.
pub(super) const MAX_HOSTS: usize = 1000;
/// Groups in groups at most: the deepest inventories in use have four.
pub(super) const MAX_DEPTH: usize = 16;

/// How a tool of Ansible's names what it makes a cluster of.
#[derive(Clone, Copy)]
struct Tool {
    distribution: &'static str,
    /// Groups; the first is what it is called today.
    servers: &'static [&'static str],
    workers: &'static [&'static str],
    /// Groups that say nothing more.
    others: &'static [&'static str],
    /// The variable with the version.
    version: &'static str,
    example: &'static str,
    /// What its variables say beside nodes.
    more: fn(&mut fleet_file::Reader<'_>, &[&str]),
}

const TOOLS: [Tool; 2] = [kubeadm::KUBESPRAY, k3s::K3S_ANSIBLE];

/// A file of an inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// For messages.
    pub name: &'a str,
    pub text: &'a str,
    pub is: Is<'a>,
}

/// What stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is<'a> {
    /// Hosts and groups, in Ansible's own form or as YAML; by the ending of its name, or by how it begins.
    Inventory,
    /// Variables of a group.
    GroupVariables(&'a str),
    /// Variables of a host.
    HostVariables(&'a str),
}

/// Where something stands: a file, and a line from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// An inventory that cannot be read: what was expected and found, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct InventoryError {
    pub place: Place,
    pub message: String,
}

/// A variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Variable {
    pub value: Value,
    pub place: Place,
}

/// Variables by their names.
pub type Variables = BTreeMap<String, Variable>;

/// Hosts, groups and variables.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inventory {
    /// In the order in which they came first.
    pub hosts: Vec<String>,
    pub host_variables: BTreeMap<String, Variables>,
    pub groups: BTreeMap<String, Group>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    pub hosts: Vec<String>,
    pub children: Vec<String>,
    pub variables: Variables,
}

/// Reads an inventory; its files with hosts first.
pub fn read(sources: &[Source<'_>]) -> Result<Inventory, InventoryError> {
    let mut inventory = Inventory::default();
    for source in sources {
        match source.is {
            Is::Inventory if is_yaml(source) => yaml::inventory(source, &mut inventory)?,
            Is::Inventory => ini::inventory(source, &mut inventory)?,
            Is::GroupVariables(group) => {
                let read = yaml::variables(source)?;
                inventory.groups.entry(group.to_owned()).or_default().variables.extend(read);
            }
            Is::HostVariables(host) => {
                let read = yaml::variables(source)?;
                inventory.host_variables.entry(host.to_owned()).or_default().extend(read);
            }
        }
    }
    if inventory.hosts.is_empty() {
        let file = sources.first().map_or("the inventory", |source| source.name).to_owned();
        let message = "expected hosts in groups such as [kube_control_plane], found none; name the file that has them";
        return Err(InventoryError { place: Place { file, line: 1 }, message: message.to_owned() });
    }
    Ok(inventory)
}

/// By its ending, where that says it; else YAML begins with a key, and Ansible's own form with a group or a host.
fn is_yaml(source: &Source<'_>) -> bool {
    match source.name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("yml" | "yaml") => true,
        Some("ini" | "cfg") => false,
        Some(_) | None => {
            let lines = source.text.lines().map(str::trim);
            let first = lines.into_iter().find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
            first.is_some_and(|line| line == "---" || line.ends_with(':'))
        }
    }
}

impl Inventory {
    pub(super) fn host(&mut self, name: &str, place: &Place) -> Result<(), InventoryError> {
        if self.hosts.iter().any(|host| host == name) {
            return Ok(());
        }
        if self.hosts.len() == MAX_HOSTS {
            let message = format!("expected at most {MAX_HOSTS} hosts, found more; import a part of them");
            return Err(InventoryError { place: place.clone(), message });
        }
        self.hosts.push(name.to_owned());
        Ok(())
    }

    /// The hosts of a group and of those in it, each once, in their order.
    pub fn members(&self, group: &str) -> Vec<&str> {
        let mut names = Vec::new();
        self.below(group, 0, &mut names);
        let is_member = |host: &&String| {
            names.iter().filter_map(|name| self.groups.get(*name)).any(|group| group.hosts.contains(host))
        };
        self.hosts.iter().filter(is_member).map(String::as_str).collect()
    }

    fn below<'a>(&'a self, group: &'a str, depth: usize, names: &mut Vec<&'a str>) {
        if depth > MAX_DEPTH || names.contains(&group) {
            return;
        }
        names.push(group);
        for child in self.groups.get(group).into_iter().flat_map(|group| &group.children) {
            self.below(child, depth + 1, names);
        }
    }

    /// A variable as a host sees it: its own, then that of the smallest group that it is in, then that of all.
    pub fn variable(&self, host: &str, name: &str) -> Option<&Variable> {
        let own = self.host_variables.get(host).and_then(|variables| variables.get(name));
        own.or_else(|| {
            let has = |(_, group): &(&String, &Group)| group.variables.contains_key(name);
            let groups =
                self.groups.iter().filter(has).filter(|(of, _)| *of == "all" || self.members(of).contains(&host));
            let (_, group) = groups.min_by_key(|(of, _)| {
                let size = self.members(of).len();
                (*of == "all", size)
            })?;
            group.variables.get(name)
        })
    }

    /// A variable of the whole cluster: of the first host that sees one.
    pub fn shared(&self, name: &str) -> Option<&Variable> {
        self.hosts.iter().find_map(|host| self.variable(host, name))
    }
}

#[cfg(test)]
mod tests;
