//! Roots after the first, made by command: what a node still takes, and from whom.

use std::collections::BTreeMap;

use hostler_cli::{node, root};
use hostler_plan::{
    document::{DocumentKind, SignatureThresholds},
    trust::{Amendment, Draft},
};
use hostler_proto::{status::to_refused, v1};

use super::*;

/// One go for an admin whose key alone suffices, or for all of these together.
async fn amend(signers: &[&Admin], changes: &[Amendment]) -> Signed {
    let amended = root::amend(signers[0], changes, now()).unwrap();
    let mut draft = Draft::root(Signed { bytes: amended.bytes, signatures: Vec::new() }).unwrap();
    for admin in signers {
        root::sign(admin.trust_store(), admin.signer(), &mut draft, now()).unwrap();
    }
    draft.signed().clone()
}

/// An admin whose key alone suffices.
pub(crate) async fn amend_and_submit(admin: &mut Admin, changes: &[Amendment]) {
    let next = amend(&[admin], changes).await;
    submit_root(admin, &next).await.unwrap();
}

fn sign_root(admin: &Admin, signed: &Signed) -> Result<String, Error> {
    let mut draft = Draft::root(signed.clone())?;
    Ok(root::sign(admin.trust_store(), admin.signer(), &mut draft, now())?.0)
}

async fn submit_root(admin: &mut Admin, signed: &Signed) -> Result<bool, Error> {
    root::submit(admin, &Draft::root(signed.clone())?).await
}

fn signed_plan(compiled: &CompiledPlan, signers: &[&Admin]) -> Signed {
    let sign = |admin: &&Admin| admin.signer().sign(DocumentKind::Plan, &compiled.bytes).unwrap();
    Signed { bytes: compiled.bytes.clone(), signatures: signers.iter().map(sign).collect() }
}

/// Hands a plan in without looking at it first, as a stranger's program would.
async fn hand_in(admin: &mut Admin, plan: &Signed) -> Result<(), Refusal> {
    let message = admin.with_session(plan.clone().into());
    let answer = admin.client().submit_plan(message).await;
    answer.map(drop).map_err(|status| to_refused(&status).expect("a refusal").refusal)
}

/// Waits until s1 has refused this document for that reason. A grant for a plan that it refused is refused too.
async fn refused_by_s1(admin: &mut Admin, document: &Signed, refusal: Refusal, words: &str) {
    let digest = document.digest().to_string();
    let wait = async {
        loop {
            let detail = node::get(admin, &NodeName::new("s1").unwrap()).await.unwrap();
            let mut refusals = detail.refusals.into_iter().filter(|r| r.document == digest);
            if refusals.any(|r| r.refusal() == refusal.into() && r.reason.contains(words)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("s1 refuses it");
}

#[tokio::test]
async fn a_node_refuses_a_revoked_key_and_an_old_epoch_whatever_the_coordinator_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna_profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert_profile = profile(folder, "bert", coordinator.ports.0);
    import(&anna_profile, &bert_profile);
    let mut anna = connect(&anna_profile).await.unwrap();
    enrol_s1(folder, &mut anna).await;
    connect(&bert_profile).await.unwrap();
    let old_plan = signed_plan(&compile_check(&mut anna).await, &[&anna]);
    let ports = coordinator.end().await;
    copy(&data, &folder.join("yesterday"));

    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut anna = connect(&anna_profile).await.unwrap();
    let bert_key = read_public_key(&folder.join("bert.pub")).unwrap().fingerprint();
    let two = amend(&[&anna], &[Amendment::Revoke(bert_key)]).await;
    assert!(submit_root(&mut anna, &two).await.unwrap());
    assert!(!submit_root(&mut anna, &two).await.unwrap(), "twice is once");
    assert!(anna.trust_store().lapsed().is_none(), "anna signed the roster");
    let bert = connect(&bert_profile).await.expect_err("bert is not let in any more");
    assert!(bert.to_string().contains("which is revoked"), "{bert}");
    let three = amend(&[&anna], &[Amendment::RaiseEpoch]).await;
    submit_root(&mut anna, &three).await.unwrap();
    assert!(anna.trust_store().roster().is_none() && anna.trust_store().lapsed().is_some());
    assert_eq!(hand_in(&mut anna, &old_plan).await, Err(Refusal::Replay), "the coordinator follows too");
    roster::renew(&mut anna, now()).await.unwrap();
    // The plan of the new epoch was made under root 3: s1 runs it, so s1 holds root 3.
    let compiled = compile_check(&mut anna).await;
    assert_eq!((compiled.plan.seq, compiled.plan.root_version), (Seq(1), 3));
    let mut signed = Signed { bytes: compiled.bytes, signatures: Vec::new() };
    sign(&anna, &mut signed);
    let submitted = submit(&mut anna, &signed).await.unwrap();
    assert_eq!(watch(&mut anna, submitted.seq).await.proved.len(), 1);
    coordinator.end().await;

    // A coordinator from before: it knows root 1 alone, lets bert in, and offers the node what he signs.
    let coordinator = Coordinator::start(&folder.join("yesterday"), Some(ports)).await;
    let mut bert = connect(&bert_profile).await.unwrap();
    hand_in(&mut bert, &old_plan).await.unwrap();
    refused_by_s1(&mut bert, &old_plan, Refusal::Replay, "expected a plan of epoch 2, found plan 1 of epoch 1").await;
    let his = signed_plan(&compile_check(&mut bert).await, &[&bert]);
    hand_in(&mut bert, &his).await.unwrap();
    refused_by_s1(&mut bert, &his, Refusal::Revoked, "found the revoked key").await;
    coordinator.end().await;
}

#[tokio::test]
async fn two_of_two_means_two_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna_profile = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert_profile = profile(folder, "bert", coordinator.ports.0);
    import(&anna_profile, &bert_profile);
    let mut anna = connect(&anna_profile).await.unwrap();
    enrol_s1(folder, &mut anna).await;
    let mut bert = connect(&bert_profile).await.unwrap();

    let both = Amendment::Thresholds(SignatureThresholds {
        root: 2,
        admission: 1,
        roster: 1,
        plan: 2,
        plan_kinds: BTreeMap::new(),
    });
    let mut two = amend(&[&anna], &[both]).await;
    assert_eq!(refusal(submit_root(&mut anna, &two).await), Refusal::Threshold);
    let again = sign_root(&anna, &two).expect_err("once a key");
    assert_eq!(again.exit_code(), 2, "{again}");
    two.signatures.push(two.signatures[0].clone());
    let request = v1::InstallRootRequest { root: Some(two.clone().into()), setup_code: String::new() };
    let message = anna.with_session(request);
    let status = anna.client().install_root(message).await.expect_err("the coordinator counts keys");
    assert_eq!(to_refused(&status).unwrap().refusal, Refusal::Threshold);
    two.signatures.pop();
    two.signatures.push(sign_root(&bert, &two).unwrap());
    submit_root(&mut anna, &two).await.unwrap();

    let compiled = compile_check(&mut anna).await;
    let (twice, both) = (signed_plan(&compiled, &[&anna, &anna]), signed_plan(&compiled, &[&anna, &bert]));
    assert_eq!(hand_in(&mut anna, &twice).await, Err(Refusal::Threshold));
    let submitted = submit(&mut anna, &both).await.unwrap();
    assert_eq!(watch(&mut anna, submitted.seq).await.proved.len(), 1);

    // From now on a root needs both as well, and a plan that is on its way ends with its signers.
    bert.refresh().await.unwrap();
    let three = amend(&[&anna], &[Amendment::RaiseEpoch]).await;
    assert_eq!(refusal(submit_root(&mut anna, &three).await), Refusal::Threshold);
    let three = amend(&[&anna, &bert], &[Amendment::RaiseEpoch]).await;
    submit_root(&mut bert, &three).await.unwrap();
    anna.refresh().await.unwrap();
    assert_eq!((anna.trust_store().root().version, anna.trust_store().root().epoch.0), (3, 2), "both machines follow");
    coordinator.end().await;
}

/// The command as a person types it, against the real coordinator.
pub(crate) async fn hostler(folder: &Path, who: &Profile, line: &[&str]) -> Result<(), Error> {
    let (home, key) = (who.home.display().to_string(), who.key.path.as_ref().unwrap().display().to_string());
    let coordinator = who.coordinator.clone().unwrap();
    let global = ["hostler", "--home", &home, "--key", &key, "--coordinator", &coordinator, "--output", "json"];
    let words = global.iter().chain(line).map(|w| w.replace("FOLDER", &folder.display().to_string()));
    let cli = <hostler_cli::args::Cli as clap::Parser>::try_parse_from(words).unwrap();
    hostler_cli::command::run(cli, &[]).await
}

#[tokio::test]
async fn trust_amend_goes_in_one_go_or_from_hand_to_hand() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    let mut admin = connect(&anna).await.unwrap();
    enrol_s1(folder, &mut admin).await;
    let held = |of: &Profile| hostler_cli::trust_store::TrustStore::require(&of.home).unwrap();

    let nothing = hostler(folder, &anna, &["trust", "amend"]).await.expect_err("no change");
    assert_eq!(nothing.exit_code(), 2, "{nothing}");
    let asked = hostler(folder, &anna, &["trust", "amend", "--raise-epoch"]).await.expect_err("nobody can answer");
    assert!(asked.to_string().contains("sign and submit root 2?"), "{asked}");
    assert_eq!(held(&anna).root().version, 1);
    let line = ["trust", "amend", "--raise-epoch", "--cordon-when-critical", "on", "--lifetime", "30d", "--yes"];
    hostler(folder, &anna, &line).await.unwrap();
    let now_held = held(&anna);
    assert!(now_held.root().policy.cordon_when_critical);
    assert_eq!((now_held.root().version, now_held.root().epoch.0), (2, 2));
    let roster = now_held.roster().expect("signed again").document();
    assert_eq!((roster.version, roster.epoch.0, roster.nodes.len()), (2, 2, 1));
    admin.refresh().await.unwrap();
    watch_check(&mut admin).await;

    // From now on two must sign, and the second root after it shows that they do.
    hostler(folder, &bert, &["trust", "amend", "--threshold-root", "2", "--out", "FOLDER/root-3.json"]).await.unwrap();
    assert_eq!(held(&bert).root().version, 2, "bert's machine followed; nothing was submitted");
    hostler(folder, &bert, &["sign", "FOLDER/root-3.json", "--yes"]).await.unwrap();
    assert_eq!(refusal(hostler(folder, &bert, &["submit", "FOLDER/root-3.json"]).await), Refusal::Threshold);
    hostler(folder, &anna, &["sign", "FOLDER/root-3.json", "--yes"]).await.unwrap();
    hostler(folder, &bert, &["submit", "FOLDER/root-3.json"]).await.unwrap();
    assert_eq!((held(&bert).root().version, held(&bert).root().thresholds.root), (3, 2));
    let three = hostler(folder, &anna, &["trust", "amend", "--threshold-root", "3"]).await;
    assert_eq!(refusal(three), Refusal::Malformed, "more than there are keys");

    // The ledger proves it all, to a coordinator that comes back and to everybody else.
    let ports = coordinator.end().await;
    let coordinator = Coordinator::start(&data, Some(ports)).await;
    let mut admin = connect(&anna).await.unwrap();
    assert_eq!(admin.trust_store().root().version, 3);
    let mut lines = Vec::new();
    ledger::export(&mut admin, 0, &mut lines, "memory".as_ref()).await.unwrap();
    let report = ledger::verify(&lines, Some(&held(&anna).first_root())).unwrap();
    assert_eq!((report.roots, report.rosters, report.plans, report.receipts), (3, 2, 1, 1));
    watch_check(&mut admin).await;
    coordinator.end().await;
}

async fn watch_check(admin: &mut Admin) {
    let compiled = compile_check(admin).await;
    let submitted = submit(admin, &signed_by(admin, &compiled)).await.unwrap();
    assert_eq!(watch(admin, submitted.seq).await.proved.len(), 1);
}

fn signed_by(admin: &Admin, compiled: &CompiledPlan) -> Signed {
    signed_plan(compiled, &[admin])
}

#[tokio::test]
async fn a_rollout_whose_only_signer_is_revoked_is_halted_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, data) = (folder.path(), folder.path().join("data"));
    let coordinator = Coordinator::start(&data, None).await;
    let anna = set_up(folder, &data, coordinator.ports.0, 1).await;
    let bert = profile(folder, "bert", coordinator.ports.0);
    import(&anna, &bert);
    let mut anna_there = connect(&anna).await.unwrap();
    enrol_s1(folder, &mut anna_there).await;
    let mut bert_there = connect(&bert).await.unwrap();
    let mut later = compile_check(&mut bert_there).await;
    // In an hour: it is still waiting when its signer goes.
    later.plan.not_before = later.plan.created.plus(Duration::from_secs(3600));
    later.bytes = hostler_plan::json::write(&later.plan);
    let plan = signed_by(&bert_there, &later);
    hand_in(&mut bert_there, &plan).await.unwrap();
    hostler(folder, &anna, &["trust", "amend", "--revoke", "bert", "--yes"]).await.unwrap();
    let rollouts = rollout::list(&mut anna_there).await.unwrap();
    let [only] = rollouts.as_slice() else { panic!("{rollouts:?}") };
    assert_eq!(only.status(), v1::RolloutStatus::Halted);
    assert!(only.reason.contains("root 2") && only.reason.contains("revoked key"), "{}", only.reason);
    let mut lines = Vec::new();
    ledger::export(&mut anna_there, 0, &mut lines, "memory".as_ref()).await.unwrap();
    ledger::verify(&lines, None).unwrap();
    coordinator.end().await;
}
