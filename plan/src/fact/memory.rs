//! How much memory a node has for its programs, and how much of it is left.

use super::Reading;

/// Memory that programs can have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// Bytes that are there for programs at all: without reserved huge pages, which only who asks for them gets.
    pub total: f64,
    /// Bytes that could be given to programs now: what the kernel says, and what ZFS gives back of its cache. The
    /// kernel does not count that cache, although it shrinks to its minimum when memory is asked for.
    pub available: f64,
}

impl Memory {
    /// Of a reading; none where it does not say both.
    pub fn of(reading: &Reading) -> Option<Self> {
        let value = |name: &str| reading.get(name, &[]);
        let (total, available) = (value("node_memory_MemTotal_bytes")?, value("node_memory_MemAvailable_bytes")?);
        // Of all sizes since Linux 4.16; before that only the default size can be told.
        let pages = || Some(value("node_memory_HugePages_Total")? * value("node_memory_Hugepagesize_bytes")?);
        let huge = value("node_memory_Hugetlb_bytes").or_else(pages).unwrap_or(0.0);
        let total = if huge < total { total - huge } else { total };
        let cache = value("node_zfs_arc_size").zip(value("node_zfs_arc_c_min"));
        let returnable = cache.map_or(0.0, |(size, least)| (size - least).max(0.0));
        Some(Memory { total, available: (available + returnable).min(total) })
    }

    /// The share of it that is left.
    pub fn available_ratio(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.available / self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Series;

    const GIB: f64 = 1_073_741_824.0;

    fn memory(values: &[(&'static str, f64)]) -> Option<Memory> {
        let mut reading = Reading::new(1);
        values.iter().for_each(|(name, value)| reading.set(Series::new(name, &[]), *value));
        Memory::of(&reading)
    }

    #[test]
    fn huge_pages_are_not_there_for_programs_and_the_cache_of_zfs_is() {
        let total = ("node_memory_MemTotal_bytes", 64.0 * GIB);
        let available = |gib: f64| ("node_memory_MemAvailable_bytes", gib * GIB);
        assert_eq!(memory(&[total, available(8.0)]), Some(Memory { total: 64.0 * GIB, available: 8.0 * GIB }));
        assert_eq!(memory(&[total]), None, "missing is missing");
        let huge = memory(&[total, available(8.0), ("node_memory_Hugetlb_bytes", 48.0 * GIB)]);
        assert_eq!(huge.and_then(Memory::available_ratio), Some(0.5));
        let (pages, size) = (("node_memory_HugePages_Total", 48.0), ("node_memory_Hugepagesize_bytes", GIB));
        assert_eq!(memory(&[total, available(8.0), pages, size]), huge, "as an old kernel says it");
        let none = ("node_memory_Hugetlb_bytes", 0.0);
        assert_eq!(memory(&[total, available(8.0), none, pages, size]).map(|m| m.total), Some(64.0 * GIB));
        let arc =
            |size: f64| [total, available(2.0), ("node_zfs_arc_size", size * GIB), ("node_zfs_arc_c_min", 2.0 * GIB)];
        assert_eq!(memory(&arc(32.0)).map(|m| m.available), Some(32.0 * GIB));
        assert_eq!(memory(&arc(1.0)).map(|m| m.available), Some(2.0 * GIB), "below its minimum it gives nothing");
    }
}
