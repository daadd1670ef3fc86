//! What an outage of Redis must not do, and what no operator may read.

use std::time::Duration;

use crate::support::{RedisServer, ServiceProcess, TestApp, eventually};

#[tokio::test]
async fn five_minutes_without_redis_neither_restart_nor_empty_the_service() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    let mut sample = crate::hosts::sample(0);
    sample.as_object_mut().expect("an object").remove("timestamp");
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    for _ in 0..30 {
        app.clock().advance(Duration::from_secs(10));
        app.get("/health/live").await.expect(200);
        app.get("/health/traffic").await.expect(200);
        app.post("/hosts/web-1/metrics", sample.clone()).await.expect(202);
        app.get("/metrics").await.expect(200);
    }
    app.proxy().heal();
    eventually("the service is ready", async || app.get("/health/ready").await.is(200)).await;
    eventually("what was taken in is stored", async || {
        app.post("/hosts/flush", serde_json::Value::Null).await.expect(200);
        app.redis().command::<u64>(&["EXISTS", "metrics:history:web-1"]) == 1
    })
    .await;
}

#[test]
fn logs_contain_no_values_and_keys_only_in_the_paths_of_failed_requests() {
    let mut redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[("LOG_LEVEL", "trace")]);
    service.ready();
    let calls = |service: &mut ServiceProcess| {
        let body = "content-type: application/json\r\ncontent-length: 14\r\n\r\n\"canary-value\"";
        for (method, path) in [
            ("PUT", "/cache/session:canary-key"),
            ("PUT", "/json/user:canary-key"),
            ("GET", "/cache/session:canary-key"),
            ("GET", "/cache/session:canary-other?ttl=canary-query"),
            ("POST", "/locks/canary-key"),
        ] {
            let headers = if method == "GET" { "" } else { body };
            service.send(method, path, headers);
        }
    };
    calls(&mut service);
    redis.kill();
    calls(&mut service);
    let (_, output) = service.terminate();
    for secret in ["canary-value", "canary-query"] {
        assert!(!output.contains(secret), "{output}");
    }
    for line in output.lines().filter(|line| line.contains("canary")) {
        let mut fields: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let is_failed = ["request failed", "request rejected"].contains(&fields["message"].as_str().expect("a text"));
        fields["path"] = serde_json::Value::Null;
        assert!(is_failed && !fields.to_string().contains("canary"), "{line}");
    }
}
