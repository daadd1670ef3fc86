//! A fence is stored next to its target, on the same server and cluster node.

use axum::http::Method;
use serde_json::json;

use super::{append, highest, put, send};
use crate::support::{Cluster, RedisServer, TestApp};

#[tokio::test]
async fn every_node_of_a_cluster_keeps_fences() {
    let cluster = Cluster::start().await;
    let app = TestApp::builder().config(&cluster.config()).spawn().await;
    for n in 0..30 {
        let (value, tag, series) =
            (format!("/cache/k{n}"), format!("/cache/tags/t{n}"), format!("/timeseries/energy:generation:m{n}"));
        for (token, is_stale) in [(20, false), (19, true), (21, false)] {
            let replies = [
                put(&app, token, &value, "1").await,
                send(&app, token, Method::PUT, &format!("{value}?tags=t{n}"), "2").await,
                send(&app, token, Method::DELETE, &tag, "").await,
                append(&app, token, &series, i64::try_from(token).expect("small")).await,
            ];
            for reply in replies {
                assert_eq!(reply.is(409), is_stale, "{n}, {token}: {}", reply.text());
            }
        }
    }
    for node in &cluster.nodes {
        assert!(!node.command::<Vec<String>>(&["KEYS", "*fence*"]).is_empty(), "a node has no fences");
        let _: String = node.command(&["SCRIPT", "FLUSH"]);
    }
    let items: Vec<_> = (0..30).map(|n| json!({ "key": format!("k{n}"), "value": 3 })).collect();
    let batch = json!({ "set": items, "delete": ["k1"] }).to_string();
    send(&app, 20, Method::POST, "/cache/batch", batch.clone()).await.expect_problem(409, "stale-fence");
    let done = send(&app, 21, Method::POST, "/cache/batch", batch).await.expect(200).json();
    for item in done["set"].as_array().expect("results") {
        assert!(item["status"] == 204 || (item["key"] == "k1" && item["status"] == 201), "{item}");
    }
    let samples: Vec<_> =
        (0..30).map(|n| json!({ "series": format!("energy:generation:m{n}"), "timestamp": 30, "value": 1 })).collect();
    for (token, accepted) in [(20, 0), (21, 30)] {
        let body = json!({ "samples": samples }).to_string();
        let reply = send(&app, token, Method::POST, "/timeseries/samples", body).await;
        if accepted == 0 {
            reply.expect_problem(422, "samples-refused");
            continue;
        }
        let answer = reply.expect(200).json();
        assert_eq!(answer["accepted"], accepted, "{answer}");
    }
}

fn on_two_servers(cache: &RedisServer, state: &RedisServer) -> String {
    format!("[redis.cache]\nurl = \"{}\"\n[redis.state]\nurl = \"{}\"\n", cache.url(), state.url())
}

#[tokio::test]
async fn each_role_keeps_its_fences_even_if_the_lock_server_loses_its_data() {
    let (cache, state) = (RedisServer::start(), RedisServer::start());
    let app = TestApp::builder().config(&on_two_servers(&cache, &state)).system_clock().spawn().await;
    let acquire = async || {
        let grant = app.post("/locks/settlement:42", json!({ "ttl_ms": 60_000 })).await.expect(201).json();
        grant["fencing_token"].as_u64().expect("a token")
    };
    let first = acquire().await;
    put(&app, first, "/cache/a", "1").await.expect(201);
    append(&app, first, "/timeseries/energy:generation:m1", 1).await.expect(200);
    assert_eq!(highest(&cache, "cache:fence:{cache:a}"), Some(first));
    assert_eq!(highest(&state, "ts:fence:{energy:generation:m1}"), Some(first));
    assert_eq!(highest(&state, "cache:fence:{cache:a}"), None);

    let _: () = state.command(&["FLUSHALL"]);
    let second = acquire().await;
    put(&app, second, "/cache/a", "2").await.expect(204);
    put(&app, first, "/cache/a", "3").await.expect_problem(409, "stale-fence");
    assert_eq!(app.get("/cache/a").await.expect(200).text(), "2");
}

#[tokio::test]
async fn the_key_prefix_applies_to_fences() {
    let app = TestApp::builder().config("redis.key_prefix = \"p:\"").spawn().await;
    put(&app, 20, "/cache/a?tags=t", "1").await.expect(201);
    send(&app, 20, Method::DELETE, "/cache/tags/t", "").await.expect(204);
    append(&app, 20, "/timeseries/energy:generation:m1", 1).await.expect(200);
    let redis = app.redis();
    for fence in ["cache:fence:{p:cache:a}", "p:cache:tag-fence:{t}", "ts:fence:{p:energy:generation:m1}"] {
        assert_eq!(highest(&redis, fence), Some(20), "{fence}");
    }
}
