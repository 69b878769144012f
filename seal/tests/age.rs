//! Sealed here and opened by age, sealed by age and opened here; and what was changed does not open.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::{
    io::{self, Read as _, Write as _},
    process::{Command, Stdio},
};

use hostler_plan::document::Recipient;
use hostler_seal::{Identity, Opener, Packed, SealError, Sealer, pack, unpack};
use proptest::prelude::*;

const CHUNK: usize = 64 << 10;

fn sealed(to: &[Recipient], content: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::new(to, Vec::new()).unwrap();
    sealer.write_all(content).unwrap();
    sealer.finish().unwrap()
}

fn opened(identity: &Identity, file: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    Opener::new(identity, file)?.read_to_end(&mut content)?;
    Ok(content)
}

fn error_of(result: io::Result<Vec<u8>>) -> SealError {
    result.unwrap_err().into_inner().unwrap().downcast::<SealError>().map(|e| *e).unwrap()
}

/// Bytes in which no chunk is like another.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 251 + i) as u8).collect()
}

#[test]
fn each_key_opens_it_alone_and_no_other_does() {
    let (ann, ben, eve) = (Identity::generate(), Identity::generate(), Identity::generate());
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let file = sealed(&[ann.recipient(), ben.recipient()], &content(length));
        assert_eq!(opened(&ann, &file).unwrap(), content(length), "{length}");
        assert_eq!(opened(&ben, &file).unwrap(), content(length), "{length}");
        assert_eq!(error_of(opened(&eve, &file)), SealError::OtherKey);
    }
    assert!(Sealer::new(&[], Vec::new()).is_err());
    assert!(Sealer::new(&vec![ann.recipient(); 17], Vec::new()).is_err());
}

#[test]
fn what_was_cut_off_reordered_or_joined_does_not_open() {
    let ann = Identity::generate();
    let file = sealed(&[ann.recipient()], &content(2 * CHUNK));
    let head = file.len() - 2 * (CHUNK + 16);
    let (first, second) = file[head..].split_at(CHUNK + 16);
    let with = |parts: &[&[u8]]| opened(&ann, &[&[&file[..head]], parts].concat().concat());
    assert!(with(&[first, second]).is_ok());
    for wrong in [&[first][..], &[second], &[second, first], &[first, second, second], &[first, &second[..99]], &[]] {
        assert_eq!(error_of(with(wrong)), SealError::Damaged);
    }
    assert_eq!(error_of(opened(&ann, b"Salted__")), SealError::Form("its head has no end"));
    assert_eq!(error_of(opened(&ann, &[b'\n'; 9])), SealError::Form("it begins otherwise"));
}

proptest! {
    #[test]
    fn a_changed_byte_never_opens(at in 0usize..400, to in 1u8..) {
        let ann = Identity::from_bytes([7; 32]);
        let mut file = sealed(&[ann.recipient()], &content(200));
        let at = at % file.len();
        file[at] ^= to;
        prop_assert!(opened(&ann, &file).is_err(), "byte {at}");
    }

    #[test]
    fn whatever_bytes_come_are_an_error_and_nothing_worse(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let whole = [b"age-encryption.org/v1\n-> X25519 ", &bytes[..]].concat();
        prop_assert!(opened(&Identity::from_bytes([7; 32]), &whole).is_err());
        prop_assert!(opened(&Identity::from_bytes([7; 32]), &bytes).is_err());
    }
}

fn packed(to: &Identity, files: &[(&str, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut contents: Vec<(&str, u64, &[u8])> = files.iter().map(|(n, c)| (*n, c.len() as u64, c.as_slice())).collect();
    let files = contents.iter_mut().map(|(name, size, content)| Ok(Packed { name, size: *size, content }));
    pack(&[to.recipient()], files, Vec::new())
}

#[test]
fn files_come_out_of_a_bundle_as_they_went_in_and_nothing_else_does() {
    let ann = Identity::generate();
    let files = [("snapshot.json", content(300)), ("pki/etcd/ca.key", content(10)), ("etcd.db", content(3 * CHUNK))];
    let file = packed(&ann, &files).unwrap();
    let mut found = Vec::new();
    let mut take = |name: &str, size: u64, from: &mut dyn io::Read| {
        let mut content = Vec::new();
        from.read_to_end(&mut content)?;
        assert_eq!(content.len() as u64, size);
        found.push((name.to_owned(), content));
        Ok(())
    };
    unpack(&ann, &file[..], &mut take).unwrap();
    assert!(found.iter().zip(&files).all(|((n, c), (m, d))| n == m && c == d) && found.len() == files.len());
    let ignore = |_: &str, _: u64, _: &mut dyn io::Read| Ok(());
    assert!(unpack(&ann, &file[..file.len() - 1], ignore).is_err(), "cut off behind the archive's own end");
    let twice = packed(&ann, &[("a", vec![1]), ("a", vec![2])]).unwrap();
    assert!(unpack(&ann, &twice[..], ignore).is_err());
    assert!(packed(&ann, &[("../a", vec![1])]).is_err());
}

#[test]
fn a_private_key_is_read_from_the_file_that_it_is_written_to() {
    let ann = Identity::generate();
    let file = format!("# public key: {}\n\n{}\n", ann.recipient(), ann.to_secret_text());
    assert_eq!(Identity::from_file(&file).unwrap().recipient(), ann.recipient());
    assert!(!format!("{ann:?}").contains("SECRET"));
    let text = ann.to_secret_text();
    for wrong in ["", "# only a remark", &text.to_lowercase(), &text[1..], &text.replace('-', "")] {
        assert!(Identity::from_file(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_stock_tool_opens_what_is_sealed_here_and_seals_for_here() {
    if Command::new("age").arg("--version").output().is_err() {
        eprintln!("skipped: the program age is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ann, ben) = (Identity::generate(), Identity::generate());
    let key = folder.path().join("key");
    std::fs::write(&key, ann.to_secret_text()).unwrap();
    for length in [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK] {
        let file = sealed(&[ben.recipient(), ann.recipient()], &content(length));
        assert_eq!(age(&["--decrypt", "-i", key.to_str().unwrap()], &file), content(length), "{length}");
        let theirs = age(&["-r", &ben.recipient().to_string(), "-r", &ann.recipient().to_string()], &content(length));
        assert_eq!(opened(&ann, &theirs).unwrap(), content(length), "{length}");
    }
}

fn age(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("age").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    output.stdout
}
