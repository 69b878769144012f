//! `hostler node install` with a real coordinator and real agents: machines and ssh are doubles, the keys, strings and
//! rosters are not.

use hostler_fixtures::ssh_double::{Machine, SshDouble};
use hostler_plan::document::RosterStatus;

use super::*;

/// A fleet, its admin, and machines of it that come when their doubles start the agent.
struct Stand {
    folder: tempfile::TempDir,
    coordinator: Coordinator,
    anna: Profile,
    double: SshDouble,
}

impl Stand {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let coordinator = Coordinator::start(&data, None).await;
        let anna = set_up(folder.path(), &data, coordinator.ports.0, 1).await;
        let double = SshDouble::new(&folder.path().join("double"));
        let package = folder.path().join("hostler-agent_0.1.0-1_amd64.deb");
        std::fs::write(package, "!<arch>\ndebian-binary and more").unwrap();
        Self { folder, coordinator, anna, double }
    }

    /// A machine on which a real executor and a real agent run as soon as its systemctl is told to start them.
    fn machine(&self, world: &SharedWorld, name: &str) -> Machine {
        let machine = self.double.machine(name);
        machine.set("enrols_elsewhere", "");
        let (node, started) = (NodeName::new(name).unwrap(), machine.clone());
        let host = Arc::new(SimHost::here(world.clone(), node.clone()).unwrap());
        let folder = self.folder.path().join("double/hosts").join(name);
        tokio::spawn(async move {
            while !started.has("executor-started") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Its folder `executor` is the one that the double shows.
            let node = Node::new(folder, started.path("etc/hostler/join"), node);
            let _ = node.run(host, std::future::pending()).await;
        });
        machine
    }

    async fn install(&self, hosts: &[&str], more: &[&str]) -> Result<(), Error> {
        let ssh = self.double.program().display().to_string();
        let ours = ["--package", "FOLDER/hostler-agent_0.1.0-1_amd64.deb", "--yes", "--ssh", &ssh];
        let line = [&["node", "install"][..], hosts, &ours, more].concat();
        super::root::hostler(self.folder.path(), &self.anna, &line).await
    }

    async fn listed(&self) -> Vec<(String, String)> {
        let admin = connect(&self.anna).await.unwrap();
        let nodes = admin.trust_store().roster().map(|r| r.document().nodes.clone()).unwrap_or_default();
        let active = nodes.into_iter().filter(|n| n.status == RosterStatus::Active);
        active.map(|n| (n.name.to_string(), n.key.fingerprint().to_string())).collect()
    }

    /// No token admits anybody any more.
    async fn no_token_is_open(&self) {
        let mut admin = connect(&self.anna).await.unwrap();
        for token in token::list(&mut admin).await.unwrap() {
            assert!(token.used == 1 || token.revocation_signed, "{token:?}");
        }
    }
}

fn world(names: &[&str]) -> SharedWorld {
    let nodes = names.iter().map(|name| (NodeName::new(*name).unwrap(), Arch::Aarch64));
    SharedWorld::new(World::new(1, nodes), 10.0)
}

/// The key in the executor's folder, as stock ssh-keygen reads it.
fn key_of(machine: &Machine) -> String {
    let key = machine.executor().join("node.key");
    let out = Command::new("ssh-keygen").arg("-lf").arg(key).output().unwrap();
    String::from_utf8(out.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn machines_become_nodes_in_one_command_with_the_keys_that_they_show_themselves() {
    let stand = Stand::new().await;
    let world = world(&["w1", "w2"]);
    let machines = [stand.machine(&world, "w1"), stand.machine(&world, "w2")];
    // A third one is not there: it holds nobody up, and the command says so at its end.
    let error = stand.install(&["pi@w1", "w2", "pi@nowhere"], &[]).await.expect_err("one is missing");
    assert!(error.to_string().contains("1 of 3 machines failed"), "{error}");
    let wanted: Vec<(String, String)> =
        ["w1", "w2"].into_iter().zip(&machines).map(|(name, m)| (name.to_owned(), key_of(m))).collect();
    assert_eq!(stand.listed().await, wanted);
    stand.no_token_is_open().await;

    // Once more there is nothing to do, and nothing is signed.
    let version = || async { connect(&stand.anna).await.unwrap().trust_store().roster().unwrap().document().version };
    let before = version().await;
    stand.install(&["pi@w1", "w2"], &[]).await.unwrap();
    assert_eq!(version().await, before);
    stand.coordinator.end().await;
}

#[tokio::test]
async fn a_key_that_the_machine_does_not_show_is_never_listed_and_nothing_is_left() {
    let stand = Stand::new().await;
    let machine = stand.machine(&world(&["w1"]), "w1");
    // Whoever enrolled with the string has another key than this machine shows over ssh.
    machine.set("key", &format!("SHA256:{}", "A".repeat(43)));
    stand.install(&["w1"], &[]).await.expect_err("another machine in its place");
    assert_eq!(stand.listed().await, []);
    assert!(!machine.has("installed-hostler-agent"), "{}", machine.log());
    assert_eq!(machine.left(), Vec::<String>::new());
    let mut admin = connect(&stand.anna).await.unwrap();
    let tokens = token::list(&mut admin).await.unwrap();
    assert!(tokens.iter().all(|t| t.revocation_signed), "the token is ended by a signed roster: {tokens:?}");
    stand.coordinator.end().await;
}

#[tokio::test]
async fn machines_of_one_image_and_of_other_fleets_are_refused_before_anything_is_made() {
    let stand = Stand::new().await;
    let (one, two, foreign) = (stand.double.machine("a1"), stand.double.machine("a2"), stand.double.machine("b1"));
    for machine in [&one, &two] {
        machine.write("etc/machine-id", "0123456789abcdef\n");
    }
    foreign.write("var/lib/hostler/executor/enrolled", &format!("{:064} {{\"fleet_id\":\"other\"}}", 0));
    stand.install(&["a1", "a2", "b1"], &[]).await.expect_err("all three");
    for machine in [one, two, foreign] {
        assert!(!machine.log().contains("apt-get"), "{}", machine.log());
    }
    let mut admin = connect(&stand.anna).await.unwrap();
    assert!(token::list(&mut admin).await.unwrap().is_empty(), "no token was made");
    stand.coordinator.end().await;
}

#[tokio::test]
async fn a_machine_that_fails_first_comes_in_with_a_second_run() {
    let stand = Stand::new().await;
    let machine = stand.machine(&world(&["w1"]), "w1");
    machine.set("apt_fails", "the mirror is away");
    stand.install(&["w1"], &[]).await.expect_err("apt fails");
    stand.no_token_is_open().await;
    machine.unset("apt_fails");
    stand.install(&["w1"], &[]).await.unwrap();
    assert_eq!(stand.listed().await, [("w1".to_owned(), key_of(&machine))]);
    stand.coordinator.end().await;
}
