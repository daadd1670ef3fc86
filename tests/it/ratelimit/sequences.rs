//! Random sequences of reservations, compared with a limit that knows the used costs from the start.

use std::sync::atomic::Ordering;

use gridtokenx_redis::clock::Clock;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::json;

use super::reservations::{limiters, settle};
use crate::support::{START, TestApp};

/// One step of a sequence: a check or a reservation, before which an earlier reservation may be settled.
#[derive(Clone, Copy, Debug)]
struct Step {
    pause_s: u64,
    cost: u64,
    /// Whether it is a reservation, or else a check.
    is_reservation: bool,
    /// The open reservation to settle first, and the used cost.
    settles: Option<(prop::sample::Index, u64)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let settles = prop::option::of((any::<prop::sample::Index>(), 0_u64..8));
    let step = (prop_oneof![3 => 0_u64..8, 1 => 0_u64..40], 1_u64..7, any::<bool>(), settles)
        .prop_map(|(pause_s, cost, is_reservation, settles)| Step { pause_s, cost, is_reservation, settles });
    proptest::collection::vec(step, 1..40)
}

/// A cost that was taken.
#[derive(Clone, Debug)]
struct Use {
    at: u64,
    /// The cost that was taken first.
    taken: u64,
    /// The cost that was used, as far as it is known.
    cost: u64,
    /// The end and the id of an open reservation.
    open: Option<(u64, String)>,
}

/// The seconds of a reservation, the seconds of a window, and the limit.
const HOLD: u64 = 30;
const WINDOW: u64 = 100;
const LIMIT: u64 = 10;

/// The remaining cost of a window by definition. Fixed windows are aligned to 1970, as is the clock's start.
fn remaining_in_window(limiter: &str, uses: &[Use], now: u64) -> u64 {
    let counts = |one: &&Use| match limiter {
        "fixed" => one.at / WINDOW == now / WINDOW,
        _ => one.at + WINDOW > now,
    };
    LIMIT.saturating_sub(uses.iter().filter(counts).map(|one| one.cost).sum())
}

/// The remaining tokens if `cost` of each use had been known from the start. A tenth of a token is refilled each second.
fn remaining_in_bucket(uses: &[Use], cost: fn(&Use) -> u64, now: u64) -> i64 {
    let (mut tenths, mut last) = (100_i64, 0);
    let mut uses: Vec<(u64, u64)> = uses.iter().map(|one| (one.at, cost(one))).collect();
    uses.push((now, 0));
    uses.sort_by_key(|(at, _)| *at);
    for (at, cost) in uses {
        tenths =
            (tenths + i64::try_from(at - last).expect("small")).min(100) - 10 * i64::try_from(cost).expect("small");
        last = at;
    }
    tenths.div_euclid(10)
}

async fn run_sequence(app: &TestApp, limiter: &str, key: &str, steps: &[Step]) -> Result<(), TestCaseError> {
    let Clock::Manual(clock) = app.clock() else { panic!("a manual clock") };
    let (mut now, mut uses) = (0_u64, Vec::<Use>::new());
    for step in steps {
        now += step.pause_s;
        clock.store(START + i64::try_from(now * 1_000).expect("small"), Ordering::SeqCst);
        for one in &mut uses {
            // An overdue reservation is returned in full.
            if one.open.as_ref().is_some_and(|(ends, _)| *ends <= now) {
                (one.cost, one.open) = (0, None);
            }
        }
        let open: Vec<usize> = (0..uses.len()).filter(|&at| uses[at].open.is_some()).collect();
        if let Some((index, used)) = step.settles
            && !open.is_empty()
        {
            let one = &mut uses[open[index.index(open.len())]];
            let (_, id) = one.open.take().expect("open");
            settle(app, &id, used).await.expect(200);
            let beyond = used.saturating_sub(one.cost);
            one.cost = one.cost.min(used);
            uses.push(Use { at: now, taken: beyond, cost: beyond, open: None });
        }
        let route = if step.is_reservation { "/ratelimit/reserve" } else { "/ratelimit/check" };
        let body = json!({ "limiter": limiter, "key": key, "cost": step.cost });
        let answer = app.post(route, body).await.expect(200).json();
        let allowed = answer["allowed"] == true;
        if limiter == "bucket" {
            // At most the calls of a bucket that knows the used costs, and at least those of one that gets nothing back.
            let fits = |cost| remaining_in_bucket(&uses, cost, now) >= i64::try_from(step.cost).expect("small");
            prop_assert!(!allowed || fits(|one| one.cost), "{} at {}: {:?}", answer, now, uses);
            prop_assert!(allowed || !fits(|one| one.taken), "{} at {}: {:?}", answer, now, uses);
        } else {
            let fits = remaining_in_window(limiter, &uses, now) >= step.cost;
            prop_assert_eq!(allowed, fits, "{} at {}: {:?}", answer, now, uses);
        }
        if allowed {
            let open = answer["reservation"].as_str().map(|id| (now + HOLD, id.to_owned()));
            uses.push(Use { at: now, taken: step.cost, cost: step.cost, open });
        }
        if limiter != "bucket" {
            prop_assert_eq!(&answer["remaining"], remaining_in_window(limiter, &uses, now), "{:?}", uses);
        }
    }
    Ok(())
}

fn run_random_sequences(limiter: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let long_timeouts = "redis.command_timeout = \"20s\"\nhttp.request_deadline = \"30s\"";
    let app = runtime.block_on(TestApp::builder().config(long_timeouts).config(&limiters()).spawn());
    let case = std::cell::Cell::new(0);
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        case.set(case.get() + 1);
        runtime.block_on(run_sequence(&app, limiter, &format!("sequence-{}", case.get()), &steps))
    });
    outcome.unwrap_or_else(|failure| panic!("{limiter}: {failure}"));
}

#[test]
fn a_fixed_window_counts_the_used_costs() {
    run_random_sequences("fixed");
}

#[test]
fn a_sliding_window_counts_the_used_costs() {
    run_random_sequences("sliding");
}

#[test]
fn a_bucket_admits_no_more_than_one_that_knows_the_used_costs() {
    run_random_sequences("bucket");
}
