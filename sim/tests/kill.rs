//! `kill -9` of the coordinator and of an agent in the middle of an upgrade: the rollout ends the same.

#![allow(clippy::unwrap_used, reason = "a test may end by panic, in its helpers too")]

#[path = "player/demo.rs"]
mod player;

use hostler_sim::world::Random;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use player::{Player, of_kind};

/// Plays one demo in which a seeded choice of processes is killed after a seeded number of events of the upgrade.
fn round(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let fleet = player::small_fleet(folder.path());
    let mut random = Random::new(seed);
    let mut player = Player::start(&["--seed", &seed.to_string(), "--fleet", fleet.to_str().unwrap()]);
    let victims = ["coordinator", "s1", "w1", "w2", "w3", "w4"];
    let agent = victims[1 + usize::try_from(random.below(5)).unwrap()];
    let mut plan = vec![(random.below(45), "coordinator"), (random.below(45), agent)];
    plan.sort_unstable();
    let mut events = Vec::new();
    let mut seen = None;
    let mut killed = 0;
    while let Some(event) = player.next() {
        if event["event"] == "plan_submitted" && event["kind"] == "upgrade" && seen.is_none() {
            seen = Some(0);
        }
        events.push(event);
        let Some(count) = &mut seen else { continue };
        *count += 1;
        while let Some((_, victim)) = plan.first().copied().filter(|(at, _)| at < count) {
            plan.remove(0);
            kill(Pid::from_raw(player.pids[victim]), Signal::SIGKILL).unwrap();
            killed += 1;
        }
    }
    events.extend(player.play_to_the_end());
    let last = events.last().unwrap();
    println!("seed {seed}: {killed} killed, {} s", last["seconds"]);
    assert_eq!(last["event"], "demo_finished", "{last}");
    assert_eq!(killed, 2);
    assert_eq!(last["restarts"], 2, "{last}");
    assert_eq!(of_kind(&events, "process_ended").count(), 2);
    assert_eq!(last["rollouts"], serde_json::json!({"finished": 6, "halted": 1}), "{last}");
    assert_eq!(last["outcomes"]["failed"], 1, "{last}");
    assert_eq!(last["outcomes"].as_object().unwrap().len(), 2, "{last}");
    assert_eq!(last["version_after"], "v1.34.4+k3s1");
    assert_eq!((&last["refused"], &last["obeyed"]), (&50.into(), &0.into()));
}

#[test]
fn a_killed_coordinator_and_a_killed_agent_change_nothing_about_how_the_rollout_ends() {
    for seed in 1..=2 {
        round(seed);
    }
}

/// `cargo test -p hostler-sim --test kill -- --ignored --nocapture`; HOSTLER_KILL_ROUNDS says how many, 50 unless set.
#[test]
#[ignore = "takes ten minutes"]
fn fifty_rounds_of_it() {
    let rounds = std::env::var("HOSTLER_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    for seed in 100..100 + rounds {
        round(seed);
    }
}
