//! Each strategy compared with its reference model over random schedules: every number of every response.

use std::sync::atomic::{AtomicU64, Ordering};

use gridtokenx_redis::clock::Clock;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use super::models::{Backoff, CalendarWindow, Expected, FixedWindow, Gcra, Model, SlidingWindow, TokenBucket};
use crate::support::{START, TestApp};

/// 31 days, milliseconds.
const MONTH: u128 = 31 * 86_400_000;

/// One call: the pause before it in thousandths of the window, and its cost in thousandths of the limit.
#[derive(Clone, Copy, Debug)]
struct Call {
    pause: u32,
    cost: u32,
}

/// Enough calls in quick succession to fill long logs.
fn many_calls() -> impl Strategy<Value = Vec<Call>> {
    let pause = prop_oneof![3 => 0_u32..5, 1 => 0_u32..30];
    proptest::collection::vec(pause.prop_map(|pause| Call { pause, cost: 0 }), 300..700)
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    // No pause, short pauses, fractions of the window, exactly one window, and long pauses.
    let pause =
        prop_oneof![4 => Just(0_u32), 3 => 0_u32..20, 4 => 0_u32..400, 2 => Just(1_000_u32), 1 => 900_u32..3_000];
    let cost = prop_oneof![4 => Just(0_u32), 3 => 0_u32..100, 2 => 100_u32..500, 1 => Just(1_000_u32)];
    proptest::collection::vec((pause, cost).prop_map(|(pause, cost)| Call { pause, cost }), 1..40)
}

/// A number from 1 to `max`, on a logarithmic scale.
fn any_size(max: u128) -> impl Strategy<Value = u128> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an approximate size"
    )]
    (0.0_f64..=1.0).prop_map(move |share| ((max as f64).powf(share).round() as u128).clamp(1, max))
}

/// The start of a case, Unix milliseconds. Windows are not aligned to it.
fn start() -> impl Strategy<Value = u128> {
    let first = u128::try_from(START).expect("after 1970");
    prop_oneof![Just(0), 0_u128..100_000_000_000].prop_map(move |later| first + later)
}

#[track_caller]
fn parse(answer: &Value) -> Expected {
    let number = |name: &str| u128::from(answer[name].as_u64().unwrap_or_else(|| panic!("{name}: {answer}")));
    Expected {
        allowed: answer["allowed"] == true,
        remaining: number("remaining"),
        reset_ms: number("reset_ms"),
        retry_after_ms: number("retry_after_ms"),
    }
}

struct Comparison {
    app: TestApp,
    runtime: tokio::runtime::Runtime,
    case: AtomicU64,
}

impl Comparison {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // On a busy machine a call may take long.
        let long_timeouts = "redis.command_timeout = \"20s\"\nhttp.request_deadline = \"30s\"";
        let app = TestApp::builder().config(long_timeouts).spawn();
        let app = runtime.block_on(app);
        Self { app, runtime, case: AtomicU64::new(0) }
    }

    /// Runs every generated case with its own key. A call's pause is a share of `window`.
    fn compare<M: Model>(&self, models: impl Strategy<Value = M>, window: fn(&M) -> u128) {
        self.compare_calls(128, calls(), models, window);
    }

    fn compare_calls<M: Model>(
        &self,
        cases: u32,
        calls: impl Strategy<Value = Vec<Call>>,
        models: impl Strategy<Value = M>,
        window: fn(&M) -> u128,
    ) {
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let cases = (models.prop_map(std::cell::RefCell::new), calls, start());
        let outcome = TestRunner::new(config).run(&cases, |(model, calls, start)| {
            self.runtime.block_on(self.case(&mut *model.borrow_mut(), &calls, start, window))
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }

    async fn case<M: Model>(
        &self,
        model: &mut M,
        calls: &[Call],
        start: u128,
        window: fn(&M) -> u128,
    ) -> Result<(), TestCaseError> {
        let key = format!("case-{}", self.case.fetch_add(1, Ordering::Relaxed));
        let mut now = start;
        for call in calls {
            now += window(model) * u128::from(call.pause) / 1_000;
            let cost = (model.max_cost() * u128::from(call.cost) / 1_000).max(1);
            let answer = self.check(model, &key, now, cost).await;
            let expected = model.check(now, cost);
            prop_assert_eq!(parse(&answer), expected, "{:?} at {}, cost {}: {}", model, now, cost, answer);
            prop_assert_eq!(&answer["limit"], &json!(u64::try_from(model.max_cost()).expect("a limit")));
            let wait = expected.retry_after_ms;
            if wait > 0 && call.pause % 2 == 0 {
                // The wait is neither too short nor too long. The model receives these two calls as well.
                for (at, fits) in [(now + wait - 1, false), (now + wait, true)] {
                    let answer = self.check(model, &key, at, cost).await;
                    let expected = model.check(at, cost);
                    prop_assert_eq!(parse(&answer), expected, "{:?} at {}, cost {}: {}", model, at, cost, answer);
                    // A call during the penalty of a back-off is refused, but is not a violation.
                    prop_assert_eq!(expected.allowed, fits);
                }
                now += wait;
            }
        }
        Ok(())
    }

    async fn check(&self, model: &impl Model, key: &str, now: u128, cost: u128) -> Value {
        let Clock::Manual(clock) = self.app.clock() else { panic!("a manual clock") };
        clock.store(i64::try_from(now).expect("a time"), Ordering::SeqCst);
        let request = json!({ "strategy": model.strategy(), "key": key, "cost": u64::try_from(cost).expect("a cost") });
        self.app.post("/ratelimit/check", request).await.expect(200).json()
    }
}

#[test]
fn a_sliding_window_agrees_with_its_model() {
    let models = (any_size(100_000), any_size(MONTH)).prop_map(|(limit, window)| SlidingWindow {
        limit,
        window,
        admitted: Vec::new(),
    });
    Comparison::new().compare(models, |model| model.window);
}

#[test]
fn a_long_log_agrees_with_its_model() {
    let models = (60_u128..400, 1_000_u128..100_000).prop_map(|(limit, window)| SlidingWindow {
        limit,
        window,
        admitted: Vec::new(),
    });
    Comparison::new().compare_calls(8, many_calls(), models, |model| model.window);
}

#[test]
fn a_fixed_window_agrees_with_its_model() {
    let models = (any_size(1_000_000), any_size(MONTH)).prop_map(|(limit, window)| FixedWindow {
        limit,
        window,
        current: 0,
        used: 0,
    });
    Comparison::new().compare(models, |model| model.window);
}

#[test]
fn a_calendar_window_agrees_with_its_model() {
    let zone = prop_oneof![Just("Asia/Bangkok"), Just("Europe/Berlin"), Just("America/Santiago"), Just("UTC")];
    let models = (any_size(1_000_000), zone, any::<bool>()).prop_map(|(limit, name, by_month)| {
        let zone = TimeZone::get(name).expect("a zone");
        CalendarWindow { limit, name, zone, by_month, current: None, used: 0 }
    });
    Comparison::new().compare(models, |model| if model.by_month { MONTH } else { 86_400_000 });
}

#[test]
fn a_token_bucket_agrees_with_its_model() {
    // The bucket must refill within a month.
    let models = (any_size(1_000_000), any_size(1_000_000_000), any::<bool>()).prop_map(|(capacity, refill, whole)| {
        let refill = if whole { (refill / 1_000).max(1) * 1_000 } else { refill };
        let refill = refill.max((capacity * TOKENS_PER_MONTH).div_ceil(MONTH));
        TokenBucket { capacity, refill, level: capacity * 1_000_000, at: 0 }
    });
    Comparison::new().compare(models, |model| (model.capacity * 1_000_000 / model.refill).max(1));
}

/// Millionths of a token, which the refill counts per millisecond.
const TOKENS_PER_MONTH: u128 = 1_000_000;

#[test]
fn gcra_agrees_with_its_model() {
    let models = (any_size(1_000_000), any_size(MONTH), any_size(1_000_000), any::<bool>()).prop_map(
        |(limit, period, burst, same)| {
            let burst = if same { limit } else { burst.min((limit * MONTH / period).max(1)) };
            Gcra { limit, period, burst, arrival: 0 }
        },
    );
    Comparison::new().compare(models, |model| (model.burst * model.period / model.limit).max(1));
}

#[test]
fn a_back_off_agrees_with_its_model() {
    let models = (any_size(1_000), any_size(MONTH / 100), 1_000_u128..5_000, 1_u128..100, 1_u128..20).prop_map(
        |(limit, window, factor, maximum, decay)| Backoff {
            limit,
            window,
            factor,
            maximum: window * maximum,
            decay: (window * decay / 8).max(1),
            began: None,
            used: 0,
            blocked_until: 0,
            violations: 0,
        },
    );
    // A factor that needs more than a thousand steps is invalid.
    let models = models.prop_filter("few steps", |model| {
        let long = model.window * (model.factor - 1_000) >= 1_000;
        long && model.factor >= 1_050
    });
    Comparison::new().compare(models, |model| model.window);
}
