//! Many writers of one document: no update is lost and no version is used twice, whichever process writes.

use std::collections::HashSet;
use std::sync::Arc;

use axum::http::Method;
use futures_util::future::join_all;
use gridtokenx_redis::redis::Effect;
use serde_json::json;

use crate::support::{TestApp, eventually};

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const PATCH: (&str, &str) = ("content-type", "application/json-patch+json");

/// Retries one of four kinds of change until it succeeds, and returns the etag of the new version.
async fn change(app: &TestApp, writer: usize, round: usize) -> String {
    loop {
        let reply = match round % 4 {
            0 => app.post("/json/hot/number/increment", json!({ "path": "$.count", "by": 1 })).await,
            1 => app.post("/json/hot/array/append", json!({ "path": "$.list", "values": [writer] })).await,
            2 => {
                let merged = json!({ "by": { format!("w{writer}-{round}"): true } }).to_string();
                app.send(Method::PATCH, "/json/hot", &[MERGE], merged).await
            }
            _ => {
                let path = format!("/by/p{writer}-{round}");
                let added = json!([{ "op": "add", "path": path, "value": true }]).to_string();
                app.send(Method::PATCH, "/json/hot", &[PATCH], added).await
            }
        };
        if reply.is(409) {
            // Nothing was changed, so the caller tries again.
            let problem = reply.expect_problem(409, "json-contended");
            assert_eq!(problem["outcome"], "not_applied", "{problem}");
            continue;
        }
        assert!(reply.status.is_success(), "{}: {}", reply.status, reply.text());
        return reply.header("etag").expect("an etag").to_owned();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_change_one_document_lose_no_update() {
    const WRITERS: usize = 16;
    const ROUNDS: usize = 8;
    let first = TestApp::spawn().await;
    let mut replicas = vec![first];
    for _ in 0..3 {
        let next = TestApp::builder().beside(&replicas[0]).spawn().await;
        replicas.push(next);
    }
    let replicas = Arc::new(replicas);
    replicas[0].put("/json/hot", json!({ "count": 0, "list": [], "by": {} })).await.expect(201);
    let writers = (0..WRITERS * replicas.len()).map(|writer| {
        let replicas = Arc::clone(&replicas);
        async move {
            let app = &replicas[writer % replicas.len()];
            let mut etags = Vec::new();
            for round in 0..ROUNDS {
                etags.push(change(app, writer, round).await);
            }
            etags
        }
    });
    let etags: Vec<String> = join_all(writers).await.into_iter().flatten().collect();
    let total = WRITERS * replicas.len() * ROUNDS;
    assert_eq!(etags.iter().collect::<HashSet<_>>().len(), total, "every change has its own version");
    let document = replicas[0].get("/json/hot").await.expect(200);
    assert!(etags.contains(&document.header("etag").expect("an etag").to_owned()));
    let document = document.json();
    assert_eq!(document["count"], total / 4);
    assert_eq!(document["list"].as_array().map(Vec::len), Some(total / 4));
    assert_eq!(document["by"].as_object().map(serde_json::Map::len), Some(total / 2));
}

#[tokio::test]
async fn one_of_many_writers_with_equal_etags_succeeds() {
    let app = TestApp::spawn().await;
    let etag = app.put("/json/a", json!({ "n": 0 })).await.expect(201).header("etag").expect("an etag").to_owned();
    let writers = (0..32).map(|n| {
        let (app, etag) = (&app, etag.as_str());
        async move {
            let headers = [JSON, ("if-match", etag)];
            app.send(Method::PUT, "/json/a?path=$.n", &headers, n.to_string()).await
        }
    });
    let replies = join_all(writers).await;
    assert_eq!(replies.iter().filter(|reply| reply.is(204)).count(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.is(412)).count(), 31);
}

#[tokio::test]
async fn a_stale_snapshot_does_not_reject_a_change() {
    let one = TestApp::spawn().await;
    let two = TestApp::builder().beside(&one).spawn().await;
    one.put("/json/a", json!({ "n": 0, "m": 0 })).await.expect(201);
    // Writers of one replica use the snapshot of the previous one, while the other replica writes in between.
    for round in 0..20 {
        let etag = two.put("/json/a?path=$.m", json!(round)).await.expect(204).header("etag").expect("etag").to_owned();
        let tag = [JSON, ("if-match", etag.as_str())];
        let body = json!({ "path": "$.n", "by": 1 }).to_string();
        let (matched, _, _) = tokio::join!(
            one.send(Method::POST, "/json/a/number/increment", &tag, body.clone()),
            one.send(Method::POST, "/json/a/number/increment", &[JSON], body.clone()),
            one.send(Method::POST, "/json/a/number/increment", &[JSON], body.clone()),
        );
        matched.expect(200);
    }
    assert_eq!(one.get("/json/a?path=.n").await.expect(200).json(), json!(60));
}

#[tokio::test]
async fn a_writer_that_always_collides_receives_409_and_changes_nothing() {
    let app = TestApp::builder().config("http.request_deadline = \"600ms\"").spawn().await;
    app.put("/json/a", json!({ "n": 0 })).await.expect(201);
    // Another writer changes the version between every read and every write.
    let meddle = async {
        let mut next = redis::cmd("INCR");
        next.arg("json:version:{json:a}");
        loop {
            let _: i64 = app.state().query(&next, Effect::Write).await.expect("counted");
        }
    };
    let rejected = eventually("a writer gives up", async || {
        let reply = app.post("/json/a/number/increment", json!({ "path": "$.n", "by": 1 })).await;
        if reply.is(200) {
            return false;
        }
        assert_eq!(reply.expect_problem(409, "json-contended")["outcome"], "not_applied");
        true
    });
    tokio::select! {
        () = meddle => {}
        () = rejected => {}
    }
}

#[tokio::test]
async fn a_stale_fencing_token_is_rejected() {
    let app = TestApp::spawn().await;
    app.put("/json/a", json!({ "n": 1, "l": [1], "b": true, "s": "x" })).await.expect(201);
    app.send(Method::PUT, "/json/a?path=$.n", &[JSON, ("fencing-token", "7")], "2").await.expect(204);
    let stale = [JSON, ("fencing-token", "6")];
    for (method, path, body) in [
        (Method::PUT, "/json/a", "{}"),
        (Method::PUT, "/json/a?path=$.n", "3"),
        (Method::DELETE, "/json/a", ""),
        (Method::DELETE, "/json/a?path=$.nope", ""),
        (Method::POST, "/json/a/touch", "{\"ttl_ms\":1}"),
        (Method::POST, "/json/a/number/increment", "{\"path\":\"$.n\",\"by\":1}"),
        (Method::POST, "/json/a/toggle", "{\"path\":\"$.n\"}"),
        (Method::POST, "/json/a/clear", "{}"),
    ] {
        let problem = app.send(method.clone(), path, &stale, body).await.expect_problem(409, "stale-fence");
        assert_eq!(problem["outcome"], "not_applied", "{method} {path}");
    }
    app.send(Method::PATCH, "/json/a", &[MERGE, ("fencing-token", "6")], "{}").await.expect_problem(409, "stale-fence");
    let batch = "{\"set\":[{\"key\":\"a\",\"value\":1},{\"key\":\"b\",\"value\":1}],\"delete\":[{\"key\":\"a\"}]}";
    let batch = app.send(Method::POST, "/json/batch", &stale, batch).await.expect(200).json();
    assert_eq!(batch["set"][0]["error"]["code"], "stale-fence", "{batch}");
    assert_eq!((&batch["set"][1]["status"], &batch["delete"][0]["status"]), (&json!(201), &json!(409)), "{batch}");
    app.send(Method::POST, "/users/1/activity", &[JSON, ("fencing-token", "5")], "{}").await.expect(201);
    app.send(Method::POST, "/users/1/activity", &[JSON, ("fencing-token", "4")], "{}")
        .await
        .expect_problem(409, "stale-fence");
    assert_eq!(app.get("/json/a").await.expect(200).json(), json!({ "n": 2, "l": [1], "b": true, "s": "x" }));
    app.send(Method::DELETE, "/json/a", &[("fencing-token", "8")], "").await.expect(200);
    app.send(Method::PUT, "/json/a", &[JSON, ("fencing-token", "7")], "1").await.expect_problem(409, "stale-fence");
    app.put("/json/a", json!(1)).await.expect(201);
}
