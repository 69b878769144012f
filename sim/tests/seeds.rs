//! Worlds from seeds: see `hostler_sim::seeds`. `HOSTLER_SEED=n` runs one; `HOSTLER_SEEDS=n` runs the first n.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use hostler_sim::seeds::{Summary, Violation, run};

/// In the plain test run.
const SEEDS: u64 = 200;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|n| n.parse().expect("a number"))
}

#[test]
fn every_world_keeps_the_invariants_and_comes_to_its_end() {
    if let Some(seed) = number("HOSTLER_SEED") {
        println!("seed {seed}: {:?}", run(seed).unwrap_or_else(|violation| panic!("{violation}")));
        return;
    }
    let seeds = number("HOSTLER_SEEDS").unwrap_or(SEEDS);
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut results = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return results;
            }
            results.push((seed, run(seed)));
        }
    };
    let mut results: Vec<(u64, Result<Summary, Violation>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|w| w.join().expect("a world does not panic")).collect()
    });
    results.sort_by_key(|(seed, _)| *seed);
    let broken: Vec<String> = results.iter().filter_map(|(_, r)| Some(r.as_ref().err()?.to_string())).collect();
    let sum = |of: fn(&Summary) -> u64| results.iter().filter_map(|(_, r)| r.as_ref().ok()).map(of).sum::<u64>();
    println!(
        "seeds 0 to {}: {} s of world time (the longest {} s) in {:.1} s, {} events, {} grants, {} halts, {} expired \
         leases, {} quarantines, {} coordinator restarts, {} power losses, {} illnesses, {} nodes proved no worse",
        seeds - 1,
        sum(|s| s.seconds),
        results.iter().filter_map(|(_, r)| r.as_ref().ok()).map(|s| s.seconds).max().unwrap_or(0),
        began.elapsed().as_secs_f64(),
        sum(|s| s.events),
        sum(|s| s.grants as u64),
        sum(|s| s.halts as u64),
        sum(|s| s.expired_leases as u64),
        sum(|s| s.quarantines as u64),
        sum(|s| s.coordinator_restarts),
        sum(|s| s.power_losses),
        sum(|s| s.illnesses),
        sum(|s| s.recovered as u64),
    );
    assert!(broken.is_empty(), "{} of {seeds} worlds broke an invariant:\n{}", broken.len(), broken.join("\n"));
    // A run in which nothing went wrong would prove nothing.
    assert!(sum(|s| s.coordinator_restarts) > 0 && sum(|s| s.power_losses) > 0 && sum(|s| s.halts as u64) > 0);
    assert!(sum(|s| s.illnesses) > 0 && sum(|s| s.recovered as u64) > 0);
}

#[test]
fn a_seed_is_one_world() {
    assert_eq!(run(7), run(7));
}
