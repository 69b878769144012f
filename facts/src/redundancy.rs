//! What is there twice so that one may fail: software RAID and that of LVM, bonds, teams, multipath, btrfs and ZFS. Of
//! each, how many members are missing, whether it is rebuilt or serves no more, and whether `/` or data is on it.

pub(super) mod zfs;

use super::failure::{Failure, Worst};
use super::filesystem::Mount;
use super::sample::Sample;
use super::topology;
use super::{Input, Root, network, text};
use std::collections::{BTreeMap, BTreeSet};

const BLOCK: &str = "sys/block";
const NET: &str = "sys/class/net";
const BTRFS: &str = "sys/fs/btrfs";
/// Arrays of one kind that are reported, those that carry `/`, data or the default route first.
const MAX_ARRAYS: usize = 32;
/// What md does when it makes members whole. A `check` looks and a `repair` compares: both leave redundancy as it is.
const REBUILDS: [&str; 3] = ["recover", "resync", "reshape"];

/// One array of any kind. What is not known is missing.
#[derive(Debug, Default, PartialEq)]
struct Array {
    name: String,
    /// Members that are there, for those whose number nobody keeps.
    members: Option<f64>,
    missing: Option<f64>,
    failed: Option<bool>,
    rebuilding: Option<bool>,
    /// Whether `/`, data or the default route is on it.
    required: bool,
}

fn put(kind: &str, array: &Array, out: &mut Sample) {
    let labels = [("kind", kind), ("name", array.name.as_str())];
    out.put("hostler_redundancy_required", &labels, f64::from(array.required));
    out.put_some("hostler_redundancy_members", &labels, array.members);
    out.put_some("hostler_redundancy_missing", &labels, array.missing);
    out.put_some("hostler_redundancy_failed", &labels, array.failed.map(f64::from));
    out.put_some("hostler_redundancy_rebuilding", &labels, array.rebuilding.map(f64::from));
}

/// Those of the names for which there is room, and which are needed before others.
fn kept(mut names: Vec<String>, is_needed: impl Fn(&String) -> bool, out: &mut Sample) -> Vec<String> {
    names.sort_by_key(|name| !is_needed(name));
    out.leave_out(names.len().saturating_sub(MAX_ARRAYS));
    names.truncate(MAX_ARRAYS);
    names
}

fn absent_unless(known: bool, what: &str) -> Result<(), Failure> {
    if known { Ok(()) } else { Err(Failure::Absent(what.to_owned())) }
}

/// Every device that `/` or data stands on, whole or in part.
fn carrying(root: &Root) -> Result<BTreeSet<String>, Failure> {
    let devices = topology::devices_of_all(root, &topology::mounts(root)?);
    Ok(devices.iter().flat_map(|one| topology::layers(root, one)).collect())
}

/// Reads software RAID, and disks that are reached on several paths.
pub(super) fn raid(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let names = root.list(BLOCK).unwrap_or_default();
    let carrying = carrying(root)?;
    let is_md = |name: &&String| root.exists(&format!("{BLOCK}/{name}/md")) && is_array(root, name);
    let arrays = names.iter().filter(is_md).cloned().collect();
    let arrays = kept(arrays, |name| carrying.contains(name), out);
    for name in &arrays {
        let mut array = md(root, name, &mut worst, out);
        array.required = carrying.contains(name);
        put("md", &array, out);
    }
    let table = root.bytes("proc/mdstat").unwrap_or_default();
    let mut told = mdstat(&table);
    told.retain(|one| !names.contains(&one.name));
    let room = kept(told.iter().map(|one| one.name.clone()).collect(), |name| carrying.contains(name), out);
    for mut array in told.into_iter().filter(|one| room.contains(&one.name)) {
        array.required = carrying.contains(&array.name);
        put("md", &array, out);
    }
    let known = !arrays.is_empty() || !table.is_empty();
    // A volume of a pod has paths as well; those are its business.
    let paths = names.iter().filter(|name| carrying.contains(*name) && topology::is_multipath(root, name));
    for name in kept(paths.cloned().collect(), |_| true, out) {
        put("multipath", &multipath(root, &name), out);
    }
    let mirrors = legs(root, &names);
    for name in kept(mirrors.keys().cloned().collect(), |name| carrying.contains(name), out) {
        put("lvm", &lvm(root, &name, &mirrors[&name], carrying.contains(&name)), out);
    }
    worst.finish()?;
    absent_unless(known || !out.entries().is_empty(), "md")
}

/// The devices that hold the legs of mirrors of LVM.
pub(super) fn mirror_legs(root: &Root) -> Vec<String> {
    legs(root, &root.list(BLOCK).unwrap_or_default()).into_values().flatten().collect()
}

/// The volumes that LVM keeps several times, and the devices `VOLUME_rimage_0` and so on that hold one leg each.
fn legs(root: &Root, names: &[String]) -> BTreeMap<String, Vec<String>> {
    let known = |device: &String| root.text(&format!("{BLOCK}/{device}/dm/name")).ok();
    let named: Vec<(&String, String)> = names.iter().filter_map(|device| Some((device, known(device)?))).collect();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (leg, name) in &named {
        let Some((volume, number)) = name.rsplit_once("_rimage_") else { continue };
        let whole = named.iter().find(|(_, name)| name == volume).filter(|_| number.parse::<u32>().is_ok());
        if let Some((device, _)) = whole {
            found.entry((*device).clone()).or_default().push((*leg).clone());
        }
    }
    // One leg is a volume that is made into a mirror, and legs without anything about them are stripes.
    let is_mirror = |device: &String| {
        let volume = known(device).unwrap_or_default();
        named.iter().any(|(_, name)| name.strip_prefix(&volume).is_some_and(|rest| rest.starts_with("_rmeta_")))
    };
    found.retain(|device, legs| legs.len() > 1 && is_mirror(device));
    found
}

/// A leg without a disk below it was lost: LVM puts a device in its place that only fails.
fn lvm(root: &Root, device: &str, legs: &[String], required: bool) -> Array {
    let stands = |leg: &&String| {
        let disks = topology::below(root, leg);
        disks.iter().all(|disk| !disk.starts_with("dm-") && root.exists(&format!("{BLOCK}/{disk}")))
    };
    let there = legs.iter().filter(stands).count() as f64;
    let name = root.text(&format!("{BLOCK}/{device}/dm/name")).unwrap_or_else(|_| device.to_owned());
    let missing = Some(legs.len() as f64 - there);
    Array { name, members: None, missing, failed: Some(there == 0.0), rebuilding: None, required }
}

/// A container of external metadata holds the arrays and is none, and a device that is clear has no members.
fn is_array(root: &Root, name: &str) -> bool {
    let metadata = root.text(&format!("{BLOCK}/{name}/md/metadata_version")).unwrap_or_default();
    let container = metadata.strip_prefix("external:").is_some_and(|rest| !rest.starts_with('/'));
    !container && !root.text(&format!("{BLOCK}/{name}/md/array_state")).is_ok_and(|state| state == "clear")
}

fn md(root: &Root, name: &str, worst: &mut Worst, out: &mut Sample) -> Array {
    let folder = format!("{BLOCK}/{name}/md");
    let text = |file: &str| root.text(&format!("{folder}/{file}")).unwrap_or_default();
    let number = |file: &str| text(file).parse::<u64>().ok();
    let disks = worst.note(root.number(&format!("{folder}/raid_disks")));
    let degraded = worst.note(root.number(&format!("{folder}/degraded")));
    out.put_some("node_md_disks_required", &[("device", name)], disks);
    if let (Some(disks), Some(degraded)) = (disks, degraded) {
        out.put("node_md_disks", &[("device", name), ("state", "active")], disks - degraded);
    }
    let (level, state, action) = (text("level"), text("array_state"), text("sync_action"));
    // Without redundancy there is no `degraded`: a member that is missing stops the array.
    let plain = matches!(level.as_str(), "raid0" | "linear" | "multipath" | "faulty");
    let missing = degraded.or(plain.then_some(0.0));
    let beyond = disks.zip(degraded).is_some_and(|(disks, degraded)| match level.as_str() {
        "raid1" => degraded >= disks,
        "raid4" | "raid5" => degraded > 1.0,
        "raid6" => degraded > 2.0,
        // Which of its copies are gone decides, and the kernel starts none that lacks all copies of something; with so
        // few left some copies are gone for certain. Two layouts, near and far, each with so many copies.
        "raid10" => number("layout").is_some_and(|layout| {
            let (near, far) = ((layout & 0xff).max(1), ((layout >> 8) & 0xff).max(1));
            let copies = (near * far) as f64;
            degraded > disks - (disks / copies).ceil() || lacks_all_copies(root, &folder, disks as u64, (near, far))
        }),
        _ => false,
    });
    // Members came that are too few to start it; before it ran in this boot it has no number of disks.
    let stopped = state == "inactive" && disks.is_some_and(|disks| disks > 0.0);
    let missing = if state == "inactive" { missing.or(Some(1.0)) } else { missing };
    Array {
        name: name.to_owned(),
        members: None,
        missing,
        failed: Some(beyond || stopped || state == "broken"),
        rebuilding: (!action.is_empty()).then(|| REBUILDS.contains(&action.as_str())),
        required: false,
    }
}

/// Whether of some data of a RAID 10 every copy is on a member that is not there: copies lie on neighbours, each group
/// of `near` ones again `far` times. Where the kernel shows no slots nobody knows.
fn lacks_all_copies(root: &Root, folder: &str, disks: u64, (near, far): (u64, u64)) -> bool {
    let is_there = |slot: u64| {
        let state = root.text(&format!("{folder}/rd{slot}/state"));
        state.is_ok_and(|state| state.split(',').any(|word| word.trim() == "in_sync"))
    };
    // More disks than that have no array, and a torn number is none.
    let there: Vec<bool> = (0..disks.min(1024)).map(is_there).collect();
    let copies = |first: u64| (0..far).flat_map(move |k| (0..near).map(move |j| (first + j + k * near) % disks));
    let lost = |first: u64| copies(first).all(|slot| there.get(slot as usize) == Some(&false));
    there.contains(&true) && (0..disks).map(|group| group * near % disks).any(lost)
}

/// `md0 : active raid1 sda1[0]`, and below it `[2/1] [U_]` and, while it is rebuilt, `recovery = 12.6%`.
fn mdstat(table: &[u8]) -> Vec<Array> {
    let mut arrays: Vec<Array> = Vec::new();
    for line in text::lines(table) {
        let words: Vec<&str> = text::words(line).map(text::word).collect();
        if let [name, ":", "active", ..] = words.as_slice() {
            let name = (*name).to_owned();
            arrays.push(Array { name, failed: Some(false), rebuilding: Some(false), ..Array::default() });
        } else if let Some(array) = arrays.last_mut() {
            let bracketed = words.iter().filter_map(|word| word.strip_prefix('[')?.strip_suffix(']')?.split_once('/'));
            let mut counts =
                bracketed.filter_map(|(of, are)| Some((of.parse::<f64>().ok()?, are.parse::<f64>().ok()?)));
            if let Some((of, are)) = counts.next_back() {
                array.missing = Some((of - are).max(0.0));
            }
            // Alone while it goes on; `resync=DELAYED` and `resync=PENDING` while it waits for its turn.
            let begins = |word: &&str| {
                let what = word.split_once('=').map_or(*word, |(what, _)| what);
                ["recovery", "resync", "reshape"].contains(&what)
            };
            if words.iter().any(begins) {
                array.rebuilding = Some(true);
            }
        }
    }
    arrays
}

/// The paths of a disk whose SCSI device does not run.
fn multipath(root: &Root, name: &str) -> Array {
    let paths = root.list(&format!("{BLOCK}/{name}/slaves")).unwrap_or_default();
    let runs = |path: &&String| {
        let state = root.text(&format!("{BLOCK}/{path}/device/state"));
        state.map_or_else(|failure| failure.is_absent(), |state| state == "running" || state == "live")
    };
    let running = paths.iter().filter(runs).count();
    let missing = (paths.len() - running) as f64;
    let (members, missing) = (Some(paths.len() as f64), Some(missing));
    let failed = Some(running == 0);
    Array { name: name.to_owned(), members, missing, failed, rebuilding: None, required: true }
}

/// Reads bonds and teams.
pub(super) fn links(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut names = root.list(NET)?;
    names.extend(root.list("proc/net/bonding").unwrap_or_default());
    names.sort_unstable();
    names.dedup();
    let routed: BTreeSet<String> =
        network::default_devices(&input.source)?.iter().flat_map(|device| below(root, device)).collect();
    // One without members was made by the module and is never used.
    let joins = |name: String| Some((members(root, &name).filter(|(_, members)| !members.is_empty())?, name));
    let mut joined: BTreeMap<String, _> = names.into_iter().filter_map(joins).map(|(is, name)| (name, is)).collect();
    let known = !joined.is_empty();
    for name in kept(joined.keys().cloned().collect(), |name| routed.contains(name), out) {
        let Some((kind, members)) = joined.remove(&name) else { continue };
        let active = members.iter().filter(|(_, up)| *up).count() as f64;
        let all = members.len() as f64;
        // No cable in any of them, and nothing goes there: one that was made and never used lost nothing.
        let is_idle = active == 0.0 && !is_used(root, &name)?;
        if kind == "bond" {
            out.put("node_bonding_slaves", &[("master", &name)], all);
            out.put("node_bonding_active", &[("master", &name)], active);
        }
        let (members, missing) = (Some(all), Some(all - active));
        let required = routed.contains(&name);
        if is_idle && !required {
            continue;
        }
        put(kind, &Array { name, members, missing, failed: None, rebuilding: None, required }, out);
    }
    absent_unless(known, "bond or team")
}

/// The interface and all that it stands on: a VLAN or a bridge over a bond.
fn below(root: &Root, device: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::from([device.to_owned()]);
    let mut next = vec![device.to_owned()];
    while let Some(name) = next.pop() {
        let files = root.list(&format!("{NET}/{name}")).unwrap_or_default();
        for lower in files.iter().filter_map(|file| file.strip_prefix("lower_")) {
            if found.insert(lower.to_owned()) {
                next.push(lower.to_owned());
            }
        }
    }
    found
}

/// Whether a route leads to an interface, or another one stands on it. An address has a route, also without a link.
fn is_used(root: &Root, name: &str) -> Result<bool, Failure> {
    let files = root.list(&format!("{NET}/{name}")).unwrap_or_default();
    Ok(files.iter().any(|file| file.starts_with("upper_")) || network::has_route(root, name)?)
}

/// Kind of an interface that joins others, and these with whether they carry.
fn members(root: &Root, name: &str) -> Option<(&'static str, Vec<(String, bool)>)> {
    let folder = format!("{NET}/{name}");
    if let Ok(slaves) = root.text(&format!("{folder}/bonding/slaves")) {
        let slaves = slaves.split_whitespace().map(|slave| (slave.to_owned(), slave_is_up(root, name, slave)));
        return Some(("bond", slaves.collect()));
    }
    if let Ok(table) = root.bytes(&format!("proc/net/bonding/{name}")) {
        return Some(("bond", bonding(&table)));
    }
    let files = root.list(&folder).ok()?;
    if !is_team(root, name, &files) {
        return None;
    }
    let ports = files.iter().filter_map(|file| file.strip_prefix("lower_"));
    Some(("team", ports.map(|port| (port.to_owned(), has_carrier(root, port))).collect()))
}

/// A team has ports and none of the folders of a bridge or a bond, and is no VLAN, VRF or tunnel, which say so.
fn is_team(root: &Root, name: &str, files: &[String]) -> bool {
    let joins = files.iter().filter_map(|file| file.strip_prefix("lower_")).any(|port| {
        let master = root.link_name(&format!("{NET}/{port}/master"));
        master.is_none_or(|master| master == name)
    });
    let other = files.iter().any(|file| file == "bridge" || file == "brif" || file == "bonding");
    let typed = root.bytes(&format!("{NET}/{name}/uevent")).unwrap_or_default();
    let typed = text::lines(&typed).any(|line| line.starts_with(b"DEVTYPE=") && line != b"DEVTYPE=team");
    let daemon = ["pid", "sock"].iter().any(|end| root.exists(&format!("run/teamd/{name}.{end}")));
    joins && !other && !typed && (daemon || root.exists("sys/module/team") || name.starts_with("team"))
}

/// What the bond says of its slave, and what the slave says of its link: without link monitoring the bond says "up".
fn slave_is_up(root: &Root, bond: &str, slave: &str) -> bool {
    let places = [format!("{bond}/lower_{slave}"), format!("{bond}/slave_{slave}"), slave.to_owned()];
    let of_slave =
        |file: &str| places.iter().find_map(|place| root.text(&format!("{NET}/{place}/bonding_slave/{file}")).ok());
    // Of 802.3ad one aggregator carries: a slave in another one has a link and no traffic.
    let active = root.text(&format!("{NET}/{bond}/bonding/ad_aggregator")).ok().filter(|id| !id.is_empty());
    if active.zip(of_slave("ad_aggregator_id")).is_some_and(|(active, own)| active != own) {
        return false;
    }
    let said = of_slave("mii_status");
    let said = said.or_else(|| {
        let table = root.bytes(&format!("proc/net/bonding/{bond}")).ok()?;
        let up = bonding(&table).into_iter().find(|(name, _)| name == slave)?.1;
        Some(if up { "up" } else { "down" }.to_owned())
    });
    said.is_none_or(|said| said == "up" || said == "going down") && has_carrier(root, slave)
}

fn has_carrier(root: &Root, device: &str) -> bool {
    let folder = format!("{NET}/{device}");
    let down =
        root.text(&format!("{folder}/operstate")).is_ok_and(|state| state == "down" || state == "lowerlayerdown");
    !down && root.number(&format!("{folder}/carrier")).ok() != Some(0.0)
}

/// `Slave Interface: eth0` and below it `MII Status: up`.
fn bonding(table: &[u8]) -> Vec<(String, bool)> {
    let mut slaves: Vec<(String, bool)> = Vec::new();
    for line in text::lines(table) {
        let Some((key, value)) = text::word(line).split_once(':') else { continue };
        match key.trim() {
            "Slave Interface" => slaves.push((value.trim().to_owned(), true)),
            "MII Status" => {
                if let Some(slave) = slaves.last_mut() {
                    slave.1 = value.trim() == "up";
                }
            }
            _ => {}
        }
    }
    slaves
}

/// Reads missing devices and errors of btrfs.
pub(super) fn btrfs(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    let root = &input.source.root;
    let mut worst = Worst::default();
    let mounts = topology::mounts(root)?;
    let mut known = root.list(BTRFS)?;
    known.retain(|uuid| {
        let folder = format!("{BTRFS}/{uuid}");
        root.exists(&format!("{folder}/devinfo")) || root.exists(&format!("{folder}/devices"))
    });
    let mut here: BTreeMap<String, &Mount> = BTreeMap::new();
    for mount in mounts.iter().filter(|mount| mount.fstype == "btrfs") {
        let of = topology::devices_of(root, mount).iter().find_map(|device| topology::btrfs_of(root, device));
        // Where the kernel shows no devices, the only one is the one that is mounted.
        let of = of.or_else(|| known.first().filter(|_| known.len() == 1).cloned());
        if let Some(of) = of {
            here.entry(of).or_insert(mount);
        }
    }
    let is_there = !known.is_empty();
    for uuid in &kept(known, |uuid| here.contains_key(uuid), out) {
        let folder = format!("{BTRFS}/{uuid}");
        let here = here.get(uuid);
        let label = root.text(&format!("{folder}/label")).ok().filter(|label| !label.is_empty());
        let name = here.map(|mount| mount.mountpoint.clone()).or(label).unwrap_or_else(|| uuid.clone());
        let (mut missing, mut replaced) = (0.0, false);
        for id in root.list(&format!("{folder}/devinfo")).unwrap_or_default() {
            let number = |file: &str| root.number(&format!("{folder}/devinfo/{id}/{file}")).unwrap_or_default();
            missing += number("missing");
            replaced |= number("replace_target") == 1.0;
            let stats = worst.note(root.bytes(&format!("{folder}/devinfo/{id}/error_stats")));
            let labels = [("device", id.as_str()), ("name", name.as_str())];
            out.put_some("hostler_btrfs_errors_total", &labels, stats.and_then(|stats| errors(&stats)));
        }
        let doing = root.text(&format!("{folder}/exclusive_operation")).unwrap_or_default();
        let rebuilding = replaced || matches!(doing.as_str(), "device replace" | "device remove");
        let (missing, rebuilding) = (Some(missing), Some(rebuilding));
        let required = here.is_some();
        put("btrfs", &Array { name, members: None, missing, failed: None, rebuilding, required }, out);
    }
    worst.finish()?;
    absent_unless(is_there, "btrfs")
}

/// `write_errs 0`, `read_errs 0`, `flush_errs 0`, `corruption_errs 33`, `generation_errs 0`. Before the file system is
/// mounted it says `invalid`.
fn errors(stats: &[u8]) -> Option<f64> {
    let counts = text::lines(stats).filter_map(|line| {
        let mut words = text::words(line);
        let name = text::word(words.next()?);
        let count = text::number(words.next()?)?;
        name.ends_with("_errs").then_some(count)
    });
    counts.reduce(|sum, count| sum + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mdstat_tells_missing_members_and_rebuilds() {
        let table = b"Personalities : [raid1] [raid6] [raid5] [raid4]\n\
            md0 : active raid1 sda1[0]\n      614336 blocks super 1.2 [2/1] [U_]\n      \
            bitmap: 0/1 pages [0KB], 65536KB chunk\n\n\
            md1 : active raid5 sdb1[3] sdc1[1] sdd1[0]\n      10 blocks level 5, algorithm 2 [3/3] [UUU]\n      \
            [==>..................]  check = 12.6% (1/10) finish=1min speed=1K/sec\n\n\
            md2 : active (auto-read-only) raid1 sde1[2] sdf1[1]\n      10 blocks [2/1] [_U]\n      \
            [==>..................]  recovery = 12.6% (1/10) finish=1min speed=1K/sec\n\n\
            md127 : inactive sdg[0](S)\n      5201 blocks super external:imsm\nunused devices: <none>\n";
        let found: Vec<(String, Option<f64>, Option<bool>)> =
            mdstat(table).into_iter().map(|array| (array.name, array.missing, array.rebuilding)).collect();
        let expected = [("md0", 1.0, false), ("md1", 0.0, false), ("md2", 1.0, true)];
        let expected = expected.map(|(name, missing, rebuilds)| (name.to_owned(), Some(missing), Some(rebuilds)));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_bond_names_its_slaves_and_their_links() {
        let table = b"Ethernet Channel Bonding Driver: v5.10\n\nBonding Mode: fault-tolerance (active-backup)\n\
            Currently Active Slave: eth0\nMII Status: up\n\nSlave Interface: eth0\nMII Status: up\nSpeed: 1000 Mbps\n\n\
            Slave Interface: eth1\nMII Status: down\nSpeed: Unknown\n";
        assert_eq!(bonding(table), [("eth0".to_owned(), true), ("eth1".to_owned(), false)]);
    }

    #[test]
    fn errors_of_btrfs_are_summed() {
        let stats = b"write_errs 1\nread_errs 2\nflush_errs 0\ncorruption_errs 33\ngeneration_errs 0\n";
        assert_eq!(errors(stats), Some(36.0));
        assert_eq!(errors(b"invalid\n"), None);
    }
}
