//! Copies of backups in an S3 store.

use std::path::Path;

use axum::http::Method;
use serde_json::Value;

use super::{Vault, fill};
use crate::support::{RedisServer, S3Server, ServiceProcess, output_text};

/// The environment of the store.
fn environment(store: &S3Server) -> [(&'static str, String); 4] {
    [
        ("GTX__BACKUP__COPY_TO", "s3://safe/redis".to_owned()),
        ("GTX__BACKUP__COPY_ENDPOINT", store.endpoint()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
    ]
}

fn run(vault: &Vault, redis: &RedisServer, store: &S3Server, more: &str, words: &[&str]) -> String {
    let mut command = vault.command(&redis.url(), more, words);
    let done = command.envs(environment(store)).output().expect("the binary runs");
    assert!(done.status.success(), "{words:?}: {}", output_text(&done));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

async fn object(store: &S3Server, name: &str) -> Option<Vec<u8>> {
    let (status, bytes) = store.request(Method::GET, &format!("safe/redis/{name}"), "").await;
    (status == 200).then_some(bytes)
}

fn file_name(file: &Path) -> String {
    file.file_name().expect("a name").to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_backup_is_copied_comes_back_and_is_pruned_in_both_places() {
    let (redis, vault, store) = (RedisServer::plain(), Vault::new(), S3Server::start("safe").await);
    fill(&redis);
    // 9.6 MB that do not compress: two parts.
    let script = "local s = 1 for nth = 1, 12 do local t = {} for i = 1, 100000 do s = (s * 16807) % 2147483647 \
                  t[i] = struct.pack('I4', s) t[i] = t[i] .. struct.pack('I4', s * 7 % 2147483647) end \
                  redis.call('SET', 'json:random:' .. nth, table.concat(t)) end";
    redis.command::<()>(&["EVAL", script, "0"]);
    let made = run(&vault, &redis, &store, "", &["backup"]);
    let id = made.split(' ').next().expect("an id").to_owned();
    let file = vault.backups().join(format!("{id}.tar.zst.age"));
    let bytes = std::fs::read(&file).expect("the file");
    assert!(bytes.len() > 8 << 20, "{} bytes", bytes.len());
    assert!(object(&store, &file_name(&file)).await.is_some_and(|copy| copy == bytes));
    let manifest: Value =
        serde_json::from_slice(&object(&store, &format!("{id}.json")).await.expect("a manifest")).expect("JSON");
    assert_eq!(manifest["manifest"], vault.manifest(&file));

    // The directory is lost.
    std::fs::remove_dir_all(vault.backups()).expect("removed");
    let fetched = run(&vault, &redis, &store, "", &["backup", "fetch"]);
    assert!(fetched.starts_with(&id), "{fetched}");
    assert!(std::fs::read(&file).is_ok_and(|found| found == bytes));

    let second = run(&vault, &redis, &store, "keep_last = 1\nkeep_daily = 0\nkeep_weekly = 0\n", &["backup"]);
    assert!(!file.exists() && object(&store, &format!("{id}.json")).await.is_none(), "{second}");
    assert!(object(&store, &file_name(&file)).await.is_none());
    let left = second.split(' ').next().expect("an id");
    assert!(object(&store, &format!("{left}.json")).await.is_some());
}

#[tokio::test]
async fn a_damaged_copy_fails_the_drill_and_the_original_stays() {
    let (redis, vault, store) = (RedisServer::plain(), Vault::new(), S3Server::start("safe").await);
    fill(&redis);
    let made = run(&vault, &redis, &store, "", &["backup"]);
    let id = made.split(' ').next().expect("an id").to_owned();
    let name = format!("{id}.tar.zst.age");
    let copy = object(&store, &name).await.expect("the copy");
    let damaged: String = "x".repeat(copy.len());
    assert_eq!(store.request(Method::PUT, &format!("safe/redis/{name}"), &damaged).await.0, 200);
    let (dir, identity) = (vault.backups().display().to_string(), vault.identity_file().display().to_string());
    let recipients = format!("[\"{}\"]", vault.identity.to_public());
    let mut variables: Vec<(&str, &str)> = vec![
        ("GTX__BACKUP__DIR", &dir),
        ("GTX__BACKUP__RECIPIENTS", &recipients),
        ("GTX__BACKUP__IDENTITY_FILE", &identity),
    ];
    let of_store = environment(&store);
    variables.extend(of_store.iter().map(|(name, value)| (*name, value.as_str())));
    let mut service = ServiceProcess::start_on(&redis, &variables);
    service.ready();
    assert_eq!(service.send("POST", &format!("/admin/backups/{id}/drill"), "").0, 202);
    let mut overview = || serde_json::from_str::<Value>(&service.get("/admin/backups").1).expect("JSON");
    while overview()["run"]["status"] == "running" {
        std::thread::yield_now();
    }
    let found = overview();
    let reason = found["run"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("not what was written"), "{found}");
    assert_eq!(found["drill"], Value::Null);
    let verified = vault.run(&redis, &["backup", "verify"]);
    assert!(verified.status.success(), "{}", output_text(&verified));
}

#[tokio::test]
async fn a_store_that_is_away_costs_the_copy_and_not_the_backup() {
    let (redis, vault, store) = (RedisServer::plain(), Vault::new(), S3Server::start("safe").await);
    fill(&redis);
    let mut command = vault.command(&redis.url(), "copy_endpoint = \"http://127.0.0.1:9\"\n", &["backup"]);
    command
        .env("GTX__BACKUP__COPY_TO", "s3://safe/redis")
        .env("AWS_ACCESS_KEY_ID", "a")
        .env("AWS_SECRET_ACCESS_KEY", "b");
    let made = command.output().expect("it runs");
    let listed = vault.run(&redis, &["backup", "list"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 1, "{}", output_text(&made));
    // The next backup copies both.
    run(&vault, &redis, &store, "", &["backup"]);
    let (_, names) = store.request(Method::GET, "safe?prefix=redis/", "").await;
    assert_eq!(String::from_utf8_lossy(&names).matches(".json</Key>").count(), 2);
}
