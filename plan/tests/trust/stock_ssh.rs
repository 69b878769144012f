//! Stock `ssh-keygen` as the judge: whatever we accept, it accepts; whatever it signs, we accept.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "a test asks the real ssh-keygen; the core does not"
)]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hostler_plan::{
    document::{DocumentKind, RosterStatus, Signed},
    signature::{PublicKey, assemble, node_lines, sign, signer_lines, verify},
    trust::{self, Verified},
};
use ssh_key::{LineEnding, PrivateKey};

use crate::{
    fleet::*,
    hardware_keys,
    signatures::{BYTES, Crafted, armour, disarm, ecdsa_key, string},
};

/// Mutants per run unless `HOSTLER_MUTANTS` says otherwise; each starts ssh-keygen once, about 4 ms.
const MUTANTS: usize = 2000;
/// The mutants' seed unless `HOSTLER_SEED` says otherwise.
const SEED: u64 = 2026;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, found {text}")))
}

/// Runs ssh-keygen in a directory of its own; none where it is not installed.
struct Stock {
    directory: tempfile::TempDir,
}

impl Stock {
    fn new() -> Option<Self> {
        match Command::new("ssh-keygen").arg("-?").stdin(Stdio::null()).output() {
            Ok(_) => Some(Self { directory: tempfile::tempdir().unwrap() }),
            Err(e) => {
                eprintln!("skipped: ssh-keygen cannot be started ({e}); install openssh-client to run this test");
                None
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn private_key(&self, name: &str, key: &PrivateKey) -> PathBuf {
        let path = self.write(name, key.to_openssh(LineEnding::LF).unwrap().as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn signs(&self, key: &Path, kind: DocumentKind, bytes: &[u8]) -> String {
        let document = self.write("document", bytes);
        let _ = fs::remove_file(self.directory.path().join("document.sig"));
        let done = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", kind.namespace(), "-f"])
            .args([key, &document])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        fs::read_to_string(self.directory.path().join("document.sig")).unwrap()
    }

    /// `ssh-keygen -Y verify` with this `allowed_signers` file.
    fn verifies(&self, allowed: &str, who: &str, kind: DocumentKind, bytes: &[u8], armour: &str) -> bool {
        let (allowed, armour) = (self.write("allowed", allowed.as_bytes()), self.write("sig", armour.as_bytes()));
        let mut child = Command::new("ssh-keygen")
            .args(["-q", "-Y", "verify", "-I", who, "-n", kind.namespace(), "-f"])
            .arg(allowed)
            .arg("-s")
            .arg(armour)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It may end before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(bytes);
        child.wait().unwrap().success()
    }
}

fn allowed(key: &PublicKey) -> String {
    format!("somebody namespaces=\"hostler-plan\" {key}\n")
}

/// SplitMix64: the same mutants from the same seed, everywhere.
pub(crate) struct Seeded(pub u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

#[test]
fn what_ssh_keygen_signs_is_accepted_and_what_we_sign_it_accepts() {
    let Some(stock) = Stock::new() else { return };
    for (i, key) in [key(ADA), ecdsa_key(ADA), key(S1), ecdsa_key(S1)].into_iter().enumerate() {
        let path = stock.private_key(&format!("key{i}"), &key);
        let public = PublicKey::from(key.public_key().clone());
        // Lengths around the ends of hash blocks and nothing at all.
        for length in [0, 1, 111, 112, 127, 128, 129, 5000] {
            let bytes = vec![b'x'; length];
            let theirs = stock.signs(&path, DocumentKind::Plan, &bytes);
            assert_eq!(verify(DocumentKind::Plan, &bytes, &theirs).as_ref(), Ok(&public));
            let ours = sign(&key, DocumentKind::Plan, &bytes).unwrap();
            assert!(stock.verifies(&allowed(&public), "somebody", DocumentKind::Plan, &bytes, &ours));
            if public.key_type() == "ssh-ed25519" {
                assert_eq!(theirs, ours, "ed25519 has one signature");
            }
        }
    }
}

#[test]
fn ssh_keygen_accepts_hardware_keys_that_we_accept() {
    let Some(stock) = Stock::new() else { return };
    for (key, signature) in [hardware_keys::ed25519(1, BYTES), hardware_keys::ecdsa(1, BYTES)] {
        let armour = assemble(&key, DocumentKind::Plan, BYTES, &signature).unwrap();
        assert!(stock.verifies(&allowed(&key), "somebody", DocumentKind::Plan, BYTES, &armour), "{}", key.key_type());
    }
}

/// A good signature and everything that one could make of it by accident or on purpose.
fn mutant(seeded: &mut Seeded, good: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    let mut text = good.as_bytes().to_vec();
    let mut blob = disarm(good);
    let mut document = bytes.to_vec();
    let (at, in_blob) = (seeded.below(text.len()), seeded.below(blob.len()));
    match seeded.below(26) {
        0 => {}
        1 => text[at] ^= 1 << seeded.below(8),
        2 => text.insert(at, *b"\n\r \tA=-".get(seeded.below(7)).unwrap()),
        3 => drop(text.remove(at)),
        4 => text.truncate(at),
        5 => text.extend_from_slice(&good.as_bytes()[..at]),
        6 => drop(text.splice(0..0, b"text\n".iter().copied())),
        7 => text.extend(b"text\n"),
        8 => text = good.replace('\n', "\r\n").into_bytes(),
        9 => {
            let bit = seeded.below(bytes.len() * 8);
            document[bit / 8] ^= 1 << (bit % 8);
        }
        10 => blob[in_blob] ^= 1 << seeded.below(8),
        11 => blob[in_blob] = seeded.byte(),
        12 => blob.insert(in_blob, seeded.byte()),
        13 => drop(blob.remove(in_blob)),
        14 => blob.truncate(in_blob),
        15 => blob.extend(vec![0; 1 + seeded.below(8)]),
        // A length field, and with it the border of what stands behind it.
        16 => {
            let (from, value) = (in_blob.min(blob.len() - 4), seeded.below(300));
            blob.splice(from..from + 4, u32::try_from(value).unwrap().to_be_bytes());
        }
        // Two places of the blob change their contents.
        17 => blob.swap(in_blob, seeded.byte() as usize % disarm(good).len()),
        // A part stands twice, or another part in its place.
        18 => {
            let part = blob[in_blob..(in_blob + 1 + seeded.below(40)).min(blob.len())].to_vec();
            let to = seeded.below(blob.len());
            blob.splice(to..to, part);
        }
        19 => text = rewrapped(good, 1 + seeded.below(100)),
        20 => text = good.replacen('\n', "\n\n", 1 + seeded.below(3)).into_bytes(),
        21 => drop(text.pop()),
        22 => text = good.replace("SIGNATURE", ["signature", "MESSAGE", "SIGNATURE "][seeded.below(3)]).into_bytes(),
        23 => text = format!("{good}{good}").into_bytes(),
        24 => text[at] = text[at].to_ascii_lowercase(),
        _ => {
            let other = [DocumentKind::Root, DocumentKind::Receipt, DocumentKind::Login][seeded.below(3)];
            blob = replaced(&blob, DocumentKind::Plan.namespace().as_bytes(), other.namespace().as_bytes());
        }
    }
    let text = if blob == disarm(good) { String::from_utf8_lossy(&text).into_owned() } else { armour(&blob) };
    (text, document)
}

/// The same blob in lines of another length.
fn rewrapped(good: &str, width: usize) -> Vec<u8> {
    let base64: String = good.lines().filter(|l| !l.starts_with('-')).collect();
    let lines: Vec<&str> = base64.as_bytes().chunks(width).map(|l| std::str::from_utf8(l).unwrap()).collect();
    let (begin, end) = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----");
    format!("{begin}\n{}\n{end}\n", lines.join("\n")).into_bytes()
}

/// The blob with one field's content, and its length, replaced.
fn replaced(blob: &[u8], field: &[u8], by: &[u8]) -> Vec<u8> {
    let field = string(field);
    let Some(at) = blob.windows(field.len()).position(|w| w == field) else { return blob.to_vec() };
    [&blob[..at], &string(by), &blob[at + field.len()..]].concat()
}

/// Correctly signed, and in another form.
fn crafted(seed: u8) -> Vec<String> {
    let good = Crafted::default;
    [
        Crafted { version: 0, ..good() },
        Crafted { version: 2, ..good() },
        Crafted { hash: "sha256", ..good() },
        Crafted { reserved: vec![1], ..good() },
        Crafted { reserved: vec![1], signed_reserved: vec![1], ..good() },
        Crafted { signed_reserved: vec![1], ..good() },
        Crafted { namespace: b"git".to_vec(), ..good() },
        Crafted { behind_signature: vec![0], ..good() },
        Crafted { behind_blob: vec![0], ..good() },
        Crafted { algorithm: "sk-ssh-ed25519@openssh.com", ..good() },
    ]
    .iter()
    .map(|c| c.armour(seed, BYTES))
    .collect()
}

/// The negated second half of an ECDSA signature: another signature that verifies as well.
fn negated(good: &str) -> String {
    let mut blob = disarm(good);
    let start = blob.windows(23).rposition(|w| w == string(b"ecdsa-sha2-nistp256")).unwrap() - 4;
    let raw = blob[start + 4 + 23 + 4..].to_vec();
    let (r, s) = raw[4..].split_at(usize::try_from(u32::from_be_bytes(raw[..4].try_into().unwrap())).unwrap());
    let number = |n: &[u8]| {
        let digits: Vec<u8> = n.iter().copied().skip_while(|b| *b == 0).collect();
        *p256::FieldBytes::from_slice(&[vec![0; 32 - digits.len()], digits].concat())
    };
    let signature = p256::ecdsa::Signature::from_scalars(number(r), number(&s[4..])).unwrap();
    let other = p256::ecdsa::Signature::from_scalars(*signature.r(), -*signature.s()).unwrap();
    let numbers: Vec<u8> =
        <[_; 2]>::from(other.split_bytes()).iter().flat_map(|n| string(&hardware_keys::shortest(n))).collect();
    blob.truncate(start);
    blob.extend(string(&[string(b"ecdsa-sha2-nistp256"), string(&numbers)].concat()));
    armour(&blob)
}

/// What came of both judges' answers to every mutant.
#[derive(Default, Debug, PartialEq, Eq)]
struct Answers {
    both: usize,
    neither: usize,
    only_they: usize,
    only_we: Vec<String>,
}

/// Asks both about every mutant.
fn ask(stock: &Stock, tries: &[(String, Vec<u8>, &PublicKey)]) -> Answers {
    let mut answers = Answers::default();
    for (text, document, key) in tries {
        let ours = verify(DocumentKind::Plan, document, text);
        let theirs = stock.verifies(&allowed(key), "somebody", DocumentKind::Plan, document, text);
        match (ours.is_ok_and(|k| k == **key), theirs) {
            (true, true) => answers.both += 1,
            (false, false) => answers.neither += 1,
            (false, true) => answers.only_they += 1,
            (true, false) => answers.only_we.push(format!("{text}\nover {document:?}")),
        }
    }
    answers
}

#[test]
fn what_we_accept_ssh_keygen_accepts_too() {
    let (Some(stock), Some(second)) = (Stock::new(), Stock::new()) else { return };
    let seed = from_environment("HOSTLER_SEED", SEED);
    let mutants = usize::try_from(from_environment("HOSTLER_MUTANTS", MUTANTS as u64)).unwrap();
    let mut seeded = Seeded(seed);
    let hardware = [hardware_keys::ed25519(1, BYTES), hardware_keys::ecdsa(1, BYTES)]
        .map(|(key, signature)| (assemble(&key, DocumentKind::Plan, BYTES, &signature).unwrap(), key));
    let software = [key(ADA), ecdsa_key(ADA)]
        .map(|key| (sign(&key, DocumentKind::Plan, BYTES).unwrap(), key.public_key().clone().into()));
    let good: Vec<(String, PublicKey)> = software.into_iter().chain(hardware).collect();

    let mut tries: Vec<(String, Vec<u8>, &PublicKey)> = Vec::new();
    for i in 0..mutants {
        let (armour, key) = &good[i % good.len()];
        let (text, document) = mutant(&mut seeded, armour, BYTES);
        tries.push((text, document, key));
    }
    tries.extend(crafted(ADA).into_iter().map(|text| (text, BYTES.to_vec(), &good[0].1)));
    tries.push((negated(&good[1].0), BYTES.to_vec(), &good[1].1));

    let (one, other) = tries.split_at(tries.len() / 2);
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| ask(&second, other));
        (ask(&stock, one), other.join().unwrap())
    });
    let (both, neither) = (one.both + other.both, one.neither + other.neither);
    let (only_they, only_we) = (one.only_they + other.only_they, [one.only_we, other.only_we].concat());
    eprintln!(
        "seed {seed}: tried {}, accepted by both {both}, refused by both {neither}, accepted by ssh-keygen alone \
         {only_they}, by us alone {}",
        tries.len(),
        only_we.len()
    );
    assert!(only_we.is_empty(), "we accept what ssh-keygen refuses:\n{}", only_we.join("\n"));
    assert!(both > 20 && neither > 300 && only_they > 5, "the mutants reach every side");
}

#[test]
fn stock_tools_check_every_kind_of_document() {
    let Some(stock) = Stock::new() else { return };
    let (root, roster) = (root(), roster());
    let plan = plan();
    let verified: Verified<_> = verified_plan(&plan);
    let signers = signer_lines(&root);
    let nodes = node_lines(&roster);
    let pass = hostler_fixtures::pass(&root, &public(VIC), public(STRANGER), noon());
    let documents = [
        (DocumentKind::Pass, signed(DocumentKind::Pass, &pass, &[VIC]), "vic", &signers),
        (DocumentKind::Root, signed(DocumentKind::Root, &root, &[ADA]), "ada", &signers),
        (DocumentKind::Admission, signed(DocumentKind::Admission, &admission(), &[BEN]), "ben", &signers),
        (DocumentKind::Roster, signed_roster(&roster), "ada", &signers),
        (DocumentKind::Plan, signed(DocumentKind::Plan, &noop_plan(plan.kind), &[OLGA]), "olga", &signers),
        (DocumentKind::Receipt, signed_receipt(&receipt(&verified, "w1.stage", 1)), "w1", &nodes),
        (DocumentKind::Enrolment, signed(DocumentKind::Enrolment, &enrolment(), &[W2]), "w2", &nodes),
    ];
    for (kind, Signed { bytes, signatures }, who, allowed) in &documents {
        assert!(stock.verifies(allowed, who, *kind, bytes, &signatures[0]), "{kind:?}");
        for other in ["olga", "ben", "ada", "w1", "w2", "s1"].iter().filter(|o| *o != who) {
            assert!(!stock.verifies(allowed, other, *kind, bytes, &signatures[0]), "{kind:?} by {other}");
        }
    }
    let by_viewer = signed(DocumentKind::Plan, &plan, &[VIC]);
    assert!(!stock.verifies(&signers, "vic", DocumentKind::Plan, &by_viewer.bytes, &by_viewer.signatures[0]));
    let by_operator = signed(DocumentKind::Roster, &roster, &[OLGA]);
    assert!(!stock.verifies(&signers, "olga", DocumentKind::Roster, &by_operator.bytes, &by_operator.signatures[0]));

    let mut without = roster;
    without.nodes[1].status = RosterStatus::Retired;
    let gone = signed_receipt(&receipt(&verified, "w1.stage", 1));
    let nodes = node_lines(&without);
    assert!(!stock.verifies(&nodes, "w1", DocumentKind::Receipt, &gone.bytes, &gone.signatures[0]));
    assert!(trust::receipt(&verified_roster(&without), &gone).is_err());
}
