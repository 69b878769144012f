//! The scripts that go to a machine, run by real shells against a double of ssh and of the machine's programs.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod image;

use std::{path::Path, sync::Arc, time::Duration};

use hostler_cli::install::{self, Delivery, Found, Limits, NodeId, Package, Removed, Rights, Ssh, SshHost, Standing};
use hostler_fixtures::ssh_double::{Machine, SshDouble};

const LIMITS: Limits = Limits { whole: Duration::from_secs(60) };

struct Stand {
    ssh: Ssh,
    host: SshHost,
    machine: Machine,
    _folder: tempfile::TempDir,
}

/// A machine `pi-4`, on which the agent enrols at once in fleet `abc`.
fn stand() -> Stand {
    let folder = tempfile::tempdir().unwrap();
    let double = SshDouble::new(folder.path());
    let machine = double.machine("pi-4");
    machine.set("key", &format!("SHA256:{}", "A".repeat(43))).set("fleet", "abc");
    Stand { ssh: Ssh::new(double.program()), host: "pi@pi-4".parse().unwrap(), machine, _folder: folder }
}

fn delivery() -> Delivery {
    // Whatever bytes a package has.
    let bytes: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    let package = Package { name: "hostler-agent_0.1.0-1_amd64.deb".into(), bytes, ..Package::default() };
    Delivery { package: Arc::new(package), join: "hostlerjoin1.the-secret".into(), password: None }
}

impl Stand {
    async fn probe(&self) -> Result<Found, String> {
        install::probe(&self.ssh, &self.host, LIMITS, &mut |_, _| {}).await
    }

    async fn install(&self, delivery: &Delivery) -> Result<NodeId, String> {
        self.install_heard(delivery, &mut |_, _| {}).await
    }

    async fn install_heard(&self, delivery: &Delivery, heard: install::Heard<'_>) -> Result<NodeId, String> {
        install::install(&self.ssh, &self.host, delivery, LIMITS, heard).await
    }

    async fn remove(&self, password: Option<&str>) -> Result<Removed, String> {
        install::remove(&self.ssh, &self.host, password, LIMITS).await
    }

    async fn look(&self) -> Result<Standing, String> {
        install::look(&self.ssh, &self.host, None, LIMITS).await
    }

    fn nothing_is_left(&self) {
        assert_eq!(self.machine.left(), Vec::<String>::new());
        assert!(!self.machine.has("installed-hostler-agent"), "{}", self.machine.log());
        assert!(!self.machine.has("agent-started") && !self.machine.has("executor-started"));
    }
}

#[tokio::test]
async fn a_machine_goes_from_nothing_to_enrolled_and_back_under_any_login_shell() {
    for shell in ["bash", "dash"] {
        let stand = stand();
        stand.machine.set("login_shell", shell);
        let found = stand.probe().await.unwrap_or_else(|e| panic!("{shell}: {e}"));
        assert_eq!((found.name.as_str(), found.rights, found.has_state), ("pi-4", Rights::Sudo, false), "{shell}");
        let mut heard = Vec::new();
        let id =
            stand.install_heard(&delivery(), &mut |word, rest| heard.push(format!("{word} {rest}"))).await.unwrap();
        assert_eq!((id.name.as_str(), id.key.to_string()), ("pi-4", format!("SHA256:{}", "A".repeat(43))));
        assert_eq!(heard[..2], ["step copies the package", "step installs it"]);
        let join = std::fs::read_to_string(stand.machine.path("etc/hostler/join")).unwrap();
        assert_eq!(join, "hostlerjoin1.the-secret\n");
        assert_eq!(std::fs::read_dir(stand.machine.path("var/tmp")).unwrap().count(), 0, "the package's copy is gone");

        let Standing::Member { fleet, id: Some(again) } = stand.look().await.unwrap() else { panic!("a member") };
        assert_eq!((fleet.as_str(), again), ("abc", id.clone()));
        let found = stand.probe().await.unwrap();
        assert_eq!((found.installed.as_deref(), found.has_state), (Some("0.1.0-1"), true));
        let removed = stand.remove(None).await.unwrap();
        assert_eq!((removed.id, removed.nothing), (Some(id), false));
        stand.nothing_is_left();
        assert!(stand.remove(None).await.unwrap().nothing);
    }
}

#[tokio::test]
async fn no_secret_stands_in_an_argument_or_a_file_and_a_wrong_password_is_tried_once() {
    let stand = stand();
    stand.machine.set("sudo_password", "hunter2");
    assert_eq!(stand.probe().await.unwrap().rights, Rights::Password);
    let with = |password: &str| Delivery { password: Some(Arc::new(password.to_owned())), ..delivery() };
    let wrong = stand.install(&with("hunter3")).await.unwrap_err();
    assert!(wrong.contains("sudo did not take the password"), "{wrong}");
    assert_eq!(stand.machine.log().matches("sudo -k -S").count(), 1, "{}", stand.machine.log());
    stand.nothing_is_left();
    assert!(stand.install(&delivery()).await.unwrap_err().contains("none was given"));
    stand.install(&with("hunter2")).await.unwrap();
    stand.remove(Some("hunter2")).await.unwrap();
    let log = stand.machine.log();
    assert!(!log.contains("hunter2") && !log.contains("the-secret"), "{log}");
}

#[tokio::test]
async fn root_needs_no_sudo() {
    let stand = stand();
    stand.machine.set("user", "root").set("sudo_password", "never asked");
    assert_eq!(stand.probe().await.unwrap().rights, Rights::Root);
    stand.install(&delivery()).await.unwrap();
    assert!(!stand.machine.log().contains("sudo"), "{}", stand.machine.log());
}

#[tokio::test]
async fn whatever_fails_leaves_nothing_behind_and_the_second_run_succeeds() {
    for (setting, value, words) in [
        ("apt_fails", "dpkg was interrupted, run dpkg --configure -a", "dpkg --configure -a"),
        ("deb_architecture", "arm64", "expected a package hostler-agent for amd64"),
        ("key", "no key at all", "expected its name and key"),
        ("enrols_elsewhere", "", "it did not enrol in 20 s: the coordinator says no"),
    ] {
        let stand = stand();
        stand.machine.set("journal", "the coordinator says no").set(setting, value);
        let error = stand.install(&delivery()).await.expect_err(setting);
        assert!(error.contains(words), "{setting}: {error}");
        if setting == "key" {
            // Its script came to its end: whoever called it takes it back.
            stand.remove(None).await.unwrap();
        }
        stand.nothing_is_left();
        stand.machine.unset(setting);
        stand.machine.set("key", &format!("SHA256:{}", "B".repeat(43)));
        stand.install(&delivery()).await.unwrap_or_else(|e| panic!("{setting}, once more: {e}"));
    }
}

#[tokio::test]
async fn a_link_that_is_cut_anywhere_leaves_nothing_behind() {
    for bytes in [1, 40, 70, 100, 130] {
        let stand = stand();
        stand.machine.set("cut_after", &bytes.to_string()).set("enrols_elsewhere", "");
        stand.install(&delivery()).await.expect_err("cut");
        stand.nothing_is_left();
    }
}

#[tokio::test]
async fn an_agent_that_was_there_before_stays_where_an_enrolment_fails() {
    let stand = stand();
    stand.install(&delivery()).await.unwrap();
    std::fs::remove_file(stand.machine.executor().join("enrolled")).unwrap();
    stand.machine.set("enrols_elsewhere", "");
    assert_eq!(stand.look().await.unwrap(), Standing::Free);
    stand.install(&delivery()).await.expect_err("nobody lets it in");
    assert!(stand.machine.has("installed-hostler-agent"));
    assert!(!Path::new(&stand.machine.path("etc/hostler/join")).exists());
}

#[tokio::test]
async fn ssh_that_refuses_says_what_to_do_and_no_host_key_is_accepted() {
    for (said, words) in [
        (
            "No ED25519 host key is known for pi-4 and you have requested strict checking.\n\
             Host key verification failed.",
            "it shows ssh-ed25519 SHA256:shownByTheDouble",
        ),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "another one than"),
        ("pi@pi-4: Permission denied (publickey).", "ssh-copy-id pi@pi-4"),
        ("ssh: connect to host pi-4 port 22: No route to host", "No route to host"),
    ] {
        let stand = stand();
        stand.machine.set("refuses", said);
        let error = stand.probe().await.unwrap_err();
        assert!(error.contains(words), "{error}");
        assert!(stand.machine.log().contains("BatchMode=yes -o StrictHostKeyChecking=yes"));
    }
    let folder = tempfile::tempdir().unwrap();
    let missing = Ssh::new(folder.path().join("ssh"));
    let error = install::probe(&missing, &"pi-4".parse().unwrap(), LIMITS, &mut |_, _| {}).await.unwrap_err();
    assert!(error.contains("install OpenSSH's client"), "{error}");
}

#[tokio::test]
async fn a_host_that_hangs_ends_with_its_time() {
    let stand = stand();
    stand.machine.set("hangs", "");
    let limits = Limits { whole: Duration::from_millis(300) };
    let error = install::probe(&stand.ssh, &stand.host, limits, &mut |_, _| {}).await.unwrap_err();
    assert!(error.contains("did not come to an end"), "{error}");
}

#[tokio::test]
async fn a_first_boot_that_is_under_way_is_waited_for() {
    let stand = stand();
    std::fs::create_dir_all(stand.machine.path("run/cloud-init")).unwrap();
    let mut waits = Vec::new();
    let mut heard = |word: &str, rest: &str| waits.extend((word == "waits").then(|| rest.to_owned()));
    install::probe(&stand.ssh, &stand.host, LIMITS, &mut heard).await.unwrap();
    assert_eq!(waits, ["for its first boot to end (cloud-init)"]);
    assert!(stand.machine.has("first-boot-waited"));
}

#[tokio::test]
async fn removing_an_agent_leaves_the_coordinator_of_the_machine_and_snapshots_alone() {
    let stand = stand();
    stand.install(&delivery()).await.unwrap();
    stand.machine.write("../installed-hostler-coordinator", "0.1.0-1");
    stand.machine.write("etc/hostler/coordinator.toml", "");
    stand.machine.write("var/lib/hostler/coordinator/ledger", "");
    stand.machine.write("var/lib/hostler/etcd/one", "");
    let removed = stand.remove(None).await.unwrap();
    assert!(removed.left.iter().any(|path| path.ends_with("/var/lib/hostler/etcd")), "{:?}", removed.left);
    let left = stand.machine.left();
    assert_eq!(
        left,
        ["etc/hostler/coordinator.toml", "var/lib/hostler/coordinator/ledger", "var/lib/hostler/etcd/one"]
    );
    assert!(!stand.machine.has("user-gone"));
}
