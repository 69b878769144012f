//! Network interfaces: counters from `/proc/net/dev`, links from `/sys/class/net`, the default route.

use super::failure::{Failure, Worst};
use super::sample::Sample;
use super::{Input, Root, Slow, Source, interface, interface::Interfaces, text};

/// Column, series. Received first, sent from column 8.
const COLUMNS: [(usize, &str); 8] = [
    (0, "node_network_receive_bytes_total"),
    (1, "node_network_receive_packets_total"),
    (2, "node_network_receive_errs_total"),
    (3, "node_network_receive_drop_total"),
    (8, "node_network_transmit_bytes_total"),
    (9, "node_network_transmit_packets_total"),
    (10, "node_network_transmit_errs_total"),
    (11, "node_network_transmit_drop_total"),
];

/// Reads the counters; which interfaces are the machine's own is looked up once a minute.
#[derive(Debug, Default)]
pub(super) struct Counters {
    interfaces: Slow<Interfaces>,
}

impl Counters {
    pub(super) fn read(&mut self, input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
        let root = &input.source.root;
        root.read_into("proc/net/dev", &mut input.bytes)?;
        let interfaces = self
            .interfaces
            .get(input.now, || Ok(Interfaces::read(root, &default_devices(&input.source).unwrap_or_default())))?;
        for line in text::lines(&input.bytes) {
            // The name may touch its first number: `eth0:123`.
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let device = text::word(line[..colon].trim_ascii());
            if device.is_empty() || !interfaces.is_own(device) {
                continue;
            }
            let mut columns = COLUMNS.iter().peekable();
            for (column, value) in text::words(&line[colon + 1..]).enumerate() {
                if let Some((_, name)) = columns.next_if(|(wanted, _)| *wanted == column) {
                    out.put_some(name, &[("device", device)], text::number(value));
                }
            }
        }
        Ok(())
    }
}

/// Reads links. A link that is down answers EINVAL for carrier and speed: those are missing then, not zero.
pub(super) fn links(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let default = worst.note(default_devices(&input.source)).unwrap_or_default();
    let interfaces = Interfaces::read(root, &default);
    for device in root.list("sys/class/net")? {
        let folder = format!("sys/class/net/{device}");
        // `bonding_masters` is a file among the folders.
        if !interfaces.is_own(&device) || !root.exists(&format!("{folder}/operstate")) {
            continue;
        }
        let text = |file: &str| root.text(&format!("{folder}/{file}")).unwrap_or_default();
        let number = |file: &str| root.number(&format!("{folder}/{file}")).ok();
        let Some(state) = worst.note(root.text(&format!("{folder}/operstate"))) else { continue };
        let (address, broadcast, duplex, alias) = (text("address"), text("broadcast"), text("duplex"), text("ifalias"));
        let labels = [
            ("address", address.as_str()),
            ("broadcast", broadcast.as_str()),
            ("device", device.as_str()),
            ("duplex", duplex.as_str()),
            ("ifalias", alias.as_str()),
            ("operstate", state.as_str()),
        ];
        out.put("node_network_info", &labels, 1.0);
        let own = [("device", device.as_str())];
        out.put("node_network_up", &own, f64::from(state == "up"));
        out.put_some("node_network_carrier", &own, number("carrier"));
        out.put_some("node_network_carrier_changes_total", &own, number("carrier_changes"));
        out.put_some("node_network_mtu_bytes", &own, number("mtu"));
        // −1 is "unknown" and would be −125000 bytes a second.
        let megabits = number("speed").filter(|megabits| *megabits > 0.0);
        let megabits = megabits.filter(|_| interface::has_own_speed(root, &device));
        out.put_some("node_network_speed_bytes", &own, megabits.map(|megabits| megabits * 125_000.0));
    }
    for device in &default {
        out.put("hostler_network_default_route", &[("device", device)], 1.0);
    }
    worst.finish()
}

/// The interfaces of the default routes, that of IPv4 first. Over IPv6 it may be another one, as where IPv4 goes
/// through a tunnel. The file of IPv6 has the routes of every table, that of IPv4 those of the main one: where that one
/// has none, rules may lead elsewhere, and the kernel is asked.
pub(super) fn default_devices(source: &Source) -> Result<Vec<String>, Failure> {
    let root = &source.root;
    let v4 = match smallest(root, "proc/net/route", default_route)? {
        None => way_out(source),
        found => Ok(found),
    };
    let v6 = smallest(root, "proc/net/ipv6_route", default_route_v6)?;
    let (v4, failed) = match v4 {
        Ok(device) => (device, None),
        Err(failure) => (None, Some(failure)),
    };
    let mut devices: Vec<String> = v4.into_iter().chain(v6).collect();
    devices.dedup();
    match failed.filter(|_| devices.is_empty()) {
        Some(failure) => Err(failure),
        None => Ok(devices),
    }
}

/// The interface through which the kernel would send what goes to the world.
fn way_out(source: &Source) -> Result<Option<String>, Failure> {
    let Some(index) = source.calls.way_out()? else { return Ok(None) };
    let is_it = |name: &String| source.root.number(&format!("sys/class/net/{name}/ifindex")) == Ok(f64::from(index));
    Ok(source.root.list("sys/class/net")?.into_iter().find(|name| name != "lo" && is_it(name)))
}

/// Whether any route leads to that interface; what every interface has for itself over IPv6 is none.
pub(super) fn has_route(root: &Root, device: &str) -> Result<bool, Failure> {
    let mut found = false;
    let v4 = root.each_line("proc/net/route", |line| {
        found |= text::words(line).next().map(text::word) == Some(device);
    });
    let v6 = root.each_line("proc/net/ipv6_route", |line| {
        let columns: Vec<&str> = text::words(line).map(text::word).collect();
        let own = columns.first().is_some_and(|to| to.starts_with("fe80") || to.starts_with("ff00"));
        found |= columns.last() == Some(&device) && !own;
    });
    match [v4, v6].into_iter().find_map(|read| read.err().filter(|failure| !failure.is_absent())) {
        Some(failure) if !found => Err(failure),
        Some(_) | None => Ok(found),
    }
}

/// The interface of the default route with the smallest metric, of a table that may have a hundred thousand routes.
fn smallest(root: &Root, file: &str, route: fn(&[u8]) -> Option<(u64, &str)>) -> Result<Option<String>, Failure> {
    let mut best: Option<(u64, String)> = None;
    let read = root.each_line(file, |line| {
        let Some((metric, device)) = route(line) else { return };
        if best.as_ref().is_none_or(|(known, _)| metric < *known) {
            best = Some((metric, device.to_owned()));
        }
    });
    match (best, read) {
        // The kernel names default routes first: a table that is too long has told them.
        (Some((_, device)), _) => Ok(Some(device)),
        // A kernel without one of the two has no such file.
        (None, Err(failure)) if !failure.is_absent() => Err(failure),
        (None, _) => Ok(None),
    }
}

/// Metric and interface of a line, when it is an IPv4 default route.
fn default_route(line: &[u8]) -> Option<(u64, &str)> {
    let columns: Vec<&[u8]> = text::words(line).collect();
    let default = *columns.get(1)? == b"00000000" && *columns.get(7)? == b"00000000";
    let metric = text::number(columns.get(6)?)? as u64;
    let usable = text::hex(text::word(columns.get(3)?))? & RTF_REJECT == 0;
    (default && usable).then_some((metric, text::word(columns.first()?)))
}

/// Flags of a route (linux/route.h): usable, and "unreachable", as every kernel has one for IPv6 by default and who has
/// no IPv4 makes one for it.
const RTF_UP: u32 = 0x1;
const RTF_REJECT: u32 = 0x200;

/// Metric and interface of a line, when it is an IPv6 default route: destination, its length, source, its length, next
/// hop, metric, references, uses, flags, interface, all but the last in hex. Some networks route 2000::/3 instead,
/// which is every public address.
fn default_route_v6(line: &[u8]) -> Option<(u64, &str)> {
    let columns: Vec<&str> = text::words(line).map(text::word).collect();
    let [to, length, _, _, _, metric, _, _, flags, device] = columns[..] else { return None };
    let anywhere = length == "00" || (length == "03" && to.starts_with('2'));
    let flags = text::hex(flags)?;
    let usable = flags & RTF_UP != 0 && flags & RTF_REJECT == 0 && device != "lo";
    (anywhere && usable).then_some((text::hex(metric)?.into(), device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The first default device of a machine with these two tables.
    fn found(v4: &str, v6: &str) -> Option<String> {
        all(v4, v6).into_iter().next()
    }

    fn all(v4: &str, v6: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc/net")).unwrap();
        fs::write(folder.path().join("proc/net/route"), v4).unwrap();
        fs::write(folder.path().join("proc/net/ipv6_route"), v6).unwrap();
        default_devices(&Source::recorded(folder.path()).unwrap()).unwrap()
    }

    #[test]
    fn a_default_route_over_ipv6_is_one_and_an_unreachable_one_is_none() {
        let route = |to: &str, metric: &str, flags: &str, device: &str| {
            let zero = "0".repeat(32);
            let to = if to.is_empty() { format!("{zero} 00") } else { to.to_owned() };
            format!("{to} {zero} 00 fe800000000000000000000000000001 {metric} 00000001 00000000 {flags} {device:>8}\n")
        };
        let slow = route("", "00000400", "00450003", "wlan0");
        let fast = route("", "00000064", "00450003", "enp1s0");
        let reject = route("", "ffffffff", "00200200", "lo");
        let own = route("fe800000000000000000000000000000 40", "00000100", "00000001", "eth7");
        let public = route("20000000000000000000000000000000 03", "00000400", "00000003", "eth3");
        for (table, expected) in [
            (format!("{reject}{own}{slow}{fast}"), Some("enp1s0")),
            (format!("{reject}{own}"), None),
            (public, Some("eth3")),
            ("torn 00".to_owned(), None),
        ] {
            assert_eq!(found("Iface\n", &table).as_deref(), expected, "{table}");
        }
        let line = |device: &str, flags: &str| format!("{device} 00000000 00000000 {flags} 0 0 1024 00000000 0 0 0\n");
        assert_eq!(all(&line("*", "0200"), &fast), ["enp1s0"], "IPv4 is unreachable");
        assert_eq!(all(&line("clat", "0001"), &fast), ["clat", "enp1s0"]);
        assert_eq!(all(&line("enp1s0", "0003"), &fast), ["enp1s0"]);
    }

    #[test]
    fn a_default_route_of_another_table_counts_where_the_main_one_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let found = || default_devices(&Source::recorded(folder.path()).unwrap());
        write("sys/class/net/lo/ifindex", "1\n");
        write("sys/class/net/eth0/ifindex", "2\n");
        write("sys/class/net/eth1/ifindex", "3\n");
        assert_eq!(found().unwrap(), [""; 0], "no table leads anywhere");
        write(".calls/way_out", "3\n");
        assert_eq!(found().unwrap(), ["eth1"]);
        write("proc/net/route", "Iface\neth0 00000000 0100A8C0 0003 0 0 100 00000000 0 0 0\n");
        assert_eq!(found().unwrap(), ["eth0"], "the main table has one");
        write("proc/net/route", "Iface\n");
        write(".calls/way_out", "1\n");
        assert_eq!(found().unwrap(), [""; 0], "what goes to the machine itself leads nowhere");
        write(".calls/way_out", "!EPERM\n");
        assert!(found().is_err(), "nobody knows");
        let zero = "0".repeat(32);
        write("proc/net/ipv6_route", &format!("{zero} 00 {zero} 00 {zero} 00000400 1 0 00000003 eth0\n"));
        assert_eq!(found().unwrap(), ["eth0"], "one of the two is known");
    }

    #[test]
    fn the_default_route_with_the_smallest_metric() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(found(table, "").as_deref(), Some("eth0"));
        assert_eq!(found("Iface\n", ""), None);
    }

    #[test]
    fn a_table_of_ten_thousand_routes_has_its_default_route() {
        let line = |to: u32, device: &str, mask: &str| {
            let row = format!("{device}\t{to:08X}\t0100A8C0\t0003\t0\t0\t100\t{mask}\t0\t0\t0");
            format!("{row:<127}\n")
        };
        let others: String = (1..10_000).map(|to| line(to, "bgp0", "FFFFFFFF")).collect();
        assert_eq!(found(&(line(0, "eth0", "00000000") + &others), "").as_deref(), Some("eth0"));
        assert_eq!(found(&others, ""), None);
    }
}
