//! The limits of Prometheus queries: work, memory, threads and regular expressions.

use std::sync::mpsc;
use std::time::Duration;

use axum::http::Method;
use gridtokenx_redis::lifecycle::offload::Offload;
use tokio::sync::oneshot;

use crate::support::{TestApp, eventually};
use crate::timeseries::LONG_DEADLINES;
use crate::timeseries_prom::{S, ask, ask_range, encoded, refused, values, with_counters};

#[tokio::test]
async fn a_query_is_rejected_at_its_limits() {
    let app = TestApp::builder().config("timeseries.prom.samples = 6000").config(LONG_DEADLINES).spawn().await;
    with_counters(&app).await;
    assert_eq!(values(&app, "net_bytes", S + 60).await.len(), 3);
    let write = async |lines: String| {
        app.send(Method::POST, "/write?precision=s", &[], lines).await.expect(204);
    };
    // 90 series of 11,000 points are allowed, 91 are not.
    let host = |n: i64| format!("cpu,host=h{n} idle=1 {S}\n");
    write((0..90).map(host).collect()).await;
    ask_range(&app, "cpu_idle", S + 10_999, "1s").await.expect(200);
    write(host(90)).await;
    refused(&ask_range(&app, "cpu_idle", S + 10_999, "1s").await, 422, "execution", "1000000 points");
    // 5,000 samples in each of 11,000 ranges.
    let fan = |n: i64| format!("fan,host=a speed=1 {}\n", S - n);
    write((0..5_000).map(fan).collect()).await;
    refused(
        &ask_range(&app, "sum(count_over_time(fan_speed[1d]))", S + 10_999, "1s").await,
        422,
        "execution",
        "ranges of all steps",
    );
    refused(
        &ask(&app, "sum(sum_over_time(fan_speed[3h])) + sum(sum_over_time(fan_speed[2h]))", S).await,
        422,
        "execution",
        "6000 samples",
    );
}

/// Takes threads for long work until the senders are dropped.
async fn take_threads(app: &TestApp, count: usize) -> Vec<mpsc::Sender<()>> {
    let mut senders = Vec::new();
    for _ in 0..count {
        let (sender, ended) = mpsc::channel();
        let (taken, begun) = oneshot::channel();
        let offload = app.app().deps.offload.clone();
        #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
        tokio::spawn(async move {
            let work = move || {
                taken.send(()).expect("the test waits");
                // The sender is never used, so this returns when it is dropped.
                let _ = ended.recv();
            };
            offload.run(Duration::from_secs(10), work).await.expect("a thread");
        });
        begun.await.expect("the thread is taken");
        senders.push(sender);
    }
    senders
}

#[tokio::test]
async fn a_short_query_needs_no_thread_for_long_work() {
    let app = TestApp::spawn().await;
    with_counters(&app).await;
    let taken = take_threads(&app, Offload::threads()).await;
    ask(&app, "1+1", S).await.expect(200);
    assert_eq!(values(&app, "sum(rate(net_bytes[1m]))", S + 60).await.len(), 1);
    refused(&ask_range(&app, "net_bytes * 1", S + 10_000, "1s").await, 503, "unavailable", "overloaded");
    drop(taken);
}

#[tokio::test]
async fn an_evaluation_ends_with_its_request() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let fan = |n: i64| format!("fan,host=a speed=1 {}\n", S - n);
    app.send(Method::POST, "/write?precision=s", &[], (0..4_500).map(fan).collect::<String>()).await.expect(204);
    let _taken = take_threads(&app, Offload::threads() - 1).await;
    let offload = app.app().deps.offload.clone();
    {
        let query = ask_range(&app, "quantile_over_time(0.5, fan_speed[1d])", S + 10_990, "1s");
        let is_evaluated = eventually("the last thread is taken", async || {
            offload.run(Duration::from_millis(1), || ()).await.is_err()
        });
        tokio::select! {
            reply = query => panic!("the query was too short: {}", reply.text()),
            () = is_evaluated => {}
        }
    }
    // What is left of the evaluation would take several seconds.
    offload.run(Duration::from_millis(500), || ()).await.expect("the thread is free");
}

#[tokio::test]
async fn large_and_many_regular_expressions_are_refused_before_they_are_compiled() {
    let app = TestApp::spawn().await;
    with_counters(&app).await;
    let large = |expressions: usize| {
        let conditions: Vec<_> = (0..expressions).map(|n| format!("m{n}=~\"\\\\pL{{100}}\"")).collect();
        format!("{{zone=\"1\",{}}}", conditions.join(","))
    };
    refused(&ask(&app, &large(1), S).await, 400, "bad_data", "too large");
    refused(&ask(&app, &large(17), S).await, 400, "bad_data", "16 regular expressions");
    refused(&ask(&app, r#"{zone=~"("}"#, S).await, 400, "bad_data", "invalid");
    // Prometheus takes a brace literally that begins no repetition.
    assert_eq!(
        ask(&app, r#"{zone="1",host!~"{x}"}"#, S).await.expect(200).json()["data"]["result"][1]["value"][1],
        "0"
    );
    let find = async |selectors: &[&str], path: &str| {
        let pairs: Vec<_> = selectors.iter().map(|text| ("match[]", *text)).collect();
        app.get(&format!("/prom/api/v1/{path}?{}", encoded(&pairs))).await
    };
    for path in ["series", "labels", "label/host/values"] {
        refused(&find(&[&large(1)], path).await, 400, "bad_data", "too large");
        refused(&find(&[&large(9), &large(9)], path).await, 400, "bad_data", "16 regular expressions");
        refused(&find(&["net_bytes"; 33], path).await, 400, "bad_data", "32 times");
        find(&[r#"{host=~"[ab]",zone="1"}"#; 16], path).await.expect(200);
    }
}

/// Stores series as the service does, with 31 labels of 256 bytes.
fn store_labelled(app: &TestApp, from: u32, to: u32) {
    let script = "
        local labels = {}
        for n = 1, 30 do labels[n] = string.format('\"l%02d\":\"%s\"', n, string.rep('v', 256)) end
        local text = '{' .. table.concat(labels, ',') .. ',\"zone\":\"1\"}'
        for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
          local key = string.format('m:%06d', n)
          redis.call('HSET', 'ts:' .. key, 'retention_ms', 0, 'duplicate_policy', 'last', 'labels', text)
          redis.call('ZADD', KEYS[1], 0, 'zone\\0' .. '1\\0' .. key)
        end
        return 1";
    let postings = "timeseries:postings:{timeseries:index}";
    app.redis().command::<i64>(&["EVAL", script, "1", postings, &from.to_string(), &to.to_string()]);
}

#[tokio::test]
async fn the_labels_of_a_query_take_a_bounded_amount_of_memory() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let series = format!("/prom/api/v1/series?{}", encoded(&[("match[]", r#"{zone="1"}"#)]));
    // Each takes about 10,400 bytes.
    store_labelled(&app, 1, 3_000);
    ask(&app, r#"count({zone="1"})"#, S).await.expect(200);
    assert_eq!(app.get(&series).await.expect(200).json().get("warnings"), None);
    store_labelled(&app, 3_001, 3_500);
    refused(&ask(&app, r#"count({zone="1"})"#, S).await, 422, "execution", "32 MiB of labels");
    let listed = app.get(&series).await.expect(200).json();
    assert_eq!(listed["warnings"], serde_json::json!(["results truncated due to limit"]));
    // Selectors that find the same series keep them once; those of one query share the memory.
    refused(
        &ask(&app, r#"count({zone="1",l01!="x"}) + count({zone="1"})"#, S).await,
        422,
        "execution",
        "32 MiB of labels",
    );
}
