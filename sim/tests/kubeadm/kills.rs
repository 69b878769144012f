//! Everything that can be killed is killed at every point of bootstrap, join, configuration and upgrade.
//!
//! `cargo test -p hostler-sim --test kubeadm -- --ignored --nocapture` plays the whole product, some 2,700 plays of
//! half a second of CPU time; the plain test plays a sample of it that `HOSTLER_SEED` and `HOSTLER_PLAYS` choose.
//!
//! What stands for what: the executor that is killed unwinds, so that nothing of it runs on; the agent is the
//! connection to it and what comes again over the next one; a machine without power loses what kubeadm wrote in the
//! last 30 s, or keeps empty files of those names, as ext4 does.

use hostler_plan::{fleet::Fleet, planner::Intent};
use hostler_sim::world::Random;

use crate::{
    configure::{configure, other_settings},
    is_whole, join,
    mortal::Kill,
    stand::{Moment, NEW, OLD, Stand},
    upgrade, well,
};

/// A plan and the fleet before it.
pub(crate) struct Scene {
    pub name: &'static str,
    pub intent: Intent,
    pub version: &'static str,
    pub fleet: Fleet,
    pub before: Moment,
    /// What is met without a kill.
    pub points: Vec<String>,
}

/// Bootstrap, the join of a server and a worker, other settings for both, and the upgrade of both.
fn scenes(stand: &mut Stand) -> Vec<Scene> {
    let mut scenes = Vec::new();
    let (first, other) = (stand.fleet.clone(), other_fleet(stand));
    let plays = [
        ("bootstrap", Intent::Bootstrap {}, OLD),
        ("join", join(), OLD),
        ("configure", configure(stand, false), OLD),
        ("upgrade", upgrade(stand), NEW),
    ];
    for (name, intent, version) in plays {
        stand.fleet = if name == "configure" { other.clone() } else { first.clone() };
        let before = stand.save();
        stand.points = std::sync::Arc::default();
        well(stand, &intent);
        let points = std::mem::take(&mut stand.points.lock().unwrap().met);
        let fleet = stand.fleet.clone();
        scenes.push(Scene { name, intent, version, fleet, before, points });
    }
    scenes
}

/// The same fleet with other settings.
fn other_fleet(stand: &mut Stand) -> Fleet {
    let first = stand.fleet.clone();
    stand.rewrite(other_settings);
    std::mem::replace(&mut stand.fleet, first)
}

/// How a play ended.
#[derive(Debug, PartialEq)]
enum Played {
    /// The first plan did it.
    Well,
    /// It stopped with this reason, and the next plan of the same intent did it.
    Again(String),
}

fn play(stand: &mut Stand, scene: &Scene, point: usize, kill: Kill) -> Result<Played, String> {
    stand.load(&scene.before);
    stand.fleet = scene.fleet.clone();
    stand.points.lock().unwrap().kill = Some((point, kill));
    let plan = stand.plan(&scene.intent).map_err(|e| e.to_string())?;
    let endings = stand.perform(&plan);
    let failed = endings.iter().find(|ending| !ending.outcome.is_success());
    let Some(failed) = failed else {
        // What bootstrap does not make yet is not looked for.
        if scene.name != "bootstrap" {
            is_whole(stand, scene.version)?;
        }
        return Ok(Played::Well);
    };
    let said = format!("{}: {}", failed.task, failed.outcome);
    // A person uncordons what a stopped upgrade left, as the next plan does in a real fleet.
    stand.world.now().cluster.nodes.values_mut().for_each(|node| node.unschedulable = false);
    // Until a person has read what went wrong, a machine that lost its power is there again.
    stand.world.pass(std::time::Duration::from_secs(120));
    let plan = stand.plan(&scene.intent).map_err(|e| format!("{said}\nthen no plan: {e}"))?;
    let endings = stand.perform(&plan);
    match endings.iter().find(|ending| !ending.outcome.is_success()) {
        None => {
            if scene.name != "bootstrap" {
                is_whole(stand, scene.version).map_err(|e| format!("{said}\nthen {e}"))?;
            }
            Ok(Played::Again(said))
        }
        Some(again) => Err(format!("{said}\nthen again {}: {:?}", again.task, again.outcome)),
    }
}

/// Plays those and gives what went wrong.
fn play_all(stand: &mut Stand, scenes: &[Scene], chosen: &[(usize, usize, Kill)]) -> Vec<String> {
    let (mut wrong, mut told) = (Vec::<String>::new(), 0);
    let mut stopped = std::collections::BTreeMap::<String, usize>::new();
    for (scene, point, kill) in chosen {
        let scene = &scenes[*scene];
        let at = format!("{} point {point} ({}), {kill:?} killed", scene.name, scene.points[*point]);
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(stand, scene, *point, *kill)));
        match played {
            Ok(Ok(Played::Well)) => {}
            Ok(Ok(Played::Again(said))) => *stopped.entry(said).or_default() += 1,
            Ok(Err(why)) => wrong.push(format!("{at}: {why}")),
            Err(_) => wrong.push(format!("{at}: panicked")),
        }
        // The whole product takes long, and is worth something when it is broken off.
        if let Some(last) = wrong.get(told..).and_then(<[String]>::last) {
            println!("WRONG {last}");
        }
        told = wrong.len();
    }
    println!("{} plays, {} wrong; stopped and went on:", chosen.len(), wrong.len());
    stopped.iter().for_each(|(said, times)| println!("  {times} x {said}"));
    wrong
}

fn product(scenes: &[Scene]) -> Vec<(usize, usize, Kill)> {
    let mut all = Vec::new();
    for (at, scene) in scenes.iter().enumerate() {
        println!("{}: {} points", scene.name, scene.points.len());
        for (point, what) in scene.points.iter().enumerate() {
            // Only a kubeadm that runs can be killed.
            let runs = what.contains("Some(");
            let kills = Kill::ALL.into_iter().filter(|kill| *kill != Kill::Kubeadm || runs);
            all.extend(kills.map(|kill| (at, point, kill)));
        }
    }
    all
}

/// A sample of the product, by `HOSTLER_SEED` and `HOSTLER_PLAYS`.
pub(crate) fn play_some(stand: &mut Stand, scenes: &[Scene]) {
    let seed = std::env::var("HOSTLER_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let plays = std::env::var("HOSTLER_PLAYS").map_or(6, |plays| plays.parse().expect("a number"));
    println!("HOSTLER_SEED={seed} HOSTLER_PLAYS={plays}");
    let all = product(scenes);
    let mut random = Random::new(seed);
    let mut choose = || all[usize::try_from(random.below(all.len() as u64)).unwrap()];
    let chosen: Vec<_> = (0..plays).map(|_| choose()).collect();
    let wrong = play_all(stand, scenes, &chosen);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All of it.
pub(crate) fn play_whole(stand: &mut Stand, scenes: &[Scene]) {
    let all = product(scenes);
    let wrong = play_all(stand, scenes, &all);
    assert!(wrong.is_empty(), "{} of {} plays:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

#[test]
fn a_sample_of_kills_at_every_point_ends_well_or_goes_on_with_the_next_plan() {
    let mut stand = Stand::new(2, 1);
    let scenes = scenes(&mut stand);
    play_some(&mut stand, &scenes);
}

#[test]
#[ignore = "takes an hour"]
fn every_kill_at_every_point() {
    let mut stand = Stand::new(2, 1);
    let scenes = scenes(&mut stand);
    play_whole(&mut stand, &scenes);
}
