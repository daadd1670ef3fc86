//! Invalid input is reported with its position and not stored.

use axum::http::Method;
use serde_json::{Value, json};

use super::{WEB, sample, send, times};
use crate::support::{START, TestApp};

fn with(pointer: &str, value: Value) -> Value {
    let mut sample = sample(0);
    *sample.pointer_mut(pointer).expect("a field") = value;
    sample
}

fn without(part: &str) -> Value {
    let mut sample = sample(0);
    sample.as_object_mut().expect("an object").remove(part);
    sample
}

#[tokio::test]
async fn every_broken_rule_of_a_sample_names_its_field() {
    let app = TestApp::spawn().await;
    let hour = 3_600_000;
    for (body, pointer) in [
        (with("/cpu/usage", json!(100.1)), "/cpu/usage"),
        (with("/cpu/usage", json!(-0.1)), "/cpu/usage"),
        (with("/cpu/usage", json!("12")), "/cpu/usage"),
        (with("/cpu/usage", json!(null)), "/cpu/usage"),
        (with("/cpu/cores", json!(0)), "/cpu/cores"),
        (with("/cpu/cores", json!(2.5)), "/cpu/cores"),
        (with("/cpu/loadAvg", json!([1, 2])), "/cpu/loadAvg"),
        (with("/cpu/loadAvg/1", json!(-1)), "/cpu/loadAvg/1"),
        (with("/cpu/loadAvg/1", json!(9_007_199_254_740_993_u64)), "/cpu/loadAvg/1"),
        (with("/memory/used", json!(1_001)), "/memory/used"),
        (with("/memory/free", json!(1_001)), "/memory/free"),
        (with("/disk/usagePercent", json!(101)), "/disk/usagePercent"),
        (with("/disk/total", json!(-1)), "/disk/total"),
        (with("/network/bytesIn", json!(9_007_199_254_740_994_u64)), "/network/bytesIn"),
        (with("/timestamp", json!(START + hour)), "/timestamp"),
        (with("/timestamp", json!(START - 8 * 24 * hour)), "/timestamp"),
        (with("/timestamp", json!(u64::MAX)), "/timestamp"),
        (with("/timestamp", json!("2026-01-01")), "/timestamp"),
        (with("/timestamp", json!("now")), "/timestamp"),
        (without("disk"), "/disk"),
        (json!({ "cpu": 1, "gpu": 2 }), "/cpu"),
        (json!([]), ""),
        (json!(7), ""),
    ] {
        app.post(WEB, body.clone()).await.expect_violation(422, "invalid-body", pointer);
    }
    for text in ["{\"cpu\":{\"usage\":NaN}}", "[{]", "", "{\"cpu\":{\"usage\":1e999}}"] {
        let json = [("content-type", "application/json")];
        let reply = app.send(Method::POST, WEB, &json, text.to_owned()).await;
        reply.expect_problem(400, "invalid-json");
    }
    app.send(Method::POST, WEB, &[("content-type", "text/csv")], "a")
        .await
        .expect_problem(415, "unsupported-media-type");
    app.get("/hosts/web-1/metrics/latest").await.expect_problem(404, "host-not-found");
}

#[tokio::test]
async fn samples_and_heartbeats_may_state_their_time_in_rfc_3339() {
    let app = TestApp::spawn().await;
    let time = START - 60_000;
    let text = jiff::Timestamp::from_millisecond(time).expect("a time").to_string();
    app.post(WEB, with("/timestamp", json!(text))).await.expect(202);
    let mut metrics = measured();
    metrics["timestamp"] = json!(text);
    let older = json!({ "hostId": "older", "agentVersion": "1", "agentStatus": "running", "metrics": metrics });
    app.post("/agent/heartbeat", older).await.expect(200);
    let heartbeat = json!({ "hostname": "new", "agentVersion": "2", "agentStatus": "running", "uptime": 1,
                            "metrics": metrics });
    let body = json!({ "organizationSlug": "grid-one", "hostId": "new", "heartbeat": heartbeat });
    app.post("/v2/heartbeat", body).await.expect(200);
    for host in ["web-1", "older", "new"] {
        let found = app.get(&format!("/hosts/{host}/metrics/latest")).await.expect(200).json();
        assert_eq!(found["metrics"]["timestamp"], json!(time), "{host}");
    }
}

#[tokio::test]
async fn valid_items_of_an_array_are_accepted_and_invalid_ones_listed() {
    let app = TestApp::spawn().await;
    let body = json!([sample(0), with("/cpu/usage", json!(101)), sample(1_000), 5, without("memory"), sample(2_000)]);
    let reply = app.post(WEB, body).await.expect(202);
    assert_eq!(reply.header("samples-refused"), Some("3"));
    let answer = reply.json();
    assert_eq!((&answer["accepted"], &answer["stored"]), (&json!(3), &json!("memory")));
    let refused: Vec<(u64, &str)> = answer["refused"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| (item["index"].as_u64().expect("an index"), item["pointer"].as_str().expect("a pointer")))
        .collect();
    assert_eq!(refused, [(1, "/1/cpu/usage"), (3, "/3"), (4, "/4/memory")]);
    let recent = app.get("/hosts/web-1/metrics/recent").await.expect(200).json();
    assert_eq!(times(&recent), [2_000, 1_000, 0]);

    let bad = json!([with("/cpu/cores", json!(0)), with("/memory/used", json!(-1))]);
    let problem = app.post("/hosts/web-2/metrics", bad).await.expect_violation(422, "invalid-body", "/0/cpu/cores");
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(2), "{problem}");
    app.get("/hosts/web-2/metrics/latest").await.expect_problem(404, "host-not-found");

    // All of them are counted, those of a request that is refused as a whole too.
    app.post(WEB, with("/timestamp", json!(START / 1_000))).await.expect_violation(422, "invalid-body", "/timestamp");
    let mut metrics = measured();
    metrics["timestamp"] = json!(START / 1_000);
    let heartbeat = json!({ "hostId": "web-1", "agentVersion": "1", "agentStatus": "running", "metrics": metrics });
    app.post("/agent/heartbeat", heartbeat).await.expect_problem(422, "invalid-body");
    let text = app.get("/metrics").await.text();
    assert!(text.contains("host_samples_total{event=\"refused\"} 7"), "{text}");
}

#[tokio::test]
async fn invalid_names_windows_and_limits_are_rejected() {
    let app = TestApp::spawn().await;
    for id in ["a%20b", "%00", "a%2Fb", "%C3%A9", &"x".repeat(129)] {
        app.post(&format!("/hosts/{id}/metrics"), sample(0)).await.expect_violation(422, "invalid-path", "/id");
    }
    let too_many: Vec<Value> = (0..1_001).map(sample).collect();
    app.post(WEB, json!(too_many)).await.expect_problem(422, "invalid-body");
    send(&app, WEB, [0]).await;
    for (query, name) in [
        ("limit=0", "/limit"),
        ("limit=10001", "/limit"),
        ("limit=x", "/limit"),
        ("startTime=2026-01-02T00:00:00Z&endTime=2026-01-01T00:00:00Z", "/startTime"),
        ("startTime=-91d", "/startTime"),
        ("startTime=yesterday", "/startTime"),
        ("cursor=1-2", "/cursor"),
        ("start=5", "/start"),
    ] {
        let path = format!("/hosts/web-1/metrics/range?{query}");
        app.get(&path).await.expect_violation(422, "invalid-query", name);
    }
    for (query, name) in [("count=0", "/count"), ("count=1001", "/count"), ("limit=5", "/limit")] {
        let path = format!("/hosts/web-1/metrics/recent?{query}");
        app.get(&path).await.expect_violation(422, "invalid-query", name);
    }
    app.get("/hosts?limit=1001").await.expect_violation(422, "invalid-query", "/limit");
    app.get("/hosts?cursor=a%20b").await.expect_violation(422, "invalid-query", "/cursor");
    app.get("/hosts/metrics/latest?limit=0").await.expect_violation(422, "invalid-query", "/limit");
}

/// What the platform's agents measure, in their own form.
fn measured() -> Value {
    json!({
        "cpu": { "usage": 12.5, "cores": 4, "model": "EPYC", "loadAvg1": 0.5, "loadAvg5": 0.25, "loadAvg15": 0.125 },
        "memory": { "total": 1_000, "used": 400, "available": 550, "usagePercent": 40.0,
                    "swapTotal": 100, "swapUsed": 0, "swapPercent": 0.0 },
        "disk": { "total": 2_000, "used": 500, "available": 1_500, "usagePercent": 25.0, "mountPoint": "/" },
    })
}

#[tokio::test]
async fn the_forms_of_the_platforms_agents_are_accepted() {
    let app = TestApp::spawn().await;
    let zeros = json!({ "bytesIn": 0, "bytesOut": 0, "packetsIn": 0, "packetsOut": 0 });
    let counters = json!({ "bytesIn": 5, "bytesOut": 6, "packetsIn": 7, "packetsOut": 8, "errors": 1 });
    let counted = json!({ "bytesIn": 5, "bytesOut": 6, "packetsIn": 7, "packetsOut": 8 });
    for (at, (network, expected)) in [
        (Value::Null, &zeros),
        (json!({ "interfaces": [{ "name": "eth0" }] }), &zeros),
        (json!([{ "name": "eth0" }]), &zeros),
        (counters, &counted),
    ]
    .into_iter()
    .enumerate()
    {
        let host = format!("new-{at}");
        let mut heartbeat = json!({ "hostname": "h.example.org", "agentVersion": "2.1.0", "agentStatus": "running",
                                    "uptime": 86_400, "metrics": measured(), "kernel": "6.1" });
        if at > 0 {
            heartbeat["network"] = network;
        }
        let body = json!({ "organizationSlug": "grid-one", "hostId": host, "heartbeat": heartbeat, "sentAt": 1 });
        assert_eq!(app.post("/api/v2/heartbeat", body).await.expect(200).json(), json!({ "success": true }));
        let found = app.get(&format!("/hosts/{host}/metrics/latest")).await.expect(200).json();
        let metrics = &found["metrics"];
        assert_eq!(metrics["cpu"], json!({ "usage": 12.5, "cores": 4, "loadAvg": [0.5, 0.25, 0.125] }));
        assert_eq!(metrics["memory"], json!({ "total": 1_000, "used": 400, "free": 550, "usagePercent": 40.0 }));
        assert_eq!(&metrics["network"], expected, "{host}");
    }
    let older = json!({ "hostId": "older", "agentVersion": "1.4.0", "agentStatus": "stopped", "agentPid": 17,
                        "metrics": measured(), "hostInfo": { "hostname": "o.example.org", "uptime": 60, "os": "linux" } });
    let headers = [("content-type", "application/json"), ("x-organization-id", "grid-one")];
    let sent = app.send(Method::POST, "/api/agent/heartbeat", &headers, older.to_string()).await;
    assert_eq!(sent.expect(200).json(), json!({ "success": true }));
    let found = app.get("/hosts/older/metrics/latest").await.expect(200).json();
    let agent =
        json!({ "hostname": "o.example.org", "agentVersion": "1.4.0", "agentStatus": "stopped", "uptime": 60.0 });
    assert_eq!(found["agent"], agent);
    let bare = json!({ "hostId": "bare", "agentVersion": "1", "agentStatus": "running", "metrics": measured() });
    app.post("/api/agent/heartbeat", bare).await.expect(200);
    assert_eq!(app.get("/hosts/bare/metrics/latest").await.json()["agent"]["hostname"], "bare");
    let mut rounded = older.clone();
    rounded["hostId"] = json!("rounded");
    rounded["metrics"]["cpu"]["usage"] = json!(100.000_000_000_000_01);
    app.post("/agent/heartbeat", rounded).await.expect(200);
    let found = app.get("/hosts/rounded/metrics/latest").await.expect(200).json();
    assert_eq!(found["metrics"]["cpu"]["usage"], json!(100.0));
    let mut bad = older;
    bad["metrics"]["cpu"]["usage"] = json!(300);
    app.post("/agent/heartbeat", bad).await.expect_violation(422, "invalid-body", "/metrics/cpu/usage");
    // On the service's own routes a misspelt field is still an error.
    app.post("/hosts/web-1/metrics", measured()).await.expect_problem(422, "invalid-body");
}

#[tokio::test]
async fn an_invalid_heartbeat_is_rejected() {
    let app = TestApp::spawn().await;
    let heartbeat = |status: &str, metrics: Value| {
        json!({
            "organizationSlug": "o", "hostId": "h",
            "heartbeat": { "hostname": "h", "agentVersion": "1", "agentStatus": status, "uptime": 1, "metrics": metrics },
        })
    };
    let bad = heartbeat("x", with("/cpu/usage", json!(300)));
    app.post("/v2/heartbeat", bad).await.expect_violation(422, "invalid-body", "/heartbeat/metrics/cpu/usage");
    for loads in [json!([1, 2]), json!([1, 2, 3, 4])] {
        let bad = heartbeat("x", with("/cpu/loadAvg", loads));
        app.post("/v2/heartbeat", bad).await.expect_violation(422, "invalid-body", "/heartbeat/metrics/cpu/loadAvg");
    }
    let long = heartbeat(&"x".repeat(257), sample(0));
    app.post("/v2/heartbeat", long).await.expect_violation(422, "invalid-body", "/heartbeat/agentStatus");
    let mut misnamed = heartbeat("x", sample(0));
    misnamed["hostId"] = json!("a b");
    app.post("/v2/heartbeat", misnamed).await.expect_violation(422, "invalid-body", "/hostId");
    app.post("/v2/heartbeat", json!({})).await.expect_problem(422, "invalid-body");
    app.get("/hosts/h/metrics/latest").await.expect_problem(404, "host-not-found");
}
