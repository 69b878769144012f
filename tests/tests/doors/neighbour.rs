//! A neighbour without credentials, and a viewer without manners, at all listeners at once, while an honest admin stops
//! a rollout and an honest node enrols.
//!
//! `cargo test -p hostler-tests --test doors neighbour -- --nocapture` says how many connections were tried.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::Ordering,
    time::Duration,
};

use hostler_coordinator::Limits;
use hostler_plan::step::ClusterRole;
use hostler_proto::{
    tls::{Coordinator, DoorLimits, connect_bound},
    v1::{self, to_agent::Message},
};

use crate::{
    LOOPBACKS,
    fleet::{Admin, Fleet, Node, Running},
    flood::{Flood, KINDS},
    listen_on,
    ready::{Ready, Stream, hello, ready_in},
};

/// Fewer places than the floods have connections, and little time.
const SMALL: DoorLimits =
    DoorLimits { stranger_for: Duration::from_secs(2), strangers: 24, handshakes: 16, known: 8, reserved: 4 };

/// How long an honest one keeps trying before the test fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// Tries again what was cut off, as the agent and the command do.
async fn insist<T, E: std::fmt::Debug>(what: &str, mut once: impl AsyncFnMut() -> Result<T, E>) -> T {
    let mut tries = 0;
    let trying = async {
        loop {
            tries += 1;
            match once().await {
                Ok(done) => return done,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let done = tokio::time::timeout(PATIENCE, trying).await;
    let done = done.unwrap_or_else(|_| panic!("{what}: no success in {tries} tries"));
    println!("{what}: {tries} tries");
    done
}

/// From where the neighbour comes: an address of its own where one machine has several.
fn neighbour_of(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)) } else { address }
}

async fn login(coordinator: &Coordinator, key: &ssh_key::PrivateKey) -> Result<Admin, String> {
    let channel = connect_bound(coordinator, None).await.map_err(|e| e.to_string())?;
    Admin::login(channel, coordinator.pins[0], key).await.map_err(|status| status.to_string())
}

/// Waits until every flood was closed at least that often: then it has met every limit.
async fn met_the_limits(floods: &[Flood]) {
    let all = async {
        while floods.iter().any(|flood| flood.closed.load(Ordering::Relaxed) < 12) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, all).await;
    let stand: Vec<_> = floods.iter().map(|f| (f.kind, f.closed.load(Ordering::Relaxed))).collect();
    waited.unwrap_or_else(|_| panic!("some are never closed: {stand:?}"));
}

/// A coordinator with few places, a node of the roster, and the socket of its admins.
async fn stage(address: IpAddr, socket: &Path) -> Ready {
    let small = |settings: &mut hostler_coordinator::Settings| {
        listen_on(settings, address);
        settings.admin_socket = Some(socket.to_owned());
        settings.limits =
            Limits { enrolment: SMALL, agents: SMALL, admins: SMALL, machine: SMALL, ..Limits::default() };
    };
    let coordinator = Running::start_with(tempfile::tempdir().unwrap(), small).await;
    ready_in(Fleet::around(coordinator).await.with_root().await, &["a"]).await
}

#[tokio::test]
async fn strangers_and_viewers_take_nothing_away_from_those_who_belong_here() {
    for address in LOOPBACKS {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let ready = stage(address, &socket).await;
        let (node, chain) = &ready.nodes[0];
        let mut stream = Stream::open(&ready.fleet, node, chain, hello()).await;
        ready.submit(&ready.signed(&ready.plan(1, &[]))).await.unwrap();
        stream.grant().await;
        let token = ready.fleet.token(9, ClusterRole::Worker).await;

        let addresses = &ready.fleet.coordinator().addresses;
        let at = |address| ready.fleet.at(address);
        let floods: Vec<Flood> = [addresses.enrolment, addresses.agents, addresses.admin]
            .into_iter()
            .flat_map(|to| KINDS.map(|kind| Flood::start(kind, neighbour_of(address), to, ready.fleet.pin)))
            .collect();
        met_the_limits(&floods).await;

        // A viewer with many connections and many logins on each; its oldest go, and nobody else's.
        let mut viewers = Vec::new();
        for _ in 0..254 / 6 {
            let Ok(channel) = connect_bound(&at(addresses.admin), None).await else { break };
            for _ in 0..6 {
                viewers.push(Admin::login(channel.clone(), ready.fleet.pin, &ready.fleet.viewer).await);
            }
        }

        let mut admin =
            insist("an admin logs in", async || login(&at(addresses.admin), &ready.fleet.admin).await).await;
        let machine = Coordinator { address: format!("unix://{}", socket.display()), ..at(addresses.admin) };
        insist("an admin of the machine logs in", async || login(&machine, &ready.fleet.admin).await).await;
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let new = Node::new("b");
        insist("a node enrols", async || {
            let channel =
                hostler_proto::tls::connect(&at(addresses.enrolment), None).await.map_err(|e| e.to_string())?;
            let enrolment = Some(new.enrolment(&token).into());
            let request = v1::EnrolRequest { enrolment, certificate_request: new.request() };
            let mut client = v1::enrolment_client::EnrolmentClient::new(channel);
            client.enrol(request).await.map_err(|status| status.to_string())
        })
        .await;
        let halt = v1::ControlRolloutRequest {
            rollout: "1".into(),
            action: v1::RolloutAction::Halt.into(),
            reason: "to test it".into(),
            task: String::new(),
        };
        // On the connection of its login, which no stranger takes away.
        admin.client.control_rollout(admin.with_session(halt)).await.unwrap();
        // And on the stream that the node has had since before the floods.
        stream.expect(|m| if let Message::Stop(stop) = m { Some(stop) } else { None }).await;
        let opened: usize = floods.iter().map(|flood| flood.opened.load(Ordering::Relaxed)).sum();
        let closed: usize = floods.iter().map(|flood| flood.closed.load(Ordering::Relaxed)).sum();
        println!("{address}: tried {opened} connections, {closed} closed, {} logins by a viewer", viewers.len());
    }
}
