//! Drains and cordons of a simulated cluster by the command, from the preview to the summary: what is carried over to a
//! plan that continues another, and whose a cordon is.

use std::collections::BTreeSet;

use hostler_cli::why;
use hostler_plan::{
    document::Plan,
    drain::{Service, summaries},
    json,
    sequencer::CordonOwner,
};
use hostler_sim::world::{
    cluster::{Owner, PodKey},
    fault::Fault,
    k3s_binary,
    machine::File,
};

use super::*;

/// How much faster than here time passes there.
const SPEED: f64 = 20.0;

/// A cluster of `s1`, `w1` and `w2` that runs a small shop, its coordinator and its admin.
struct Shop {
    coordinator: Coordinator,
    profile: Profile,
    admin: Admin,
    world: SharedWorld,
}

fn shop() -> World {
    let names = ["s1", "w1", "w2"].map(|name| NodeName::new(name).unwrap());
    let mut world = World::new(1, names.clone().map(|name| (name, Arch::Aarch64)));
    for name in &names {
        let content = k3s_binary("v1.34.3+k3s1".parse().unwrap(), Arch::Aarch64);
        let binary = hostler_executor::distribution::k3s::BINARY.to_owned();
        world.machine_mut(name).unwrap().files.insert(binary, File { mode: 0o755, content });
    }
    world.k3s_bootstrap(&names[0]).unwrap();
    world.advance(30_000);
    for name in &names[1..] {
        let secret = world.k3s_token(&names[0], ClusterRole::Worker, 60_000).unwrap();
        world.k3s_join(name, ClusterRole::Worker, &secret).unwrap();
    }
    world.advance(60_000);
    world.deploy(false);
    world.advance(90_000);
    assert!(world.cluster.nodes.values().all(|node| node.ready));
    world
}

impl Shop {
    async fn open(folder: &Path) -> Self {
        let data = folder.join("data");
        let coordinator = Coordinator::start(&data, None).await;
        let mut profile = set_up(folder, &data, coordinator.ports.0, 1).await;
        let mut admin = connect(&profile).await.unwrap();
        let world = SharedWorld::new(shop(), SPEED);
        for (name, role) in [("s1", ClusterRole::Server), ("w1", ClusterRole::Worker), ("w2", ClusterRole::Worker)] {
            let request = token::TokenRequest { uses: 1, lifetime: PATIENCE * 10, role, approval: Approval::Automatic };
            let join = token::create(&mut admin, &request, now()).await.unwrap();
            let join_file = folder.join(format!("join-{name}"));
            std::fs::write(&join_file, join.encode()).unwrap();
            let name = NodeName::new(name).unwrap();
            let host = Arc::new(SimHost::here(world.clone(), name.clone()).unwrap());
            let node = Node::new(folder.join(format!("state-{name}")), join_file, name);
            tokio::spawn(node.run(host, std::future::pending()));
        }
        all_enrolled(&mut admin, 3).await;
        roster::list_automatic(&mut admin, now()).await.unwrap();
        let w2 = "[[nodes]]\nname = \"w2\"\nrole = \"worker\"\narch = \"aarch64\"\n";
        std::fs::write(folder.join("fleet.toml"), format!("{FLEET}{w2}")).unwrap();
        profile.fleet = Some(folder.join("fleet.toml"));
        let shop = Self { coordinator, profile, admin, world };
        shop.until("every node is in service", async |shop| {
            let (fleet, _) = plan::read_fleet(shop.profile.fleet.as_ref().unwrap()).unwrap();
            let reboot = Intent::Reboot { nodes: Selection::All, accept_outage: vec![NodeName::new("s1").unwrap()] };
            let compiled = plan::compile(&mut shop.admin, &fleet, &reboot, None, now()).await;
            let pods = compiled.ok()?.pods?;
            pods.preview.not_shown.is_empty().then_some(())
        })
        .await
    }

    /// Waits for something, and gives the shop back.
    async fn until(mut self, what: &str, found: impl AsyncFn(&mut Self) -> Option<()>) -> Self {
        let wait = async {
            while found(&mut self).await.is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
        self
    }

    /// Waits until the coordinator knows whose cordon `w1` has.
    async fn cordoned_by(self, owner: Option<CordonOwner>) -> Self {
        let w1 = NodeName::new("w1").unwrap();
        let what = format!("the coordinator knows that {owner:?} cordoned w1");
        self.until(&what, async |shop| {
            let inventory = plan::inventory(&mut shop.admin).await.unwrap();
            let cordon = inventory.nodes.get(&w1)?.condition.cordon.clone();
            (cordon.map(|cordon| cordon.owner) == owner).then_some(())
        })
        .await
    }

    async fn hostler(&self, folder: &Path, line: &str) -> Result<(), Error> {
        let line = format!("--fleet FOLDER/fleet.toml {line}");
        super::root::hostler(folder, &self.profile, &line.split(' ').collect::<Vec<_>>()).await
    }
}

/// What the drains of a plan in a file allow, of whom.
fn allowed(file: &Path) -> (Plan, BTreeSet<String>) {
    let plan: Plan = json::parse(&std::fs::read(file).unwrap()).unwrap();
    let consents = plan.drains().flat_map(|(_, drain)| &drain.consents).map(|c| format!("{}: {:?}", c.of, c.loss));
    let consents = consents.collect();
    (plan, consents)
}

#[tokio::test]
async fn a_drain_that_continues_another_allows_what_was_allowed_before_and_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let shop = Shop::open(folder).await;
    let w1 = NodeName::new("w1").unwrap();
    {
        let mut world = shop.world.now();
        let (from, until) = (0, u64::MAX);
        world.add_fault(Fault::BudgetHolds { budget: "shop/web".into(), from, until });
    }
    shop.hostler(folder, "drain w1 --delete-emptydir-data=disk --yes --no-watch --out FOLDER/first.json")
        .await
        .unwrap();
    let (first, before) = allowed(&folder.join("first.json"));
    assert!(before.contains("shop/ReplicaSet/api-6f7d8: EmptyDirDisk"), "{before:?}");

    let mut admin = connect(&shop.profile).await.unwrap();
    let shop = shop.cordoned_by(Some(CordonOwner::Hostler)).await;
    let now_seen = |said: &[why::Said]| {
        let of_view = |said: &&why::Said| matches!(&said.proof, why::Proof::View { node, .. } if node.as_str() == "s1");
        said.iter().filter(of_view).map(|said| format!("{}: {}", said.about, said.sentence)).collect::<Vec<_>>()
    };
    let asked = async |admin: &mut Admin, word: &str| {
        let question = why::understand(admin, word).await.unwrap();
        now_seen(&why::ask(admin, &question).await.unwrap())
    };
    let of_node = asked(&mut admin, "w1").await;
    let cordon = of_node.iter().find(|said| said.contains("is cordoned by hostler since 20")).unwrap();
    assert!(
        cordon.contains(", signed by anna (drain, plan 1), ") && cordon.contains(" s ago; `hostler unc"),
        "{cordon}"
    );
    assert!(of_node.iter().any(|said| said.contains("is slow: budget shop/web")), "{of_node:?}");
    let of_rollout = asked(&mut admin, "1").await;
    assert!(of_rollout.iter().any(|said| said.contains("w1: shop/web-")), "{of_rollout:?}");
    let web = of_rollout.iter().find_map(|said| said.split(' ').find(|word| word.starts_with("shop/web-"))).unwrap();
    let of_pod = asked(&mut admin, web).await;
    assert!(of_pod[0].contains("is on w1; in a drain of that node: moves: fits on"), "{of_pod:?}");

    // A bare pod has come since, and nobody allowed that it ends.
    let bare = PodKey { namespace: "shop".into(), name: "bare".into() };
    shop.world.now().cluster.add_pod(bare, Owner::Nobody, &w1);
    let refused = shop.hostler(folder, "drain w1 --continue --yes --no-watch").await.expect_err("the bare pod");
    assert_eq!(refused.exit_code(), 5, "{refused}");
    let said = refused.to_string();
    assert!(said.contains("shop/bare: it has no controller") && !said.contains("emptyDir"), "{said}");

    shop.hostler(folder, "drain w1 --continue --force-unmanaged --yes --no-watch --out FOLDER/next.json")
        .await
        .unwrap();
    let (next, now_allowed) = allowed(&folder.join("next.json"));
    assert_eq!(next.continues, Some(Digest::of(&std::fs::read(folder.join("first.json")).unwrap())));
    assert!(now_allowed.is_superset(&before) && now_allowed.len() == before.len() + 1, "{now_allowed:?}");
    assert!(next.seq > first.seq);
    shop.world.now().release_budget("shop/web", 0);
    let judged = watch(&mut admin, next.seq).await;
    assert_eq!(judged.unproved, []);

    let said = summaries(judged.plan.unwrap().document(), &judged.receipts).remove(0);
    assert!(said.sentence.starts_with("w1 is drained: ") && said.sentence.contains("1 ended, 1 stays"), "{said}");
    assert!(said.next.contains("`hostler uncordon w1`"), "{said}");
    shop.hostler(folder, &format!("rollout watch {}", next.seq)).await.unwrap();
    shop.hostler(folder, "cluster access --check").await.unwrap();
    let before = rollout::get(&mut admin, &first.seq.to_string()).await.unwrap();
    let before = summaries(&first, &rollout::verify(admin.trust_store(), &before).receipts);
    assert!(before.iter().all(|said| said.service == Service::AsItSays), "{before:?}");
    shop.coordinator.end().await;
}

#[tokio::test]
async fn a_persons_cordon_is_taken_over_lifted_and_given_away_by_signed_plans() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut shop = Shop::open(folder).await;
    let w1 = NodeName::new("w1").unwrap();
    let node = |shop: &Shop| shop.world.now().cluster.nodes[&w1].clone();
    {
        let mut world = shop.world.now();
        let node = world.cluster.nodes.get_mut(&w1).unwrap();
        (node.unschedulable, node.unschedulable_by) = (true, Some("kubectl-cordon".into()));
        node.resource_version += 1;
    }
    shop = shop.cordoned_by(Some(CordonOwner::Other("kubectl-cordon".into()))).await;
    let refused = shop.hostler(folder, "uncordon w1 --yes").await.expect_err("it is a person's").to_string();
    assert!(refused.contains("`hostler node adopt-cordon w1`"), "{refused}");
    let ours = shop.hostler(folder, "node release-cordon w1 --reason friday --yes").await.expect_err("not ours");
    assert!(ours.to_string().contains("w1 is cordoned by kubectl-cordon, and no plan lifts that"), "{ours}");

    shop.hostler(folder, "node adopt-cordon w1 --reason away --yes").await.unwrap();
    shop = shop.cordoned_by(Some(CordonOwner::Hostler)).await;
    assert!(node(&shop).unschedulable && node(&shop).annotations.values().any(|note| note.contains("anna")));
    let again = shop.hostler(folder, "node adopt-cordon w1 --reason away --yes").await.expect_err("it is ours");
    assert!(again.to_string().contains("is cordoned by Hostler already"), "{again}");

    shop.hostler(folder, "node release-cordon w1 --reason friday --yes").await.unwrap();
    shop = shop.cordoned_by(Some(CordonOwner::Other("anna".into()))).await;
    shop.hostler(folder, "uncordon w1 --yes").await.expect_err("it is anna's");
    shop.hostler(folder, "node adopt-cordon w1 --reason back --yes").await.unwrap();
    shop = shop.cordoned_by(Some(CordonOwner::Hostler)).await;
    shop.hostler(folder, "uncordon w1 --yes").await.unwrap();
    shop = shop.cordoned_by(None).await;
    assert!(!node(&shop).unschedulable && node(&shop).annotations.is_empty());
    shop.coordinator.end().await;
}
