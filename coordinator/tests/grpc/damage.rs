//! Every file of a coordinator's folder, damaged at many places and lost: it does not start and says why, or it serves
//! what it would have.

use std::{fs, path::Path, time::Duration};

use hostler_coordinator::{Listeners, Settings, run};
use hostler_fixtures::damage::{self, Folder, Verdict};
use hostler_plan::{
    document::{Artifact, PlanKind, Signed},
    id::Digest,
    step::{StageArtifact, Step},
};
use hostler_proto::{tls::ConnectError, v1};
use tokio::sync::oneshot;

use crate::{
    fleet::{Admin, Fleet, Running},
    ready::{Ready, Stream, hello, ready},
};

/// Everything that may lie there.
const FILES: &[&str] = &[
    "lock",
    "ca.key",
    "ca.crt",
    "had-root",
    "ledger",
    "ledger.head",
    "fleet.toml",
    "addresses.json",
    "artifacts/*",
    "index/*",
];

const FLEET: &str = "name = \"home\"\ndistribution = \"k3s\"\nversion = \"v1.34.3+k3s1\"\napi = \"192.168.1.10:6443\"
[[nodes]]\nname = \"a\"\nrole = \"server\"\narch = \"aarch64\"\n";

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a coordinator serves.
#[derive(Debug, PartialEq)]
struct Served {
    ledger: Vec<u8>,
    trust: v1::TrustReply,
    tokens: v1::ListTokensReply,
    rollouts: v1::ListRolloutsReply,
    fleet: Vec<u8>,
    /// To node a, which was granted it before.
    grant: v1::TaskGrant,
    artifact: Vec<u8>,
}

/// A fleet with a rollout in its middle.
struct Work {
    ready: Ready,
    artifact: Vec<u8>,
    image: tempfile::TempDir,
    older: tempfile::TempDir,
}

impl Work {
    async fn new() -> Self {
        let mut ready = ready(&["a", "b"]).await;
        let older = damage::scratch();
        ready.fleet.restart(|folder| damage::copy(folder, older.path())).await;
        let artifact: Vec<u8> = (0..3_000_u32).flat_map(u32::to_le_bytes).collect();
        let (digest, size) = (Digest::of(&artifact), artifact.len() as u64);
        let mut admin = ready.fleet.login(&ready.fleet.admin).await.unwrap();
        let part = v1::UploadArtifactRequest { digest: digest.to_string(), size, data: artifact.clone() };
        let request = admin.with_session(tokio_stream::iter([part]));
        admin.client.upload_artifact(request).await.unwrap();
        let request = admin.with_session(v1::FleetFile { content: FLEET.into() });
        admin.client.put_fleet_file(request).await.unwrap();
        let mut plan = ready.plan(1, &[]);
        plan.kind = PlanKind::Upgrade;
        for task in &mut plan.tasks {
            task.steps = vec![Step::StageArtifact(StageArtifact { artifact: "k3s".parse().unwrap() })];
        }
        plan.artifacts = vec![Artifact { name: "k3s".parse().unwrap(), sha256: digest, size, arch: None }];
        let request = admin.with_session(ready.signed(&plan).into());
        admin.client.submit_plan(request).await.unwrap();
        let mut stream = Stream::open(&ready.fleet, &ready.nodes[0].0, &ready.nodes[0].1, hello()).await;
        stream.grant().await;
        drop(stream);
        let stopped = ready.fleet.coordinator.take().unwrap().stop().await;
        let image = damage::scratch();
        damage::copy(stopped.path(), image.path());
        // As a coordinator leaves it that was killed.
        fs::write(image.path().join("addresses.json"), "{\"admin\":\"127.0.0.1:1\"}").unwrap();
        Self { ready, artifact, image, older }
    }

    /// What a coordinator on that folder serves, or what keeps it from that.
    async fn served(&mut self, folder: &Path) -> Result<Served, String> {
        let settings = Settings::on_loopback(folder);
        let listeners = Listeners::bind(&settings).await.map_err(|e| e.to_string())?;
        let addresses = listeners.addresses().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let mut task = tokio::spawn(run(settings, listeners, async {
            let _ = stopped.await;
        }));
        let file = folder.join("addresses.json");
        // Before it serves it removes the addresses of an earlier one.
        let serves = async {
            while !fs::read_to_string(&file).is_ok_and(|text| text.contains(&addresses.admin.port().to_string())) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = serves => {}
            ended = &mut task => return Err(ended.unwrap().expect_err("it has not served").to_string()),
        }
        self.ready.fleet.coordinator = Some(Running::around(addresses));
        let served = tokio::time::timeout(PATIENCE, self.ask()).await.expect("it answers");
        self.ready.fleet.coordinator = None;
        drop(stop);
        tokio::time::timeout(PATIENCE, task).await.expect("it stops").unwrap().unwrap();
        served
    }

    async fn ask(&self) -> Result<Served, String> {
        let Fleet { admin: key, pin, .. } = &self.ready.fleet;
        let address = self.ready.fleet.coordinator().addresses.admin;
        let channel = match hostler_proto::tls::connect_bound(&self.ready.fleet.at(address), None).await {
            Ok(channel) => channel,
            // Nobody of the fleet speaks to it.
            Err(error @ ConnectError::NotPinned { .. }) => return Err(error.to_string()),
            Err(error) => panic!("{error}"),
        };
        let mut admin = Admin::login(channel, *pin, key).await.unwrap();
        let request = admin.with_session(v1::ExportLedgerRequest { from_index: 0 });
        let mut chunks = admin.client.export_ledger(request).await.unwrap().into_inner();
        let mut ledger = Vec::new();
        while let Some(chunk) = chunks.message().await.unwrap() {
            ledger.extend(chunk.lines);
        }
        let request = admin.with_session(v1::GetTrustRequest { held_root_version: 0 });
        let trust = admin.client.get_trust(request).await.unwrap().into_inner();
        let trust = v1::TrustReply { enrolment_address: String::new(), ..trust };
        let request = admin.with_session(v1::Empty {});
        let tokens = admin.client.list_tokens(request).await.unwrap().into_inner();
        let request = admin.with_session(v1::Empty {});
        let rollouts = admin.client.list_rollouts(request).await.unwrap().into_inner();
        let request = admin.with_session(v1::Empty {});
        let fleet = admin.client.get_fleet_file(request).await.map_err(|e| e.message().to_owned())?.into_inner();
        if rollouts.rollouts.is_empty() {
            return Err("the ledger is an older one; `hostler` notices by the head that it saw".into());
        }
        let (node, chain) = &self.ready.nodes[0];
        let grant = Stream::open(&self.ready.fleet, node, chain, hello()).await.grant().await;
        let mut agent = self.ready.fleet.agent(node, chain).await;
        let wanted = v1::FetchArtifactRequest { digest: Digest::of(&self.artifact).to_string(), offset: 0 };
        let mut chunks = agent.fetch_artifact(wanted).await.map_err(|e| e.message().to_owned())?.into_inner();
        let mut artifact = Vec::new();
        while let Some(chunk) = chunks.message().await.map_err(|e| e.message().to_owned())? {
            artifact.extend(chunk.data);
        }
        Ok(Served { ledger, trust, tokens, rollouts, fleet: fleet.content, grant, artifact })
    }
}

#[test]
fn damage_at_any_place_of_a_coordinators_folder_is_found_with_the_way_out_or_does_no_harm() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut work = runtime.block_on(Work::new());
    let (image, older) = (work.image.path().to_owned(), work.older.path().to_owned());
    let whole = damage::scratch();
    damage::copy(&image, whole.path());
    let reference = runtime.block_on(work.served(whole.path())).unwrap();
    assert_eq!(Signed::from(reference.trust.newest_plan.clone().unwrap()).signatures.len(), 1);
    let folder = Folder { name: "coordinator", image: &image, older: &older, known: FILES };
    damage::play(&folder, |folder| match runtime.block_on(work.served(folder)) {
        Ok(served) if served == reference => Ok(Verdict::Harmless),
        Ok(served) => Err(format!("expected {reference:?}\nfound {served:?}")),
        Err(said) => Ok(Verdict::Refused(said)),
    });
}
