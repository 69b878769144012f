//! The admins' listener of a coordinator in the wrong hands, towards the command: it has the CA, passes on what it is
//! asked to the true coordinator, and lies in the calls that a test names.

use std::{
    convert::Infallible,
    marker::PhantomData,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use hostler_coordinator::{ca::Authority, data_dir::DataDir};
use hostler_plan::{document::DocumentKind, signature};
use hostler_proto::{
    SESSION_METADATA,
    login::login_bytes,
    tls::{self, DoorLimits, ServerSettings, incoming},
    v1::{self, admin_client::AdminClient},
};
use ssh_key::PrivateKey;
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    metadata::{Ascii, MetadataValue},
    server::{Grpc, NamedService},
    transport::Channel,
};
use tonic_prost::ProstCodec;

use super::{root::hostler, *};

mod decided;
mod kept;
mod shown;
mod viewed;

/// Whoever comes may stay.
const DOOR: DoorLimits =
    DoorLimits { stranger_for: Duration::from_secs(3600), strangers: 256, handshakes: 256, known: 0, reserved: 0 };

/// How a call is answered.
#[derive(Clone)]
enum Lie {
    Mute,
    No(Code),
    /// It does what it is asked and says no.
    DoneButNo(Code),
    Document(v1::DocumentReply),
    Reserved(v1::ReservedPlansReply),
    Rollout(Box<v1::RolloutDetail>),
    Node(Box<v1::NodeDetail>),
    View(v1::GetViewReply),
    /// The true answer, changed.
    Trust(Arc<dyn Fn(&mut v1::TrustReply) + Send + Sync>),
    /// A stream of one message.
    Watched(Box<v1::RolloutDetail>),
}

type Lies = Arc<Mutex<Vec<(&'static str, Lie)>>>;

#[derive(Clone)]
struct Liar {
    truth: Channel,
    session: MetadataValue<Ascii>,
    lies: Lies,
    /// How often it lied since it was told to.
    told: Arc<AtomicUsize>,
}

impl Liar {
    /// Stands between admins and the coordinator with that folder. What it passes on it asks as `who`.
    async fn start(data: &Path, truth: SocketAddr, who: &Path) -> (SocketAddr, Self) {
        // Of a copy: the true one holds its folder.
        let own = data.with_file_name("liar");
        std::fs::create_dir(&own).unwrap();
        for file in ["ca.crt", "ca.key"] {
            std::fs::copy(data.join(file), own.join(file)).unwrap();
        }
        let authority = Authority::open(&DataDir::open(&own).unwrap(), now()).unwrap();
        let pin = tls::spki_digest(authority.certificate()).unwrap();
        let coordinator = tls::Coordinator { address: truth.to_string(), pins: vec![pin], time_floor: now() };
        let channel = tls::connect_bound(&coordinator, None).await.unwrap();
        let key = PrivateKey::from_openssh(std::fs::read(who).unwrap()).unwrap();
        let of = hostler_cli::trust_store::TrustStore::require(&data.with_file_name("home-anna")).unwrap();
        let own_session = hostler_fixtures::fresh_key();
        let (signer, session) = (hostler_fixtures::public(&key), hostler_fixtures::public(&own_session));
        let pass = hostler_fixtures::pass(of.root(), &signer, session, now());
        let pass = hostler_fixtures::signed(DocumentKind::Pass, &pass, &[&key]);
        let mut client = AdminClient::new(channel.channel.clone());
        let nonce = client.challenge(v1::ChallengeRequest {}).await.unwrap().into_inner().nonce;
        let bytes = login_bytes(&nonce, channel.certificate().unwrap());
        let signature = signature::sign(&own_session, DocumentKind::Login, &bytes).unwrap();
        let login = v1::LoginRequest { nonce, signature, pass: Some(pass.into()) };
        let session = client.login(login).await.unwrap().into_inner().session.parse().unwrap();

        let settings =
            ServerSettings { identity: authority.server_identity(now()).unwrap(), client_ca: None, limits: DOOR };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let liar = Self { truth: channel.channel, session, lies: Lies::default(), told: Arc::default() };
        let service = liar.clone();
        tokio::spawn(async move {
            let incoming = incoming(tls::Listener::Tcp(listener), settings).unwrap();
            let _ = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        (address, liar)
    }

    /// From now on, in place of what it lied before.
    fn lie(&self, lies: &[(&'static str, Lie)]) {
        *self.lies.lock().unwrap() = lies.to_vec();
        self.told.store(0, Ordering::SeqCst);
    }

    async fn pass_on(mut self, mut request: http::Request<Body>) -> http::Response<Body> {
        request.headers_mut().insert(SESSION_METADATA, self.session.to_str().unwrap().parse().unwrap());
        std::future::poll_fn(|context| self.truth.poll_ready(context)).await.unwrap();
        self.truth.call(request).await.unwrap_or_else(|e| Status::unavailable(e.to_string()).into_http())
    }

    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        let call = request.uri().path().rsplit('/').next().unwrap().to_owned();
        if call == "Challenge" {
            let reply = v1::ChallengeResponse { nonce: vec![7; 32] };
            let lie = self.lies.lock().unwrap().iter().any(|(of, _)| *of == call);
            self.told.fetch_add(usize::from(lie), Ordering::SeqCst);
            return match lie {
                true => Status::unavailable("no").into_http(),
                false => said::<v1::ChallengeRequest, _>(reply, request).await,
            };
        }
        if call == "Login" {
            let role = v1::SignerRole::Admin.into();
            let reply = v1::LoginResponse { session: "any".into(), signer: "anna".into(), role, expires: u64::MAX };
            return said::<v1::LoginRequest, _>(reply, request).await;
        }
        let lie = self.lies.lock().unwrap().iter().find(|(of, _)| *of == call).map(|(_, lie)| lie.clone());
        self.told.fetch_add(usize::from(lie.is_some()), Ordering::SeqCst);
        match lie {
            None => self.pass_on(request).await,
            Some(Lie::Mute) => std::future::pending().await,
            Some(Lie::No(code)) => Status::new(code, "no").into_http(),
            Some(Lie::DoneButNo(code)) => {
                self.pass_on(request).await;
                Status::new(code, "no").into_http()
            }
            Some(Lie::Document(reply)) => said::<v1::SignedDocument, _>(reply, request).await,
            Some(Lie::Reserved(reply)) => said::<v1::Empty, _>(reply, request).await,
            Some(Lie::Trust(change)) => {
                let mut ask = Request::new(v1::GetTrustRequest { held_root_version: 1 });
                ask.metadata_mut().insert(SESSION_METADATA, self.session.clone());
                let mut reply = AdminClient::new(self.truth).get_trust(ask).await.unwrap().into_inner();
                change(&mut reply);
                said::<v1::GetTrustRequest, _>(reply, request).await
            }
            Some(Lie::Watched(whole)) => {
                let reply = v1::RolloutUpdate { update: Some(v1::rollout_update::Update::Whole(*whole)) };
                said::<v1::GetRolloutRequest, _>(reply, request).await
            }
            Some(Lie::View(reply)) => said::<v1::GetViewRequest, _>(reply, request).await,
            Some(Lie::Node(reply)) => said::<v1::GetNodeRequest, _>(*reply, request).await,
            Some(Lie::Rollout(reply)) => said::<v1::GetRolloutRequest, _>(*reply, request).await,
        }
    }
}

/// An answer that was made up, to any question of that form.
struct Said<Q, A>(A, PhantomData<fn(Q)>);

impl<Q: Send + 'static, A: Clone + Send + 'static> Service<Request<Q>> for Said<Q, A> {
    type Response = Response<A>;
    type Error = Status;
    type Future = BoxFuture<Response<A>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        let answer = self.0.clone();
        Box::pin(async move { Ok(Response::new(answer)) })
    }
}

async fn said<Q, A>(answer: A, request: http::Request<Body>) -> http::Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Clone + Send + 'static,
{
    Grpc::new(ProstCodec::<A, Q>::default()).unary(Said::<Q, A>(answer, PhantomData), request).await
}

impl NamedService for Liar {
    const NAME: &'static str = "hostler.v1.Admin";
}

impl Service<http::Request<Body>> for Liar {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<http::Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let liar = self.clone();
        Box::pin(async move { Ok(liar.answer(request).await) })
    }
}

/// Anna, whose profile speaks to the liar; the fleet has s1.
async fn before_the_liar(folder: &Path) -> (Coordinator, Profile, Liar) {
    before_the_liar_with(folder, 1).await
}

/// The same where a plan needs so many keys.
async fn before_the_liar_with(folder: &Path, threshold_plan: u32) -> (Coordinator, Profile, Liar) {
    let data = folder.join("data");
    let coordinator = Coordinator::start(&data, None).await;
    let mut anna = set_up(folder, &data, coordinator.ports.0, threshold_plan).await;
    enrol_s1(folder, &mut connect(&anna).await.unwrap()).await;
    std::fs::write(folder.join("fleet.toml"), FLEET).unwrap();
    let (address, liar) = Liar::start(&data, coordinator.ports.0, &folder.join("bert")).await;
    anna.coordinator = Some(address.to_string());
    (coordinator, anna, liar)
}

fn overtaken_by(bytes: &[u8]) -> Lie {
    let winner = Signed { bytes: bytes.to_vec(), signatures: Vec::new() };
    Lie::Document(v1::DocumentReply { overtaken_by: Some(winner.into()), ..v1::DocumentReply::default() })
}

/// A plan with the admin's signature.
fn signed(admin: &Admin, plan: &document::Plan) -> Signed {
    let mut signed = Signed { bytes: hostler_plan::json::write(plan), signatures: Vec::new() };
    sign(admin, &mut signed);
    signed
}

#[tokio::test]
async fn whatever_a_coordinator_says_to_a_signed_plan_no_other_one_gets_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut made: Vec<document::Plan> = Vec::new();
    for lie in [
        Some(Lie::No(Code::Internal)),
        Some(Lie::No(Code::PermissionDenied)),
        // By nothing that anybody signed.
        Some(overtaken_by(b"{}")),
        None,
    ] {
        liar.lie(&lie.iter().map(|lie| ("SubmitPlan", lie.clone())).collect::<Vec<_>>());
        // Each is another command.
        let mut admin = connect(&anna).await.unwrap();
        let compiled = compile_check(&mut admin).await;
        let signed = signed(&admin, &compiled.plan);
        assert_eq!(submit(&mut admin, &signed).await.is_err(), lie.is_some());
        if let Some(before) = made.last() {
            assert!(compiled.plan.seq > before.seq, "{} after {}", compiled.plan.seq, before.seq);
            let kept_back = Digest::of(&hostler_plan::json::write(before));
            assert_eq!(compiled.plan.also, [kept_back], "it names what it ends");
        }
        assert_eq!(compiled.plan.keeps_valid, []);
        made.push(compiled.plan);
    }
    coordinator.end().await;
}

#[tokio::test]
async fn whatever_a_coordinator_says_to_a_signed_roster_no_other_one_gets_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut made: Vec<roster::Next> = Vec::new();
    for lie in [Some(Lie::No(Code::Internal)), Some(overtaken_by(b"{}")), None] {
        liar.lie(&lie.iter().map(|lie| ("SubmitRoster", lie.clone())).collect::<Vec<_>>());
        let mut admin = connect(&anna).await.unwrap();
        let next = roster::same(&mut admin, now()).await.unwrap();
        assert_eq!(roster::submit(&mut admin, &next, now()).await.is_err(), lie.is_some());
        if let Some(before) = made.last() {
            assert!(next.roster.version > before.roster.version, "{:?}", next.roster);
            assert_eq!(next.roster.also, [before.digest()]);
        }
        made.push(next);
    }
    coordinator.end().await;
}

#[tokio::test]
async fn a_rollout_is_finished_only_by_a_receipt_of_each_task_of_the_plan_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, _) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    let compiled = compile_check(&mut admin).await;
    let signed = signed(&admin, &compiled.plan);
    let seq = submit(&mut admin, &signed).await.unwrap().seq.to_string();
    watch(&mut admin, compiled.plan.seq).await;
    let honest = rollout::get(&mut admin, &seq).await.unwrap();
    let judge = |which: &str, detail: &v1::RolloutDetail| rollout::finished(admin.trust_store(), which, detail);
    for which in [seq.as_str(), &signed.digest().to_string()] {
        assert_eq!(judge(which, &honest).unwrap(), 1);
    }
    // An older one in the place of the one that was handed in.
    assert_eq!(refusal(judge("2", &honest)), Refusal::DigestMismatch);
    assert_eq!(refusal(judge(&Digest::ZERO.to_string(), &honest)), Refusal::DigestMismatch);
    let without_tasks = v1::RolloutDetail { tasks: Vec::new(), ..honest.clone() };
    assert_eq!(refusal(judge(&seq, &without_tasks)), Refusal::OrderNotMet);
    let without_receipts = v1::RolloutDetail { receipts: Vec::new(), ..honest };
    assert_eq!(refusal(judge(&seq, &without_receipts)), Refusal::OrderNotMet);
    coordinator.end().await;
}

/// A true adoption of long ago is no leave for another ledger.
#[tokio::test]
async fn an_adoption_excuses_no_ledger_that_was_made_up_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    let run = async |who: &Profile, line: &[&str]| hostler(folder, who, line).await;
    run(&bert, &["nodes"]).await.unwrap();
    let ports = coordinator.end().await;
    copy(&data, &folder.join("backup"));
    // A later part of the ledger is lost, and Anna, who saw it, adopts what was put back.
    let coordinator = Coordinator::start(&data, Some(ports)).await;
    for _ in 0..6 {
        run(&anna, &["token", "create"]).await.unwrap();
    }
    coordinator.end().await;
    let coordinator = Coordinator::start(&folder.join("backup"), Some(ports)).await;
    run(&anna, &["token", "create"]).await.expect_err("two ledgers");
    run(&anna, &["ledger", "adopt", "--yes"]).await.unwrap();
    coordinator.end().await;
    copy(&folder.join("backup"), &folder.join("adopted"));
    // Bert sees how it goes on, and then a ledger that goes on otherwise.
    let coordinator = Coordinator::start(&folder.join("backup"), Some(ports)).await;
    run(&anna, &["token", "create"]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    run(&bert, &["nodes"]).await.unwrap();
    run(&bert, &["token", "create"]).await.unwrap();
    run(&bert, &["nodes"]).await.unwrap();
    coordinator.end().await;
    let coordinator = Coordinator::start(&folder.join("adopted"), Some(ports)).await;
    let error = run(&bert, &["token", "create"]).await.expect_err("another ledger");
    assert!(error.to_string().contains("hostler ledger adopt"), "{error}");
    coordinator.end().await;
}

#[tokio::test]
async fn a_root_that_was_kept_back_is_named_by_the_one_after_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let held = || hostler_cli::trust_store::TrustStore::require(&anna.home).unwrap();
    let amend = async |days: &str| hostler(folder, &anna, &["trust", "amend", "--lifetime", days, "--yes"]).await;
    liar.lie(&[("InstallRoot", Lie::No(Code::Internal))]);
    amend("100d").await.unwrap_err();
    liar.lie(&[]);
    amend("101d").await.unwrap();
    assert_eq!(held().root().version, 2);
    amend("102d").await.unwrap();
    // A node that was shown the one that was kept back follows it.
    assert_eq!((held().root().version, held().root().also.len()), (3, 1));
    coordinator.end().await;
}

#[tokio::test]
async fn a_plan_that_is_signed_by_enough_waits_for_nobody_whatever_a_coordinator_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    let compiled = compile_check(&mut admin).await;
    let signed = signed(&admin, &compiled.plan);
    let plans = vec![signed.into()];
    liar.lie(&[
        ("SubmitPlan", Lie::No(Code::Internal)),
        ("ListReservedPlans", Lie::Reserved(v1::ReservedPlansReply { plans })),
    ]);
    let next = compile_check(&mut admin).await.plan;
    assert_eq!(next.keeps_valid, [], "it was no plan that waits, so the next one ends it");
    coordinator.end().await;
}

/// A plan that is open and does not end before it is stopped.
async fn open_check(admin: &mut Admin) -> Seq {
    let mut plan = compile_check(admin).await.plan;
    plan.not_before = plan.created.plus(Duration::from_secs(3600));
    let signed = signed(admin, &plan);
    submit(admin, &signed).await.unwrap();
    plan.seq
}

#[tokio::test]
async fn a_stop_is_signed_and_lies_there_whatever_a_coordinator_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    let mut last = Seq(0);
    for (call, lie) in [
        ("ControlRollout", Lie::No(Code::Internal)),
        ("ControlRollout", Lie::DoneButNo(Code::Unauthenticated)),
        ("SubmitDecision", Lie::No(Code::PermissionDenied)),
        ("GetRollout", Lie::No(Code::Internal)),
        ("GetInventory", Lie::No(Code::Internal)),
        ("ListReservedPlans", Lie::No(Code::Internal)),
        ("ProveLedger", Lie::No(Code::Internal)),
        ("GetTrust", Lie::No(Code::PermissionDenied)),
        ("Challenge", Lie::No(Code::Unavailable)),
        ("SubmitPlan", Lie::No(Code::Internal)),
        ("SubmitPlan", overtaken_by(b"{}")),
        ("ListHoldings", Lie::No(Code::Internal)),
        ("GetTrust", Lie::Mute),
        ("ControlRollout", Lie::Mute),
        ("GetInventory", Lie::Mute),
        ("SubmitPlan", Lie::Mute),
        ("ListHoldings", Lie::Mute),
    ] {
        // Each of them has something to stop.
        liar.lie(&[]);
        let open = open_check(&mut admin).await;
        assert!(open > last, "{call}: {open} after the stop {last}");
        last = open;
        liar.lie(&[(call, lie)]);
        let ended = hostler(folder, &anna, &["stop", "--all", "--wait", "1s", "--patience", "2s", "--yes"]).await;
        assert!(liar.told.load(Ordering::SeqCst) > 0, "{call}: nobody was lied to");
        let plans = std::fs::read_dir(anna.home.join("plans")).into_iter().flatten().flatten();
        let stops = plans.filter(|file| file.path().extension().is_some_and(|e| e == "json"));
        let stops = stops.map(|file| hostler_plan::json::parse::<document::Plan>(&std::fs::read(file.path()).unwrap()));
        let newest = stops.map(Result::unwrap).max_by_key(|plan| plan.seq);
        let newest = newest.unwrap_or_else(|| panic!("{call}: no stop was signed: {ended:?}"));
        assert!(newest.seq > last, "{call}: no stop was signed: {ended:?}");
        last = newest.seq;
        let error = ended.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.is_empty() || error.contains("hostler-executor accept"), "{call}: {error}");
    }
    coordinator.end().await;
}

#[tokio::test]
async fn a_plan_with_a_number_that_nobody_follows_is_not_handed_in_and_takes_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, _) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    let first = compile_check(&mut admin).await.plan;
    let far = document::Plan { seq: Seq(first.seq.0 + 20_000), ..first.clone() };
    let signed = signed(&admin, &far);
    assert_eq!(refusal(submit(&mut admin, &signed).await), Refusal::Replay);
    let next = compile_check(&mut admin).await.plan;
    assert_eq!((next.seq, next.also), (first.seq, Vec::new()));
    coordinator.end().await;
}

#[tokio::test]
async fn a_rollout_that_a_coordinator_does_not_find_holds_no_stop_of_everything_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, anna, liar) = before_the_liar(folder).await;
    let mut admin = connect(&anna).await.unwrap();
    for code in [Code::NotFound, Code::InvalidArgument] {
        liar.lie(&[]);
        let seq = open_check(&mut admin).await;
        liar.lie(&[("ControlRollout", Lie::No(code))]);
        hostler(folder, &anna, &["stop", &seq.to_string(), "--yes"]).await.expect_err("it was named");
        hostler(folder, &anna, &["stop", "--all", "--wait", "1s", "--yes"]).await.unwrap();
        admin.refresh().await.unwrap();
        assert_eq!(admin.coordinator().highest_seq, seq.0 + 1, "{code}");
    }
    coordinator.end().await;
}
