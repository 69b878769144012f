//! Signing and judging plans on files: what stock ssh-keygen says, thresholds, and everything that is not a plan.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use crate::fleet::{Fleet, anna, bert, otto, sign, write_key};
use hostler_cli::file::{read_document, signature_path, write_document};
use hostler_fixtures::key;
use hostler_plan::{
    document::{DocumentKind, Plan, PlanKind, Signed},
    id::{Digest, Epoch, FleetId, Seq},
    json,
    refusal::Refusal,
    step::{StageArtifact, Step},
    timestamp::Timestamp,
};

/// A profile with a fleet, and the command run in it.
struct Profile {
    folder: tempfile::TempDir,
    fleet: Fleet,
}

impl Profile {
    fn new(threshold_plan: u32) -> Self {
        let (folder, fleet) = (tempfile::tempdir().unwrap(), Fleet::new(threshold_plan));
        fleet.hold(folder.path());
        for (name, key) in [("anna", anna()), ("bert", bert()), ("otto", otto()), ("eve", key(99))] {
            write_key(folder.path(), name, &key);
        }
        Self { folder, fleet }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, who: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hostler"))
            .env_clear()
            .current_dir(self.folder.path())
            .env("HOSTLER_HOME", ".")
            .env("HOSTLER_KEY", who)
            .env("HOSTLER_COORDINATOR", "127.0.0.1:1")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn write_plan(&self, change: impl FnOnce(&mut Plan)) -> PathBuf {
        let path = self.path("1.plan.json");
        let bytes = json::write(&self.fleet.plan(1, change));
        write_document(&path, &Signed { bytes, signatures: Vec::new() }).unwrap();
        path
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ssh_keygen_accepts(profile: &Profile, document: &Path, signature: &Path, principal: &str) -> bool {
    let allowed = profile.run("anna", &["trust", "show", "--allowed-signers"]).stdout;
    std::fs::write(profile.path("allowed_signers"), allowed).unwrap();
    let mut child = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", principal, "-n", "hostler-plan", "-f"])
        .arg(profile.path("allowed_signers"))
        .arg("-s")
        .arg(signature)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(document).unwrap()).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn two_people_sign_and_ssh_keygen_accepts_both_by_the_files_of_trust_show() {
    let profile = Profile::new(2);
    let plan = profile.write_plan(|_| {});
    let first = profile.run("anna", &["sign", "1.plan.json", "--yes"]);
    assert!(first.status.success(), "{}", stderr(&first));
    let summary = stderr(&first);
    for expected in ["prove the way", "steps 1    host.noop", "a.check on a about a: steps 1", "valid", "needs 2"] {
        assert!(summary.contains(expected), "{expected} is missing:\n{summary}");
    }
    assert!(String::from_utf8_lossy(&first.stdout).contains("by 1 signer more"));
    let again = profile.run("anna", &["sign", "1.plan.json", "--yes"]);
    assert_eq!(again.status.code(), Some(2), "every key counts once: {}", stderr(&again));
    let second = profile.run("bert", &["sign", "1.plan.json", "--yes", "--output", "json"]);
    assert!(second.status.success(), "{}", stderr(&second));
    let json: serde_json::Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(json["signed_by"], serde_json::json!(["anna", "bert"]));
    assert!(ssh_keygen_accepts(&profile, &plan, &signature_path(&plan, 1), "anna"));
    assert!(ssh_keygen_accepts(&profile, &plan, &signature_path(&plan, 2), "bert"));
    assert!(!ssh_keygen_accepts(&profile, &plan, &signature_path(&plan, 2), "anna"));
}

#[test]
fn an_operator_signs_a_drain_but_no_upgrade_and_a_stranger_nothing() {
    let profile = Profile::new(1);
    profile.write_plan(|_| {});
    assert!(profile.run("otto", &["sign", "1.plan.json", "--yes"]).status.success());
    let plan = profile.write_plan(|p| p.kind = PlanKind::Upgrade);
    let refused = profile.run("otto", &["sign", "1.plan.json", "--yes"]);
    assert_eq!(refused.status.code(), Some(i32::from(Refusal::NotAllowed.exit_code())), "{}", stderr(&refused));
    assert!(!signature_path(&plan, 1).exists(), "a refusal leaves no signature");
    let stranger = profile.run("eve", &["sign", "1.plan.json", "--yes"]);
    assert_eq!(stranger.status.code(), Some(i32::from(Refusal::BadSignature.exit_code())), "{}", stderr(&stranger));
    assert!(!signature_path(&plan, 1).exists());
    assert!(profile.run("anna", &["sign", "1.plan.json", "--yes"]).status.success());
}

#[test]
fn without_a_terminal_nothing_is_signed_unasked() {
    let profile = Profile::new(1);
    let plan = profile.write_plan(|_| {});
    let out = profile.run("anna", &["sign", "1.plan.json"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("--yes"));
    assert!(!signature_path(&plan, 1).exists());
}

type BadPlan = (&'static str, Refusal, &'static str, Box<dyn Fn(&mut Plan)>);

/// Every bad plan: what is wrong with it, the refusal, and a word that its message must have.
#[test]
fn bad_plans_are_refused_by_name_and_get_no_signature() {
    let later = |seconds| crate::fleet::now().plus(Duration::from_secs(seconds));
    let past = Timestamp::from_unix_seconds(1_000_000_000);
    let cases: Vec<BadPlan> = vec![
        (
            "another fleet",
            Refusal::WrongFleet,
            "fleet",
            Box::new(|p| p.fleet_id = FleetId::new("f".repeat(32)).unwrap()),
        ),
        ("another epoch", Refusal::Replay, "epoch", Box::new(|p| p.epoch = Epoch(0))),
        (
            "expired",
            Refusal::Expired,
            "expired",
            Box::new(move |p| (p.created, p.not_before, p.expires) = (past, past, past.plus(Duration::from_secs(60)))),
        ),
        ("lives too long", Refusal::Expired, "lifetime", Box::new(move |p| p.expires = later(90_000))),
        ("an unlisted target", Refusal::NotATarget, "a", Box::new(|p| p.targets[0].key = p.targets[1].key.clone())),
        (
            "no artifact for a step",
            Refusal::Malformed,
            "artifact",
            Box::new(|p| {
                p.kind = PlanKind::Upgrade;
                p.tasks[0].steps = vec![Step::StageArtifact(StageArtifact {
                    artifact: hostler_plan::id::ArtifactName::new("k3s").unwrap(),
                })];
            }),
        ),
    ];
    for (name, refusal, word, change) in cases {
        let profile = Profile::new(1);
        let plan = profile.write_plan(|p| change(p));
        let out = profile.run("anna", &["sign", "1.plan.json", "--yes"]);
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(i32::from(refusal.exit_code())), "{name}: {message}");
        assert!(message.contains(word), "{name}: {message}");
        assert!(!signature_path(&plan, 1).exists(), "{name}");
    }
}

#[test]
fn bytes_that_are_no_plan_are_refused() {
    let profile = Profile::new(1);
    let good = json::write(&profile.fleet.plan(1, |_| {}));
    let text = String::from_utf8(good.clone()).unwrap();
    let trailing = [good.as_slice(), b"{}"].concat();
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("trailing bytes", trailing, "trailing"),
        ("a key twice", text.replacen("\"seq\": 1", "\"seq\": 1, \"seq\": 2", 1).into_bytes(), "twice"),
        ("an unknown key", text.replacen("\"seq\": 1", "\"seq\": 1, \"shell\": \"id\"", 1).into_bytes(), "shell"),
        ("a fraction", text.replacen("\"seq\": 1", "\"seq\": 1.5", 1).into_bytes(), "integer"),
        (
            "a missing digest",
            text.replacen(&format!("\"roster\": \"{}\",", profile.fleet.roster.digest()), "", 1).into_bytes(),
            "roster",
        ),
    ];
    for (name, bytes, word) in cases {
        write_document(&profile.path("1.plan.json"), &Signed { bytes, signatures: Vec::new() }).unwrap();
        let out = profile.run("anna", &["sign", "1.plan.json", "--yes"]);
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(i32::from(Refusal::Malformed.exit_code())), "{name}: {message}");
        assert!(message.contains(word), "{name}: {message}");
    }
}

#[test]
fn signatures_that_are_not_canonical_or_not_over_these_bytes_are_refused() {
    let profile = Profile::new(2);
    let signed = sign(DocumentKind::Plan, json::write(&profile.fleet.plan(1, |_| {})), &[anna()]);
    let armour = signed.signatures[0].clone();
    let mut flipped = signed.bytes.clone();
    let at = flipped.windows(5).position(|w| w == b"prove").unwrap();
    flipped[at] ^= 0x20;
    let wrong_namespace = sign(DocumentKind::Roster, signed.bytes.clone(), &[anna()]).signatures;
    let cases: [(&str, Signed, &str); 4] = [
        ("one flipped byte", Signed { bytes: flipped, signatures: vec![armour.clone()] }, "does not verify"),
        ("CRLF", Signed { signatures: vec![armour.replace('\n', "\r\n")], ..signed.clone() }, "CRLF"),
        ("text before", Signed { signatures: vec![format!("x\n{armour}")], ..signed.clone() }, "first armour line"),
        ("another namespace", Signed { signatures: wrong_namespace, ..signed.clone() }, "hostler-plan"),
    ];
    for (name, document, word) in cases {
        write_document(&profile.path("1.plan.json"), &document).unwrap();
        let out = profile.run("bert", &["sign", "1.plan.json", "--yes"]);
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(i32::from(Refusal::BadSignature.exit_code())), "{name}: {message}");
        assert!(message.contains(word), "{name}: {message}");
    }
}

#[test]
fn a_huge_plan_is_not_read() {
    let profile = Profile::new(1);
    std::fs::File::create(profile.path("1.plan.json")).and_then(|f| f.set_len(1 << 30)).unwrap();
    let out = profile.run("anna", &["sign", "1.plan.json", "--yes"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("1048576"), "{}", stderr(&out));
}

#[test]
fn a_damaged_held_root_is_refused_and_says_where() {
    let profile = Profile::new(1);
    let path = profile.path("trust/root-1.json");
    let text = std::fs::read_to_string(&path).unwrap().replacen("\"epoch\": 1", "\"epoch\": 2", 1);
    std::fs::write(&path, text).unwrap();
    let out = profile.run("anna", &["trust", "show"]);
    assert_eq!(out.status.code(), Some(i32::from(Refusal::DamagedState.exit_code())));
    assert!(stderr(&out).contains("root-1.json"), "{}", stderr(&out));
}

#[test]
fn a_root_is_imported_only_by_its_digest() {
    let profile = Profile::new(1);
    let digest = profile.fleet.root.digest().to_string();
    let import = |digest: &str| {
        profile.run("anna", &["--home", "other", "trust", "import", "trust/root-1.json", "--digest", digest])
    };
    let wrong = import(&Digest::of(b"another root").to_string());
    assert_eq!(wrong.status.code(), Some(i32::from(Refusal::DigestMismatch.exit_code())), "{}", stderr(&wrong));
    assert!(!profile.path("other/trust").exists());
    let right = import(&digest);
    assert!(right.status.success(), "{}", stderr(&right));
    assert!(String::from_utf8_lossy(&right.stdout).contains(&digest));
    let other_home = profile.run("anna", &["--home", "other", "trust", "show", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&other_home.stdout).unwrap();
    assert_eq!(json["first_root"].as_str(), Some(digest.as_str()));
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_to_do() {
    let profile = Profile::new(1);
    let cases: [(&[&str], &str); 6] = [
        (&["upgrade"], "--to"),
        (&["upgrade", "--to", "latest"], "v1.34.3+k3s1"),
        (&["drain", "Pi_3"], "a-z, 0-9"),
        (&["token", "create", "--ttl", "soon"], "15m"),
        (&["trust", "init", "--setup-code", "hello"], "hostlersetup1."),
        (&["--home", "empty", "nodes"], "hostler trust init"),
    ];
    for (arguments, word) in cases {
        let out = profile.run("anna", arguments);
        let message = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(word), "{arguments:?}: {message}");
    }
    let out = profile.run("anna", &["nodes", "--output", "json"]);
    assert_eq!(out.status.code(), Some(1), "nobody listens on port 1");
    let error: serde_json::Value = serde_json::from_str(stderr(&out).trim()).unwrap();
    assert_eq!(error["error"], "unreachable");
}

#[test]
fn every_problem_of_a_fleet_file_is_named_with_its_place() {
    let profile = Profile::new(1);
    let good = "name = \"home\"\ndistribution = \"k3s\"\nversion = \"v1.34.3+k3s1\"\napi = \"192.168.1.10:6443\"\n\
        [[nodes]]\nname = \"a\"\nrole = \"server\"\narch = \"aarch64\"\n[[nodes]]\nname = \"b\"\nrole = \"worker\"\n\
        arch = \"aarch64\"\n";
    let check = |text: &str| {
        std::fs::write(profile.path("fleet.toml"), text).unwrap();
        let out = profile.run("anna", &["fleet", "check", "fleet.toml"]);
        (out.status.code(), stderr(&out))
    };
    assert_eq!(check(good).0, Some(0));
    let cases = [
        ("a typo in a key", good.replace("version =", "verison ="), "verison"),
        ("a duplicate node", good.replace("name = \"b\"", "name = \"a\""), "a"),
        (
            "two first servers",
            good.replace("role = \"worker\"", "role = \"server\"\nfirst = true")
                .replace("role = \"server\"\narch", "role = \"server\"\nfirst = true\narch"),
            "first",
        ),
        ("an unknown version form", good.replace("v1.34.3+k3s1", "latest"), "latest"),
        ("broken TOML", good.replace("[[nodes]]", "[[nodes]"), "fleet.toml:"),
    ];
    for (name, text, word) in cases {
        let (code, message) = check(&text);
        assert_eq!(code, Some(1), "{name}: {message}");
        assert!(message.contains(word) && message.contains("fleet.toml"), "{name}: {message}");
    }
}

#[test]
fn a_root_is_shown_with_its_meaning_and_signed_only_where_it_follows() {
    let profile = Profile::new(1);
    let root: hostler_plan::document::Root = json::parse(&profile.fleet.root.bytes).unwrap();
    let write = |change: &dyn Fn(&mut hostler_plan::document::Root)| {
        let mut next = root.clone();
        next.version = 2;
        change(&mut next);
        write_document(&profile.path("root-2.json"), &Signed { bytes: json::write(&next), signatures: Vec::new() })
            .unwrap();
    };
    let otto_goes = |r: &mut hostler_plan::document::Root| drop(r.signers.pop());
    let two = |r: &mut hostler_plan::document::Root| r.thresholds.root = 2;
    write(&|r| (otto_goes(r), two(r)).1);
    let first = profile.run("anna", &["sign", "root-2.json", "--yes"]);
    let said = stderr(&first);
    assert!(first.status.success(), "{said}");
    for expected in ["otto is no signer any more", "a root needs 2 of 2 keys instead of 1", "signed by nobody yet"] {
        assert!(said.contains(expected), "{expected} is missing:\n{said}");
    }
    assert!(String::from_utf8_lossy(&first.stdout).contains("by others"), "one key is not two");
    assert_eq!(profile.run("anna", &["sign", "root-2.json", "--yes"]).status.code(), Some(2), "every key counts once");
    let second = profile.run("bert", &["sign", "root-2.json", "--yes"]);
    assert!(String::from_utf8_lossy(&second.stdout).contains("next: hostler submit root-2.json"));
    let read = read_document(DocumentKind::Root, &profile.path("root-2.json")).unwrap();
    let held = hostler_plan::trust::TrustedRoot::first(&profile.fleet.root, &profile.fleet.root.digest()).unwrap();
    held.advance(&read).unwrap();

    let refused = |who: &str, change: &dyn Fn(&mut hostler_plan::document::Root), refusal: Refusal| {
        write(change);
        let out = profile.run(who, &["sign", "root-2.json", "--yes"]);
        assert_eq!(out.status.code(), Some(i32::from(refusal.exit_code())), "{}", stderr(&out));
        assert!(!signature_path(&profile.path("root-2.json"), 1).exists(), "a refusal leaves no signature");
    };
    refused("otto", &|_| (), Refusal::NotAllowed);
    refused("eve", &|_| (), Refusal::BadSignature);
    refused("anna", &|r| r.expires = Timestamp::from_unix_seconds(1_000_000_000), Refusal::Expired);
    refused("anna", &|r| r.epoch = Epoch(0), Refusal::RootChain);
    refused("anna", &|r| r.thresholds.root = 3, Refusal::Malformed);
    refused("anna", &|r| r.signers.drain(..2).for_each(drop), Refusal::Malformed);
}

/// It would be kept for the plan, and no later plan of the profile would have a place above it.
#[test]
fn a_plan_with_a_number_that_nobody_follows_is_not_signed_and_takes_no_number() {
    let profile = Profile::new(2);
    let plan = profile.write_plan(|p| p.seq = Seq(20_000));
    let refused = profile.run("anna", &["sign", "1.plan.json", "--yes"]);
    assert_eq!(refused.status.code(), Some(i32::from(Refusal::Replay.exit_code())), "{}", stderr(&refused));
    assert!(!signature_path(&plan, 1).exists());
    assert!(!profile.path("trust/reserved").exists());
    let near = profile.write_plan(|p| p.seq = Seq(9_999));
    let signed = profile.run("anna", &["sign", "1.plan.json", "--yes"]);
    assert!(signed.status.success() && signature_path(&near, 1).exists(), "{}", stderr(&signed));
}
