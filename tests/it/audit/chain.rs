//! The chain: replicas that write at once, and each kind of tampering.

use serde_json::{Map, Value, json};

use super::{HEAD, KeyFile, LOG, Stored, entries, put_back, stored};
use crate::support::{Cluster, RedisServer, TestApp, eventually};

/// Lets a replica record events.
fn note(app: &TestApp, count: usize) {
    let audit = gridtokenx_redis::features::audit::service(&app.app().deps).expect("the service");
    for n in 0..count {
        audit.note("test.event", Map::from_iter([("n".to_owned(), Value::from(n))]));
    }
}

/// A service whose log has this many entries.
async fn with_entries(key: &KeyFile, count: usize) -> TestApp {
    let app = key.builder().spawn().await;
    note(&app, count - 1);
    eventually("the events are recorded", async || app.redis().command::<usize>(&["XLEN", LOG]) == count).await;
    app
}

fn delete(redis: &RedisServer, seqs: std::ops::RangeInclusive<usize>) {
    for seq in seqs {
        let _: i64 = redis.command(&["XDEL", LOG, &format!("{seq}-0")]);
    }
}

/// Replaces all entries.
fn replace(redis: &RedisServer, entries: &[Stored]) {
    let _: i64 = redis.command(&["DEL", LOG]);
    for entry in entries {
        put_back(redis, entry);
    }
}

#[tokio::test]
async fn four_replicas_that_record_a_thousand_entries_each_produce_one_chain() {
    let key = KeyFile::new();
    let first = key.builder().spawn().await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(key.builder().beside(&first).spawn().await);
    }
    let all = || std::iter::once(&first).chain(&replicas);
    for app in all() {
        note(app, 999);
    }
    let actions = all().map(|app| app.delete("/ratelimit/api?prefix=a"));
    for reply in futures_util::future::join_all(actions).await {
        reply.expect(200);
    }
    // 999 events, a start, an intent and an outcome of each.
    eventually("all entries are there", async || first.redis().command::<usize>(&["XLEN", LOG]) == 4 * 1_002).await;
    assert_eq!(key.verify(&first.redis(), &[]), (0, "4008 entries are whole\n".to_owned()));
    let seqs: Vec<Value> = entries(&first.redis()).into_iter().map(|entry| entry["seq"].clone()).collect();
    assert_eq!(seqs, (1..=4_008).map(Value::from).collect::<Vec<_>>());
    let verified = first.get("/admin/audit/verify").await.expect(200).json();
    assert_eq!((&verified["checked"], &verified["next"]), (&json!(4_008), &Value::Null), "{verified}");
    let metrics = first.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("audit_entries_total{class=\"event\"} 1000"), "{metrics}");
}

/// Removes, edits and moves entries of a log of 20, and expects the first one that is wrong to be named.
fn tamper(redis: &RedisServer, key: &KeyFile, whole: &[Stored]) {
    let breaks = |expected: &str| assert_eq!(key.verify(redis, &[]), (1, format!("broken at entry {expected}\n")));

    delete(redis, 7..=7);
    breaks("7: gap");
    replace(redis, whole);
    delete(redis, 11..=20);
    breaks("11: gap");
    let _: i64 = redis.command(&["DEL", LOG]);
    breaks("1: gap");
    replace(redis, whole);
    assert_eq!(key.verify(redis, &[]).0, 0);

    let edit = |at: usize, field: &str, from: &str, to: &str| {
        let mut edited = whole.to_vec();
        let text = edited[at].1.get_mut(field).expect("the field");
        *text = text.replace(from, to);
        replace(redis, &edited);
    };
    edit(7, "e", "test.event", "test.party");
    breaks("8: hash");
    edit(7, "k", &whole[7].1["k"], "0000000000000000");
    breaks("8: hash");
    edit(19, "h", &whole[19].1["h"], &whole[18].1["h"]);
    breaks("20: hash");
    // Entries of the same log, in another order.
    let mut moved = whole.to_vec();
    (moved[7].1, moved[8].1) = (whole[8].1.clone(), whole[7].1.clone());
    replace(redis, &moved);
    breaks("8: hash");
}

#[tokio::test]
async fn each_kind_of_tampering_is_found_and_named() {
    let key = KeyFile::new();
    let app = with_entries(&key, 20).await;
    let whole = stored(&app.redis());
    tamper(&app.redis(), &key, &whole);
    // Another chain with the same key continues this one.
    let copy = key.builder().on(RedisServer::start()).spawn().await;
    eventually("the start is recorded", async || !entries(&copy.redis()).is_empty()).await;
    copy.clock().advance(std::time::Duration::from_secs(1));
    note(&copy, 19);
    eventually("recorded", async || copy.redis().command::<usize>(&["XLEN", LOG]) == 20).await;
    let mut spliced = whole.clone();
    spliced[10..].clone_from_slice(&stored(&copy.redis())[10..]);
    replace(&app.redis(), &spliced);
    assert_eq!(key.verify(&app.redis(), &[]), (1, "broken at entry 11: link\n".to_owned()));
    let verified = app.get("/admin/audit/verify").await.expect(200).json();
    assert_eq!(verified["first_break"], json!({ "seq": 11, "kind": "link" }), "{verified}");
}

#[tokio::test]
async fn a_log_that_was_emptied_and_replayed_lacks_what_a_checkpoint_says() {
    let key = KeyFile::new();
    let app = with_entries(&key, 20).await;
    let verified = app.get("/admin/audit/verify").await.expect(200).json();
    let checkpoint = key.directory().join("checkpoints");
    let logged = json!({ "message": "checkpoint of the audit log", "checkpoint": verified["checkpoint"].to_string() });
    std::fs::write(&checkpoint, format!("{logged}\n{}\n", verified["checkpoint"])).expect("written");
    let checkpoint = checkpoint.display().to_string();
    let with_checkpoint = ["--checkpoint", &checkpoint];
    assert_eq!(key.verify(&app.redis(), &with_checkpoint).0, 0);

    let whole = stored(&app.redis());
    let _: String = app.redis().command(&["FLUSHALL"]);
    whole[..10].iter().for_each(|entry| put_back(&app.redis(), entry));
    let _: i64 = app.redis().command(&["HSET", HEAD, "seq", "10", "hash", &whole[9].1["h"]]);
    assert_eq!(key.verify(&app.redis(), &[]), (0, "10 entries are whole\n".to_owned()), "nothing in Redis tells");
    assert_eq!(key.verify(&app.redis(), &with_checkpoint), (1, "broken at entry 11: checkpoint\n".to_owned()));

    // A replica that has seen more continues from there, and reports the loss.
    app.delete("/ratelimit/api?prefix=a").await.expect(200);
    eventually("the loss is recorded", async || {
        entries(&app.redis())
            .iter()
            .any(|entry| entry["action"] == "audit.loss" && entry["details"] == json!({ "expected": 20, "found": 10 }))
    })
    .await;
    assert_eq!(key.verify(&app.redis(), &[]), (1, "broken at entry 11: gap\n".to_owned()));
    let ready = app.get("/health/ready").await.expect(200).json();
    assert!(ready["reasons"].to_string().contains("ended at entry 10 instead of 20"), "{ready}");

    let forged = std::fs::read_to_string(&checkpoint).expect("read").replace(r#""seq":20"#, r#""seq":19"#);
    std::fs::write(&checkpoint, forged).expect("written");
    let (code, printed) = key.verify(&app.redis(), &with_checkpoint);
    assert!(code == 69 && printed.contains("no valid signature"), "{code}: {printed}");
}

#[tokio::test]
async fn an_acknowledged_break_does_not_end_verification() {
    let key = KeyFile::new();
    let app = with_entries(&key, 20).await;
    delete(&app.redis(), 11..=20);
    // The log goes on after the loss.
    note(&app, 5);
    eventually("recorded", async || app.redis().command::<usize>(&["XLEN", LOG]) >= 15).await;
    assert_eq!(key.verify(&app.redis(), &[]), (1, "broken at entry 11: gap\n".to_owned()));
    assert!(key.command(&app.redis(), &["reanchor"]).status.success());
    note(&app, 5);
    eventually("recorded", async || app.redis().command::<usize>(&["XLEN", LOG]) >= 21).await;
    let (code, printed) = key.verify(&app.redis(), &[]);
    assert!(code == 0 && printed.starts_with("acknowledged: break at entry 11\n"), "{code}: {printed}");
    let newest = entries(&app.redis()).last().and_then(|entry| entry["seq"].as_u64());
    let last = usize::try_from(newest.expect("an entry")).expect("a number");
    delete(&app.redis(), last - 2..=last - 2);
    assert_eq!(key.verify(&app.redis(), &[]).0, 1, "a later break counts");
    assert!(String::from_utf8_lossy(&key.command(&app.redis(), &["reanchor"]).stdout).contains("acknowledges"));
    let (code, printed) = key.verify(&app.redis(), &[]);
    assert_eq!((code, printed.matches("acknowledged").count()), (0, 2), "{printed}");
}

#[tokio::test]
async fn an_entry_from_the_future_is_named() {
    let key = KeyFile::new();
    let app = with_entries(&key, 3).await;
    app.clock().advance(std::time::Duration::from_secs(100 * 365 * 86_400));
    note(&app, 1);
    eventually("recorded", async || app.redis().command::<usize>(&["XLEN", LOG]) == 4).await;
    assert_eq!(key.verify(&app.redis(), &[]), (1, "broken at entry 4: future\n".to_owned()));
}

#[tokio::test]
async fn old_entries_are_exported_before_they_leave_redis() {
    let key = KeyFile::new();
    let config = format!("max_entries = 5\nexport_dir = \"{}\"", key.directory().display());
    let app = key.builder().config(&config).spawn().await;
    note(&app, 19);
    eventually("recorded", async || app.redis().command::<usize>(&["XLEN", LOG]) == 20).await;
    let audit = gridtokenx_redis::features::audit::service(&app.app().deps).expect("the service");
    audit.keep().await.expect("exported");
    eventually("the export is recorded", async || {
        entries(&app.redis()).last().is_some_and(|entry| entry["action"] == "audit.export")
    })
    .await;
    assert_eq!(entries(&app.redis())[0]["seq"], 16);
    let file = key.directory().join("audit-1-15.ndjson").display().to_string();
    assert_eq!(key.verify(&app.redis(), &["--from", &file]), (0, "15 entries are whole\n".to_owned()));
    assert_eq!(key.verify(&app.redis(), &[]), (0, "6 entries are whole\n".to_owned()));
    audit.keep().await.expect("exported");
    eventually("the export is recorded", async || {
        let all = entries(&app.redis());
        all.iter().filter(|entry| entry["action"] == "audit.export").count() == 2
    })
    .await;
    let second = key.directory().join("audit-16-16.ndjson").display().to_string();
    let both = ["--from", &file, "--from", &second];
    assert_eq!(key.verify(&app.redis(), &both), (0, "16 entries are whole\n".to_owned()));

    let text = std::fs::read_to_string(&file).expect("read").replacen("test.event", "test.party", 1);
    std::fs::write(&file, text).expect("written");
    assert_eq!(key.verify(&app.redis(), &both), (1, "broken at entry 2: hash\n".to_owned()));
    // A log that is not whole keeps its entries, and a forged beginning is found.
    let mark: String = app.redis().command(&["HGET", "audit:{log}:base", "mark"]);
    let _: i64 =
        app.redis().command(&["HSET", "audit:{log}:base", "mark", &mark.replace(r#""seq":16"#, r#""seq":17"#)]);
    assert_eq!(key.verify(&app.redis(), &[]), (1, "broken at entry 17: checkpoint\n".to_owned()));
    let length: usize = app.redis().command(&["XLEN", LOG]);
    assert!(audit.keep().await.is_err());
    assert_eq!(app.redis().command::<usize>(&["XLEN", LOG]), length);
}

#[tokio::test]
async fn the_chain_works_on_a_cluster() {
    let (key, cluster) = (KeyFile::new(), Cluster::start().await);
    let app = TestApp::builder().config(&cluster.config()).config(&key.config()).spawn().await;
    app.delete("/ratelimit/api?prefix=a").await.expect(200);
    eventually("the action is recorded", async || {
        let verified = app.get("/admin/audit/verify").await.expect(200).json();
        verified["checked"] == 3 && verified["first_break"].is_null()
    })
    .await;
}
