//! What a person at the machine does without a coordinator: hands it a newer root, roster, plan, stop or decision by
//! file, and sets the floor of its time back.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use hostler_plan::{
    document::{DocumentKind, MAX_SIGNATURES, Signed},
    refusal::{Refusal, Refused},
    trust::{Accepted, Clock, Identity, NodeState},
    written,
};

use crate::{
    ExecutorError, Settings, build_time,
    disk::{Disk, DiskError},
    enrolment::membership,
    host::Host,
    keys::Keys,
    protocol::{Request, ToExecutor, lines},
    state_file::{StateFile, StoredState, damaged},
};

/// How long a running executor may take to hear of a document: it looks between two of its acts.
const LIMIT: Duration = Duration::from_secs(60);

/// The state of this node, and whether an executor runs on it.
struct Held {
    disk: Disk,
    runs: bool,
    state: NodeState,
    me: Identity,
}

impl Held {
    fn open(settings: &Settings, host: &dyn Host) -> Result<Self, ExecutorError> {
        let (disk, runs) = match Disk::open(&settings.state_dir) {
            Err(DiskError::InUse { path, .. }) => (Disk::beside(&path), true),
            other => (other?, false),
        };
        let Some(member) = membership(&disk)? else {
            let reason = "expected an enrolled node, found none here; enrol it with a join string first";
            return Err(Refused::new(Refusal::NotATarget, reason).into());
        };
        let key = Keys::load_or_make(&disk, true)?.public().fingerprint();
        let me = Identity { node: member.node, key, arch: host.arch() };
        let state = read(&disk)?.state;
        Ok(Self { disk, runs, state, me })
    }

    /// Stores a state, where no executor does.
    fn store(&mut self, state: NodeState) -> Result<(), ExecutorError> {
        if !self.runs && state != self.state {
            let (mut file, held) = StateFile::open(&self.disk)?;
            file.store(&self.disk, &state, held.and_then(|held| held.receipt).as_ref())?;
        }
        self.state = state;
        Ok(())
    }
}

fn read(disk: &Disk) -> Result<StoredState, ExecutorError> {
    Ok(StateFile::open(disk)?.1.ok_or_else(|| damaged("none of an enrolled node"))?)
}

/// Takes documents in the order of their files, each with its signatures beside it as `hostler sign` writes them, with
/// the checks that they pass when a coordinator sends them. Says what changed.
pub(crate) fn accept(settings: &Settings, host: &dyn Host, files: &[PathBuf]) -> Result<String, ExecutorError> {
    let mut held = Held::open(settings, host)?;
    let mut said = String::new();
    for file in files {
        let (signed, clock) = (read_signed(file)?, clock(host));
        let (next, request, sentence) = judge(&held, clock, signed)?;
        if next == held.state {
            said.push_str(&format!("{}: held already, nothing changed\n", file.display()));
            continue;
        }
        if held.runs {
            tell(&settings.socket, &held.disk, request, &next)?;
        }
        held.store(next)?;
        said.push_str(&format!("{}: {sentence}\n", file.display()));
    }
    Ok(said)
}

/// What time is certainly past for this node; set back to when this program was built if `reset`.
pub(crate) fn floor(settings: &Settings, host: &dyn Host, reset: bool) -> Result<String, ExecutorError> {
    let mut held = Held::open(settings, host)?;
    if reset {
        if held.runs {
            let (path, holder) = (settings.state_dir.clone(), None);
            return Err(DiskError::InUse { path, holder }.into());
        }
        let next = held.state.clone().with_floor_at(build_time());
        held.store(next)?;
    }
    Ok(format!("{}\n", held.state.time_floor()))
}

fn clock(host: &dyn Host) -> Clock {
    Clock { now: host.now(), synchronised: host.clock_is_synchronised() }
}

/// What a document would change here.
fn judge(held: &Held, clock: Clock, signed: Signed) -> Result<(NodeState, Request, String), ExecutorError> {
    let (state, me) = (&held.state, &held.me);
    let trust = |roots, roster| Request::Trust { roots, roster };
    Ok(match kind_of(&signed) {
        Some(DocumentKind::Root) if signed.digest() == state.root().digest() => {
            (state.clone(), trust(vec![], None), String::new())
        }
        Some(DocumentKind::Root) => {
            let next = state.accept_root(clock, &signed)?;
            let root = next.root().root();
            let sentence = format!("root {} of epoch {} holds now", root.version, root.epoch);
            (next, trust(vec![signed], None), sentence)
        }
        Some(DocumentKind::Roster) => {
            let (next, roster) = state.accept_roster(clock, &signed)?;
            let sentence = format!("roster {} holds now", roster.document().version);
            (next, trust(vec![], Some(signed)), sentence)
        }
        Some(DocumentKind::Plan) => {
            let Accepted { state: next, plan, work } = state.accept_plan(clock, me, &signed)?;
            let ended = state.open_plans().iter().filter(|open| !next.open_plans().contains(open)).count();
            let work = match work {
                Ok(Some(_)) => "its tasks wait for their grants".to_owned(),
                Ok(None) => "it has no work for this node".to_owned(),
                Err(refused) => format!("its work is not done: {}", refused.reason),
            };
            let sentence = format!("plan {} holds now and ended {ended} before it; {work}", plan.seq);
            (next, Request::Plan(signed), sentence)
        }
        Some(DocumentKind::Decision) => {
            let next = state.accept_decision(clock, me, &signed)?;
            let sentence = format!("decision {} about this node holds now", next.decisions().number());
            (next, Request::Decision(signed), sentence)
        }
        _ => {
            let reason =
                "expected a root, roster, plan, stop or decision about this node, found another kind; hand over those";
            return Err(Refused::new(Refusal::Malformed, reason).into());
        }
    })
}

/// The kind that the bytes claim; whether they are such a document is verified afterwards.
fn kind_of(signed: &Signed) -> Option<DocumentKind> {
    let value: serde_json::Value = serde_json::from_slice(&signed.bytes).ok()?;
    let claims = value.get("_type")?.as_str()?.strip_suffix("/v1")?;
    let kinds = [DocumentKind::Root, DocumentKind::Roster, DocumentKind::Plan, DocumentKind::Decision];
    kinds.into_iter().find(|kind| kind.namespace() == claims)
}

/// Hands a document to the executor that runs, and waits until it holds it.
fn tell(socket: &Path, disk: &Disk, request: Request, expected: &NodeState) -> Result<(), ExecutorError> {
    let failed = |action, reason| DiskError::Io { action, path: socket.to_owned(), reason };
    let mut stream = UnixStream::connect(socket).map_err(|e| failed("connecting to the executor at", e))?;
    let line = lines::encode(&ToExecutor::Request(request)).map_err(|e| damaged(&e.to_string()))?;
    stream.write_all(&line).map_err(|e| failed("handing over at", e))?;
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        let state = read(disk)?.state;
        let is_there = state.holds(None) == expected.holds(None)
            && state.open_plans() == expected.open_plans()
            && state.decisions() == expected.decisions();
        if is_there {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    let reason = format!(
        "expected the executor to take the document in {} s, found it has not; see its messages in the journal",
        LIMIT.as_secs()
    );
    Err(Refused::new(Refusal::NotAllowed, reason).into())
}

/// A document and every signature beside it: `FILE.sig`, `FILE.sig.2` and so on.
fn read_signed(path: &Path) -> Result<Signed, ExecutorError> {
    let bytes = untouched(path, DocumentKind::Root.max_bytes())?;
    let beside = |number: usize| {
        let end = if number == 1 { ".sig".to_owned() } else { format!(".sig.{number}") };
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let files = (1..=MAX_SIGNATURES).map(beside).take_while(|file| file.exists());
    let text = |file: PathBuf| Ok(String::from_utf8_lossy(&untouched(&file, 16 << 10)?).into_owned());
    let signatures = files.map(text).collect::<Result<Vec<String>, ExecutorError>>()?;
    Ok(Signed { bytes, signatures })
}

/// What is signed is exact bytes, and what a program visibly did to them is named.
fn untouched(path: &Path, most: usize) -> Result<Vec<u8>, ExecutorError> {
    let bytes = limited(path, most)?;
    written::check_untouched(path, &bytes)?;
    Ok(bytes)
}

fn limited(path: &Path, most: usize) -> Result<Vec<u8>, ExecutorError> {
    let io = |reason| DiskError::Io { action: "reading", path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > most {
        return Err(DiskError::TooLong { path: path.to_owned(), most: most as u64, found: bytes.len() as u64 }.into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hostler_plan::{
        document::{Decided, NodeDecision, NodeMatter, PlanKind},
        step::{Noop, Step},
    };

    use super::*;
    use crate::testing::{Fleet, Machine};

    fn held(fleet: &Fleet, machine: &Machine) -> Held {
        let disk = Disk::beside(fleet.directory.path());
        let me = Identity {
            node: hostler_plan::id::NodeName::new("w1").unwrap(),
            key: fleet.keys.public().fingerprint(),
            arch: machine.arch(),
        };
        let state = read(&disk).unwrap().state;
        Held { disk, runs: false, state, me }
    }

    #[test]
    fn a_stop_from_a_file_ends_what_was_open_and_a_changed_one_is_refused() {
        let fleet = Fleet::new();
        let machine = Arc::new(Machine::new(fleet.now.plus(Duration::from_secs(60))));
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, signed: &Signed| {
            let path = folder.path().join(name);
            std::fs::write(&path, &signed.bytes).unwrap();
            for (number, armour) in signed.signatures.iter().enumerate() {
                let end = if number == 0 { ".sig".to_owned() } else { format!(".sig.{}", number + 1) };
                std::fs::write(folder.path().join(format!("{name}{end}")), armour).unwrap();
            }
            path
        };
        let work = fleet.plan(1, vec![Step::Noop(Noop {})], |_| {});
        let stop = fleet.plan(2, vec![], |p| {
            (p.kind, p.tasks, p.targets) = (PlanKind::Stop, vec![], vec![]);
        });
        let mut node = held(&fleet, &machine);
        for (signed, said) in [(&work, "its tasks wait"), (&stop, "plan 2 holds now and ended 1")] {
            let signed = read_signed(&write("plan.json", signed)).unwrap();
            let (next, _, sentence) = judge(&node, clock(&*machine), signed).unwrap();
            assert!(sentence.contains(said), "{sentence}");
            node.store(next).unwrap();
        }
        let after = held(&fleet, &machine);
        assert_eq!((after.state.seq().0, after.state.open_plans().len()), (2, 1));
        let mut flipped = stop.clone();
        flipped.bytes[30] ^= 1;
        let signed = read_signed(&write("plan.json", &flipped)).unwrap();
        assert!(judge(&after, clock(&*machine), signed).is_err());
        let (node, key) = (after.me.node.clone(), after.me.key.clone());
        let about = NodeMatter::Withdraw { acceptance: stop.digest() };
        let decision = Decided::Node(NodeDecision { node, key, number: 7, keeps: Vec::new(), also: Vec::new(), about });
        let decision = read_signed(&write("decision.json", &fleet.decision(decision))).unwrap();
        let (next, _, sentence) = judge(&after, clock(&*machine), decision).unwrap();
        assert!(next != after.state && sentence.contains("decision 7 about this node holds now"), "{sentence}");
        let roster = read_signed(&write("roster.json", &fleet.roster)).unwrap();
        assert_eq!(judge(&after, clock(&*machine), roster).unwrap().0, after.state, "held already");
    }
}
