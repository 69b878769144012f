//! `hostler-demo` from its first line to its last, through the front door.

#![allow(clippy::unwrap_used, reason = "a test may end by panic, in its helpers too")]

#[path = "player/demo.rs"]
mod player;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hostler_fixtures::case;
use player::{Player, of_kind};

/// The last line of a whole run, judged.
fn judge(last: &serde_json::Value, nodes: u64) {
    assert_eq!(last["event"], "demo_finished", "{last}");
    assert_eq!(last["enrolled"], nodes);
    assert_eq!(last["facts_reported"], nodes);
    assert_eq!(last["rollouts"], serde_json::json!({"finished": 6, "halted": 1}));
    assert_eq!(last["outcomes"]["failed"], 1, "exactly the node that came back on the old version: {last}");
    assert_eq!(last["refused"], 10 * nodes);
    let (four, one) = (4 * nodes, nodes);
    let refusals = serde_json::json!({"bad_signature": four, "replay": four, "expired": one, "order_not_met": one});
    assert_eq!(last["refusals"], refusals);
    assert_eq!(last["obeyed"], 0);
    assert_eq!(last["reboots"], 1);
    assert_eq!(last["version_after"], "v1.34.4+k3s1");
    let outcomes = last["outcomes"].as_object().unwrap();
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["failed", "succeeded"]);
    assert_eq!(last["tasks_verified"], outcomes["succeeded"]);
}

#[test]
fn eight_raspberry_pis_live_through_their_life_and_stock_ssh_keygen_confirms_every_document() {
    let out = tempfile::tempdir().unwrap();
    let mut player = Player::start(&["--seed", "1", "--out", out.path().to_str().unwrap()]);
    let events = player.play_to_the_end();
    judge(events.last().unwrap(), 8);
    assert_eq!(of_kind(&events, "process_ended").count(), 0, "no process fell over by itself");
    let stopped = of_kind(&events, "rollout_ended").find(|e| e["state"] == "halted").unwrap();
    let why = stopped["sentence"].as_str().unwrap();
    assert!(why.contains("came back on the old version: expected v1.34.4+k3s1, found v1.34.3+k3s1"), "{why}");
    let waits = of_kind(&events, "node_does").filter(|e| e["state"] == "waiting");
    assert!(waits.clone().count() > 0);
    for wait in waits {
        assert!(wait["sentence"].as_str().unwrap().len() > "waits: ".len(), "every wait has a reason: {wait}");
    }
    let held = of_kind(&events, "node_does").any(|e| e["sentence"].as_str().unwrap().contains("budget shop/web holds"));
    assert!(held, "a drain that a budget holds says which");
    assert!(!player.left_behind(), "the folder of the run is gone");
    a_flaw_of_the_ledger_is_named(&out.path().join("ledger"));
    receipts_name_heads_of_the_ledger(out.path());
    every_signature_verifies(out.path(), 8);
}

#[test]
fn another_seed_is_another_story_with_the_same_end() {
    let small = tempfile::tempdir().unwrap();
    let fleet = player::small_fleet(small.path());
    let failed = |seed: &str| {
        let mut player = Player::start(&["--seed", seed, "--fleet", fleet.to_str().unwrap()]);
        let events = player.play_to_the_end();
        judge(events.last().unwrap(), 5);
        let quarantined = of_kind(&events, "quarantine_released").next().unwrap();
        quarantined["node"].as_str().unwrap().to_owned()
    };
    assert_ne!(failed("2"), failed("3"), "the seed says which node fails");
}

#[test]
fn a_rollout_passes_a_node_with_forty_volumes_of_pods_and_waits_for_one_whose_disk_is_full() {
    let small = tempfile::tempdir().unwrap();
    let fleet = player::small_fleet(small.path());
    let start = |case: &str| {
        let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../facts/tests/cases").join(case);
        let machine = case::steps(&case).remove(0).lay_out();
        let of_w4 = format!("w4={}", machine.path().display());
        let arguments = ["--seed", "2", "--fleet", fleet.to_str().unwrap(), "--machine", &of_w4];
        (Player::start(&arguments), machine)
    };
    let (mut player, _machine) = start("forty-volumes-of-pods");
    let events = player.play_to_the_end();
    judge(events.last().unwrap(), 5);
    let facts = of_kind(&events, "facts_reported").find(|e| e["node"] == "w4").unwrap();
    assert!(facts["series"].as_u64().unwrap() > 300, "those of the recorded machine: {facts}");
    let (mut player, _machine) = start("kubelet-folder-full");
    let why = std::iter::from_fn(|| player.next()).find_map(|event| {
        let sentence = event["sentence"].as_str()?;
        sentence.contains("disk_space /var/lib/kubelet").then(|| sentence.to_owned())
    });
    assert!(why.unwrap().contains("99.7 %"));
    player.terminate();
}

#[test]
fn a_rollout_waits_while_a_supply_is_weak_and_goes_on_when_it_is_good_again() {
    // Eight nodes: the upgrade of fewer may be over before the reports show the sag.
    let mut player = Player::start(&["--seed", "4", "--undervoltage", "pi-8"]);
    let events = player.play_to_the_end();
    judge(events.last().unwrap(), 8);
    let at = |fits: &dyn Fn(&serde_json::Value) -> bool| events.iter().position(fits);
    let begins = at(&|e| e["event"] == "supply_changed").unwrap();
    let waits =
        at(&|e| e["event"] == "node_does" && e["sentence"].as_str().unwrap().contains("pi-8 is critical since"));
    let good = events.iter().rposition(|e| e["event"] == "supply_changed").unwrap();
    let ended = at(&|e| e["event"] == "rollout_ended" && e["seq"] == 3).unwrap();
    assert!(begins < waits.expect("it says why it waits"));
    let why = events[waits.unwrap()]["sentence"].as_str().unwrap();
    for part in ["waits because", "input voltage is ", "limit ", "supply", "it counts as good after 2 s without it"] {
        assert!(why.contains(part), "expected {part:?} in {why:?}");
    }
    assert!(waits.unwrap() < good && good < ended, "and goes on only afterwards");
    let drained_while_weak = events[waits.unwrap()..good]
        .iter()
        .filter(|e| e["event"] == "task_ended" && e["task"].as_str().unwrap().ends_with(".drain"));
    assert!(drained_while_weak.count() <= 1, "no further node is taken out of service");
}

#[test]
fn an_interrupted_demo_leaves_no_process_and_no_folder_behind() {
    let mut player = Player::start(&[]);
    while player.next().unwrap()["event"] != "enrolled" {}
    let pids = player.pids.clone();
    assert_eq!(pids.len(), 9, "a coordinator and eight agents");
    player.terminate();
    let alive = |pid: i32| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while pids.values().any(|pid| alive(*pid)) {
        assert!(std::time::Instant::now() < until, "processes of the demo outlive it");
        std::thread::yield_now();
    }
    assert!(!player.left_behind());
}

#[test]
fn what_the_demo_cannot_play_or_keep_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet.toml");
    let runs = tempfile::Builder::new().prefix("hd-").tempdir_in("/tmp").unwrap();
    let demo = |arguments: &[&str]| {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_hostler-demo"));
        demo.args(arguments).env("TMPDIR", runs.path()).stdin(Stdio::null()).output().unwrap()
    };
    let cases = [
        ("name = \"x\"\ndistribution = \"k3s\"\n", "version"),
        ("naem = \"x\"\n", "naem"),
        (player::SMALL_FLEET.split("[[nodes]]\nname = \"w2\"").next().unwrap(), "one server and 3 to 63 workers"),
    ];
    for (text, expected) in cases {
        fs::write(&file, text).unwrap();
        let output = demo(&["--json", "--fleet", file.to_str().unwrap()]);
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected), "{said}");
    }
    let output = demo(&["--undervoltage", "pi-99"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("expected a node pi-99"));
    let output = demo(&["--fleet", "/nonexistent/fleet.toml"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot read the fleet file"));
    let output = demo(&["--out", folder.path().to_str().unwrap()]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("to be new or empty, found files in it"));
    assert_eq!(fs::read_dir(runs.path()).unwrap().count(), 0, "a refusal leaves nothing behind");
}

fn a_flaw_of_the_ledger_is_named(ledger: &Path) {
    let bytes = fs::read(ledger).unwrap();
    assert!(hostler_cli::ledger::verify(&bytes, None).is_ok());
    let line = bytes.split_inclusive(|b| *b == b'\n').take(20).map(<[u8]>::len).sum::<usize>();
    let mut edited = bytes.clone();
    edited[line + 100] ^= 1;
    let flaw = hostler_cli::ledger::verify(&edited, None).unwrap_err();
    assert!(format!("{flaw}{flaw:?}").contains("record 20") || format!("{flaw:?}").contains("index: 20"), "{flaw:?}");
}

/// Each node signs which ledger it was shown: on a whole ledger the auditor has nothing to say about it.
fn receipts_name_heads_of_the_ledger(out: &Path) {
    let receipts = files(&out.join("receipts")).into_iter().filter(|p| p.extension().is_some_and(|e| e == "json"));
    let mut named = 0;
    for file in receipts {
        let receipt: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        // One that a restarted executor signs before its next stream names none.
        named += u64::from(receipt["holds"]["head"]["next_index"].as_u64().is_some_and(|records| records > 0));
    }
    assert!(named >= 55, "only {named} receipts name a head");
    let report = hostler_cli::ledger::verify(&fs::read(out.join("ledger")).unwrap(), None).unwrap();
    assert!(!report.notes.iter().any(|note| note.contains("two ledgers")), "{:?}", report.notes);
}

/// Every document through the judge that everybody has.
fn every_signature_verifies(out: &Path, nodes: usize) {
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        println!("skipped: no ssh-keygen on this machine");
        return;
    }
    let allowed = out.join("allowed_signers");
    let mut verified = 0;
    let documents = files(out).into_iter().filter(|p| p.extension().is_some_and(|e| e == "json")).collect::<Vec<_>>();
    for document in &documents {
        let namespace = namespace(out, document);
        let signatures = files(document.parent().unwrap()).into_iter().filter(|file| {
            let name = file.file_name().unwrap().to_str().unwrap();
            name.starts_with(&format!("{}.sig", document.file_name().unwrap().to_str().unwrap()))
        });
        for signature in signatures {
            let principal = principal(&allowed, &signature, document);
            let status = Command::new("ssh-keygen")
                .args(["-Y", "verify", "-n", namespace, "-I", &principal, "-f"])
                .arg(&allowed)
                .arg("-s")
                .arg(&signature)
                .stdin(fs::File::open(document).unwrap())
                .output()
                .unwrap();
            assert!(status.status.success(), "{}: {status:?}", signature.display());
            verified += 1;
        }
    }
    // A root, two admissions, a roster, two signatures per enrolment, seven plans, and a receipt for every task.
    assert!(verified >= 1 + 2 + 1 + 2 * nodes + 7 + 60, "only {verified} signatures");
    let changed = out.join("plans/3-upgrade.plan.json");
    let mut bytes = fs::read(&changed).unwrap();
    bytes[10] ^= 1;
    fs::write(&changed, bytes).unwrap();
    let status = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-n", "hostler-plan", "-I", "demo-admin", "-f"])
        .arg(&allowed)
        .arg("-s")
        .arg(changed.with_extension("json.sig"))
        .stdin(fs::File::open(&changed).unwrap())
        .output()
        .unwrap();
    assert!(!status.status.success(), "the judge can say no");
}

fn principal(allowed: &Path, signature: &Path, document: &Path) -> String {
    let output = Command::new("ssh-keygen")
        .args(["-Y", "find-principals", "-f"])
        .arg(allowed)
        .arg("-s")
        .arg(signature)
        .stdin(fs::File::open(document).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {output:?}", signature.display());
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
}

fn namespace(out: &Path, document: &Path) -> &'static str {
    let name = document.strip_prefix(out).unwrap().to_str().unwrap().to_owned();
    let kinds = [
        ("root-", "hostler-root"),
        ("roster-", "hostler-roster"),
        ("admissions/", "hostler-admission"),
        ("enrolments/", "hostler-enrolment"),
        ("plans/", "hostler-plan"),
        ("receipts/", "hostler-receipt"),
        ("decisions/", "hostler-decision"),
    ];
    kinds.iter().find(|(prefix, _)| name.starts_with(prefix)).unwrap_or_else(|| panic!("{name}")).1
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}
