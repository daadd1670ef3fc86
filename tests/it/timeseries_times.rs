//! Samples with an implausible time are refused, and change nothing.

use axum::http::Method;
use serde_json::{Value, json};

use crate::faults_keyspace::digest;
use crate::support::{Reply, START, TestApp};
use crate::timeseries::{METER, read, sample, write, write_many};
use crate::timeseries_packing::packed;

const QUARTER: i64 = 900_000;
const DAY: i64 = 86_400_000;

/// The defaults, which the harness widens for other tests.
const LIMITS: &str = "timeseries.max_ahead = \"1d\"";

/// A reading in microseconds.
const MICROSECONDS: i64 = START * 1_000;

async fn load(app: &TestApp, lines: String) -> Reply {
    app.send(Method::POST, "/timeseries/samples", &[("content-type", "text/csv")], lines).await
}

/// Ten days of readings, which end at the clock's time.
async fn history(app: &TestApp) {
    app.put("/timeseries/a", json!({ "retention_ms": 10 * DAY })).await.expect(201);
    write_many(app, "/timeseries/a", (0..960).map(|n| (START - n * QUARTER, 1.0))).await;
}

#[tokio::test]
async fn a_reading_in_microseconds_is_refused_and_all_others_stay() {
    let app = TestApp::builder().config(LIMITS).spawn().await;
    history(&app).await;
    let four = (1..5).map(|n| sample(START + n * QUARTER, 2.0));
    let answer = write(&app, "/timeseries/a", std::iter::once(sample(MICROSECONDS, 1.0)).chain(four).collect()).await;
    assert_eq!((&answer["accepted"], &answer["stored"]), (&json!(4), &json!(4)));
    let [refused] = answer["refused"].as_array().expect("a list").as_slice() else { panic!("{answer}") };
    assert_eq!((&refused["index"], &refused["code"]), (&json!(0), &json!("sample-too-new")));
    assert!(refused["detail"].as_str().is_some_and(|detail| detail.contains("milliseconds")), "{refused}");
    assert_eq!(read(&app, "/timeseries/a", "", 10_000).await.len(), 964);
    let metrics = app.get("/metrics").await.text();
    assert!(metrics.contains("timeseries_implausible_samples_total{reason=\"too_new\"} 1"), "{metrics}");
}

#[tokio::test]
async fn one_line_of_a_load_that_is_too_far_ahead_does_not_hide_the_others() {
    let app = TestApp::builder().config(LIMITS).spawn().await;
    let time = |n: i64| if n == 500 { MICROSECONDS } else { START - n * QUARTER };
    let line = |n: i64| format!("energy:consumption:MTR-001,{},1\n", time(n));
    let lines = format!("series,timestamp,value\n{}", (0..1_001).map(line).collect::<String>());
    let answer = load(&app, lines).await.expect(200).json();
    assert_eq!((&answer["accepted"], &answer["refused_total"]), (&json!(1_000), &json!(1)));
    assert_eq!((&answer["refused"][0]["line"], &answer["refused"][0]["code"]), (&json!(502), &json!("sample-too-new")));
    assert_eq!(read(&app, METER, "", 10_000).await.len(), 1_000);
}

#[tokio::test]
async fn samples_that_are_refused_for_their_time_create_and_change_nothing() {
    let app = TestApp::builder().config(LIMITS).spawn().await;
    for time in [MICROSECONDS, 9_007_199_254_740_991, START / 1_000, 0] {
        let body = json!({ "samples": [sample(time, 1.0)] });
        let problem = app.post(&format!("{METER}/samples"), body).await.expect_problem(422, "samples-refused");
        assert_eq!(problem["errors"][0]["pointer"], "/samples/0", "{problem}");
        app.get(METER).await.expect_problem(404, "series-not-found");
    }
    let seconds = app.send(Method::POST, "/write?precision=ms", &[], "m f=1 1767225600").await;
    assert!(seconds.expect_problem(400, "lines-refused").to_string().contains("the timestamps is ms"));
    history(&app).await;
    app.patch("/timeseries/a", json!({ "duplicate_policy": "block" })).await.expect(200);
    packed(&app, "ts:a").await;
    let before = digest(&app);
    for refused in [
        vec![sample(START + DAY + 1, 1.0), sample(MICROSECONDS, 1.0)],
        vec![sample(START - 11 * DAY, 1.0)],
        vec![sample(START, 2.0), sample(START + 2 * DAY, 2.0)],
    ] {
        let reply = app.post("/timeseries/a/samples", json!({ "samples": refused })).await;
        reply.expect_problem(422, "samples-refused");
        assert_eq!(digest(&app), before);
    }
}

#[tokio::test]
async fn seconds_are_refused_in_a_family_unless_it_allows_times_before_2000() {
    let config = "timeseries.max_ahead = \"1d\"\n\
                  timeseries.families = [{ prefix = \"meter:*\", retention = \"10d\" }, \
                  { prefix = \"archive:*\", retention = \"0s\", allow_before_2000 = true }]";
    let app = TestApp::builder().config(config).spawn().await;
    let samples = || vec![sample(START / 1_000, 1.0), sample(START, 2.0)];
    let answer = write(&app, "/timeseries/meter:a", samples()).await;
    assert_eq!((&answer["accepted"], &answer["refused"][0]["code"]), (&json!(1), &json!("wrong-time-unit")));
    assert!(answer["refused"][0]["detail"].as_str().is_some_and(|detail| detail.contains("not seconds")), "{answer}");
    let answer = write(&app, "/timeseries/archive:a", samples()).await;
    assert_eq!((&answer["accepted"], &answer["refused"]), (&json!(2), &json!([])));
}

#[tokio::test]
async fn seconds_create_no_series_of_an_unknown_name() {
    let app = TestApp::builder().config(LIMITS).spawn().await;
    let (seconds, both) = (vec![sample(START / 1_000, 1.0)], vec![sample(START / 1_000, 1.0), sample(START, 2.0)]);
    let problem = app.post("/timeseries/unknown/samples", json!({ "samples": seconds })).await;
    let problem = problem.expect_violation(422, "samples-refused", "/samples/0");
    assert!(problem["errors"][0]["detail"].as_str().is_some_and(|detail| detail.contains("not seconds")), "{problem}");
    assert_eq!(app.redis().keys(), Vec::<String>::new());
    let answer = write(&app, "/timeseries/unknown", both).await;
    assert_eq!((&answer["accepted"], &answer["refused"][0]["code"]), (&json!(1), &json!("wrong-time-unit")));
    // A client that defines a series knows its times.
    app.put("/timeseries/known", json!({ "retention_ms": 0 })).await.expect(201);
    write(&app, "/timeseries/known", vec![sample(START / 1_000, 1.0)]).await;
    let config = "timeseries.families = [{ prefix = \"*\", retention = \"0s\", allow_before_2000 = true }]";
    let archive = TestApp::builder().config(config).spawn().await;
    write(&archive, "/timeseries/unknown", vec![sample(START / 1_000, 1.0)]).await;
}

#[tokio::test]
async fn seconds_are_refused_in_a_series_that_its_first_sample_created() {
    let keeps_all = format!("{LIMITS}\ntimeseries.families = [{{ prefix = \"*\", retention = \"0s\" }}]");
    let samples = || vec![sample(START / 1_000, 1.0), sample(START + 1, 2.0)];
    for (config, accepted) in [(LIMITS, 1), (&keeps_all, 2)] {
        let app = TestApp::builder().config(config).spawn().await;
        write(&app, "/timeseries/a", vec![sample(START, 1.0)]).await;
        let body = json!({ "samples": [sample(START / 1_000, 1.0)] });
        let problem =
            app.post("/timeseries/a/samples", body).await.expect_violation(422, "samples-refused", "/samples/0");
        assert!(problem["errors"][0]["detail"].as_str().is_some_and(|text| text.contains("not seconds")), "{problem}");
        let answer = write(&app, "/timeseries/a", samples()).await;
        assert_eq!((&answer["accepted"], &answer["refused"][0]["code"]), (&json!(1), &json!("wrong-time-unit")));
        let metrics = app.get("/metrics").await.text();
        assert!(metrics.contains("timeseries_implausible_samples_total{reason=\"wrong_unit\"} 2"), "{metrics}");
        // A client that defines it knows its times; only the retention is a limit then.
        let retention = app.get("/timeseries/a").await.expect(200).json()["retention_ms"].clone();
        app.put("/timeseries/a", json!({ "retention_ms": retention })).await.expect(200);
        assert_eq!(write(&app, "/timeseries/a", samples()).await["accepted"], accepted);
    }
}

#[tokio::test]
async fn nanoseconds_are_refused_one_by_one() {
    let app = TestApp::builder().config(LIMITS).spawn().await;
    let nanoseconds = START * 1_000_000;
    let body = json!({ "samples": [sample(nanoseconds, 1.0), sample(START, 1.0)] });
    let answer = app.post("/timeseries/a/samples", body).await.expect(200).json();
    assert_eq!((&answer["accepted"], &answer["refused"][0]["code"]), (&json!(1), &json!("sample-too-new")), "{answer}");
    assert!(answer["refused"][0]["detail"].as_str().is_some_and(|detail| detail.contains("nanoseconds")), "{answer}");
    let many = (0..1_500).map(|n| nanoseconds + n);
    let lines: Vec<_> = many.chain((0..10).map(|n| START + n)).map(|time| format!("b,{time},1")).collect();
    let answer = load(&app, format!("series,timestamp,value\n{}", lines.join("\n"))).await.expect(200).json();
    assert_eq!((&answer["accepted"], &answer["refused_total"]), (&json!(10), &json!(1_500)));
    let line = json!({ "series": "c", "timestamp": nanoseconds, "value": 1 }).to_string();
    let headers = [("content-type", "application/x-ndjson")];
    let reply = app.send(Method::POST, "/timeseries/samples", &headers, line).await;
    assert!(reply.expect_problem(422, "samples-refused").to_string().contains("sample-too-new"));
    let metrics = app.get("/metrics").await.text();
    assert!(metrics.contains("timeseries_implausible_samples_total{reason=\"too_new\"} 1502"), "{metrics}");
}

#[tokio::test]
async fn a_change_of_retention_does_not_expire_a_forecast() {
    let config = "timeseries.families = [{ prefix = \"forecast:*\", retention = \"2d\", max_ahead = \"400d\" }]";
    let app = TestApp::builder().config(config).spawn().await;
    let series = "/timeseries/forecast:a";
    write(&app, series, (0..300).map(|day| sample(START + day * DAY, 1.0)).collect()).await;
    let left = || app.redis().command::<i64>(&["PTTL", "forecast:a"]);
    app.patch(series, json!({ "retention_ms": 3 * DAY })).await.expect(200);
    assert!(left() > 302 * DAY, "{}", left());
    let rollup = json!({ "bucket": "1d", "agg": "sum", "retention_ms": 400 * DAY });
    app.post(&format!("{series}/rollups"), rollup).await.expect(201);
    assert!(left() > 699 * DAY, "{}", left());
    app.patch(series, json!({ "retention_ms": 0 })).await.expect(200);
    assert_eq!(left(), -1);
}

#[tokio::test]
async fn retention_counts_back_from_the_clock_while_a_forecast_is_ahead_of_it() {
    let config = "timeseries.families = [{ prefix = \"forecast:*\", retention = \"7d\", max_ahead = \"30d\" }]";
    let app = TestApp::builder().config(config).spawn().await;
    let series = "/timeseries/forecast:a";
    let days = [-8, -6, -4, 20, 31];
    let answer = write(&app, series, days.map(|day| sample(START + day * DAY, 1.0)).to_vec()).await;
    let codes: Vec<&Value> = answer["refused"].as_array().expect("a list").iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["sample-too-old", "sample-too-new"]);
    let times = async || read(&app, series, "", 9).await.iter().map(|one| (one.0 - START) / DAY).collect::<Vec<_>>();
    assert_eq!(times().await, [-6, -4, 20]);
    let left: i64 = app.redis().command(&["PTTL", "forecast:a"]);
    assert!(left > 27 * DAY, "the series lives until its forecast has expired: {left}");
    app.clock().advance(std::time::Duration::from_secs(2 * 86_400));
    assert_eq!(times().await, [-4, 20]);
    let described = app.get(series).await.expect(200).json();
    assert_eq!((&described["count"], &described["first_timestamp"]), (&json!(2), &json!(START - 4 * DAY)));
    let deleted = app.delete(&format!("{series}/samples?from=0&to=now")).await.expect(200).json();
    assert_eq!(deleted["deleted"], 1);
    assert_eq!(times().await, [20]);
}

#[tokio::test]
async fn bodies_accept_rfc_3339_and_queries_accept_dates() {
    let app = TestApp::spawn().await;
    let json = json!({ "samples": [{ "timestamp": "2026-01-01T07:00:00+07:00", "value": 1.0 }] });
    app.post("/timeseries/t/samples", json).await.expect(200);
    load(&app, "series,timestamp,value\nt,2026-01-02T00:00:00Z,2\n".to_owned()).await.expect(200);
    let line = r#"{"series":"t","timestamp":"2026-01-03T00:00:00Z","value":3}"#;
    let headers = [("content-type", "application/x-ndjson")];
    app.send(Method::POST, "/timeseries/samples", &headers, line).await.expect(200);
    let page = app.get("/timeseries/t/range?from=2026-01-01&to=2026-01-02").await.expect(200).json();
    let day = |n: i64| 1_767_225_600_000 + n * DAY;
    assert_eq!(
        page["samples"],
        json!([{ "timestamp": day(0), "value": 1.0 }, { "timestamp": day(1), "value": 2.0 }]),
        "{page}"
    );
    let bad = json!({ "samples": [{ "timestamp": "2026-01-01", "value": 1.0 }] });
    app.post("/timeseries/t/samples", bad).await.expect_problem(422, "invalid-body");
}
