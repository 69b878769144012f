//! Every parser of bytes that somebody else may have written, each as a function that any bytes may be thrown at. The
//! fuzzer grows inputs for them (`tests/fuzz/run`), and a plain test plays the kept ones (`tests/tests/foreign.rs`).
//! Each answers whether it read something, so that a corpus which no longer reaches its parser is noticed; what it must
//! hold of what it read, it asserts.

#[path = "imports.rs"]
mod import;

use std::{
    cell::RefCell,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixListener,
    path::{Component, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use hostler_cli::key::{Agent, read_public_key};
use hostler_coordinator::ca::RequestedKey;
use hostler_daemon::http::answer;
use hostler_executor::{
    disk::Disk,
    host::{ClockSource, Eviction, Host as _, Linux, Owner, PodKey, PodScope},
    protocol::{
        FromExecutor, ToExecutor,
        lines::{self, LineError},
    },
    state_file::StateFile,
};
use hostler_facts::{Facts, Now, Source};
use hostler_fixtures::recorded;
use hostler_plan::{
    document::{Admission, Decision, DocumentKind, Enrolment, Holding, Pass, Plan, Receipt, Root, Roster, Signed},
    fact::DeltaReader,
    fleet::Fleet,
    id::Digest,
    json,
    ledger::{self, Damage, Head},
    planner::Inventory,
    sequencer::RolloutAction,
    signature::{PublicKey, verify},
    trust::{Draft, TrustedRoot},
};
use hostler_proto::{
    facts::from_wire,
    fragment::Joiner,
    join::{JoinString, SetupCode},
    tls::{NodeIdentity, spki_digest},
    v1::{self, FromAgent, RolloutUpdate, SignedDocument, ToAgent, from_agent, to_agent},
    watched::WatchedRollout,
};
use import::imports;
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::{Builder, Runtime},
};

/// A parser: any bytes, and whether they were something.
pub(crate) type Parser = fn(&[u8]) -> bool;

/// All of them, by the names of their folders in `corpus`.
pub(crate) const PARSERS: &[(&str, Parser)] = &[
    ("admin_wire", admin_wire),
    ("agent_wire", agent_wire),
    ("certificates", certificates),
    ("documents", documents),
    ("enrolment_wire", enrolment_wire),
    ("executor_socket", executor_socket),
    ("fleet_files", fleet_files),
    ("http", http),
    ("imports", imports),
    ("join_strings", join_strings),
    ("key_files", key_files),
    ("kube_answers", kube_answers),
    ("ledger", ledger),
    ("machines", machines),
    ("signatures", signatures),
    ("slots", slots),
    ("ssh_agent", ssh_agent),
];

/// Every kind of document, behind its signature: what is read must be what was written. The first byte says which.
fn documents(input: &[u8]) -> bool {
    fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
        let Ok(document) = json::parse::<T>(bytes) else { return false };
        let written = json::write(&document);
        assert_eq!(json::parse::<T>(&written).expect("what was written is a document"), document);
        true
    }
    let Some((kind, bytes)) = input.split_first() else { return false };
    match kind % 9 {
        0 => read::<Root>(bytes),
        1 => read::<Admission>(bytes),
        2 => read::<Enrolment>(bytes),
        3 => read::<Roster>(bytes),
        4 => read::<Plan>(bytes),
        5 => read::<Receipt>(bytes),
        6 => read::<Holding>(bytes),
        7 => read::<Decision>(bytes),
        _ => read::<Pass>(bytes),
    }
}

/// What the signatures of the corpus stand under.
pub(crate) const SIGNED_BYTES: &[u8] = b"{\"any\": \"bytes\"}\n";

/// SSHSIG armour: whatever is accepted is the one canonical form.
fn signatures(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    // A document from a file, with this as its signature.
    let signed = Signed { bytes: input.to_vec(), signatures: vec![text.to_owned()] };
    let _ = Draft::plan(signed.clone());
    let _ = Draft::root(signed.clone());
    let _ = TrustedRoot::first(&signed, &signed.digest());
    if verify(DocumentKind::Plan, SIGNED_BYTES, text).is_err() {
        return false;
    }
    let lines: Vec<&str> = text.lines().collect();
    let canonical = lines.first() == Some(&"-----BEGIN SSH SIGNATURE-----")
        && lines.last() == Some(&"-----END SSH SIGNATURE-----")
        && lines[1..lines.len() - 1].iter().all(|line| !line.is_empty() && line.len() <= 70)
        && !text.contains('\r')
        && text.ends_with('\n');
    assert!(canonical, "accepted in another form than ssh-keygen writes it:\n{text}");
    true
}

/// Public keys as people paste them, and as they lie in a file.
fn key_files(input: &[u8]) -> bool {
    let (_, file) = in_memory("key.pub", input);
    let read = read_public_key(&file);
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let _ = text.parse::<Digest>();
    let Ok(key) = PublicKey::from_openssh(text) else { return false };
    let again = PublicKey::from_openssh(&key.to_string()).expect("what was written is a key");
    assert!(again == key && again.fingerprint() == key.fingerprint());
    read.is_ok()
}

/// Join strings and set-up codes, which people copy from anywhere.
fn join_strings(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let (join, code) = (JoinString::parse(text), SetupCode::parse(text));
    if let Ok(join) = &join {
        assert!(JoinString::parse(&join.encode()).expect("what was written is a join string") == *join);
    }
    if let Ok(code) = &code {
        assert!(SetupCode::parse(&code.encode()).expect("what was written is a set-up code") == *code);
    }
    join.is_ok() || code.is_ok()
}

/// Fleet files of somebody else's repository, alone and as who has no lock reads them.
fn fleet_files(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    Fleet::from_toml(&[("fleet.toml", text)]).is_ok() | Fleet::without_lock(("fleet.toml", text)).is_ok()
}

/// A ledger that somebody hands over: damage is named, and what is read is what stands there.
fn ledger(input: &[u8]) -> bool {
    match ledger::verify(input) {
        Ok((records, head)) => assert_eq!(records.len() as u64, head.next_index),
        Err(Damage::Record { offset, .. } | Damage::Torn { offset, .. }) => assert!(offset as usize <= input.len()),
    }
    // Behind the hash, which a fuzzer does not find: each line of the input is a record's JSON.
    let mut head = Head::EMPTY;
    for json in input.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let json = json.get(65..).filter(|_| json.get(64) == Some(&b' ')).unwrap_or(json);
        let chained = ledger::grow(head, [Digest::of(json)]);
        let line = [chained.hash.hex().as_bytes(), b" ", json, b"\n"].concat();
        match ledger::decode(head, 0, &line) {
            Ok(Some((_, after, length))) => {
                assert!(after == chained && length == line.len());
                head = after;
            }
            Ok(None) | Err(_) => return false,
        }
    }
    head != Head::EMPTY
}

/// A node's state on a broken disk: a slot of any content is a state that holds together, or damage.
fn slots(input: &[u8]) -> bool {
    let read = |slot: &[u8]| {
        let (folder, _) = in_memory("state.0", slot);
        let Ok((_, Some(stored))) = StateFile::open(&Disk::beside(&folder)) else { return false };
        assert!(!stored.state.to_index().is_empty());
        true
    };
    // And behind the digests, which a fuzzer does not find: index, receipt and documents with a zero between them.
    let mut parts = input.split(|b| *b == 0);
    let (index, receipt) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let documents: Vec<&[u8]> = parts.collect();
    read(input) | read(&slot(index, receipt, &documents))
}

/// A slot as `executor/src/state_file.rs` describes it.
fn slot(index: &[u8], receipt: &[u8], documents: &[&[u8]]) -> Vec<u8> {
    let index = [(index.len() as u64).to_be_bytes().as_slice(), index, receipt].concat();
    let mut table = Vec::new();
    for document in documents {
        table.extend(Digest::of(document).as_bytes());
        table.extend((document.len() as u64).to_be_bytes());
    }
    let at = 72 + table.len() + index.len();
    let numbers = [1, at, documents.len(), index.len()].map(|number| (number as u64).to_be_bytes());
    let front = [b"HOSTLER2".as_slice(), numbers.as_flattened()].concat();
    let digest = Sha256::new().chain_update(&front).chain_update(&table).chain_update(&index).finalize();
    [front, digest.to_vec(), table, index, documents.concat()].concat()
}

/// A file of that content in a folder in memory: the folder and the file.
fn in_memory(name: &str, content: &[u8]) -> (PathBuf, PathBuf) {
    thread_local! {
        static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir_in("/dev/shm").expect("a folder in memory"));
        let file = folder.path().join(name);
        fs::write(&file, content).expect("writes to memory");
        (folder.path().to_owned(), file)
    })
}

/// A message of that kind, if the bytes are one: what is written again is read as the same.
fn message<T: Message + Default>(input: &[u8]) -> Option<T> {
    let read = T::decode(input).ok()?;
    let written = read.encode_to_vec();
    let again = T::decode(written.as_slice()).expect("what was written is a message");
    // By their bytes: a number that is none differs from itself.
    assert!(again.encode_to_vec() == written);
    Some(read)
}

/// What a node sends to the agents' listener, and a coordinator, which may be anybody's, to a node. The first byte says
/// which message.
fn agent_wire(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else { return false };
    match kind % 6 {
        0 => {
            // Two parts, as two messages of one stream.
            let Some((length, bytes)) = bytes.split_first() else { return false };
            let (first, second) = bytes.split_at(usize::from(*length).min(bytes.len()));
            let mut reader = DeltaReader::default();
            [first, second].iter().filter(|part| !part.is_empty()).zip(1..).all(|(part, sequence)| {
                let Some(FromAgent { message: Some(from_agent::Message::Facts(delta)) }) = message(part) else {
                    return false;
                };
                from_wire(delta, sequence).is_ok_and(|delta| reader.apply(&delta).is_ok())
            })
        }
        1 => {
            let mut joiner = Joiner::<ToAgent>::default();
            bytes.chunks(64).any(|part| {
                let Some(ToAgent { message: Some(to_agent::Message::Fragment(fragment)) }) = message(part) else {
                    return false;
                };
                joiner.join(fragment).is_ok_and(|whole| whole.is_some())
            })
        }
        2 => message::<FromAgent>(bytes).is_some_and(|m| m.message.is_some()),
        3 => message::<ToAgent>(bytes).is_some_and(|m| m.message.is_some()),
        4 => message::<v1::FetchArtifactRequest>(bytes).is_some() | message::<v1::ArtifactChunk>(bytes).is_some(),
        _ => message::<v1::RenewCertificateRequest>(bytes).is_some(),
    }
}

/// What anybody on the network may send to the enrolment listener, and what may answer there.
fn enrolment_wire(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else { return false };
    match kind % 5 {
        0 => message::<v1::EnrolRequest>(bytes).is_some_and(|request| {
            let signed = Signed::from(request.enrolment.unwrap_or_default());
            json::parse::<Enrolment>(&signed.bytes).is_ok()
        }),
        1 => message::<v1::EnrolResponse>(bytes).is_some(),
        2 => message::<v1::RenewRequest>(bytes).is_some(),
        3 => message::<v1::RenewalChallengeRequest>(bytes).is_some(),
        _ => message::<v1::RenewalChallengeResponse>(bytes).is_some(),
    }
}

/// What a command may send to the admins' listener, and what it is told by a coordinator that may be anybody's.
fn admin_wire(input: &[u8]) -> bool {
    let Some((kind, bytes)) = input.split_first() else { return false };
    match kind % 14 {
        0 => message::<v1::InventoryReply>(bytes).is_some_and(|reply| Inventory::try_from(reply).is_ok()),
        1 => {
            let mut watched = WatchedRollout::default();
            let updates = bytes.chunks(96).filter_map(message::<RolloutUpdate>);
            updates.fold(false, |any, update| watched.merge(update).is_ok() | any)
        }
        2 => message::<SignedDocument>(bytes).map(|document| Signed::from(document).digest()).is_some(),
        3 => message::<v1::TrustReply>(bytes).is_some(),
        4 => message::<v1::LoginRequest>(bytes).is_some(),
        5 => message::<v1::InstallRootRequest>(bytes).is_some(),
        6 => message::<v1::UploadArtifactRequest>(bytes).is_some(),
        7 => {
            message::<v1::ControlRolloutRequest>(bytes).is_some_and(|request| RolloutAction::try_from(&request).is_ok())
        }
        8 => message::<v1::FleetFile>(bytes).is_some(),
        9 => message::<v1::ExportLedgerRequest>(bytes).is_some() | message::<v1::LedgerChunk>(bytes).is_some(),
        10 => message::<v1::ProveLedgerRequest>(bytes).is_some() | message::<v1::LedgerProof>(bytes).is_some(),
        11 => message::<v1::NodeDetail>(bytes).is_some(),
        12 => message::<v1::ListHoldingsReply>(bytes).is_some(),
        _ => message::<v1::ListEnrolmentsReply>(bytes).is_some(),
    }
}

/// Certificates of whoever answers a node or calls the agents' listener, and requests of strangers for one.
fn certificates(input: &[u8]) -> bool {
    let _ = NodeIdentity::from_certificate(input);
    spki_digest(input).is_ok() | RequestedKey::from_request(input).is_ok()
}

/// What a machine says of itself: devices name themselves, and containers write into some files. The input is the path
/// of a file of a recorded machine, and from the next line on what stands there instead.
fn machines(input: &[u8]) -> bool {
    static MACHINE: OnceLock<(TempDir, Source)> = OnceLock::new();
    let (folder, source) = MACHINE.get_or_init(|| {
        let folder = recorded::copy("server-ecc-failing");
        let source = Source::recorded(folder.path()).expect("a recorded machine");
        (folder, source)
    });
    let Some(end) = input.iter().position(|b| *b == b'\n') else { return false };
    let Some(file) = std::str::from_utf8(&input[..end]).ok().map(|path| folder.path().join(path)) else { return false };
    let inside = file.components().all(|part| part != Component::ParentDir) && file.starts_with(folder.path());
    let Some(before) = fs::read(&file).ok().filter(|_| inside) else { return false };
    fs::write(&file, &input[end + 1..]).expect("writes to memory");
    let mut facts = Facts::new(source.clone());
    facts.tick(Now { elapsed: Duration::ZERO, unix_ms: 0 });
    let read = !facts.wait_for_helpers(Duration::from_secs(2)).is_empty();
    fs::write(&file, before).expect("writes to memory");
    read
}

/// The socket between agent and executor, both ways: what is read as a message can be written, and is then the same.
fn executor_socket(input: &[u8]) -> bool {
    fn there_and_back<T: Serialize + DeserializeOwned + PartialEq>(mut input: &[u8]) -> bool {
        let mut any = false;
        while let Ok(Some(message)) = lines::read::<T>(&mut input) {
            any = true;
            let written = match lines::encode(&message) {
                Ok(written) => written,
                Err(LineError::TooLong) => continue,
                Err(error) => panic!("{error}"),
            };
            let again: T = lines::read(&mut written.as_slice()).expect("what was written is a message").expect("one");
            assert!(again == message);
        }
        any
    }
    there_and_back::<ToExecutor>(input) | there_and_back::<FromExecutor>(input)
}

/// What anybody on the network may send to `/metrics`.
fn http(input: &[u8]) -> bool {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().build().expect("a runtime"));
    runtime.block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(64 << 10);
        let text = || std::future::ready(Some("hostler_up 1\n".to_owned()));
        let served = answer(theirs, &text);
        let asked = async {
            // The server may have hung up before it has read everything.
            let _ = ours.write_all(input).await;
            let _ = ours.shutdown().await;
            let mut said = Vec::new();
            let _ = ours.read_to_end(&mut said).await;
            said
        };
        let (_, said) = tokio::join!(served, asked);
        assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&said));
        said.starts_with(b"HTTP/1.1 200 ")
    })
}

/// What the servers that these parsers ask say next.
static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Sets it, for as long as what it gives lives: another parser at the same time would have asked for another answer.
fn set_answer(answer: &[u8]) -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    answer.clone_into(&mut ANSWER.lock().unwrap_or_else(PoisonError::into_inner));
    turn
}

fn current_answer() -> Vec<u8> {
    ANSWER.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What an ssh-agent answers, which may be any program behind `SSH_AUTH_SOCK`: to the question for its keys, and to the
/// wish for a signature.
fn ssh_agent(input: &[u8]) -> bool {
    static AGENT: OnceLock<(TempDir, Agent)> = OnceLock::new();
    let (_, agent) = AGENT.get_or_init(|| {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let socket = folder.path().join("agent");
        let listener = UnixListener::bind(&socket).expect("a socket");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut length = [0; 4];
                if stream.read_exact(&mut length).is_ok() {
                    let mut asked = vec![0; u32::from_be_bytes(length) as usize];
                    let _ = stream.read_exact(&mut asked);
                    // It may have hung up before it has read everything.
                    let _ = stream.write_all(&current_answer());
                }
            }
        });
        let agent = Agent::new(&socket);
        (folder, agent)
    });
    let _turn = set_answer(input);
    let keys = agent.identities();
    keys.is_ok() | agent.sign(&a_key(), b"any bytes").is_ok()
}

/// A key that the agent is asked to sign with.
fn a_key() -> PublicKey {
    hostler_fixtures::public(&hostler_fixtures::key(1))
}

/// What an API server says, where every tenant writes pods and budgets. The first byte is the question, the second the
/// status of the answer.
fn kube_answers(input: &[u8]) -> bool {
    static MACHINE: OnceLock<(TempDir, Linux)> = OnceLock::new();
    let (_, machine) = MACHINE.get_or_init(|| {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                std::thread::spawn(move || answer_requests(&stream.expect("a connection")));
            }
        });
        let kubeconfig = folder.path().join("kubeconfig");
        let text = format!(
            r#"{{"clusters": [{{"name": "a", "cluster": {{"server": "http://{address}"}}}}], "current-context": "a",
                "contexts": [{{"name": "a", "context": {{"cluster": "a", "user": "a"}}}}],
                "users": [{{"name": "a", "user": {{}}}}]}}"#
        );
        fs::write(&kubeconfig, text).expect("writes to memory");
        (folder, hostler_executor::this_machine(vec![kubeconfig], ClockSource::Trusted))
    });
    let [question, status, body @ ..] = input else { return false };
    let status = [200, 201, 403, 404, 409, 429, 500, 504][usize::from(status % 8)];
    let head =
        format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    let _turn = set_answer(&[head.as_bytes(), body].concat());
    let cluster = machine.cluster().expect("there is a kubeconfig");
    let finds = |kind: &str| {
        let owner = Owner { api_version: "apps/v1".into(), kind: kind.into(), name: "web".into(), uid: "1".into() };
        cluster.controllers(&[("a".to_owned(), owner)].into()).is_ok_and(|found| !found.is_empty())
    };
    match question % 7 {
        0 => cluster.nodes().is_ok_and(|nodes| !nodes.is_empty()),
        1 => cluster.pods(PodScope::InNamespace("a")).is_ok_and(|pods| !pods.is_empty()),
        2 => cluster.budgets().is_ok_and(|budgets| !budgets.is_empty()),
        3 => finds("ReplicaSet"),
        4 => finds("StatefulSet"),
        5 => cluster.attachments().is_ok_and(|attachments| !attachments.is_empty()),
        _ => {
            let pod = PodKey { namespace: "a".into(), name: "web".into(), uid: "1".into() };
            !matches!(cluster.evict(&pod), Eviction::Silent(_))
        }
    }
}

/// Answers every request of a connection.
fn answer_requests(mut stream: &TcpStream) {
    let mut requests = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if !requests.read_line(&mut line).is_ok_and(|read| read > 0) {
                return;
            }
            if line == "\r\n" {
                break;
            }
            if let Some(found) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = found.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        if requests.read_exact(&mut body).is_err() || stream.write_all(&current_answer()).is_err() {
            return;
        }
    }
}
