//! A coordinator in the wrong hands against a real agent and its executor, over the real wire.
//!
//!     cargo test -p hostler-tests --test hostile -- --nocapture
//!
//! It holds the CA, every document that an honest coordinator ever had, the key of an admin that a later root revoked,
//! and the key of another node. It does not hold a key that counts. Each mode tries one rule: the node refuses with the
//! word that is expected, or ignores it; nothing of its machine and nothing that it holds is different afterwards; and
//! the next honest plan works. The machine is simulated; agent, executor, socket, TLS, keys and signatures are real.
//!
//! With HOSTLER_AGENT and HOSTLER_EXECUTOR, the paths of both programs, these are processes on a machine of their own,
//! and the executor is the real one on a real file system: `tests/hostile` takes them out of the packages.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

mod coordinator;
mod decisions;
mod documents;
mod grants;
mod machine;
mod modes;
mod raw;
mod victim;
mod wire;

use std::time::{Duration, Instant};

use machine::Peaks;
use modes::{Expected, Mode, Scene};
use victim::World;

/// Fleets that are attacked side by side: a mode is mostly waiting.
const FLEETS: usize = 8;

/// How long a node may take to answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_coordinator_in_the_wrong_hands_gets_nothing_done() {
    let only = std::env::var("HOSTLER_MODE").ok();
    let mut modes: Vec<Mode> = [documents::modes(), decisions::modes(), grants::modes(), wire::modes()].concat();
    modes.retain(|mode| only.as_ref().is_none_or(|only| mode.name.contains(only.as_str())));
    let (mut others, mut peaks, mut programs) = (Vec::new(), Peaks::default(), String::new());
    std::thread::scope(|scope| {
        let fleets: Vec<_> = (0..FLEETS.min(modes.len()))
            .map(|first| modes.iter().skip(first).step_by(FLEETS))
            .map(|modes| scope.spawn(|| try_all(modes)))
            .collect();
        for tried in fleets.into_iter().map(|fleet| fleet.join().unwrap()) {
            others.extend(tried.others);
            peaks.include(tried.peaks);
            programs = tried.programs;
        }
    });
    let tried = modes.len();
    println!("{programs}{peaks}");
    println!("tried {tried}, refused as expected {}, others {}", tried - others.len(), others.len());
    assert!(others.is_empty(), "{}", others.join("\n"));
    assert!(only.is_some() || tried >= 135, "only {tried} modes");
}

/// What a fleet's modes came to.
struct Tried {
    others: Vec<String>,
    peaks: Peaks,
    programs: String,
}

/// Plays modes one after the other against a fleet and a clock of their own: some modes stop the clock.
#[tokio::main(flavor = "current_thread")]
async fn try_all<'a>(modes: impl Iterator<Item = &'a Mode>) -> Tried {
    let world = World::make().await;
    let mut tried = Tried { others: Vec::new(), peaks: Peaks::default(), programs: world.programs() };
    for mode in modes {
        let found = attempt(&world, mode, &mut tried.peaks).await;
        let verdict =
            found.as_ref().map_or_else(|other| format!("OTHER: {other}"), |answer| format!("as expected: {answer}"));
        println!("{:<58} {:<34} {verdict}", mode.name, mode.rule);
        if let Err(other) = found {
            tried.others.push(format!("{}: {other}", mode.name));
        }
    }
    tried
}

#[tokio::test]
async fn a_coordinator_that_breaks_off_often_is_found_again_as_soon_as_the_first_time() {
    let world = World::make().await;
    let scene = Scene::new(&world).await;
    let began = Instant::now();
    for _ in 0..6 {
        scene.break_off().await;
    }
    // Half a second each at most; waits that double would take sixteen seconds or more.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    scene.end().await;
}

/// Plays one mode against a fresh copy of the node.
async fn attempt(world: &World, mode: &Mode, peaks: &mut Peaks) -> Result<String, String> {
    let mut scene = Scene::new(world).await;
    let found = play(&mut scene, mode).await;
    let peak = scene.end().await;
    peaks.include(peak);
    match (&found, peak.too_high()) {
        (Ok(_), Some(other)) => Err(other),
        (Ok(_) | Err(_), _) => found,
    }
}

async fn play(scene: &mut Scene<'_>, mode: &Mode) -> Result<String, String> {
    let before = scene.held();
    (mode.play)(scene);
    scene.say_all().await;
    let answer = wait_for(scene, &mode.expected).await?;
    scene.honest().await?;
    if let Some(difference) = scene.touched() {
        return Err(format!("the machine was touched: {difference}"));
    }
    if let Some(receipt) = scene.succeeded_in_evil() {
        return Err(format!("{receipt} was performed"));
    }
    let kept = mode.keeps_state.then(|| scene.held_before_honest() == before);
    match kept {
        Some(false) => Err("what the node holds is different".to_owned()),
        Some(true) | None => Ok(answer),
    }
}

async fn wait_for(scene: &Scene<'_>, expected: &Expected) -> Result<String, String> {
    let began = Instant::now();
    loop {
        let heard = scene.heard();
        let found = match expected {
            Expected::Refused(word) => heard
                .refusals
                .iter()
                .find(|(_, refusal, _)| refusal == word)
                .map(|(.., reason)| format!("{word}: {reason}")),
            // Messages are taken in order: what is refused or ignored before the honest plan shows there.
            Expected::Nothing => Some("ignored".to_owned()),
            Expected::HungUp => (heard.opened > 1).then(|| "hung up".to_owned()),
            Expected::Cut => (heard.raw == Some(raw::End::ByNode)).then(|| "cut off".to_owned()),
            Expected::Borne => (heard.raw == Some(raw::End::ByUs)).then(|| "borne to its end".to_owned()),
            Expected::Over => heard.raw.map(|end| format!("over: {end:?}")),
            Expected::Ended(word) => scene.evil_outcomes().into_iter().find(|outcome| outcome == word),
        };
        if let Some(found) = found {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            let said: Vec<_> =
                heard.refusals.iter().map(|(_, refusal, reason)| format!("{refusal}: {reason}")).collect();
            return Err(format!(
                "expected {expected:?}, found {said:?} {:?} {:?}",
                scene.evil_outcomes(),
                heard.progress
            ));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
