//! The same with a real coordinator and real agents: everything of Hostler is real, the machines and kubeadm are
//! played.

use std::{fs, net::SocketAddr, path::Path, process::Command, sync::Arc, time::Duration};

use hostler_cli::{
    Admin, Profile,
    admin::now,
    key::{KeySource, SigningKey},
    plan::{self, ArtifactFiles},
    rollout, roster,
    token::{self, TokenRequest},
    trust,
};
use hostler_coordinator::{Listeners, Settings};
use hostler_plan::{
    document::{Approval, Signed},
    fleet::Fleet,
    id::Arch,
    planner::Intent,
    step::ClusterRole,
    trust::Draft,
};
use hostler_proto::join::SetupCode;
use hostler_sim::{clock::SharedWorld, host::SimHost, node::Node, world::World};

use crate::{
    join,
    stand::{NEW, OLD, artifacts, fleet_text, upgrade_of},
};

/// How long anything here may take before the test fails: a busy machine needs tens of seconds.
const PATIENCE: Duration = Duration::from_secs(180);

/// Seconds of the world in one of ours: an upgrade of a server takes three minutes there.
const SPEED: f64 = 40.0;

/// Real nodes report every 10 s.
const REPORTS: Duration = Duration::from_millis(250);

async fn coordinator(data: &Path) -> SocketAddr {
    let mut settings = Settings::on_loopback(data);
    settings.report_interval = REPORTS;
    let listeners = Listeners::bind(&settings).await.unwrap();
    let admins = listeners.addresses().admin;
    tokio::spawn(hostler_coordinator::run(settings, listeners, std::future::pending()));
    admins
}

async fn admin(folder: &Path, data: &Path, address: SocketAddr) -> Admin {
    let key = folder.join("ana");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let profile = Profile {
        home: folder.join("home"),
        coordinator: Some(address.to_string()),
        fleet: None,
        key: KeySource { path: Some(key), ..KeySource::default() },
    };
    let code = loop {
        match fs::read_to_string(data.join("setup-code")) {
            Ok(text) if !text.is_empty() => break SetupCode::parse(&text).unwrap(),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let first = trust::FirstRoot {
        name: "ana".into(),
        signers: Vec::new(),
        threshold_plan: 1,
        lifetime: trust::DEFAULT_ROOT_LIFETIME,
        policy: trust::DEFAULT_POLICY,
    };
    let signer = SigningKey::find(&profile.key, &[]).unwrap();
    trust::init(&profile, &signer, &code, &first, now()).await.unwrap();
    Admin::connect(&profile, SigningKey::find(&profile.key, &[]).unwrap()).await.unwrap()
}

async fn enrol(folder: &Path, admin: &mut Admin, fleet: &Fleet) -> SharedWorld {
    let machines = fleet.nodes.iter().map(|node| (node.name.clone(), Arch::Aarch64));
    let world = SharedWorld::new(World::new(7, machines), SPEED);
    for node in &fleet.nodes {
        let (role, approval) = (node.role, Approval::Automatic);
        let request = TokenRequest { uses: 1, lifetime: Duration::from_secs(3600), role, approval };
        let string = token::create(admin, &request, now()).await.unwrap();
        let join_file = folder.join(format!("join-{}", node.name));
        fs::write(&join_file, string.encode()).unwrap();
        let host = Arc::new(SimHost::here(world.clone(), node.name.clone()).unwrap());
        let own = Node::new(folder.join(node.name.as_str()), join_file, node.name.clone());
        tokio::spawn(Node { report_interval: REPORTS, ..own }.run(host, std::future::pending()));
    }
    while roster::pending(admin).await.unwrap().0.len() < fleet.nodes.len() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    roster::list_automatic(admin, now()).await.unwrap();
    world
}

/// From the intent to a rollout whose every task is proved.
async fn rolls_out(admin: &mut Admin, fleet: &Fleet, intent: &Intent, files: &ArtifactFiles) {
    // What the coordinator knows of the cluster comes with the next report.
    let compiled = loop {
        match plan::compile(admin, fleet, intent, None, now()).await {
            Ok(compiled) => break compiled,
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    };
    let mut draft = Draft::plan(Signed { bytes: compiled.bytes, signatures: Vec::new() }).unwrap();
    plan::sign(admin.trust_store(), admin.signer(), &mut draft, now()).unwrap();
    plan::upload_missing(admin, draft.document(), Some(fleet), files).await.unwrap();
    let verified = plan::verify(admin.trust_store(), draft.signed(), now()).unwrap();
    let seq = plan::submit(admin, &verified).await.unwrap().seq.to_string();
    let detail = rollout::watch(admin, &seq, &mut |_: &_| Ok(())).await.unwrap();
    let proved = rollout::finished(admin.trust_store(), &seq, &detail).unwrap();
    assert_eq!(proved, verified.document().tasks.len());
}

#[tokio::test]
async fn a_fleet_of_kubeadm_lives_with_a_real_coordinator_and_real_agents() {
    let folder = hostler_fixtures::damage::scratch();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let (lock, contents) = artifacts();
    let (fleet, _) = Fleet::with_lock(("fleet.toml", &fleet_text(1, 1)), ("fleet.lock", &lock)).unwrap();
    let artifacts = folder.join("artifacts");
    fs::create_dir_all(&artifacts).unwrap();
    for (digest, content) in &contents {
        fs::write(artifacts.join(digest.hex()), content).unwrap();
    }
    let files = ArtifactFiles { directory: Some(artifacts), kept: None, fleet_file: None };
    let lives = async {
        let address = coordinator(&data).await;
        let mut admin = admin(folder, &data, address).await;
        let world = enrol(folder, &mut admin, &fleet).await;
        rolls_out(&mut admin, &fleet, &Intent::Bootstrap {}, &files).await;
        rolls_out(&mut admin, &fleet, &join(), &files).await;
        let versions = || world.now().cluster.nodes.values().map(|node| node.version.to_string()).collect::<Vec<_>>();
        assert_eq!(versions(), [OLD, OLD]);
        rolls_out(&mut admin, &fleet, &upgrade_of(&fleet), &files).await;
        assert_eq!(versions(), [NEW, NEW]);
        let roles: Vec<ClusterRole> = world.now().cluster.nodes.values().map(|node| node.role).collect();
        assert_eq!(roles, [ClusterRole::Server, ClusterRole::Worker]);
    };
    tokio::time::timeout(PATIENCE, lives).await.expect("it lives through its plans");
}
