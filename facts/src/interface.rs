//! Which network interfaces are the machine's own, and not those of pods or of their network.
//!
//! The kernel tells what an interface is; names decide only where it does not.

use super::{Root, text};
use std::collections::{BTreeMap, BTreeSet};

const NET: &str = "sys/class/net";
/// Kinds of interfaces that carry packets within others (DEVTYPE of their uevent).
const TUNNELS: [&str; 6] = ["vxlan", "geneve", "gre", "gretap", "erspan", "macsec"];
/// The same as link types (linux/if_arp.h): IPIP, IP6TNL, SIT, IPDDP, IPGRE, IP6GRE.
const TUNNEL_TYPES: [f64; 6] = [768.0, 769.0, 776.0, 777.0, 778.0, 823.0];
/// Loopback.
const LOOPBACK: f64 = 772.0;

/// Names that networks of pods and the kernel's own fallbacks use, where the kernel does not tell what one is.
const HIDDEN: [&str; 43] = [
    "veth",
    "cali",
    "cni",
    "cbr",
    "flannel",
    "docker",
    "br-",
    "virbr",
    "lxc",
    "cilium",
    "kube-",
    "nodelocaldns",
    "ifb",
    "dummy",
    "tunl",
    "vxlan",
    "genev",
    "gre",
    "erspan",
    "sit",
    "ip6tnl",
    "ip6gre",
    "ip_vti",
    "ip6_vti",
    "antrea",
    "weave",
    "datapath",
    "ovs-",
    "ovn",
    "podman",
    "nerdctl",
    "lxdbr",
    "fwbr",
    "fwpr",
    "fwln",
    "vnet",
    "tap",
    "kilo",
    "azv",
    "vethwe",
    "wireguard.cali",
    "wg-v6.cali",
    "mpls",
];

/// Whether an interface may be the machine's own by its name.
fn is_own_name(name: &str) -> bool {
    let hex_name = name.len() == 15 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    name != "lo" && !hex_name && !HIDDEN.iter().any(|prefix| name.starts_with(prefix))
}

/// Every interface that the kernel shows now, and whether it is the machine's own.
#[derive(Debug, Default)]
pub(super) struct Interfaces(BTreeMap<String, bool>);

impl Interfaces {
    /// `default` are those of default routes.
    pub(super) fn read(root: &Root, default: &[String]) -> Self {
        let names: BTreeSet<String> = root.list(NET).unwrap_or_default().into_iter().collect();
        let is_own = |name: &String| default.contains(name) || is_own(root, name, 4);
        Interfaces(names.into_iter().map(|name| (name.clone(), is_own(&name))).collect())
    }

    /// Whether an interface is the machine's own; one that came since is known by its name.
    pub(super) fn is_own(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or_else(|| is_own_name(name))
    }
}

/// `depth` bounds bridges on bridges.
fn is_own(root: &Root, name: &str, depth: u8) -> bool {
    let folder = format!("{NET}/{name}");
    let number = |file: &str| root.number(&format!("{folder}/{file}")).ok();
    // A part of a card that was given to a pod or a virtual machine.
    if root.exists(&format!("{folder}/device/physfn")) {
        return false;
    }
    if root.exists(&format!("{folder}/device")) {
        return true;
    }
    if root.exists(&format!("{folder}/bridge")) {
        // A bridge to the outside has a member that leads there; those of pods have pairs only.
        let members = root.list(&format!("{folder}/brif")).unwrap_or_default();
        return depth > 0 && members.iter().any(|member| leads_outside(root, member, depth - 1));
    }
    let said = root.bytes(&format!("{folder}/uevent")).unwrap_or_default();
    let kind = text::lines(&said).find_map(|line| line.strip_prefix(b"DEVTYPE=")).map(text::word).unwrap_or_default();
    let link = number("type").unwrap_or_default();
    if TUNNELS.contains(&kind) || TUNNEL_TYPES.contains(&link) || link == LOOPBACK {
        return false;
    }
    // One end of a pair whose other end is elsewhere. What stands on an interface of this machine names it.
    let peer = number("iflink").zip(number("ifindex")).is_some_and(|(other, own)| other != own);
    let stands = root.list(&folder).is_ok_and(|files| files.iter().any(|file| file.starts_with("lower_")));
    (stands || !peer) && is_own_name(name)
}

/// Whether an interface has a speed of its own: a bridge has that of its fastest port, which is a pair or a tap of a
/// virtual machine as often as a card, and a tun or tap has the one that it is told.
pub(super) fn has_own_speed(root: &Root, name: &str) -> bool {
    keeps_speed(root, name, 4)
}

/// `depth` bounds VLANs on bridges on VLANs.
fn keeps_speed(root: &Root, name: &str, depth: u8) -> bool {
    let files = root.list(&format!("{NET}/{name}")).unwrap_or_default();
    let mut below = files.iter().filter_map(|file| file.strip_prefix("lower_"));
    let borrows = files.iter().any(|file| file == "bridge" || file == "tun_flags");
    !borrows && (depth == 0 || below.all(|lower| keeps_speed(root, lower, depth - 1)))
}

/// Whether a member of a bridge is a card, or a bond or VLAN over one.
fn leads_outside(root: &Root, name: &str, depth: u8) -> bool {
    let folder = format!("{NET}/{name}");
    if root.exists(&format!("{folder}/device")) {
        return true;
    }
    let below = root.list(&folder).unwrap_or_default();
    let mut below = below.iter().filter_map(|file| file.strip_prefix("lower_"));
    depth > 0 && below.any(|lower| leads_outside(root, lower, depth - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn interfaces_of_pods_are_left_out() {
        for own in ["eth0", "end0", "wlan0", "enp3s0", "bond0", "wg0", "tailscale0", "lowpan0"] {
            assert!(is_own_name(own), "{own}");
        }
        for other in ["lo", "veth12ab", "cali0123456789a", "cni0", "flannel.1", "docker0", "br-12", "0123456789abcde"] {
            assert!(!is_own_name(other), "{other}");
        }
    }

    #[test]
    fn the_kernel_tells_what_belongs_to_pods() {
        let folder = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let net = |name: &str, files: &[(&str, &str)]| {
            files.iter().for_each(|(path, text)| file(&format!("{NET}/{name}/{path}"), text));
        };
        net("lan0", &[("device/vendor", "0x8086"), ("type", "1")]);
        net("lan0v1", &[("device/vendor", "0x8086"), ("device/physfn/x", "")]);
        net("bond0", &[("uevent", "DEVTYPE=bond\n"), ("lower_lan0/x", ""), ("iflink", "5"), ("ifindex", "5")]);
        net("lan0.7", &[("uevent", "DEVTYPE=vlan\n"), ("lower_lan0/x", ""), ("iflink", "2"), ("ifindex", "9")]);
        net("pods", &[("bridge/x", ""), ("brif/p1/x", "")]);
        net("p1", &[("iflink", "2"), ("ifindex", "12")]);
        net("vmbr0", &[("bridge/x", ""), ("brif/bond0/x", ""), ("brif/p1/x", "")]);
        net("overlay", &[("uevent", "DEVTYPE=vxlan\n"), ("iflink", "13"), ("ifindex", "13")]);
        net("t0", &[("type", "768")]);
        net("br-ex", &[("type", "1")]);
        net("wg0", &[("uevent", "DEVTYPE=wireguard\n"), ("type", "65534")]);
        let interfaces = Interfaces::read(&Root::at(folder.path()).unwrap(), &["br-ex".to_owned()]);
        let own: Vec<&str> = interfaces.0.iter().filter(|(_, own)| **own).map(|(name, _)| name.as_str()).collect();
        assert_eq!(own, ["bond0", "br-ex", "lan0", "lan0.7", "vmbr0", "wg0"]);
        net("vmbr0.7", &[("uevent", "DEVTYPE=vlan\n"), ("lower_vmbr0/x", "")]);
        net("tap0", &[("tun_flags", "0x1002")]);
        let root = Root::at(folder.path()).unwrap();
        for (name, expected) in
            [("lan0", true), ("bond0", true), ("lan0.7", true), ("vmbr0", false), ("vmbr0.7", false), ("tap0", false)]
        {
            assert_eq!(has_own_speed(&root, name), expected, "{name}");
        }
    }
}
