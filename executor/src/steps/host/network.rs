//! `network.lasts`: whether the addresses and interfaces of this machine are the same after a boot. It says what it
//! finds and changes nothing: who moves the network of a machine over that network may lose it.

use std::{net::IpAddr, path::Path, time::Duration};

use hostler_plan::{
    document::{DIFFERS, PlanKind},
    step::machine::LastingNetwork,
};
use serde::Deserialize;

use crate::{
    host::{Host, HostError},
    steps::action::{Action, Check, StepContext, StepError},
};

const QUICK: Duration = Duration::from_secs(60);
const NETPLAN: &str = "/etc/netplan";
/// Folders of files that name interfaces, and what stands in front of the name.
const NAMING: [(&str, &str); 4] = [
    ("/etc/network", "iface "),
    ("/etc/network/interfaces.d", "iface "),
    ("/etc/systemd/network", "Name="),
    ("/etc/NetworkManager/system-connections", "interface-name="),
];

impl Action for LastingNetwork {
    fn check(&self, context: &mut StepContext<'_>) -> Result<Check, StepError> {
        let printed = match context.host().run(&["ip", "-json", "address", "show"], QUICK) {
            Ok(printed) => printed,
            Err(HostError::Missing { .. }) => return Ok(Check::Done("nobody here tells addresses".into())),
            Err(error) => return Err(error.into()),
        };
        let interfaces: Vec<Interface> = serde_json::from_str(&printed)
            .map_err(|e| StepError::Failed(format!("`ip -json address show`: expected its JSON, found {e}")))?;
        let mut findings: Vec<String> =
            self.address.iter().filter_map(|wanted| of_address(*wanted, &interfaces)).collect();
        if self.address.is_none() && self.is_server {
            findings.extend(only_leased(&interfaces));
        }
        findings.extend(renamed(context.host(), &interfaces)?);
        if findings.is_empty() {
            return Ok(Check::Done("its addresses and interfaces last".into()));
        }
        if context.plan.document().kind == PlanKind::Inspect {
            let op = context.op();
            findings.iter().for_each(|finding| context.observe(DIFFERS, format!("{op}: {finding}")));
        }
        Ok(Check::Done(findings.join("; ")))
    }

    fn apply(&self, _: &mut StepContext<'_>) -> Result<(), StepError> {
        Ok(())
    }
}

/// As `ip -json address` of iproute2 prints them.
#[derive(Debug, Deserialize)]
struct Interface {
    ifname: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    local: Option<IpAddr>,
    scope: Option<String>,
    /// Given for a time, by DHCP or a router's announcements.
    #[serde(default)]
    dynamic: bool,
}

fn all(interfaces: &[Interface]) -> impl Iterator<Item = (&str, &Address, IpAddr)> {
    interfaces.iter().flat_map(|i| i.addr_info.iter().filter_map(|a| Some((i.ifname.as_str(), a, a.local?))))
}

const RESERVE: &str = "reserve it there, or set it on the machine";

fn of_address(wanted: IpAddr, interfaces: &[Interface]) -> Option<String> {
    match all(interfaces).find(|(_, _, local)| *local == wanted) {
        Some((name, address, _)) => address
            .dynamic
            .then(|| format!("{wanted} of {name} is lent by DHCP, and the fleet file rests on it; {RESERVE}")),
        None => {
            let global = all(interfaces).filter(|(_, address, _)| address.scope.as_deref() == Some("global"));
            let found: Vec<String> = global.map(|(name, _, local)| format!("{local} of {name}")).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            Some(format!("expected the address {wanted} of the fleet file, found {found}"))
        }
    }
}

/// A server that every node reaches, with no address of its own.
fn only_leased(interfaces: &[Interface]) -> Option<String> {
    let mut global =
        all(interfaces).filter(|(_, address, local)| address.scope.as_deref() == Some("global") && local.is_ipv4());
    let (name, address, local) = global.next()?;
    let is_lent = address.dynamic && global.all(|(_, address, _)| address.dynamic);
    is_lent.then(|| format!("{local} of {name} is lent by DHCP, and this is a server that others reach; {RESERVE}"))
}

/// Interfaces that files name and nobody has: a new kernel or systemd gave them other names.
fn renamed(host: &dyn Host, interfaces: &[Interface]) -> Result<Vec<String>, StepError> {
    let mut findings = Vec::new();
    let there: Vec<&str> = interfaces.iter().map(|i| i.ifname.as_str()).filter(|name| *name != "lo").collect();
    let mut look = |folder: &str, named: &dyn Fn(&str) -> Vec<String>| -> Result<(), StepError> {
        for file in host.list_folder(Path::new(folder))? {
            let path = format!("{folder}/{file}");
            // What is no file, or a link, is none that says it.
            let Some(found) = host.read_file(Path::new(&path)).ok().flatten() else { continue };
            for name in named(&String::from_utf8_lossy(&found.content)) {
                if name != "lo" && !there.contains(&name.as_str()) {
                    let there = there.join(", ");
                    findings.push(format!("{path} is for interface {name}, and there is none: found {there}"));
                }
            }
        }
        Ok(())
    };
    for (folder, before) in NAMING {
        look(folder, &|text| named(text, before))?;
    }
    look(NETPLAN, &ethernets)?;
    findings.dedup();
    Ok(findings)
}

/// The names behind that word; patterns are none.
fn named(text: &str, before: &str) -> Vec<String> {
    let names = text.lines().filter_map(|line| line.trim().strip_prefix(before)?.split_whitespace().next());
    names.filter(|name| !name.contains(['*', '?', '[', '='])).map(str::to_owned).collect()
}

/// The keys right below `ethernets:` that are names themselves, which they are where nothing is matched.
fn ethernets(text: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#')).collect();
    let mut names = Vec::new();
    for (at, head) in lines.iter().enumerate().filter(|(_, line)| line.trim() == "ethernets:") {
        let below: Vec<&str> = lines[at + 1..].iter().take_while(|line| indent(line) > indent(head)).copied().collect();
        let Some(level) = below.first().map(|line| indent(line)) else { continue };
        for (at, line) in below.iter().enumerate().filter(|(_, line)| indent(line) == level) {
            let own = below[at + 1..].iter().take_while(|line| indent(line) > level);
            let is_matched = own.clone().any(|line| line.trim().starts_with("match:"));
            let name = line.trim().split(':').next().unwrap_or_default().trim_matches(['"', '\'']);
            if !is_matched && !name.is_empty() {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces(eth0: &str) -> Vec<Interface> {
        let text = format!(
            r#"[{{"ifindex":1,"ifname":"lo","addr_info":[{{"family":"inet","local":"127.0.0.1","scope":"host"}}]}},
                {{"ifindex":2,"ifname":"eth0","addr_info":[{eth0}]}}, {{"ifname":"wlan0","addr_info":[{{}}]}}]"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn an_address_that_is_lent_or_not_there_is_a_finding() {
        let lent = interfaces(r#"{"local":"10.0.0.11","scope":"global","dynamic":true,"valid_life_time":86000}"#);
        let own = interfaces(r#"{"local":"10.0.0.11","scope":"global","valid_life_time":4294967295}"#);
        let wanted = "10.0.0.11".parse().unwrap();
        assert!(of_address(wanted, &lent).unwrap().starts_with("10.0.0.11 of eth0 is lent by DHCP"));
        assert_eq!((of_address(wanted, &own), only_leased(&own)), (None, None));
        assert!(only_leased(&lent).unwrap().contains("a server that others reach"));
        let missing = of_address("10.0.0.12".parse().unwrap(), &own).unwrap();
        assert!(missing.ends_with("found 10.0.0.11 of eth0"), "{missing}");
    }

    #[test]
    fn names_of_interfaces_are_found_and_patterns_are_none() {
        assert_eq!(named("auto eth0\niface eth0 inet dhcp\n", "iface "), ["eth0"]);
        assert_eq!(named("[Match]\nName=en*\n[Network]\n", "Name="), [""; 0]);
        let netplan = "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n    all:\n      match:\n\
                       \u{20}       name: en*\n    \"end0\": {}\n  wifis:\n    wlan0:\n      dhcp4: true\n";
        assert_eq!(ethernets(netplan), ["eth0", "end0"]);
    }
}
