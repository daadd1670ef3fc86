//! Every aggregation against a plain reference: random samples, windows, buckets, fills, filters and pages.

mod candles;
mod counters;
mod reference;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::support::TestApp;
use crate::timeseries::{LONG_DEADLINES, sample, write_many};
use reference::Question;

/// The points of all pages; not a number stands for null.
pub async fn points(app: &TestApp, series: &str, query: &str, limit: usize) -> Vec<(i64, f64)> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("{series}/range?limit={limit}&{query}{cursor}")).await.expect(200).json();
        let samples = page["samples"].as_array().expect("samples");
        assert!(samples.len() <= limit, "{query}");
        all.extend(samples.iter().map(|point| {
            let value = &point["value"];
            (point["timestamp"].as_i64().expect("a time"), value.as_f64().unwrap_or(f64::NAN))
        }));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn samples() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let value = prop_oneof![Just(0.0), -1e3..1e3, (0_i32..40).prop_map(f64::from)];
    // Bursts and gaps, and times just beside round ones.
    let step = prop_oneof![4 => 1_i64..8, 2 => Just(10_i64), 1 => 20_i64..90, 1 => 300_i64..900];
    (0_i64..60, proptest::collection::vec((step, value), 0..60)).prop_map(|(start, steps)| {
        let mut time = start;
        steps
            .into_iter()
            .map(|(step, value)| {
                time += step;
                (time, value)
            })
            .collect()
    })
}

fn question(aggregation: &'static str) -> impl Strategy<Value = Question> {
    let gaps = prop_oneof![Just("none"), Just("empty"), Just("null"), Just("previous"), Just("linear")];
    let window =
        prop_oneof![Just((0, 9_999)), (0_i64..500, 0_i64..900).prop_map(|(from, length)| (from, from + length))];
    let width = prop_oneof![1_i64..30, Just(10_i64), Just(100_i64), 200_i64..2_000];
    let filter = prop_oneof![3 => Just((f64::NEG_INFINITY, f64::INFINITY)), 1 => Just((-50.0, 600.0))];
    let wrap = prop_oneof![Just(None), Just(Some(1_000.0))];
    (gaps, window, width, -50_i64..50, filter, wrap).prop_map(
        move |(gaps, (from, to), width, anchor, (min, max), wrap)| Question {
            from,
            to,
            aggregation,
            width,
            anchor,
            gaps,
            min,
            max,
            wrap: wrap.filter(|_| ["increase", "rate"].contains(&aggregation)),
        },
    )
}

fn query(question: &Question) -> String {
    let Question { from, to, aggregation, width, anchor, gaps, min, max, wrap } = question;
    let window = format!("from={from}&to={to}&agg={aggregation}&bucket={width}ms&align={anchor}");
    let gaps = match *gaps {
        "none" => String::new(),
        "empty" => "&empty=true".into(),
        fill => format!("&fill={fill}"),
    };
    let filter = if min.is_finite() { format!("&min_value={min}&max_value={max}") } else { String::new() };
    let wrap = wrap.map(|wrap| format!("&wrap={wrap}")).unwrap_or_default();
    [window, gaps, filter, wrap].concat()
}

fn bits(points: &[(i64, f64)]) -> Vec<(i64, u64)> {
    points.iter().map(|&(time, value)| (time, value.to_bits())).collect()
}

async fn agrees(app: &TestApp, series: &str, all: &[(i64, f64)], question: &Question) -> Result<(), TestCaseError> {
    app.put(series, json!({ "retention_ms": 0 })).await.expect(201);
    if !all.is_empty() {
        let samples: Vec<Value> = all.iter().map(|&(time, value)| sample(time, value)).collect();
        app.post(&format!("{series}/samples"), json!({ "samples": samples })).await.expect(200);
    }
    compare(app, series, all, question).await
}

/// Compares the answer about a stored series with the reference.
async fn compare(app: &TestApp, series: &str, all: &[(i64, f64)], question: &Question) -> Result<(), TestCaseError> {
    let query = query(question);
    let (expected, found) = (question.answer(all), points(app, series, &query, 100_000).await);
    let times = |points: &[(i64, f64)]| points.iter().map(|point| point.0).collect::<Vec<_>>();
    prop_assert_eq!(times(&found), times(&expected), "{}", query);
    for (found, expected) in found.iter().zip(&expected) {
        let scale = expected.1.abs().max(1_000.0);
        let close = (found.1 - expected.1).abs() <= 1e-9 * scale || (found.1.is_nan() && expected.1.is_nan());
        prop_assert!(close, "{}: {:?}, expected {:?}", query, found, expected);
    }
    // The pages contain all points, bit for bit, in both orders.
    prop_assert_eq!(bits(&points(app, series, &query, 23).await), bits(&found), "pages of {}", &query);
    for limit in [100_000, 17] {
        let mut newest_first = points(app, series, &format!("{query}&order=desc"), limit).await;
        newest_first.reverse();
        prop_assert_eq!(bits(&newest_first), bits(&found), "newest first, {} of {}", limit, &query);
    }
    Ok(())
}

/// Each case is a separate series on one server.
fn check(aggregation: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // Hundreds of requests one after the other meet a slow moment of the machine that a caller would not notice.
    let app = runtime.block_on(TestApp::builder().config(LONG_DEADLINES).spawn());
    let case = std::cell::Cell::new(0);
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(samples(), question(aggregation)), |(samples, question)| {
        case.set(case.get() + 1);
        runtime.block_on(agrees(&app, &format!("/timeseries/a{}", case.get()), &samples, &question))
    });
    outcome.unwrap_or_else(|failure| panic!("{aggregation}: {failure}"));
}

#[tokio::test]
async fn aggregations_over_several_reads_are_right() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 0 })).await.expect(201);
    // One call of Redis reads 32,768 samples.
    let value = |n: i32| f64::from(n * 7_919 % 1_237) - 600.0;
    let all: Vec<(i64, f64)> = (0..70_000).map(|n| (i64::from(n) * 7 + i64::from(n % 5), value(n))).collect();
    write_many(&app, "/timeseries/a", all.iter().copied()).await;
    for aggregation in [
        "avg", "sum", "count", "min", "max", "range", "first", "last", "std_p", "median", "p99.9", "twa", "increase",
        "rate",
    ] {
        for (width, gaps, min, max) in
            [(9_001, "none", f64::NEG_INFINITY, f64::INFINITY), (300_000, "empty", -50.0, 600.0)]
        {
            let question =
                Question { from: 5, to: 480_000, aggregation, width, anchor: 13, gaps, min, max, wrap: None };
            let outcome = compare(&app, "/timeseries/a", &all, &question).await;
            outcome.unwrap_or_else(|failure| panic!("{aggregation}: {failure}"));
        }
    }
}

#[test]
fn averages_and_sums_are_right() {
    check("avg");
    check("sum");
    check("count");
}

#[test]
fn extremes_are_right() {
    check("min");
    check("max");
    check("range");
}

#[test]
fn first_and_last_are_right_in_both_orders() {
    check("first");
    check("last");
}

#[test]
fn variances_and_deviations_are_right() {
    check("std_p");
    check("std_s");
    check("var_p");
    check("var_s");
}

#[test]
fn percentiles_are_right() {
    check("median");
    check("p90");
    check("p99.9");
}

#[test]
fn averages_over_time_are_right() {
    check("twa");
}

#[test]
fn increases_are_right() {
    check("increase");
}

#[test]
fn rates_are_right() {
    check("rate");
}
