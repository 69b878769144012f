//! Keys and thresholds that change from root to root, in the cases of tuf-conformance's `test_updater_key_rotations.py`
//! (docs/tuf-conformance.md has all of its cases).

use hostler_plan::{
    document::{DocumentKind, Root, SignerRole},
    trust::{self, TrustedRoot},
};

use crate::fleet::*;

/// Whose keys a root lists, how many must sign, who signed, and whether it is followed.
struct Version {
    keys: &'static [u8],
    threshold: u32,
    signed_by: &'static [u8],
    followed: bool,
}

const fn good(keys: &'static [u8], threshold: u32, signed_by: &'static [u8]) -> Version {
    Version { keys, threshold, signed_by, followed: true }
}

const fn bad(keys: &'static [u8], threshold: u32, signed_by: &'static [u8]) -> Version {
    Version { keys, threshold, signed_by, followed: false }
}

fn root_of(version: u64, listed: &Version) -> Root {
    let signer = |seed: &u8| signer(&format!("admin-{seed}"), 100 + seed, SignerRole::Admin);
    let mut root = Root { version, signers: listed.keys.iter().map(signer).collect(), ..root() };
    root.thresholds.root = listed.threshold;
    root
}

fn seeds(signed_by: &[u8]) -> Vec<u8> {
    signed_by.iter().map(|seed| 100 + seed).collect()
}

#[test]
fn roots_are_followed_as_their_keys_and_thresholds_change() {
    let five = &[0, 1, 2, 3, 4];
    let rotated = &[0, 1, 3, 4, 5];
    let all_new = &[5, 6, 7, 8, 9];
    let cases: &[(&str, &[Version])] = &[
        ("1-of-1 key rotation", &[good(&[1], 1, &[1]), good(&[2], 1, &[2, 1])]),
        ("1-of-1 with signatures nobody asked for", &[good(&[1], 1, &[3, 1, 4]), good(&[2], 1, &[3, 2, 1, 4])]),
        (
            "3-of-5 in every combination",
            &[
                good(five, 3, &[0, 2, 4]),
                good(five, 3, &[0, 4, 1]),
                good(five, 3, &[0, 1, 3]),
                good(five, 3, &[1, 2, 3]),
                good(five, 3, &[2, 3, 4]),
            ],
        ),
        ("3-of-5 one key rotated", &[good(five, 3, &[0, 2, 4]), good(rotated, 3, &[0, 4, 1])]),
        (
            "3-of-5 one key rotated with a step between",
            &[good(five, 3, &[0, 2, 4]), good(rotated, 3, &[0, 2, 4, 5]), good(rotated, 3, &[0, 4, 5])],
        ),
        (
            "3-of-5 all keys rotated with a step between",
            &[good(five, 3, &[0, 2, 4]), good(all_new, 3, &[0, 2, 4, 5, 6, 7]), good(all_new, 3, &[5, 6, 7])],
        ),
        ("1-of-3 raised to 2-of-3", &[good(&[1, 2, 3], 1, &[1]), good(&[1, 2, 3], 2, &[1, 2])]),
        (
            "2-of-3 lowered to 1-of-3",
            &[good(&[1, 2, 3], 2, &[1, 2]), good(&[1, 2, 3], 1, &[1, 2]), good(&[1, 2, 3], 1, &[1])],
        ),
        ("1-of-1 raised to 2-of-2", &[good(&[1], 1, &[1]), good(&[1, 2], 2, &[1, 2])]),
        ("not signed with the old key", &[good(&[1], 1, &[1]), bad(&[2], 1, &[2, 3, 4])]),
        ("not signed with the new key", &[good(&[1], 1, &[1]), bad(&[2], 1, &[1, 3, 4])]),
        ("not signed with 3 new keys", &[good(five, 3, &[0, 2, 4]), bad(rotated, 3, &[0, 2, 4])]),
        ("not signed with 3 old keys", &[good(five, 3, &[0, 2, 4]), bad(rotated, 3, &[0, 4, 5])]),
        ("the new threshold not reached", &[good(&[1, 2, 3], 1, &[1]), bad(&[1, 2, 3], 2, &[2])]),
        ("the old threshold not reached", &[good(&[1, 2, 3], 2, &[1, 2]), bad(&[1, 2, 3], 1, &[1])]),
    ];
    for (name, versions) in cases {
        let mut held: Option<TrustedRoot> = None;
        for (number, version) in versions.iter().enumerate() {
            let root = root_of(number as u64 + 1, version);
            let signed = signed(DocumentKind::Root, &root, &seeds(version.signed_by));
            let next = match &held {
                None => TrustedRoot::first(&signed, &signed.digest()),
                Some(held) => held.advance(&signed),
            };
            assert_eq!(next.is_ok(), version.followed, "{name}, root {}: {next:?}", number + 1);
            held = next.ok().or(held);
        }
    }
}

#[test]
fn what_a_root_is_asked_about_counts_different_listed_keys_only() {
    let five = &[0, 1, 2, 3, 4];
    let rotated = &[0, 1, 3, 4, 5];
    let cases = [
        ("the new key signed", good(&[2], 1, &[2])),
        ("and others beside it", good(&[1], 1, &[3, 1, 4])),
        ("only others", bad(&[2], 1, &[1, 3, 4])),
        ("one of three is not listed", bad(rotated, 3, &[0, 2, 4])),
        ("one of three is missing", bad(rotated, 3, &[0, 4])),
        ("one of three signed twice", bad(five, 3, &[0, 4, 4])),
        ("any three of five", good(five, 3, &[2, 3, 4])),
    ];
    for (name, version) in cases {
        let mut root = root_of(1, &version);
        root.thresholds.roster = version.threshold;
        let all: Vec<u8> = version.keys.to_vec();
        let trusted = {
            let signed = signed(DocumentKind::Root, &root, &seeds(&all));
            TrustedRoot::first(&signed, &signed.digest()).unwrap()
        };
        let roster = signed(DocumentKind::Roster, &roster(), &seeds(version.signed_by));
        let verified = trust::roster(&trusted, None, &roster, now());
        assert_eq!(verified.is_ok(), version.followed, "{name}: {verified:?}");
    }
}
