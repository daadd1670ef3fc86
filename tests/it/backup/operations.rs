//! The operations on backups, and the schedule.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gridtokenx_redis::features::backup::command::verify;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Vault, fill};
use crate::audit::KeyFile;
use crate::support::{ADMIN_KEY, RedisServer, TestApp, eventually};

async fn list(app: &TestApp) -> Value {
    app.get("/admin/backups").await.expect(200).json()
}

async fn back_up(app: &TestApp) -> String {
    let run = app.post("/admin/backups", Value::Null).await.expect(202).json();
    let id = run["id"].as_str().expect("an id").to_owned();
    eventually("the backup has ended", async || {
        let run = list(app).await["run"].clone();
        assert_ne!(run["status"], "failed", "{run}");
        run["id"] == *id && run["status"] == "done" && app.redis().command::<i64>(&["EXISTS", "backup:{running}"]) == 0
    })
    .await;
    id
}

#[tokio::test]
async fn a_backup_is_made_listed_verified_downloaded_and_deleted() {
    let vault = Vault::new();
    let app = TestApp::builder().config(&vault.config()).plain_redis().spawn().await;
    fill(&app.redis());
    assert_eq!(list(&app).await["items"], serde_json::json!([]));
    let first = back_up(&app).await;
    app.clock().advance(Duration::from_secs(60));
    let second = back_up(&app).await;
    let found = list(&app).await;
    assert_eq!((&found["items"][0]["id"], &found["items"][1]["id"]), (&second.as_str().into(), &first.as_str().into()));
    let backup = app.get(&format!("/admin/backups/{first}")).await.expect(200).json();
    assert_eq!(backup["manifest"]["holdings"]["locks"]["keys"], 2, "{backup}");
    let content = app.get(&format!("/admin/backups/{first}/content")).await.expect(200);
    let file = vault.backups().join(backup["file"].as_str().expect("a name"));
    assert_eq!(&content.body[..], &std::fs::read(&file).expect("the file")[..]);
    let verify = format!("/admin/backups/{first}/verify");
    assert_eq!(app.post(&verify, Value::Null).await.expect(200).json()["is_whole"], true);
    let mut bytes = std::fs::read(&file).expect("the file");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let damaged = app.post(&verify, Value::Null).await.expect(200).json();
    assert_eq!(damaged["is_whole"], false, "{damaged}");
    app.delete(&format!("/admin/backups/{second}")).await.expect_problem(409, "backup-is-newest");
    app.delete(&format!("/admin/backups/{first}")).await.expect(204);
    app.delete(&format!("/admin/backups/{first}")).await.expect_problem(404, "backup-not-found");
    assert!(!file.exists());
    let metrics = app.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("backup_runs_total{kind=\"backup\",result=\"done\"} 2"), "{metrics}");
}

#[tokio::test]
async fn bad_requests_are_rejected_and_name_no_files() {
    let vault = Vault::new();
    let app = TestApp::builder().config(&vault.config()).plain_redis().admin_key().spawn().await;
    let key = [("x-api-key", ADMIN_KEY)];
    let get = async |path: &str| app.send(Method::GET, path, &key, "").await;
    for id in ["x", "20261127T031500Z-0f1e2d3c", "..%2F..%2Fidentity", "20261127T031500Z-0f1e2d3c%00"] {
        for path in [format!("/admin/backups/{id}"), format!("/admin/backups/{id}/content")] {
            assert!(!get(&path).await.is(200), "{path}");
        }
    }
    get("/admin/backups/20261127T031500Z-0f1e2d3c").await.expect_problem(404, "backup-not-found");
    get("/admin/backups?all=1").await.expect_problem(422, "invalid-query");
    app.get("/admin/backups").await.expect_problem(401, "unauthenticated");
    app.post("/admin/backups", Value::Null).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn without_a_directory_there_are_no_backups_and_an_unusable_one_is_named() {
    let app = TestApp::spawn().await;
    app.get("/admin/backups").await.expect_problem(409, "backup-off");
    app.post("/admin/backups", Value::Null).await.expect_problem(409, "backup-off");
    let vault = Vault::new();
    std::fs::write(vault.backups(), "a file").expect("written");
    let app = TestApp::builder().config(&vault.config()).plain_redis().spawn().await;
    let refused = app.get("/admin/backups").await;
    refused.expect_problem(500, "backup-unreadable");
    app.post("/admin/backups", Value::Null).await.expect(202);
    eventually("the next may begin", async || app.redis().command::<i64>(&["EXISTS", "backup:{running}"]) == 0).await;
    let run: String = app.redis().command(&["GET", "backup:{run}"]);
    assert!(run.contains("failed"), "{run}");
}

#[tokio::test]
async fn one_backup_runs_at_a_time_and_none_without_redis() {
    let vault = Vault::new();
    let app = TestApp::builder().config(&vault.config()).plain_redis().behind_proxy().spawn().await;
    let id = back_up(&app).await;
    let now = app.clock().now().to_string();
    app.redis().command::<()>(&["SET", "backup:{running}", &now]);
    app.post("/admin/backups", Value::Null).await.expect_problem(409, "backup-running");
    let _: i64 = app.redis().command(&["DEL", "backup:{running}"]);
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    app.post("/admin/backups", Value::Null).await.expect_problem(503, "redis-unavailable");
    let found = list(&app).await;
    assert_eq!((&found["items"][0]["id"], &found["run"]), (&id.as_str().into(), &Value::Null), "{found}");
    app.get(&format!("/admin/backups/{id}/content")).await.expect(200);
}

#[tokio::test]
async fn a_snapshot_is_sent_whole_and_not_kept() {
    let (vault, reader) = (Vault::new(), Vault::new());
    let app = TestApp::builder().config(&vault.config()).plain_redis().spawn().await;
    fill(&app.redis());
    let sent = app.get(&format!("/admin/snapshot?recipient={}", reader.identity.to_public())).await.expect(200);
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&sent.body)));
    assert_eq!(sent.header("repr-digest"), Some(digest.as_str()));
    let file = reader.backups().with_file_name("snapshot");
    std::fs::write(&file, &sent.body).expect("written");
    let manifest = verify(&file, std::slice::from_ref(&reader.identity), Arc::default()).await.expect("it is whole");
    assert!(manifest.keys() >= 24, "{manifest:?}");
    assert!(verify(&file, std::slice::from_ref(&vault.identity), Arc::default()).await.is_err());
    assert_eq!(list(&app).await["items"], serde_json::json!([]));
    assert_eq!(std::fs::read_dir(vault.backups()).expect("the directory").count(), 0, "nothing is left");
    app.get("/admin/snapshot?recipient=age1x").await.expect_violation(422, "invalid-query", "/recipient");
    let off = TestApp::spawn().await;
    off.get("/admin/snapshot").await.expect_problem(409, "backup-off");
}

#[tokio::test]
async fn a_snapshot_is_recorded_before_it_is_made() {
    let (vault, key) = (Vault::new(), KeyFile::new());
    let config = format!("{}{}", vault.config(), key.config());
    let app = TestApp::builder().config(&config).plain_redis().behind_proxy().spawn().await;
    app.get("/admin/snapshot").await.expect(200);
    let entries = app.get("/admin/audit").await.expect(200).text();
    assert!(entries.contains("/admin/snapshot"), "{entries}");
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    app.get("/admin/snapshot").await.expect_problem(503, "audit-unavailable");
}

/// Waits for the end of the run that a response has begun.
async fn ended(app: &TestApp, begun: &Value) -> Value {
    let last = async || list(app).await["run"].clone();
    eventually("the run has ended", async || {
        let run = last().await;
        run["kind"] == begun["kind"] && run["started"] == begun["started"] && run["status"] != "running"
    })
    .await;
    eventually("the next may begin", async || app.redis().command::<i64>(&["EXISTS", "backup:{running}"]) == 0).await;
    last().await
}

#[tokio::test]
async fn the_service_drills_and_restores_with_a_key_of_its_own() {
    let vault = Vault::new();
    let app = TestApp::builder().config(&vault.config()).plain_redis().spawn().await;
    fill(&app.redis());
    let id = back_up(&app).await;
    let (drill, restore) = (format!("/admin/backups/{id}/drill"), format!("/admin/backups/{id}/restore"));
    app.post(&drill, Value::Null).await.expect_problem(409, "backup-no-identity");
    let below = serde_json::json!({ "prefix": "restored:" });
    app.post(&restore, below.clone()).await.expect_problem(409, "backup-no-identity");

    let config = format!("{}identity_file = \"{}\"\n", vault.config(), vault.identity_file().display());
    let app = TestApp::builder().config(&config).beside(&app).spawn().await;
    let begun = app.post(&drill, Value::Null).await.expect(202).json();
    let run = ended(&app, &begun).await;
    assert!(run["status"] == "done" && run["keys"].as_u64() >= Some(24), "{run}");
    assert_eq!(list(&app).await["drill"]["id"], *id);

    for prefix in ["", "json:", "lock:", "a{b"] {
        let body = serde_json::json!({ "prefix": prefix });
        app.post(&restore, body).await.expect_violation(422, "invalid-body", "/prefix");
    }
    let unknown = serde_json::json!({ "prefix": "restored:", "only": ["jsn"] });
    app.post(&restore, unknown).await.expect_violation(422, "invalid-body", "/only");
    let before = app.redis().command::<usize>(&["DBSIZE"]);
    let begun = app.post(&restore, below).await.expect(202).json();
    let run = ended(&app, &begun).await;
    assert!(run["restored"]["written"].as_u64() >= Some(22), "{run}");
    assert_eq!(app.redis().command::<usize>(&["DBSIZE"]), before, "nothing was written");
    let body = serde_json::json!({ "prefix": "restored:", "only": ["json"], "dry_run": false });
    let begun = app.post(&restore, body).await.expect(202).json();
    let run = ended(&app, &begun).await;
    assert_eq!(run["restored"]["written"], 9, "{run}");
    let text: String = app.redis().command(&["GET", "restored:json:text"]);
    assert_eq!(text, "hello");
    let missing = "/admin/backups/20261127T031500Z-0f1e2d3c/drill";
    app.post(missing, Value::Null).await.expect_problem(404, "backup-not-found");
}

#[tokio::test]
async fn a_drill_of_a_server_of_its_own_empties_it_and_refuses_that_of_the_service() {
    let (vault, scratch) = (Vault::new(), RedisServer::plain());
    let own = format!("{}identity_file = \"{}\"\n", vault.config(), vault.identity_file().display());
    let config = format!("{own}drill_url = \"{}\"\ndrill_every = \"7d\"\n", scratch.url());
    let app = TestApp::builder().config(&config).plain_redis().spawn().await;
    fill(&app.redis());
    let id = back_up(&app).await;
    eventually("the scheduled drill has passed", async || list(&app).await["drill"]["id"] == *id).await;
    eventually("the server is empty again", async || scratch.keys().is_empty()).await;
    scratch.command::<()>(&["SET", "theirs", "1"]);
    eventually("the next may begin", async || app.redis().command::<i64>(&["EXISTS", "backup:{running}"]) == 0).await;
    let begun = app.post(&format!("/admin/backups/{id}/drill"), Value::Null).await.expect(202).json();
    let run = ended(&app, &begun).await;
    assert!(run["reason"].as_str().is_some_and(|text| text.contains("has 1 keys")), "{run}");
    assert_eq!(scratch.keys(), ["theirs"], "a server with data is left alone");

    let itself = format!("{own}drill_url = \"{}\"\n", app.redis().url());
    let app = TestApp::builder().config(&itself).beside(&app).spawn().await;
    let begun = app.post(&format!("/admin/backups/{id}/drill"), Value::Null).await.expect(202).json();
    let run = ended(&app, &begun).await;
    assert!(run["reason"].as_str().is_some_and(|text| text.contains("server of the service")), "{run}");
    assert!(app.redis().keys().len() > 20, "nothing was removed");
}

#[tokio::test]
async fn one_of_the_replicas_makes_the_scheduled_backups_and_removes_old_ones() {
    let vault = Vault::new();
    let config = format!("{}every = \"1h\"\nkeep_last = 2\nkeep_daily = 0\nkeep_weekly = 0\n", vault.config());
    let app = TestApp::builder().config(&config).plain_redis().spawn().await;
    let other = TestApp::builder().config(&config).beside(&app).spawn().await;
    let done = async |count: usize, newest: &str| {
        let found = list(&app).await;
        let items = found["items"].as_array().expect("a list");
        items.len() == count
            && items[0]["id"].as_str().is_some_and(|id| id > newest)
            && found["run"]["status"] == "done"
    };
    let mut newest = String::new();
    for count in [1, 2, 2] {
        eventually("a backup is made", async || done(count, &newest).await).await;
        newest = list(&app).await["items"][0]["id"].as_str().expect("an id").to_owned();
        for replica in [&app, &other] {
            replica.clock().advance(Duration::from_secs(3_601));
        }
    }
}
