//! Requests with several targets: each target checks the token.

use axum::body::{Body, Bytes};
use axum::http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{SERIES, append, highest, put, send};
use crate::support::{TestApp, eventually};
use crate::timeseries::LONG_DEADLINES;

#[tokio::test]
async fn a_batch_changes_only_keys_without_a_newer_fence() {
    let app = TestApp::spawn().await;
    for (path, token) in [("/cache/newer", 30), ("/cache/same", 20), ("/cache/gone", 30), ("/cache/goes", 20)] {
        put(&app, token, path, "1").await.expect(201);
    }
    let _: () = app.redis().command(&["SCRIPT", "FLUSH"]);
    let batch = json!({
        "get": ["newer"],
        "set": [{"key": "newer", "value": 2, "tags": ["t"]}, {"key": "same", "value": 2}, {"key": "fresh", "value": 2}],
        "delete": ["gone", "goes"],
    });
    let reply = send(&app, 20, Method::POST, "/cache/batch", batch.to_string()).await.expect(200).json();
    let statuses = |part: &str| -> Vec<Value> {
        reply[part].as_array().expect("results").iter().map(|item| item["status"].clone()).collect()
    };
    assert_eq!((statuses("get"), statuses("set")), (vec![json!(200)], vec![json!(409), json!(204), json!(201)]));
    assert_eq!(statuses("delete"), [409, 204], "{reply}");
    for error in [&reply["set"][0]["error"], &reply["delete"][0]["error"]] {
        assert_eq!((&error["code"], &error["outcome"]), (&json!("stale-fence"), &json!("not_applied")), "{reply}");
    }
    for (path, value) in [("/cache/newer", "1"), ("/cache/same", "2"), ("/cache/fresh", "2"), ("/cache/gone", "1")] {
        assert_eq!(app.get(path).await.expect(200).text(), value, "{path}");
    }
    app.get("/cache/goes").await.expect_problem(404, "cache-miss");
    let fence = |key: &str| highest(&app.redis(), &format!("cache:fence:{{cache:{key}}}"));
    assert_eq!((fence("newer"), fence("fresh"), fence("goes")), (Some(30), Some(20), Some(20)));
}

#[tokio::test]
async fn a_bulk_load_changes_only_series_without_a_newer_fence() {
    let app = TestApp::spawn().await;
    append(&app, 30, SERIES, 1).await.expect(200);
    let (newer, fresh) = ("energy:generation:m1", "energy:generation:m2");
    let bodies = [
        ("text/csv", format!("series,timestamp,value\n{newer},2,2\n{fresh},2,2\n")),
        (
            "application/x-ndjson",
            format!(
                "{{\"series\":\"{newer}\",\"timestamp\":2,\"value\":2}}\n{{\"series\":\"{fresh}\",\"timestamp\":3,\"value\":2}}"
            ),
        ),
        (
            "application/json",
            json!({ "samples": [{ "series": newer, "timestamp": 2, "value": 2 },
                                { "series": fresh, "timestamp": 4, "value": 2 }] })
            .to_string(),
        ),
    ];
    for (media_type, body) in bodies {
        let headers = [("content-type", media_type), ("fencing-token", "20")];
        let answer = app.send(Method::POST, "/timeseries/samples", &headers, body).await.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["refused_total"]), (&json!(1), &json!(1)), "{media_type}: {answer}");
        let refused = &answer["refused"][0];
        assert_eq!((&refused["code"], &refused["series"]), (&json!("stale-fence"), &json!(newer)), "{answer}");
    }
    assert_eq!(app.get(&format!("/timeseries/{newer}")).await.expect(200).json()["count"], 1);
    assert_eq!(app.get(&format!("/timeseries/{fresh}")).await.expect(200).json()["count"], 3);
    assert_eq!(highest(&app.redis(), "ts:fence:{energy:generation:m2}"), Some(20));
}

/// A load is written when it has this many samples of one meter. Its buffer has 65,536 places, of which a series takes 64.
const FULL_BUFFER: i64 = 65_472;

#[tokio::test]
async fn a_bulk_load_keeps_what_it_stored_before_its_token_became_stale() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let (sender, mut receiver) = mpsc::unbounded_channel::<Result<Bytes, std::io::Error>>();
    let body = Body::from_stream(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)));
    let headers = [("content-type", "text/csv"), ("fencing-token", "20")];
    let load = app.send(Method::POST, "/timeseries/samples", &headers, body);
    let other = async {
        let line = |time: i64| format!("energy:generation:m1,{time},1\n");
        let lines: String = (1..=FULL_BUFFER).map(line).collect();
        let first = format!("series,timestamp,value\n{lines}");
        sender.send(Ok(Bytes::from(first))).expect("the request reads its body");
        let stored = async || app.get(&format!("{SERIES}/latest")).await.json()["timestamp"] == FULL_BUFFER;
        eventually("the first lines are stored", stored).await;
        append(&app, 21, SERIES, 70_000).await.expect(200);
        sender.send(Ok(Bytes::from_static(b"energy:generation:m1,80000,1\n"))).expect("the request reads its body");
        drop(sender);
    };
    let (loaded, ()) = tokio::join!(load, other);
    let answer = loaded.expect(200).json();
    assert_eq!((&answer["accepted"], &answer["refused_total"]), (&json!(FULL_BUFFER), &json!(1)), "{answer}");
    let refused = &answer["refused"][0];
    assert_eq!((&refused["line"], &refused["code"]), (&json!(FULL_BUFFER + 2), &json!("stale-fence")));
    assert_eq!(app.get(SERIES).await.expect(200).json()["count"], FULL_BUFFER + 1);
}
