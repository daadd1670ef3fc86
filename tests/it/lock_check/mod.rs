//! Mutual exclusion under faults. Real processes generate a seeded load while they, their Redis servers and their links are
//! stopped, killed, emptied and cut. A checker, which is itself tested on broken locks, examines the recorded history.
//!
//! `GTX_LOCK_CHECK_SEED` repeats a run's choices (not the scheduler's). `GTX_LOCK_CHECK=long` is the form of
//! `make lock-check`; `calm` is the short form without faults. The history of a run that fails is left in
//! `target/lock-check/`.

mod checker;
mod client;
mod client_process;
mod clock;
mod controls;
mod controls_under_load;
mod faults;
mod history;
mod process;
pub mod random;
mod service;
mod stage;
mod verdict;

use std::time::{Duration, Instant};

use faults::FaultSchedule;
use random::Random;
use stage::Stage;
use verdict::Verdict;

/// The time limit for each grant: several times what two idle cores need.
const TIME_PER_GRANT: Duration = Duration::from_millis(9);

/// The size of a run.
struct Size {
    /// The run ends after this many grants ...
    grants: usize,
    /// ... and this many rounds of faults ...
    rounds: usize,
    /// ... or after this time.
    limit: Duration,
    /// With fewer grants the run fails, even without violations.
    least: usize,
}

impl Size {
    /// The short form is for every commit; the long form is ten times as long.
    fn of(form: Option<&str>, grants: usize) -> Self {
        let limit = TIME_PER_GRANT * u32::try_from(grants).expect("a number of grants");
        let short = Self { grants, rounds: 2, limit, least: grants / 5 };
        match form {
            None => short,
            Some("calm") => Self { rounds: 0, ..short },
            Some("long") => Self { grants: grants * 10, rounds: 20, limit: limit * 20, least: grants * 10 },
            Some(other) => panic!("GTX_LOCK_CHECK is long, calm or unset, not {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_redis_never_has_two_holders() {
    run(0, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lock_node_never_has_two_holders() {
    run(1, 5_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_lock_nodes_never_have_two_holders() {
    run(5, 10_000).await;
}

/// Without `nodes`, the Redis of the state role keeps the locks, and it keeps its data when it is killed. Lock nodes
/// lose theirs.
async fn run(nodes: usize, grants: usize) {
    let setting = |wanted| std::env::vars().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let seed = setting("GTX_LOCK_CHECK_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let size = Size::of(setting("GTX_LOCK_CHECK").as_deref(), grants);
    let mut stage = Stage::set(nodes, seed);
    stage.start_clients(true);
    let started = Instant::now();
    let mut random = Random::new(seed);
    let mut schedule = FaultSchedule::new(nodes > 0);
    while (stage.record.grants() < size.grants || schedule.rounds < size.rounds) && started.elapsed() < size.limit {
        // The load runs undisturbed between two faults.
        tokio::time::sleep(Duration::from_millis(300 + random.below(600))).await;
        if size.rounds > 0 {
            let fault = schedule.next_fault(&mut random);
            stage.inject(fault, &mut random).await;
        }
    }
    let took = started.elapsed();
    let verdict = Verdict::of(&stage.end(), &format!("seed-{seed}-nodes-{nodes}"));
    println!("seed {seed}, {nodes} lock nodes, {:.1} s: {verdict}", took.as_secs_f64());
    verdict.expect_clean();
    assert!(verdict.grants >= size.least, "{} grants are too few to prove anything", verdict.grants);
}
