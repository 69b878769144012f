//! The rules: their names and what to do when one speaks.

use serde::{Deserialize, Serialize};

use crate::distribution;

macro_rules! rules {
    ($($name:ident $text:literal $advice:expr;)*) => {
        /// One thing that is judged. Order is the order of showing among equals.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(missing_docs)]
        pub enum Rule { $($name,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// Its name, as in the fleet file, on the command line and in metrics.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$name => $text,)* }
            }

            /// What to do, one sentence.
            pub fn advice(self) -> &'static str {
                match self { $(Rule::$name => $advice,)* }
            }
        }
    };
}

rules! {
    Report "report" "check power, network and the hostler-agent unit of the node";
    DiskSpace "disk_space" "remove images and logs or give the file system more room; kubelet evicts pods below 10 % \
        free";
    DiskFilling "disk_filling" "find what grows (du -x, crictl images, journalctl --disk-usage) before the disk is \
        full";
    Inodes "inodes" "find the folder with very many small files and remove them";
    FilesystemErrors "filesystem_errors" "read the kernel log, save the data, run fsck from another system, and \
        replace the disk if it returns";
    Memory "memory" "lower requests or limits of pods on this node, or move pods away";
    MemoryPressure "memory_pressure" "find the pods that reclaim memory all the time and raise their requests or move \
        them";
    OomKill "oom_kill" "see journalctl -k for the killed process and raise its limit or the node's memory";
    MajorFaults "major_faults" "the working set does not fit in memory: move pods away or add memory";
    Swap "swap" "find what swaps (smem, vmstat 1); Kubernetes nodes mostly run without swap";
    CpuSaturated "cpu_saturated" "move pods away or set CPU limits";
    SlowIo "slow_io" "look for a worn SD card, a weak USB bridge or a disk that is busy; etcd needs fast writes";
    IoSaturation "io_saturation" "find what reads and writes (iotop, pidstat -d) and move it";
    PiTemperature "pi_temperature" "check fan, heat sink and air flow; from 80 °C the firmware slows the cores down, \
        from 85 °C the GPU too";
    CpuTemperature "cpu_temperature" "check fan, dust and thermal paste";
    CpuThrottling "cpu_throttling" "check fan, dust and thermal paste: the processor slows down to stay cool";
    PiThrottled "pi_throttled" "see pi_temperature and pi_under_voltage: the firmware slows the cores down now";
    PiUnderVoltage "pi_under_voltage" "use the official power supply and a short cable, and take USB devices off; \
        below 4.63 V data gets lost";
    PiInputVoltage "pi_input_voltage" "the supply sags under load: use the official 27 W supply and a short cable";
    PiThrottledSinceBoot "pi_throttled_since_boot" "it was slow or short of power since the agent started: watch \
        temperature and supply";
    NvmeWarning "nvme_warning" "save the data and replace the disk, unless the warning is its temperature: then cool \
        it";
    NvmeSpare "nvme_spare" "replace the disk soon: its spare blocks run out";
    NvmeWear "nvme_wear" "plan a replacement: the disk is at the end of its rated writes";
    NvmeMediaErrors "nvme_media_errors" "save the data and replace the disk if the errors go on";
    NvmeTemperature "nvme_temperature" "give the disk a heat sink or air flow";
    NvmeState "nvme_state" "the disk does not answer: on a Raspberry Pi check the ribbon cable and supply, try \
        pcie_aspm=off or Gen 2";
    PcieLink "pcie_link" "the link is slower than it was: reseat the disk and its cable";
    DiskSmart "disk_smart" "save the data and replace the disk";
    DiskWear "disk_wear" "plan a replacement: the disk is at the end of its rated writes, or has lost data before";
    DiskTemperature "disk_temperature" "give the disk air flow";
    DiskGone "disk_gone" "the disk left its bus: check cable, power and slot; one that was taken out on purpose is \
        forgotten after a day";
    Redundancy "redundancy" "find the member that failed (/proc/mdstat, /proc/net/bonding, zpool status, btrfs device \
        stats), replace it and let it rebuild: the next failure takes it all";
    EmmcWear "emmc_wear" "plan a replacement of the module: its flash is worn";
    MemoryErrors "memory_errors" "run a memory test and replace the module that the EDAC log names";
    MachineCheck "machine_check" "read rasdaemon or mcelog: processor, memory or board reported an error";
    Kernel "kernel" "read journalctl -k around the trace and reboot when it was an oops";
    Clock "clock" "start a time service (chrony, systemd-timesyncd) and check that it reaches its servers";
    Systemd "systemd" "see systemctl status and journalctl -u of the unit; systemctl reset-failed forgets it";
    Network "network" "check cable, switch port and adapter";
    Conntrack "conntrack" "raise net.netfilter.nf_conntrack_max or find the pod that opens so many connections";
    FileDescriptors "file_descriptors" "find the process that opens so many files (ls /proc/*/fd)";
    Certificate "certificate" distribution::RENEW_CERTIFICATES;
    MemoryCgroup "memory_cgroup" "add cgroup_memory=1 cgroup_enable=memory to the one line of cmdline.txt and reboot; \
        kubelet needs it";
    Maintenance "maintenance" "plan an update or a reboot when it suits";
    Facts "facts" "so many details of single processors, disks and sensors are not shown, because the machine has so \
        many; nothing that is judged is among them";
}

impl std::fmt::Display for Rule {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}
