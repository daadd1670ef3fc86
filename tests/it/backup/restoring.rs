//! Restores and drills.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::json;

use super::{Vault, fill};
use crate::audit::KeyFile;
use crate::support::{Cluster, RedisServer, TestApp, eventually, output_text};

/// Every key with its value, as text.
fn contents(redis: &RedisServer) -> BTreeMap<String, String> {
    let read = |key: &str| {
        let words: Vec<&str> = match redis.command::<String>(&["TYPE", key]).as_str() {
            "string" => vec!["GET", key],
            "list" => vec!["LRANGE", key, "0", "-1"],
            "set" => vec!["SORT", key, "ALPHA"],
            "hash" => {
                let mut pairs: Vec<(String, String)> = redis.command(&["HGETALL", key]);
                pairs.sort();
                return format!("{pairs:?}");
            }
            "zset" => vec!["ZRANGE", key, "0", "-1", "WITHSCORES"],
            _ => vec!["XRANGE", key, "-", "+"],
        };
        format!("{:?}", redis.command::<redis::Value>(&words))
    };
    redis.keys().into_iter().map(|key| (key.clone(), read(&key))).collect()
}

/// What a restore brings back.
fn expected(redis: &RedisServer) -> BTreeMap<String, String> {
    let mut expected = contents(redis);
    expected.retain(|key, _| {
        !["lock:a", "market:fold_turn", "session:7", "iam:user:7"].contains(&key.as_str())
            && !key.starts_with("backup:")
    });
    expected
}

#[test]
fn a_restore_writes_only_when_told_and_brings_every_value_back() {
    let (redis, target, vault) = (RedisServer::plain(), RedisServer::plain(), Vault::new());
    fill(&redis);
    let file = vault.back_up(&redis);
    let dry = vault.restore(&target, &file, &[]);
    assert!(dry.status.success() && output_text(&dry).contains("would restore 22 keys"), "{}", output_text(&dry));
    assert!(target.keys().is_empty(), "nothing was written");
    let restored = vault.restore(&target, &file, &["--apply"]);
    assert!(restored.status.success(), "{}", output_text(&restored));
    assert!(output_text(&restored).contains("2 transient"), "{}", output_text(&restored));
    assert_eq!(contents(&target), expected(&redis));
    let backend: String = target.command(&["GET", "json:{backend}"]);
    assert_eq!(backend, "native");
    let ttl: i64 = target.command(&["PTTL", "json:expiring"]);
    assert!((1..=3_600_000).contains(&ttl), "{ttl}");
    let groups: redis::Value = target.command(&["XINFO", "GROUPS", "tape:{E}"]);
    assert_eq!(groups, redis.command::<redis::Value>(&["XINFO", "GROUPS", "tape:{E}"]));
}

#[test]
fn a_server_with_data_is_refused_and_nothing_is_written() {
    let (redis, target, vault) = (RedisServer::plain(), RedisServer::plain(), Vault::new());
    fill(&redis);
    let file = vault.back_up(&redis);
    target.command::<()>(&["SET", "json:present", "1"]);
    target.command::<()>(&["SET", "metrics:last_cleanup", "1"]);
    let refused = vault.restore(&target, &file, &["--apply"]);
    assert_eq!(refused.status.code(), Some(1), "{}", output_text(&refused));
    assert!(output_text(&refused).contains("1 of json, such as"), "{}", output_text(&refused));
    assert_eq!(target.keys(), ["json:present", "metrics:last_cleanup"]);
    // Other capabilities, and another prefix, are free.
    let some = vault.restore(&target, &file, &["--apply", "--only", "hosts,locks"]);
    assert!(some.status.success() && output_text(&some).contains("restored 10 keys"), "{}", output_text(&some));
    let below = vault.restore(&target, &file, &["--apply", "--prefix", "test:"]);
    assert!(below.status.success(), "{}", output_text(&below));
    let found: [i64; 3] =
        ["test:json:text", "lock:fence:{test:lock:a}", "test:tape:{E}"].map(|key| target.command(&["EXISTS", key]));
    assert_eq!(found, [1, 1, 1]);
    let unknown = vault.restore(&target, &file, &["--only", "jsn"]);
    assert!(!unknown.status.success() && output_text(&unknown).contains("jsn"), "{}", output_text(&unknown));
}

#[test]
fn fencing_tokens_and_versions_never_decrease() {
    let (redis, target, vault) = (RedisServer::plain(), RedisServer::plain(), Vault::new());
    for (key, value) in [("lock:fence:{lock:a}", "500"), ("lock:fence:{lock:b}", "7"), ("json:version:{json:x}", "3")] {
        redis.command::<()>(&["SET", key, value, "PX", "3600000"]);
    }
    let file = vault.back_up(&redis);
    target.command::<()>(&["SET", "lock:fence:{lock:a}", "900"]);
    target.command::<()>(&["SET", "lock:fence:{lock:b}", "5"]);
    let restored = vault.restore(&target, &file, &["--apply"]);
    assert!(restored.status.success() && output_text(&restored).contains("1 older"), "{}", output_text(&restored));
    let found = ["lock:fence:{lock:a}", "lock:fence:{lock:b}", "json:version:{json:x}"]
        .map(|key| target.command::<u64>(&["GET", key]));
    assert_eq!(found, [900, 7, 3]);
    assert!(target.command::<i64>(&["PTTL", "json:version:{json:x}"]) > 0, "the time to live is kept");
}

#[test]
fn what_has_expired_since_is_counted_and_stays_away() {
    let (redis, target, vault) = (RedisServer::plain(), RedisServer::plain(), Vault::new());
    redis.command::<()>(&["SET", "json:short", "1", "PX", "4000"]);
    redis.command::<()>(&["SET", "json:long", "1"]);
    let file = vault.back_up(&redis);
    assert_eq!(vault.manifest(&file)["holdings"]["json"]["keys"], 2);
    while redis.command::<i64>(&["EXISTS", "json:short"]) == 1 {
        std::thread::yield_now();
    }
    let restored = vault.restore(&target, &file, &["--apply"]);
    assert!(output_text(&restored).contains("1 expired"), "{}", output_text(&restored));
    assert_eq!(target.keys(), ["json:long"]);
}

#[test]
fn damaged_files_and_wrong_keys_write_nothing() {
    let (redis, target, vault) = (RedisServer::plain(), RedisServer::plain(), Vault::new());
    fill(&redis);
    let file = vault.back_up(&redis);
    let mut bytes = std::fs::read(&file).expect("the file");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let damaged = vault.backups().join("damaged");
    std::fs::write(&damaged, bytes).expect("written");
    let refused = vault.restore(&target, &damaged, &["--apply"]);
    assert_eq!(refused.status.code(), Some(1), "{}", output_text(&refused));
    let other = Vault::new();
    let refused = other.restore(&target, &file, &["--apply"]);
    assert_eq!(refused.status.code(), Some(1), "{}", output_text(&refused));
    let missing = vault.restore(&target, &vault.backups().join("missing"), &["--apply"]);
    assert!(!missing.status.success(), "{}", output_text(&missing));
    assert!(target.keys().is_empty());
}

#[test]
fn a_killed_restore_continues_where_it_was() {
    let (redis, target, vault) = (RedisServer::plain(), RedisServer::plain(), Vault::new());
    let script = "for nth = 1, 15000 do redis.call('SET', 'json:' .. nth, nth .. string.rep('v', 100)) end";
    redis.command::<()>(&["EVAL", script, "0"]);
    let file = vault.back_up(&redis);
    let (path, identity) = (file.display().to_string(), vault.identity_file().display().to_string());
    for kills in 1..=50 {
        let words = ["restore", &path, "--identity", &identity, "--apply"];
        let mut command = vault.command(&target.url(), "", &words);
        let before: i64 = target.command(&["DBSIZE"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        while target.command::<i64>(&["DBSIZE"]) < before + 100 + kills * 37 % 300
            && child.try_wait().expect("a status").is_none()
        {
            std::thread::yield_now();
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        let is_half = "local n = 0 for _, key in ipairs(redis.call('KEYS', 'json:*')) do \
                       if redis.call('STRLEN', key) ~= #key - 5 + 100 then n = n + 1 end end return n";
        assert_eq!(target.command::<i64>(&["EVAL", is_half, "0"]), 0, "every value is whole");
    }
    if target.command::<i64>(&["EXISTS", "backup:{restoring}"]) == 1 {
        let other = vault.restore(&target, &vault.back_up(&redis), &["--apply"]);
        assert!(!other.status.success() && output_text(&other).contains("interrupted"), "{}", output_text(&other));
    }
    let restored = vault.restore(&target, &file, &["--apply"]);
    assert!(restored.status.success() || output_text(&restored).contains("not empty"), "{}", output_text(&restored));
    let digest = |redis: &RedisServer| -> String {
        let script = "local all = {} for _, key in ipairs(redis.call('KEYS', 'json:*')) do \
                      all[#all + 1] = key .. redis.call('GET', key) end table.sort(all) \
                      return redis.sha1hex(table.concat(all))";
        redis.command(&["EVAL", script, "0"])
    };
    assert_eq!(digest(&target), digest(&redis));
}

#[tokio::test]
async fn a_cluster_is_backed_up_and_restored() {
    let (source, target, vault) = (Cluster::start().await, Cluster::start().await, Vault::new());
    let app = TestApp::builder().config(&source.config()).plain_redis().spawn().await;
    for nth in 0..60 {
        app.put(&format!("/json/notes:{nth}"), json!({ "n": nth })).await.expect(201);
    }
    app.post("/locks/a", json!({ "ttl_ms": 60_000 })).await.expect(201);
    drop(app);
    let run = |cluster: &Cluster, words: &[&str]| {
        let done = vault.command("", &cluster.config(), words).env_remove("REDIS_URL").output().expect("it runs");
        assert!(done.status.success(), "{}", output_text(&done));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let made = run(&source, &["backup"]);
    assert!(made.contains("one moment"), "{made}");
    let identity = vault.identity_file().display().to_string();
    let id = made.split(' ').next().expect("an id");
    run(&target, &["restore", id, "--identity", &identity, "--apply"]);
    let app = TestApp::builder().config(&target.config()).plain_redis().spawn().await;
    for nth in 0..60 {
        assert_eq!(app.get(&format!("/json/notes:{nth}")).await.expect(200).json()["n"], nth);
    }
    let spread = target.nodes.iter().all(|node| !node.command::<Vec<String>>(&["KEYS", "json:notes:*"]).is_empty());
    assert!(spread, "every node has notes");
    let lock = app.get("/locks/a").await.expect(200).json();
    assert!(lock["held"] == false && lock["fencing_token"].is_u64(), "the token is kept, the lease is not: {lock}");
}

#[test]
fn a_drill_passes_and_is_recorded_and_finds_a_wrong_manifest() {
    let (redis, vault) = (RedisServer::plain(), Vault::new());
    fill(&redis);
    let file = vault.back_up(&redis);
    let identity = vault.identity_file().display().to_string();
    let drill = vault.run(&redis, &["drill", "--identity", &identity]);
    assert!(drill.status.success() && output_text(&drill).contains("passed, 24 keys"), "{}", output_text(&drill));
    let recorded: String = redis.command(&["GET", "backup:{drill}"]);
    let id = file.file_name().expect("a name").to_string_lossy().replace(".tar.zst.age", "");
    assert!(recorded.contains(&id), "{recorded}");
    let other = Vault::new().identity_file().display().to_string();
    let refused = vault.run(&redis, &["drill", "--identity", &other]);
    assert!(!refused.status.success(), "{}", output_text(&refused));
}

#[tokio::test]
async fn an_older_backup_does_not_bring_an_erased_person_back() {
    let (key, vault) = (KeyFile::new(), Vault::new());
    let config = format!("{}{}", vault.config(), key.config());
    let app = TestApp::builder().config(&config).plain_redis().spawn().await;
    for user in ["person-0b5e", "person-77aa"] {
        app.put(&format!("/users/{user}/preferences"), json!({ "theme": "dark" })).await.expect(201);
    }
    let file = vault.back_up(&app.redis());
    app.post("/admin/subjects/person-0b5e/erase", json!({ "reason": "a request" })).await.expect(202);
    let beside = vault.backups().join("tombstones.json");
    eventually("the person is remembered beside the backups", async || beside.exists()).await;

    let target = RedisServer::plain();
    let without = vault.restore(&target, &file, &["--apply"]);
    assert!(!without.status.success() && output_text(&without).contains("audit.key_file"), "{}", output_text(&without));
    assert!(target.keys().is_empty());
    let (path, identity) = (file.display().to_string(), vault.identity_file().display().to_string());
    let words = ["restore", &path, "--identity", &identity, "--apply"];
    let restored = vault.command(&target.url(), &key.config(), &words).output().expect("the binary runs");
    assert!(restored.status.success(), "{}", output_text(&restored));
    assert!(output_text(&restored).contains("erased again"), "{}", output_text(&restored));
    let left: Vec<String> = target.command(&["KEYS", "user_preferences:*"]);
    assert_eq!(left, ["user_preferences:person-77aa"]);

    std::fs::write(&beside, std::fs::read_to_string(&beside).expect("JSON").replacen('1', "2", 1)).expect("written");
    let forged = vault.command(&RedisServer::plain().url(), &key.config(), &words).output().expect("the binary runs");
    assert!(!forged.status.success() && output_text(&forged).contains("not signed"), "{}", output_text(&forged));
}
