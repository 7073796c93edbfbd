//! Small models.

use super::*;

fn settings(seed: u64) -> Settings {
    Settings {
        nodes: 200,
        operators: 5,
        evses: 50,
        seconds: 60,
        seed,
        loss: 5.0,
        churn: 20.0,
        pushes_per_s: 2.0,
    }
}

#[test]
fn two_hundred_nodes_agree_and_the_same_seed_gives_the_same_run() {
    let run = |seed| run(&settings(seed), &|_| {}).unwrap();
    let (first, again, other) = (run(1), run(1), run(2));
    assert_eq!(first.violations, [] as [String; 0]);
    assert_eq!(other.violations, [] as [String; 0]);
    assert_eq!((&first.trace_hash, first.events), (&again.trace_hash, again.events));
    assert_ne!(first.trace_hash, other.trace_hash);
    assert!(first.counts.kills == 40 && first.counts.syncs > 0 && first.counts.acknowledged > 20);
    assert!(first.delivery.count > 10_000 && first.delivery.p99_ms < 1_000, "{:?}", first.delivery);
}
