//! Memory and paging: `/proc/meminfo`, `/proc/vmstat` and the cache of ZFS.

use super::failure::Failure;
use super::sample::Sample;
use super::{Input, text};

/// Fields of /proc/vmstat that are reported; the file has over a hundred.
const VMSTAT: [&str; 7] = ["oom_kill", "pgfault", "pgmajfault", "pgpgin", "pgpgout", "pswpin", "pswpout"];

/// Reads `/proc/meminfo`.
pub(super) fn meminfo(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    input.source.root.read_into("proc/meminfo", &mut input.bytes)?;
    let mut known = false;
    for line in text::lines(&input.bytes) {
        let Some(value) = field(line, &mut input.text) else { continue };
        out.put(&input.text, &[], value);
        known = true;
    }
    if known { Ok(()) } else { Err(Failure::malformed("proc/meminfo", "lines NAME: NUMBER kB", &input.bytes)) }
}

/// `Active(anon):  123 kB` gives `node_memory_Active_anon_bytes`; fields without a unit are plain counts.
fn field(line: &[u8], name: &mut String) -> Option<f64> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let mut words = text::words(&line[colon + 1..]);
    let value = text::number(words.next()?)?;
    let bytes = words.next() == Some(b"kB");
    name.clear();
    name.push_str("node_memory_");
    for character in text::word(&line[..colon]).chars() {
        match character {
            '(' => name.push('_'),
            ')' => {}
            other if other.is_ascii_alphanumeric() || other == '_' => name.push(other),
            _ => return None,
        }
    }
    if bytes {
        name.push_str("_bytes");
    }
    Some(if bytes { value * 1024.0 } else { value })
}

/// Reads size and limits of the cache of ZFS, which `MemAvailable` does not know of.
pub(super) fn zfs_cache(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    input.source.root.read_into("proc/spl/kstat/zfs/arcstats", &mut input.bytes)?;
    for line in text::lines(&input.bytes) {
        // NAME TYPE VALUE
        let mut words = text::words(line);
        let name = match words.next() {
            Some(b"size") => "node_zfs_arc_size",
            Some(b"c_min") => "node_zfs_arc_c_min",
            Some(b"c_max") => "node_zfs_arc_c_max",
            Some(_) | None => continue,
        };
        out.put_some(name, &[], words.nth(1).and_then(text::number));
    }
    Ok(())
}

/// Reads `/proc/vmstat`.
pub(super) fn vmstat(input: &mut Input, out: &mut Sample) -> Result<(), Failure> {
    input.source.root.read_into("proc/vmstat", &mut input.bytes)?;
    for line in text::lines(&input.bytes) {
        let mut words = text::words(line);
        let name = words.next().map(text::word).unwrap_or_default();
        if VMSTAT.contains(&name) {
            input.text.clear();
            input.text.push_str("node_vmstat_");
            input.text.push_str(name);
            if let Some(value) = words.next().and_then(text::number) {
                out.put(&input.text, &[], value);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<(String, f64)> {
        let mut name = String::new();
        field(line.as_bytes(), &mut name).map(|value| (name, value))
    }

    #[test]
    fn fields_have_the_names_of_node_exporter() {
        assert_eq!(parse("MemTotal:        8245200 kB"), Some(("node_memory_MemTotal_bytes".into(), 8443084800.0)));
        assert_eq!(parse("Active(anon):     1 kB"), Some(("node_memory_Active_anon_bytes".into(), 1024.0)));
        assert_eq!(parse("HugePages_Total:       2"), Some(("node_memory_HugePages_Total".into(), 2.0)));
        assert_eq!(parse("HardwareCorrupted:"), None);
        assert_eq!(parse("Bad\"name: 1 kB"), None);
        assert_eq!(parse(""), None);
    }
}
