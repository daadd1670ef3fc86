//! Random stories of reservations, against what a limit would say that had known everything from the beginning.

use std::sync::atomic::Ordering;

use gridtokenx_redis::clock::Clock;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::json;

use super::reservations::{all, settle};
use crate::support::{START, TestApp};

/// One step of a random story: who is served, and what becomes of an earlier reservation.
#[derive(Clone, Copy, Debug)]
struct Step {
    pause_s: u64,
    cost: u64,
    /// A reservation rather than a plain check.
    reserved: bool,
    /// Which open reservation is settled before, if any, and for how much.
    settles: Option<(prop::sample::Index, u64)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let settles = prop::option::of((any::<prop::sample::Index>(), 0_u64..8));
    let step = (prop_oneof![3 => 0_u64..8, 1 => 0_u64..40], 1_u64..7, any::<bool>(), settles)
        .prop_map(|(pause_s, cost, reserved, settles)| Step { pause_s, cost, reserved, settles });
    proptest::collection::vec(step, 1..40)
}

/// What truly was used, as far as it is known: when, how much, and until when it may still be settled.
#[derive(Clone, Debug)]
struct Use {
    at: u64,
    /// What was taken first, and what of it was used.
    taken: u64,
    cost: u64,
    open: Option<(u64, String)>,
}

/// Seconds of a reservation, of the window, and calls in it.
const HOLD: u64 = 30;
const WINDOW: u64 = 100;
const LIMIT: u64 = 10;

/// What is left of a window, by definition; those of fixed length are counted from 1970, as is the clock's start.
fn left_of_window(limiter: &str, uses: &[Use], now: u64) -> u64 {
    let counts = |one: &&Use| match limiter {
        "fixed" => one.at / WINDOW == now / WINDOW,
        _ => one.at + WINDOW > now,
    };
    LIMIT.saturating_sub(uses.iter().filter(counts).map(|one| one.cost).sum())
}

/// What is left of the bucket if `cost` of each use had been known from the beginning; a tenth of a token comes each second.
fn left_of_bucket(uses: &[Use], cost: fn(&Use) -> u64, now: u64) -> i64 {
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

async fn story(app: &TestApp, limiter: &str, key: &str, steps: &[Step]) -> Result<(), TestCaseError> {
    let Clock::Manual(clock) = app.clock() else { panic!("a manual clock") };
    let (mut now, mut uses) = (0_u64, Vec::<Use>::new());
    for step in steps {
        now += step.pause_s;
        clock.store(START + i64::try_from(now * 1_000).expect("small"), Ordering::SeqCst);
        for one in &mut uses {
            // Past its time: as if it had never been.
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
        let route = if step.reserved { "/ratelimit/reserve" } else { "/ratelimit/check" };
        let body = json!({ "limiter": limiter, "key": key, "cost": step.cost });
        let answer = app.post(route, body).await.expect(200).json();
        let allowed = answer["allowed"] == true;
        if limiter == "bucket" {
            // Never more than a bucket that knew everything, and never less than one to which nothing was given back.
            let fits = |cost| left_of_bucket(&uses, cost, now) >= i64::try_from(step.cost).expect("small");
            prop_assert!(!allowed || fits(|one| one.cost), "{} at {}: {:?}", answer, now, uses);
            prop_assert!(allowed || !fits(|one| one.taken), "{} at {}: {:?}", answer, now, uses);
        } else {
            let fits = left_of_window(limiter, &uses, now) >= step.cost;
            prop_assert_eq!(allowed, fits, "{} at {}: {:?}", answer, now, uses);
        }
        if allowed {
            let open = answer["reservation"].as_str().map(|id| (now + HOLD, id.to_owned()));
            uses.push(Use { at: now, taken: step.cost, cost: step.cost, open });
        }
        if limiter != "bucket" {
            prop_assert_eq!(&answer["remaining"], left_of_window(limiter, &uses, now), "{:?}", uses);
        }
    }
    Ok(())
}

fn tell(limiter: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let patient = "redis.command_timeout = \"20s\"\nhttp.request_deadline = \"30s\"";
    let app = runtime.block_on(TestApp::builder().config(patient).config(&all()).spawn());
    let case = std::cell::Cell::new(0);
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        case.set(case.get() + 1);
        runtime.block_on(story(&app, limiter, &format!("story-{}", case.get()), &steps))
    });
    outcome.unwrap_or_else(|failure| panic!("{limiter}: {failure}"));
}

#[test]
fn a_fixed_window_counts_what_was_truly_used() {
    tell("fixed");
}

#[test]
fn a_sliding_window_counts_what_was_truly_used() {
    tell("sliding");
}

#[test]
fn a_bucket_admits_no_more_than_one_that_knew_what_is_used() {
    tell("bucket");
}
