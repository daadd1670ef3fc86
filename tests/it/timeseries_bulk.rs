//! Loads of many series: JSON, NDJSON and CSV, bodies split anywhere, and incomplete bodies.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::http::Method;
use gridtokenx_redis::http::auth::api_key;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::compression::gzip;
use crate::support::{Reply, START, TestApp, eventually};
use crate::timeseries::{BUFFER, LONG_DEADLINES, METER, NO_CATCH_ALL, bits, read};

const BULK: &str = "/timeseries/samples";
const CSV: &str = "text/csv; charset=utf-8";
const NDJSON: &str = "application/x-ndjson";

async fn load(app: &TestApp, media_type: &str, body: impl Into<Body>) -> Reply {
    app.send(Method::POST, BULK, &[("content-type", media_type)], body).await
}

/// A body whose pieces the test sends one by one.
pub fn open_body() -> (mpsc::UnboundedSender<Result<Bytes, std::io::Error>>, Body) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (sender, Body::from_stream(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx))))
}

fn in_pieces(text: &str, size: usize) -> Body {
    let pieces: Vec<Result<Bytes, Infallible>> =
        text.as_bytes().chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(futures_util::stream::iter(pieces))
}

#[tokio::test]
async fn all_formats_store_the_same_samples() {
    let app = TestApp::spawn().await;
    let csv = "series,timestamp,value\nenergy:consumption:c,1,0.39799999999999996\nenergy:consumption:c,2,-0.0\n";
    let ndjson = "{\"series\":\"energy:consumption:n\",\"timestamp\":1,\"value\":0.39799999999999996}\n\
                  {\"value\":-0.0,\"timestamp\":2,\"series\":\"energy:consumption:n\"}";
    let json = json!({ "samples": [
        { "series": "energy:consumption:j", "timestamp": 1, "value": 0.397_999_999_999_999_96 },
        { "series": "energy:consumption:j", "timestamp": 2, "value": -0.0 },
    ] });
    let expected = json!({ "accepted": 2, "stored": 2, "refused_total": 0, "refused": [] });
    assert_eq!(load(&app, CSV, csv).await.expect(200).json(), expected);
    assert_eq!(load(&app, NDJSON, ndjson).await.expect(200).json(), expected);
    assert_eq!(load(&app, "application/json", json.to_string()).await.expect(200).json(), expected);
    for series in ["c", "n", "j"] {
        let found = read(&app, &format!("/timeseries/energy:consumption:{series}"), "", 9).await;
        assert_eq!(found, bits(&[(1, 0.397_999_999_999_999_96), (2, -0.0)]), "{series}");
    }
}

#[tokio::test]
async fn a_body_can_be_split_anywhere() {
    let app = TestApp::spawn().await;
    let text = "\u{feff}value,\"series\",timestamp\r\n1.5,market:price:é,10\r\n\r\n\"2.5\",\"market:price:\"\"é\"\"\",20\r\n3e0,market:price:é,30";
    for size in 1..text.len() {
        let answer = load(&app, CSV, in_pieces(text, size)).await.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["refused_total"]), (&json!(3), &json!(0)), "{size}: {answer}");
    }
    assert_eq!(read(&app, "/timeseries/market:price:%C3%A9", "", 9).await, bits(&[(10, 1.5), (30, 3.0)]));
    assert_eq!(read(&app, "/timeseries/market:price:%22%C3%A9%22", "", 9).await, bits(&[(20, 2.5)]));
}

#[tokio::test]
async fn an_invalid_line_is_refused_without_ending_the_stream() {
    let app = TestApp::builder().config(NO_CATCH_ALL).spawn().await;
    app.put("/timeseries/block", json!({ "duplicate_policy": "block" })).await.expect(201);
    app.redis().command::<()>(&["SET", "market:price:text", "somebody's"]);
    let long = "x".repeat(5_000);
    let text = format!(
        "series,timestamp,value\nmarket:price:a,10,1\nmarket:price:a,x,1\nmarket:price:a,11\nunknown,10,1\n{long},1,1\n\
         market:price:a,12,inf\nblock,5,1\nblock,5,2\nmarket:price:text,1,1\n\"market:price:a,1,1\nsamples,1,1\nmarket:price:a,20,2\n"
    );
    let answer = load(&app, CSV, text).await.expect(200).json();
    let refused: Vec<(i64, &str)> = answer["refused"]
        .as_array()
        .expect("refusals")
        .iter()
        .map(|refused| (refused["line"].as_i64().expect("a line"), refused["code"].as_str().expect("a code")))
        .collect();
    assert_eq!(
        refused,
        [
            (3, "invalid-sample"),
            (4, "invalid-sample"),
            (5, "series-not-found"),
            (6, "invalid-sample"),
            (7, "invalid-sample"),
            (9, "duplicate-sample"),
            (10, "wrong-type"),
            (11, "invalid-sample"),
            (12, "invalid-sample"),
        ]
    );
    assert_eq!((&answer["accepted"], &answer["stored"], &answer["refused_total"]), (&json!(3), &json!(3), &json!(9)));
    assert_eq!(answer["refused"][5]["series"], "block");
    assert_eq!(read(&app, "/timeseries/market:price:a", "", 9).await, bits(&[(10, 1.0), (20, 2.0)]));
}

#[tokio::test]
async fn a_load_out_of_order_and_sent_twice_is_stored_once() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let mut rows: Vec<(usize, i64, f64)> =
        (0..40_usize).flat_map(|meter| (0..1_700).map(move |n| (meter, START + n * 900_000, 0.25))).collect();
    // Neither by series nor by time: every seventh row first, and so on.
    rows = (0..7).flat_map(|offset| rows.iter().skip(offset).step_by(7).copied().collect::<Vec<_>>()).collect();
    let line = |(meter, time, value): &(usize, i64, f64)| format!("energy:generation:{meter},{time},{value}\n");
    let text = format!("series,timestamp,value\n{}", rows.iter().map(line).collect::<String>());
    let first = load(&app, CSV, text.clone()).await.expect(200).json();
    assert_eq!(first, json!({ "accepted": 68_000, "stored": 68_000, "refused_total": 0, "refused": [] }));
    let second = load(&app, CSV, text).await.expect(200).json();
    assert_eq!(second, json!({ "accepted": 68_000, "stored": 0, "refused_total": 0, "refused": [] }));
    for meter in [0, 39] {
        let expected: Vec<(i64, f64)> = (0..1_700).map(|n| (START + n * 900_000, 0.25)).collect();
        assert_eq!(read(&app, &format!("/timeseries/energy:generation:{meter}"), "", 9_999).await, bits(&expected));
    }
    assert_eq!(app.get("/timeseries?limit=1000").await.json()["items"].as_array().map(Vec::len), Some(40));
    let metrics = app.get("/metrics").await.expect(200).text();
    for line in ["stored\"} 68000", "unchanged\"} 68000", "refused\"} 0"] {
        assert!(metrics.contains(&format!("timeseries_samples_total{{result=\"{line}")), "{line}");
    }
}

#[tokio::test]
async fn an_invalid_header_or_media_type_ends_the_load() {
    let app = TestApp::spawn().await;
    for header in ["", "\n\n", "series,timestamp\n", "a,b,c\n", "series,value,series\n", "market:price:a,1,2\n"] {
        load(&app, CSV, format!("{header}market:price:a,1,2\n")).await.expect_problem(422, "invalid-body");
    }
    load(&app, CSV, "").await.expect_problem(422, "invalid-body");
    for (media_type, body) in [("text/html", "a"), ("application/json-seq", "{}")] {
        load(&app, media_type, body).await.expect_problem(415, "unsupported-media-type");
    }
    app.send(Method::POST, BULK, &[], "{}").await.expect_problem(415, "unsupported-media-type");
    let json = |body: Value| load(&app, "application/json", body.to_string());
    json(json!({ "samples": [{ "series": "market:price:a" }] })).await.expect_violation(
        422,
        "invalid-body",
        "/samples/0/value",
    );
    json(json!({ "sample": [] })).await.expect_violation(422, "invalid-body", "/sample");
    json(json!({ "samples": ["x".repeat(2 << 20)] })).await.expect_problem(413, "body-too-large");
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}

#[tokio::test]
async fn too_many_invalid_lines_end_the_load() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let good = |time: i64| format!("{{\"series\":\"market:price:a\",\"timestamp\":{time},\"value\":1}}\n");
    load(&app, NDJSON, format!("{}{}", good(1), "bad\n".repeat(1_000))).await.expect(200);
    let all_good: String = (1..=BUFFER).map(good).collect();
    let problem = load(&app, NDJSON, format!("{all_good}{}", "bad\n".repeat(1_001)))
        .await
        .expect_problem(422, "too-many-refused");
    let detail = problem["detail"].as_str().expect("a detail");
    let stored = &app.get("/timeseries/market:price:a").await.expect(200).json()["count"];
    assert!(detail.contains("line 65537") && detail.contains(&format!("{stored} samples were stored")), "{detail}");
    assert_eq!(problem["outcome"], "unknown");
}

#[tokio::test]
async fn an_incomplete_body_reports_how_many_samples_are_stored() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let (sender, body) = open_body();
    let feed = async {
        let line = |time: i64| format!("energy:consumption:MTR-001,{time},0.5\n");
        let lines: String = (1..=BUFFER).map(line).collect();
        let text = format!("series,timestamp,value\n{lines}energy:consumption:MTR-001,99999,0.");
        sender.send(Ok(Bytes::from(text))).expect("the body is read");
        eventually("the first lines are stored", async || app.get(METER).await.is(200)).await;
        sender.send(Err(std::io::Error::other("cut"))).expect("the body is read");
    };
    let (reply, ()) = tokio::join!(load(&app, CSV, body), feed);
    let problem = reply.expect_problem(400, "body-incomplete");
    let found = read(&app, METER, "", 100_000).await;
    let stored = format!("{} samples were stored", found.len());
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(&stored)), "{problem}");
    let expected: Vec<(i64, f64)> = (1..).map(|time| (time, 0.5)).take(found.len()).collect();
    assert_eq!(found, bits(&expected), "an incomplete line is not a sample");
}

#[tokio::test]
async fn a_body_that_pauses_too_long_is_rejected() {
    let app = TestApp::builder().config("http.body_idle_timeout = \"50ms\"\n").spawn().await;
    for media_type in [CSV, NDJSON, "application/json"] {
        let (sender, body) = open_body();
        sender.send(Ok(Bytes::from_static(b"{"))).expect("the body is read");
        let problem = load(&app, media_type, body).await.expect_problem(408, "request-timeout");
        drop(sender);
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
}

/// More than a load may send without a slot.
const LARGE: usize = 70_000;

#[tokio::test]
async fn large_loads_are_limited_and_small_ones_need_no_slot() {
    let app = TestApp::builder().config("timeseries.streams = 1\n").spawn().await;
    let (sender, body) = open_body();
    let first = load(&app, NDJSON, body);
    let second = async {
        sender.send(Ok(Bytes::from("\n".repeat(LARGE)))).expect("the body is read");
        eventually("the first load has the only slot", async || load(&app, NDJSON, "\n".repeat(LARGE)).await.is(503))
            .await;
        let problem = load(&app, NDJSON, "\n".repeat(LARGE)).await.expect_problem(503, "overloaded");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
        for path in [BULK, "/api/v2/write", "/write"] {
            let line = if path == BULK { "market:price:a,1,1" } else { "m v=1 1" };
            let csv = format!("{}{line}", if path == BULK { "series,timestamp,value\n" } else { "" });
            let small = app.send(Method::POST, path, &[("content-type", CSV)], csv).await;
            assert!(small.status.is_success(), "{path}: {}", small.text());
        }
        drop(sender);
    };
    let (first, ()) = tokio::join!(first, second);
    first.expect_problem(422, "invalid-body");
    load(&app, NDJSON, "\n".repeat(LARGE)).await.expect_problem(422, "invalid-body");
}

#[tokio::test]
async fn slow_uploads_of_one_credential_leave_slots_for_others() {
    let key = |id: &str, key: &str| {
        let digest = api_key::hex(&api_key::digest(key.as_bytes()));
        format!("[[auth.keys]]\nid = \"{id}\"\nsha256 = \"{digest}\"\nscopes = [\"timeseries:write\"]\n")
    };
    let [a, b] = ["ak_0123456789abcdef0123456789abcdef", "ak_ffffffffffffffffffffffffffffffff"];
    let config = format!("timeseries.streams = 4\n{}{}", key("a", a), key("b", b));
    let app = TestApp::builder().config(&config).spawn().await;
    let load = async |key: &str, body: Body| {
        app.send(Method::POST, BULK, &[("content-type", NDJSON), ("x-api-key", key)], body).await
    };
    let (senders, bodies): (Vec<_>, Vec<_>) = (0..2).map(|_| open_body()).unzip();
    let slow = futures_util::future::join_all(bodies.into_iter().map(|body| load(a, body)));
    let others = async {
        for sender in &senders {
            sender.send(Ok(Bytes::from("\n".repeat(LARGE)))).expect("the body is read");
        }
        let large = || Body::from("\n".repeat(LARGE));
        eventually("the credential has its share", async || load(a, large()).await.is(503)).await;
        load(b, large()).await.expect_problem(422, "invalid-body");
        drop(senders);
    };
    let (slow, ()) = tokio::join!(slow, others);
    for reply in slow {
        reply.expect_problem(422, "invalid-body");
    }
}

#[tokio::test]
async fn a_long_stream_takes_little_memory() {
    let app = TestApp::spawn().await;
    let lines = futures_util::stream::iter((0..200_i64).map(|time| {
        let piece = |meter: i64| format!("energy:generation:{meter},{},{}.5\n", time * 1_000, meter % 7);
        let header = if time == 0 { "series,timestamp,value\n" } else { "" };
        Ok::<_, Infallible>(Bytes::from(format!("{header}{}", (0..1_000).map(piece).collect::<String>())))
    }));
    let before = resident_kib();
    let answer = load(&app, CSV, Body::from_stream(lines)).await.expect(200).json();
    assert_eq!((&answer["accepted"], &answer["stored"]), (&json!(200_000), &json!(200_000)));
    let grown = resident_kib().saturating_sub(before);
    // The body is 6 MB; what is gathered before it is written is 65,536 samples.
    assert!(grown < 64 << 10, "{grown} KiB more");
    assert_eq!(app.get("/timeseries/energy:generation:999").await.json()["count"], 200);
}

/// The memory of this process.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap_or_default()
}

/// A compressed body that counts the bytes of it that were read.
fn counted(compressed: &[u8]) -> (Arc<AtomicUsize>, Body) {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let pieces: Vec<Vec<u8>> = compressed.chunks(1_024).map(<[u8]>::to_vec).collect();
    let pieces = pieces.into_iter().map(move |piece| {
        count.fetch_add(piece.len(), Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from(piece))
    });
    (read, Body::from_stream(futures_util::stream::iter(pieces)))
}

#[tokio::test]
async fn a_body_that_expands_too_much_is_refused_early() {
    let app = TestApp::spawn().await;
    let packed = |text: &str| gzip(text.repeat((48 << 20) / text.len()).as_bytes());
    let lines = ["\n", "\r\n", " ", ",", "# comment\n", "a on=\"on\"\n"];
    for (path, media_type) in
        [(BULK, CSV), (BULK, NDJSON), (BULK, "text/plain"), ("/write", "text/plain"), ("/api/v2/write", "text/plain")]
    {
        for text in lines {
            let (read, body) = counted(&packed(text));
            let headers = [("content-type", media_type), ("content-encoding", "gzip")];
            let reply = app.send(Method::POST, path, &headers, body).await;
            assert!(reply.is(413) || reply.is(422), "{path} {media_type} {text:?}: {}", reply.text());
            let read = read.load(Ordering::Relaxed);
            assert!(read < 32 << 10, "{path} {media_type} {text:?}: {read}");
        }
    }
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    for path in [BULK, "/timeseries/a/samples", "/timeseries/query"] {
        let (read, body) = counted(&packed("[]"));
        app.send(Method::POST, path, &headers, body).await.expect_problem(413, "body-too-large");
        assert!(read.load(Ordering::Relaxed) < 32 << 10, "{path}");
    }
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}
