//! Who else may change a machine: cloud-init, sshd, and what is only looked at.

use hostler_plan::{
    document::{DIFFERS, ISCSI_INITIATOR, PlanKind},
    step::machine::{CloudInit, FenceCloudInit, LastingNetwork, NamedInitiator, RootLogin, SetSshd},
};

use super::*;

fn quiet(fleet: &Fleet) -> Arc<Machine> {
    machine(fleet, Box::new(|_, _| None))
}

/// A machine after its first boot by cloud-init.
fn cloud(fleet: &Fleet, user_data: &str) -> Arc<Machine> {
    let machine = quiet(fleet);
    let mut inner = machine.inner();
    inner.put("/etc/hostname", "w1\n");
    inner.put("/etc/cloud/cloud.cfg", "preserve_hostname: false\n");
    inner.put("/var/lib/cloud/instance/boot-finished", "1764316800.00 - done\n");
    inner.put("/var/lib/cloud/instance/cloud-config.txt", user_data);
    drop(inner);
    machine
}

fn fence(fence: CloudInit) -> Step {
    Step::FenceCloudInit(FenceCloudInit { fence })
}

#[test]
fn cloud_init_is_told_once_to_leave_names_alone() {
    let fleet = Fleet::new();
    let machine = cloud(&fleet, "#cloud-config\nhostname: w1\nmanage_etc_hosts: false\nusers: []\n");
    twice(&fleet, &machine, &fence(CloudInit::Names), &[]);
    let ours = machine.inner().text("/etc/cloud/cloud.cfg.d/99-hostler.cfg").unwrap();
    assert!(ours.contains("preserve_hostname: true\nmanage_etc_hosts: false\n"), "{ours}");
    let fleet = Fleet::new();
    let machine = cloud(&fleet, "#cloud-config\nmanage_etc_hosts: true\n");
    twice(&fleet, &machine, &fence(CloudInit::Off), &[]);
    assert!(machine.inner().text("/etc/cloud/cloud-init.disabled").is_some());
}

#[test]
fn where_names_would_change_all_the_same_it_is_said_and_nothing_is_written() {
    type Spoil = fn(&mut Inner);
    let cases: [(&str, &str, Spoil); 6] = [
        ("manage_etc_hosts: true in the machine's user-data", "manage_etc_hosts: true\n", |_| {}),
        ("manage_etc_hosts: localhost in", "manage_etc_hosts: localhost\n", |_| {}),
        ("preserve_hostname: false in", "preserve_hostname: false\n", |_| {}),
        ("cloud-init is still at it", "", |m| drop(m.files.remove(Path::new("/var/lib/cloud/instance/boot-finished")))),
        ("found \"raspberrypi\", which it has from the next boot on", "", |m| m.put("/etc/hostname", "raspberrypi\n")),
        ("expected w1 in /etc/hostname", "", |m| drop(m.files.remove(Path::new("/etc/hostname")))),
    ];
    for (expected, user_data, spoil) in cases {
        let fleet = Fleet::new();
        let machine = cloud(&fleet, user_data);
        spoil(&mut machine.inner());
        let why = reason(&perform(&fleet, &machine, 1, fence(CloudInit::Names), vec![]));
        assert!(why.contains(expected), "{expected}: {why}");
        assert!(machine.inner().acts.is_empty(), "{expected}");
    }
}

const DEBIAN: &str = "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\nUsePAM yes\n";

/// sshd as far as it is asked: of several values the first one counts, and ours is read first.
fn sshd(inner: &mut Inner, arguments: &[&str]) -> Option<Result<String, HostError>> {
    match arguments {
        ["sshd", "-T"] => {
            let files = ["/etc/ssh/sshd_config.d/00-image.conf", "/etc/ssh/sshd_config.d/01-hostler.conf"];
            let text: String = files.iter().filter_map(|file| inner.text(file)).collect();
            let rest =
                "passwordauthentication yes\nkbdinteractiveauthentication no\npermitrootlogin without-password\n";
            let mut seen = std::collections::BTreeSet::new();
            let lines = text.lines().chain(rest.lines()).map(str::to_ascii_lowercase);
            let first = lines.filter(|line| seen.insert(line.split(' ').next().unwrap().to_owned()));
            Some(Ok(first.collect::<Vec<_>>().join("\n")))
        }
        ["sshd", "-t", "-f", file] => {
            let tried = inner.text(file).unwrap();
            assert!(tried.contains("Include /etc/ssh/sshd_config\n"));
            let (command, status) = ("sshd -t".to_owned(), "exit status: 255".to_owned());
            let bad = inner.text("/etc/ssh/sshd_config").is_some_and(|config| config.contains("Pert 22"));
            let output = "Bad configuration option: Pert".to_owned();
            Some(if bad { Err(HostError::Command { command, status, output }) } else { Ok(String::new()) })
        }
        ["systemctl", "try-reload-or-restart", "--", unit] => {
            inner.acts.push(format!("reload {unit}"));
            Some(Ok(String::new()))
        }
        _ => None,
    }
}

fn with_sshd(fleet: &Fleet, config: &str) -> Arc<Machine> {
    let machine = machine(fleet, Box::new(sshd));
    let mut inner = machine.inner();
    inner.put("/etc/ssh/sshd_config", config);
    inner.put(
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nsync:x:4:65534::/bin:/usr/sbin/nologin\npi:x:1000:1000::/home/pi:/bin/bash\n",
    );
    inner.put("/home/pi/.ssh/authorized_keys", "# mine\nssh-ed25519 AAAA pi\n");
    drop(inner);
    machine
}

fn keys_alone(root_login: RootLogin) -> Step {
    Step::SetSshd(SetSshd { password_authentication: false, root_login })
}

#[test]
fn sshd_takes_what_it_accepted_once_and_is_reloaded() {
    let fleet = Fleet::new();
    let machine = with_sshd(&fleet, DEBIAN);
    twice(&fleet, &machine, &keys_alone(RootLogin::No), &[]);
    let acts = machine.inner().acts.join(", ");
    assert_eq!(
        acts,
        "write /run/hostler-sshd-tried.conf, remove /run/hostler-sshd-tried.conf, \
         write /etc/ssh/sshd_config.d/01-hostler.conf, reload ssh.service"
    );
}

#[test]
fn an_admin_is_never_kept_out_and_what_sshd_does_not_take_is_not_put_in_place() {
    type Spoil = fn(&mut Inner);
    let cases: [(&str, RootLogin, Spoil); 6] = [
        ("without passwords nobody would get in", RootLogin::No, |m| {
            m.put("/home/pi/.ssh/authorized_keys", "# none yet\n\n");
        }),
        ("without passwords nobody would get in", RootLogin::No, |m| {
            let keys = m.files.remove(Path::new("/home/pi/.ssh/authorized_keys")).unwrap();
            m.files.insert("/root/.ssh/authorized_keys".into(), keys);
        }),
        ("no such line; write it at the top", RootLogin::Keys, |m| m.put("/etc/ssh/sshd_config", "UsePAM yes\n")),
        ("install openssh-server first", RootLogin::Keys, |m| drop(m.files.remove(Path::new("/etc/ssh/sshd_config")))),
        ("Bad configuration option: Pert; nothing was changed", RootLogin::Keys, |m| {
            m.put("/etc/ssh/sshd_config", format!("{DEBIAN}Pert 22\n"));
        }),
        ("another value that is read before", RootLogin::Keys, |m| {
            m.put("/etc/ssh/sshd_config.d/00-image.conf", "PasswordAuthentication yes\n");
        }),
    ];
    for (expected, root_login, spoil) in cases {
        let fleet = Fleet::new();
        let machine = with_sshd(&fleet, DEBIAN);
        spoil(&mut machine.inner());
        let why = reason(&perform(&fleet, &machine, 1, keys_alone(root_login), vec![]));
        assert!(why.contains(expected), "{expected}: {why}");
        let is_foreign = expected.starts_with("another");
        assert_eq!(machine.inner().acts.iter().any(|act| act.contains("01-hostler")), is_foreign, "{expected}");
    }
}

#[test]
fn a_machine_has_one_name_for_targets_and_says_it() {
    let step = || Step::NamedInitiator(NamedInitiator {});
    let fleet = Fleet::new();
    let machine = quiet(&fleet);
    machine
        .inner()
        .put("/etc/iscsi/initiatorname.iscsi", "## a comment\nInitiatorName=iqn.1993-08.org.debian:01:3f2a\n");
    let receipt = perform(&fleet, &machine, 1, step(), vec![]);
    assert!(receipt.outcome.is_success() && !receipt.steps[0].changed);
    assert_eq!(receipt.observation(ISCSI_INITIATOR), Some("iqn.1993-08.org.debian:01:3f2a"));
    for (text, expected) in [
        ("GenerateName=yes\n", "none; start iscsid once"),
        ("InitiatorName=\n", "\"\"; write one"),
        ("InitiatorName=iqn.a:1\nInitiatorName=iqn.a:2\n", "2 of them; keep one"),
    ] {
        let fleet = Fleet::new();
        let machine = quiet(&fleet);
        machine.inner().put("/etc/iscsi/initiatorname.iscsi", text);
        let why = reason(&perform(&fleet, &machine, 1, step(), vec![]));
        assert!(why.contains(expected), "{text}: {why}");
    }
}

#[test]
fn an_inspection_says_what_of_the_network_a_boot_may_change_and_nothing_fails_for_it() {
    let fleet = Fleet::new();
    let printed = r#"[{"ifname":"lo","addr_info":[{"local":"127.0.0.1","scope":"host"}]},
        {"ifname":"end0","addr_info":[{"local":"10.0.0.11","scope":"global","dynamic":true}]}]"#;
    let machine = machine(&fleet, Box::new(move |_, arguments| (arguments[0] == "ip").then(|| Ok(printed.to_owned()))));
    machine.inner().put("/etc/netplan/50-cloud-init.yaml", "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n");
    let address = Some("10.0.0.11".parse().unwrap());
    let step = Step::LastingNetwork(LastingNetwork { address, is_server: true });
    let plan = fleet.plan(1, vec![step], |plan| {
        plan.kind = PlanKind::Inspect;
        plan.tasks[0].disrupts = false;
    });
    let receipt = fleet.perform(&machine, &plan);
    assert_eq!(receipt.outcome, Outcome::Succeeded {});
    let found: Vec<&str> =
        receipt.observations.iter().filter(|o| o.name == DIFFERS).map(|o| o.value.as_str()).collect();
    assert_eq!(
        found,
        [
            "network.lasts: 10.0.0.11 of end0 is lent by DHCP, and the fleet file rests on it; reserve it there, or \
             set it on the machine",
            "network.lasts: /etc/netplan/50-cloud-init.yaml is for interface eth0, and there is none: found end0",
        ]
    );
}
