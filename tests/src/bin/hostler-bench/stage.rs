//! An artifact to every node, beside a plain copy of the same file over the same link: the coordinator process with
//! TLS, the agents with their executors on simulated machines, real disks.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hostler_cli::{
    admin::now,
    artifact::measure,
    plan::{self, ArtifactFiles},
};
use hostler_plan::{
    document::{Artifact, PlanKind, Signed},
    fleet::Fleet,
    id::{ArtifactName, NodeName},
    json,
    planner::{Intent, Selection},
    step::{StageArtifact, Step},
    trust::Draft,
};
use hostler_tests::stand::Stand;

use super::{
    RELAY_HOST,
    plans::{attached, fleet_text, join_strings, median, once, start_agents},
    relay::{self, Counted},
    stand,
};

/// Where the plain copy's link is.
const COPY_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// What staging may reach of a plain copy's throughput at least.
const LEAST_SHARE: f64 = 0.9;

/// What is staged, how often, and over what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub megabytes: u64,
    pub nodes: usize,
    pub rounds: usize,
    /// Megabytes a second that the link carries; none for as much as this machine does.
    pub link: Option<u64>,
}

/// One way of bringing the file to every node.
#[derive(Debug, Default)]
struct Times {
    took: Vec<Duration>,
    /// Bytes that came down the link, payload of TCP, all rounds.
    down: u64,
}

/// Both in turns, and the table of them.
pub(crate) async fn measure_staging(wanted: Wanted) -> anyhow::Result<String> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = folder.path();
    let mut stand = stand(folder, RELAY_HOST).await?;
    let rate = wanted.link.map(|megabytes| megabytes * 1_000_000);
    let listen = SocketAddr::from((RELAY_HOST, stand.agents.port()));
    let counted = relay::start_at(listen, stand.agents, rate).with_context(|| format!("cannot listen at {listen}"))?;
    let names = (1..=wanted.nodes).map(|n| NodeName::new(format!("n{n}"))).collect::<Result<Vec<_>, _>>()?;
    let (fleet, _) = Fleet::from_toml(&[("bench.toml", &fleet_text(&names))])?;
    let joins = join_strings(&mut stand, wanted.nodes).await?;
    let running = start_agents(folder, &names, &joins)?;
    stand.enrolled(wanted.nodes).await?;
    attached(&mut stand, wanted.nodes).await?;
    let (mut staged, mut copied, mut uploads) = (Times::default(), Times::default(), Vec::new());
    for round in 0..wanted.rounds {
        let file = folder.join("artifacts").join("bench");
        content(&file, wanted.megabytes, round as u64)?;
        let signed = sign(&mut stand, &fleet, &file, wanted.nodes).await?;
        let began = Instant::now();
        upload(&mut stand, &signed, &file).await?;
        uploads.push(began.elapsed());
        // The other one goes first each time.
        for staging in if round % 2 == 0 { [true, false] } else { [false, true] } {
            match staging {
                true => {
                    let before = counted.down.load(std::sync::atomic::Ordering::Relaxed);
                    staged.took.push(once(&mut stand, &signed, wanted.nodes).await?);
                    staged.down += counted.down.load(std::sync::atomic::Ordering::Relaxed) - before;
                }
                false => {
                    let (file, into) = (file.clone(), folder.join("copies"));
                    let copy = move || plain_copy(&file, &into, wanted.nodes, rate);
                    let (took, down) = tokio::task::spawn_blocking(copy).await??;
                    copied.took.push(took);
                    copied.down += down;
                }
            }
        }
    }
    drop(running);
    Ok(table(wanted, &staged, &copied, &uploads))
}

/// Bytes that are another file each round and cannot be packed.
fn content(path: &Path, megabytes: u64, seed: u64) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().context("a file in a folder")?)?;
    let mut file = io::BufWriter::new(File::create(path)?);
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    for _ in 0..megabytes * 1_000_000 / 8 {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    Ok(file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?)
}

/// A plan whose tasks stage that file, each on its node, all at once.
async fn sign(stand: &mut Stand, fleet: &Fleet, file: &Path, nodes: usize) -> anyhow::Result<Signed> {
    let admin = &mut stand.admin;
    let mut plan = plan::compile(admin, fleet, &Intent::Check { nodes: Selection::All }, None, now()).await?.plan;
    let found = measure(file)?;
    let name = ArtifactName::new("bench")?;
    plan.kind = PlanKind::Upgrade;
    plan.strategy.max_unavailable = u32::try_from(nodes)?;
    plan.artifacts = vec![Artifact { name: name.clone(), sha256: found.sha256, size: found.size, arch: None }];
    for task in &mut plan.tasks {
        task.steps = vec![Step::StageArtifact(StageArtifact { artifact: name.clone() })];
    }
    let mut draft = Draft::plan(Signed { bytes: json::write(&plan), signatures: Vec::new() })?;
    plan::sign(admin.trust_store(), admin.signer(), &mut draft, now())?;
    Ok(draft.signed().clone())
}

async fn upload(stand: &mut Stand, signed: &Signed, file: &Path) -> anyhow::Result<()> {
    let admin = &mut stand.admin;
    let verified = plan::verify(admin.trust_store(), signed, now())?;
    let files = ArtifactFiles { directory: file.parent().map(PathBuf::from), ..ArtifactFiles::default() };
    let offered = plan::upload_missing(admin, verified.document(), None, &files).await?;
    anyhow::ensure!(offered.len() == 1, "expected one upload, found {offered:?}");
    Ok(())
}

/// The file over plain TCP to as many receivers as there are nodes, each of which writes it to the disk and syncs it.
fn plain_copy(file: &Path, into: &Path, nodes: usize, rate: Option<u64>) -> anyhow::Result<(Duration, u64)> {
    fs::create_dir_all(into)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server = listener.local_addr()?;
    let listen = SocketAddr::from((COPY_HOST, server.port()));
    let counted: Counted = relay::start_at(listen, server, rate)?;
    let began = Instant::now();
    thread::scope(|scope| {
        let serve = scope.spawn(|| -> io::Result<()> {
            thread::scope(|senders| {
                for _ in 0..nodes {
                    let (mut to, _) = listener.accept()?;
                    senders.spawn(move || io::copy(&mut File::open(file)?, &mut to));
                }
                Ok(())
            })
        });
        let receive = |n: usize| {
            let path = into.join(n.to_string());
            move || -> io::Result<u64> {
                let (mut from, mut copy) = (TcpStream::connect(listen)?, File::create(path)?);
                let bytes = io::copy(&mut from, &mut copy)?;
                copy.sync_all().map(|()| bytes)
            }
        };
        let receivers: Vec<_> = (0..nodes).map(|n| scope.spawn(receive(n))).collect();
        for receiver in receivers {
            let bytes = receiver.join().map_err(|_| anyhow::anyhow!("a receiver panicked"))??;
            anyhow::ensure!(bytes == fs::metadata(file)?.len(), "the copy ended after {bytes} bytes");
        }
        serve.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        anyhow::Ok(())
    })?;
    let took = began.elapsed();
    Ok((took, counted.down.load(std::sync::atomic::Ordering::Relaxed)))
}

fn table(wanted: Wanted, staged: &Times, copied: &Times, uploads: &[Duration]) -> String {
    let bytes = (wanted.megabytes * wanted.nodes as u64) as f64;
    let middle = |times: &[Duration]| median(times).unwrap_or_default().as_secs_f64();
    let once = bytes * 1e6 * wanted.rounds as f64;
    let row = |name: &str, times: &Times| {
        let (took, spread) = (middle(&times.took), spread(&times.took));
        let (rate, each) = (bytes / took, times.down as f64 / once);
        format!("| {name} | {took:.2} ({spread}) | {rate:.0} | {each:.3} |\n")
    };
    let share = middle(&copied.took) / middle(&staged.took);
    let met = if share >= LEAST_SHARE { "met" } else { "MISSED" };
    let link = wanted.link.map_or("no limit".to_owned(), |rate| format!("{rate} MB/s"));
    format!(
        "| {} MB to {} nodes, link {link} | s, median (least to most) | MB/s | bytes of the link per byte |\n\
         |---|---|---|---|\n{}{}\nupload to the coordinator: {:.2} s\nstaging reaches {share:.2} of a plain copy, goal \
         {LEAST_SHARE}: {met}\n",
        wanted.megabytes,
        wanted.nodes,
        row("plan: submit to last receipt", staged),
        row("plain copy over TCP, synced", copied),
        middle(uploads)
    )
}

fn spread(times: &[Duration]) -> String {
    let seconds = |time: Option<&Duration>| time.copied().unwrap_or_default().as_secs_f64();
    format!("{:.2} to {:.2}", seconds(times.iter().min()), seconds(times.iter().max()))
}
