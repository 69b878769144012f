//! The kernel's arguments on boot partitions in their real forms, through the executor, with a loss of power at every
//! write.

use std::{path::Path, sync::Arc, time::Duration};

use hostler_plan::{
    document::{DIFFERS, Outcome, PlanKind, Receipt},
    json,
    step::{Step, machine::BootKernel, machine::KernelArguments},
};

use crate::{
    executor::Ended,
    host::HostError,
    protocol::Request,
    testing::{Fleet, Inner, Machine, Play},
};

const CGROUP: &str = "cgroup_memory=1 cgroup_enable=memory";

/// What the firmware of a Pi puts in front of the line of its file.
const FIRMWARE: &str = "reboot=w coherent_pool=1M 8250.nr_uarts=1 pci=pcie_bus_safe cgroup_disable=memory \
    numa_policy=interleave vc_mem.mem_base=0x3fc00000 vc_mem.mem_size=0x40000000 ";

const BOOKWORM: &str = "console=serial0,115200 console=tty1 root=PARTUUID=4e639091-02 rootfstype=ext4 fsck.repair=yes \
    rootwait quiet splash plymouth.ignore-serial-consoles cfg80211.ieee80211_regdom=DE";
const TRIXIE: &str = "console=serial0,115200 console=tty1 root=PARTUUID=80a3cd8b-02 rootfstype=ext4 fsck.repair=yes \
    rootwait cfg80211.ieee80211_regdom=DE ds=nocloud;i=rpi-imager-1761";
const UBUNTU: &str = "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable \
    rootfstype=ext4 rootwait fixrtc";
const QUESTING: &str = "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable \
    rootfstype=ext4 panic=10 rootwait fixrtc";

const PI_CONFIG: &str = "# For more options and information see\n# http://rptl.io/configtxt\n\ndtparam=audio=on\n\
    camera_auto_detect=1\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d\narm_64bit=1\n\n[cm4]\notg_mode=1\n\n[cm5]\n\
    dtoverlay=dwc2,dr_mode=host\n\n[all]\n";
const UBUNTU_CONFIG: &str = "[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\n\n[pi4]\n\
    max_framebuffers=2\narm_boost=1\n\n[all]\ndtparam=audio=on\narm_64bit=1\n";
const QUESTING_CONFIG: &str = "[all]\nos_check=0\nos_prefix=current/\n\n[tryboot]\nos_prefix=new/\n\n[all]\n\
    kernel=vmlinuz\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\n\n[pi4]\nmax_framebuffers=2\n\n[all]\n";

fn mounts(boot: &str, options: &str) -> String {
    format!(
        "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n\
         systemd-1 {boot} autofs rw,relatime,fd=36 0 0\n\
         /dev/mmcblk0p1 {boot} vfat {options},relatime,fmask=0022,dmask=0022,codepage=437 0 0\n"
    )
}

/// A Pi with its boot partition at that place, started by that line.
fn pi(fleet: &Fleet, boot: &str, config: &str, line: &str, files: &[(&str, &str)]) -> Arc<Machine> {
    let machine = Machine::new(fleet.now.plus(Duration::from_secs(60)));
    {
        let mut inner = machine.inner();
        inner.put("/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0");
        inner.put("/proc/self/mounts", mounts(boot, "rw"));
        inner.put("/etc/fstab", format!("PARTUUID=4e639091-01 {boot} vfat defaults 0 2\n"));
        inner.put(&format!("{boot}/config.txt"), config);
        inner.put("/proc/cmdline", format!("{FIRMWARE}{line}\n"));
        inner.put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n");
        inner.put("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t39\t0\npids\t0\t39\t1\n");
        for (path, content) in files {
            inner.put(&format!("{boot}/{path}"), *content);
            // What a FAT file system shows of every file.
            inner.files.get_mut(&Path::new(boot).join(path)).unwrap().mode = 0o755;
        }
    }
    Arc::new(machine)
}

fn bookworm(fleet: &Fleet) -> Arc<Machine> {
    pi(fleet, "/boot/firmware", PI_CONFIG, BOOKWORM, &[("cmdline.txt", &format!("{BOOKWORM}\n"))])
}

/// Ubuntu since 25.10, with new boot files that the next boot tries.
fn questing(fleet: &Fleet) -> Arc<Machine> {
    let line = format!("{QUESTING}\n");
    let files = [
        ("current/cmdline.txt", line.as_str()),
        ("current/state", "good\n"),
        ("new/cmdline.txt", &line),
        ("new/state", "unknown\n"),
        ("old/cmdline.txt", &line),
    ];
    pi(fleet, "/boot/firmware", QUESTING_CONFIG, QUESTING, &files)
}

fn arguments(arguments: &[&str], memory_control_group: bool) -> Step {
    let arguments = arguments.iter().map(|argument| argument.parse().unwrap()).collect();
    Step::KernelArguments(KernelArguments { arguments, memory_control_group })
}

fn memory() -> Step {
    arguments(&[], true)
}

fn plan_of(kind: PlanKind, fleet: &Fleet, machine: &Arc<Machine>, seq: u64, steps: Vec<Step>) -> Receipt {
    let plan = fleet.plan(seq, steps, |plan| {
        plan.kind = kind;
        plan.tasks[0].disrupts = false;
    });
    let mut offers = vec![Request::Plan(plan.clone()), Request::Grant(Fleet::grant(&plan, "w1.work", 1).into())];
    for lease in 1.. {
        assert!(lease < 9, "it reboots for ever");
        let (executor, sender, status, _disk) = fleet.executor(machine).unwrap();
        offers.drain(..).for_each(|offer| sender.offer(offer).unwrap());
        if executor.run_until_idle().unwrap() != Ended::Rebooting {
            let content = status.content();
            return json::parse(&content.receipts.last().expect("a receipt").bytes).unwrap();
        }
        offers.push(Request::Grant(Fleet::grant(&plan, "w1.work", lease + 1).into()));
    }
    unreachable!()
}

fn perform(fleet: &Fleet, machine: &Arc<Machine>, seq: u64, step: Step) -> Receipt {
    plan_of(PlanKind::Join, fleet, machine, seq, vec![step])
}

fn text(machine: &Machine, path: &str) -> String {
    machine.inner().text(path).unwrap_or_default()
}

#[test]
fn each_layout_gets_them_where_its_next_boot_reads_them_once_and_keeps_a_copy() {
    let layouts: [(&str, &str, &str, &[&str]); 5] = [
        ("/boot/firmware", PI_CONFIG, BOOKWORM, &["cmdline.txt"]),
        ("/boot/firmware", PI_CONFIG, TRIXIE, &["cmdline.txt"]),
        ("/boot", PI_CONFIG, BOOKWORM, &["cmdline.txt"]),
        ("/boot/firmware", UBUNTU_CONFIG, UBUNTU, &["cmdline.txt"]),
        ("/boot/firmware", QUESTING_CONFIG, QUESTING, &["current/cmdline.txt", "new/cmdline.txt"]),
    ];
    for (boot, config, line, files) in layouts {
        let fleet = Fleet::new();
        let content = format!("{line}\n");
        let there: Vec<(&str, &str)> = files.iter().map(|file| (*file, content.as_str())).collect();
        let machine = pi(&fleet, boot, config, line, &there);
        // Where bookworm moved the file from, a text says where it went.
        if boot != "/boot" {
            machine.inner().put("/boot/cmdline.txt", "DO NOT EDIT THIS FILE\n\nThe file has moved\n");
        }
        let first = perform(&fleet, &machine, 1, memory());
        assert_eq!(first.outcome, Outcome::Succeeded {}, "{boot} {line}: {:?}", first.steps);
        assert!(first.steps[0].changed && first.observation("change").unwrap().contains("cgroup_enable=memory"));
        for file in files {
            let path = format!("{boot}/{file}");
            assert_eq!(text(&machine, &path), format!("{line} {CGROUP}\n"), "{path}");
            assert_eq!(text(&machine, &format!("{path}.before-hostler")), content, "{path}");
            assert_eq!(machine.inner().files[Path::new(&path)].mode, 0o755, "{path}: FAT takes no other");
        }
        let acts = machine.inner().acts.len();
        let second = perform(&fleet, &machine, 2, memory());
        assert!(second.outcome.is_success() && !second.steps[0].changed, "{:?}", second.steps);
        assert!(second.steps[0].detail.contains("at the next boot"), "{:?}", second.steps);
        assert_eq!(machine.inner().acts.len(), acts);
    }
}

#[test]
fn a_kernel_that_has_the_memory_control_group_by_itself_gets_nothing() {
    let fleet = Fleet::new();
    let machine = bookworm(&fleet);
    machine.inner().put("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
    let receipt = perform(&fleet, &machine, 1, memory());
    assert!(receipt.outcome.is_success() && !receipt.steps[0].changed);
    assert!(receipt.steps[0].detail.contains("by itself"), "{:?}", receipt.steps);
    assert_eq!(text(&machine, "/boot/firmware/cmdline.txt"), format!("{BOOKWORM}\n"));
    // Where it has it by these arguments alone, they have to stay for the next boot.
    machine.inner().put("/proc/cmdline", format!("{FIRMWARE}{BOOKWORM} {CGROUP}\n"));
    let receipt = perform(&fleet, &machine, 2, memory());
    assert!(receipt.steps[0].changed, "somebody took them out of the file");
    let receipt = perform(&fleet, &machine, 3, memory());
    assert!(receipt.steps[0].detail.starts_with("the kernel was started with"), "{:?}", receipt.steps);
}

#[test]
fn a_32_bit_userland_under_a_64_bit_kernel_and_hierarchies_of_before_are_read_the_same() {
    let fleet = Fleet::new();
    let config = PI_CONFIG.replace("arm_64bit=1", "arm_64bit=1\nauto_initramfs=1");
    let machine = pi(&fleet, "/boot/firmware", &config, BOOKWORM, &[("cmdline.txt", BOOKWORM)]);
    machine.inner().files.remove(Path::new("/sys/fs/cgroup/cgroup.controllers"));
    machine.inner().put("/proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t9\t39\t1\n");
    assert!(perform(&fleet, &machine, 1, memory()).steps[0].detail.contains("by itself"));
}

type Spoil = fn(&mut Inner);

#[test]
fn what_no_argument_can_be_written_to_is_said_and_nothing_is_written() {
    let cmdline = "/boot/firmware/cmdline.txt";
    let cases: [(&str, Spoil); 12] = [
        ("is not mounted, though /etc/fstab names it: `mount /boot/firmware`", |m| {
            m.put("/proc/self/mounts", "/dev/mmcblk0p2 / ext4 rw 0 0\n");
        }),
        ("none, and /etc/fstab names none", |m| {
            m.put("/proc/self/mounts", "/dev/mmcblk0p2 / ext4 rw 0 0\n");
            m.put("/etc/fstab", "\n");
        }),
        ("mounted read-only: `mount -o remount,rw /boot/firmware`", |m| {
            m.put("/proc/self/mounts", mounts("/boot/firmware", "ro"));
        }),
        ("2 lines, of which the first alone is read", |m| {
            m.put("/boot/firmware/cmdline.txt", format!("{BOOKWORM}\n{CGROUP}\n"));
        }),
        ("an empty first line", |m| m.put("/boot/firmware/cmdline.txt", "")),
        ("no such file; /boot/firmware/cmdline.txt.before-hostler", |m| {
            m.files.remove(Path::new("/boot/firmware/cmdline.txt"));
        }),
        ("no root= in it", |m| m.put("/boot/firmware/cmdline.txt", "console=tty1 quiet\n")),
        ("cgroup_disable=memory in /boot/firmware/cmdline.txt; take it out", |m| {
            m.put("/boot/firmware/cmdline.txt", format!("{BOOKWORM} cgroup_disable=memory\n"));
        }),
        ("at most 2047 bytes", |m| {
            let long = format!("{BOOKWORM} x={}", "y".repeat(1700));
            m.put("/boot/firmware/cmdline.txt", format!("{long}\n"));
            m.put("/proc/cmdline", format!("{FIRMWARE}{long}\n"));
        }),
        ("for boards of [pi5] alone", |m| m.put("/boot/firmware/config.txt", "[pi5]\ncmdline=five.txt\n")),
        ("neither /etc/default/grub nor a Pi's", |m| drop(m.files.remove(Path::new("/proc/device-tree/model")))),
        ("and has none; another kernel has to be installed", |m| {
            m.put("/proc/cmdline", format!("{FIRMWARE}{BOOKWORM} {CGROUP}\n"));
        }),
    ];
    for (expected, spoil) in cases {
        let fleet = Fleet::new();
        let machine = bookworm(&fleet);
        spoil(&mut machine.inner());
        let before = machine.inner().files.clone();
        let receipt = perform(&fleet, &machine, 1, memory());
        assert!(receipt.outcome.to_string().contains(expected), "{expected}: {}", receipt.outcome);
        assert!(machine.inner().files == before && machine.inner().acts.is_empty(), "{expected}");
    }
    let fleet = Fleet::new();
    let machine = questing(&fleet);
    machine.inner().put("/boot/firmware/new/state", "trying\n");
    let receipt = perform(&fleet, &machine, 1, memory());
    assert!(receipt.outcome.to_string().contains("wait until piboot-try has judged them"), "{}", receipt.outcome);
    assert!(machine.inner().acts.is_empty() && text(&machine, cmdline).is_empty());
}

#[test]
fn carriage_returns_and_a_missing_newline_become_one_whole_line() {
    for content in [format!("{BOOKWORM}\r\n"), BOOKWORM.to_owned(), format!("{BOOKWORM}  \n\n")] {
        let fleet = Fleet::new();
        let machine = pi(&fleet, "/boot/firmware", PI_CONFIG, BOOKWORM, &[("cmdline.txt", &content)]);
        assert!(perform(&fleet, &machine, 1, memory()).outcome.is_success());
        assert_eq!(text(&machine, "/boot/firmware/cmdline.txt"), format!("{BOOKWORM} {CGROUP}\n"));
        assert_eq!(text(&machine, "/boot/firmware/cmdline.txt.before-hostler"), content);
    }
}

#[test]
fn another_value_is_replaced_and_said() {
    let fleet = Fleet::new();
    let machine = questing(&fleet);
    let receipt = perform(&fleet, &machine, 1, arguments(&["panic=30"], false));
    let changes: Vec<&str> =
        receipt.observations.iter().filter(|o| o.name == "change").map(|o| o.value.as_str()).collect();
    assert!(changes.len() == 2 && changes[0].contains("panic=30 instead of panic=10"), "{changes:?}");
    assert_eq!(text(&machine, "/boot/firmware/new/cmdline.txt"), format!("{}\n", QUESTING.replace("=10", "=30")));
    assert_eq!(text(&machine, "/boot/firmware/old/cmdline.txt"), format!("{QUESTING}\n"), "what was is left alone");
}

/// The power goes at each write, or the partition is full: every file has its old line or its new one, whole, and the
/// next plan makes all of them new.
#[test]
fn a_loss_of_power_or_a_full_partition_at_any_write_leaves_whole_lines() {
    let (old, new) = (format!("{QUESTING}\n"), format!("{QUESTING} {CGROUP}\n"));
    for writes in 0..20 {
        let fleet = Fleet::new();
        let machine = questing(&fleet);
        machine.inner().writes_left = Some(writes);
        let receipt = perform(&fleet, &machine, 1, memory());
        let files = ["/boot/firmware/current/cmdline.txt", "/boot/firmware/new/cmdline.txt"];
        for file in files {
            let found = text(&machine, file);
            assert!(found == old || found == new, "{writes}: {found}");
            assert!(found == old || text(&machine, &format!("{file}.before-hostler")) == old, "{writes}");
        }
        if receipt.outcome.is_success() {
            assert_eq!(writes, 4, "two files, each with its copy");
            return;
        }
        let said = receipt.outcome.to_string();
        assert!(said.contains("No space left") && said.contains("Make room on the boot partition"), "{said}");
        machine.inner().writes_left = None;
        assert!(perform(&fleet, &machine, 2, memory()).outcome.is_success(), "{writes}");
        for file in files {
            assert_eq!(text(&machine, file), new, "{writes}");
            assert_eq!(text(&machine, &format!("{file}.before-hostler")), old, "{writes}");
        }
    }
    panic!("no end of writes");
}

#[test]
fn a_difference_says_what_would_change_and_what_waits_for_a_reboot() {
    let fleet = Fleet::new();
    let machine = bookworm(&fleet);
    let differs = |seq| -> Vec<String> {
        let receipt = plan_of(PlanKind::Inspect, &fleet, &machine, seq, vec![memory()]);
        assert_eq!(receipt.outcome, Outcome::Succeeded {});
        receipt.observations.iter().filter(|o| o.name == DIFFERS).map(|o| o.value.clone()).collect()
    };
    let found = differs(1);
    assert!(found.len() == 1 && found[0].contains("/boot/firmware/cmdline.txt: cgroup_memory=1"), "{found:?}");
    assert!(machine.inner().acts.is_empty());
    assert!(perform(&fleet, &machine, 2, memory()).outcome.is_success());
    let found = differs(3);
    assert!(found.len() == 1 && found[0].contains("`hostler reboot w1`"), "{found:?}");
    machine.inner().put("/proc/cmdline", format!("{FIRMWARE}{BOOKWORM} {CGROUP}\n"));
    machine.inner().put("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
    assert_eq!(differs(4), Vec::<String>::new());
}

#[test]
fn a_machine_that_is_about_to_join_is_rebooted_once_and_only_where_it_has_to_be() {
    let boot = || Step::BootKernel(BootKernel { arguments: Vec::new(), memory_control_group: true });
    let fleet = Fleet::new();
    let machine = bookworm(&fleet);
    machine.inner().at_boot = Some(Play(Arc::new(|inner: &mut Inner, _: &[&str]| {
        let line = inner.text("/boot/firmware/cmdline.txt").unwrap();
        inner.put("/proc/cmdline", format!("{FIRMWARE}{line}"));
        inner.put("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
        None
    })));
    let receipt = plan_of(PlanKind::Join, &fleet, &machine, 1, vec![memory(), boot()]);
    assert_eq!(receipt.outcome, Outcome::Succeeded {}, "{:?}", receipt.steps);
    let reboots = || machine.inner().acts.iter().filter(|act| *act == "reboot").count();
    assert_eq!(reboots(), 1);
    let again = plan_of(PlanKind::Join, &fleet, &machine, 2, vec![memory(), boot()]);
    assert!(again.outcome.is_success() && reboots() == 1);
    // One whose boot loader reads another file.
    let fleet = Fleet::new();
    let machine = bookworm(&fleet);
    let receipt = plan_of(PlanKind::Join, &fleet, &machine, 1, vec![memory(), boot()]);
    assert!(receipt.outcome.to_string().contains("found a reboot without it"), "{}", receipt.outcome);
    assert_eq!(machine.inner().acts.iter().filter(|act| *act == "reboot").count(), 1);
}

#[test]
fn grub_gets_a_file_of_settings_and_writes_every_kernels_line() {
    let fleet = Fleet::new();
    let machine = Arc::new(Machine::new(fleet.now.plus(Duration::from_secs(60))));
    let written = |arguments: &str| {
        let kernel = |release: &str| {
            format!(
                "\tlinux\t/boot/vmlinuz-{release} root=UUID=1 ro quiet {arguments}\n\
                 \tlinux\t/boot/vmlinuz-{release} root=UUID=1 ro single\n"
            )
        };
        let kernels = ["6.12.48-amd64", "6.12.43-rt-amd64"].map(kernel).concat();
        format!("### BEGIN /etc/grub.d/10_linux ###\n{kernels}### END /etc/grub.d/10_linux ###\n")
    };
    machine.inner().put("/etc/default/grub", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n");
    machine.inner().put("/boot/grub/grub.cfg", written(""));
    machine.inner().put("/proc/cmdline", "BOOT_IMAGE=/boot/vmlinuz-6.12.48-amd64 root=UUID=1 ro quiet\n");
    machine.inner().play = Some(Play(Arc::new(move |inner: &mut Inner, arguments: &[&str]| {
        assert_eq!(arguments, ["update-grub"]);
        let settings = inner.text("/etc/default/grub.d/90-hostler.cfg").unwrap();
        let ours = settings.split("DEFAULT ").nth(1).unwrap().trim_end_matches("\"\n").to_owned();
        inner.put("/boot/grub/grub.cfg", written(&ours));
        Some(Ok::<String, HostError>(String::new()))
    })));
    let wanted = || arguments(&["panic=10", "systemd.unified_cgroup_hierarchy=1"], false);
    let first = perform(&fleet, &machine, 1, wanted());
    assert!(first.outcome.is_success() && first.steps[0].changed, "{}", first.outcome);
    assert!(first.observation("change").unwrap().contains("for every kernel"));
    let acts = machine.inner().acts.len();
    assert!(!perform(&fleet, &machine, 2, wanted()).steps[0].changed);
    assert_eq!(machine.inner().acts.len(), acts);
    // Somebody wrote the boot loader's file without it, or the power went before it was written.
    machine.inner().put("/boot/grub/grub.cfg", "\tlinux /boot/vmlinuz root=UUID=1 ro quiet panic=5\n");
    assert!(perform(&fleet, &machine, 3, wanted()).steps[0].changed);
    machine.inner().put("/boot/grub/grub.cfg", "\tlinux /boot/vmlinuz root=UUID=1 cgroup_disable=memory\n");
    let opposed = perform(&fleet, &machine, 4, memory()).outcome.to_string();
    assert!(opposed.contains("take it out of /etc/default/grub"), "{opposed}");
    machine.inner().put("/etc/fstab", "UUID=2 /boot ext4 defaults 0 2\n");
    let unmounted = perform(&fleet, &machine, 5, wanted()).outcome.to_string();
    assert!(unmounted.contains("`mount /boot`"), "{unmounted}");
}
