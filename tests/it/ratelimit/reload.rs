//! Reloads of the configuration.

use std::fs;

use gridtokenx_redis::config::Config;
use serde_json::{Value, json};

use super::limits::{check, limiter};
use crate::support::{RedisServer, ServiceProcess, TestApp, eventually};

fn rule(limit: u64) -> String {
    limiter("l", &format!("strategy = {{ kind = \"gcra\", limit = {limit}, period = \"1m\" }}"))
}

#[tokio::test]
async fn reloaded_limiters_apply_to_existing_states() {
    let service = TestApp::builder().config(&rule(5)).spawn().await;
    for _ in 0..4 {
        check(&service, "l", "k").await;
    }
    service.put("/ratelimit/limiters/l/exceptions/denied", json!({ "action": "deny" })).await.expect(200);
    let renamed = rule(10) + &limiter("m", "strategy = { kind = \"gcra\", limit = 1, period = \"1m\" }");
    service.app().reloader().reload(Config::with_overrides(&renamed).expect("TOML")).expect("valid");
    eventually("the new limit applies", async || check(&service, "l", "fresh").await["limit"] == 10).await;
    // What was left of the previous limit is left of the new one.
    assert_eq!(service.get("/ratelimit/l/k").await.json()["remaining"], 1);
    assert_eq!(check(&service, "m", "k").await["allowed"], true);
    assert_eq!(check(&service, "l", "denied").await["allowed"], false);
}

#[tokio::test]
async fn an_invalid_configuration_changes_nothing() {
    let service = TestApp::builder().config(&rule(5)).spawn().await;
    let bad = Config::with_overrides(&rule(0)).expect("TOML");
    let error = service.app().reloader().reload(bad).expect_err("refused").to_string();
    assert!(error.contains("ratelimit.limiters[0].strategy.limit"), "{error}");
    assert_eq!(check(&service, "l", "k").await["limit"], 5);
}

#[tokio::test]
async fn a_limiter_has_no_keys_where_other_data_are_stored() {
    let service = TestApp::builder().config(&rule(5)).spawn().await;
    for prefix in [
        "lock:",
        "lock:orders:",
        "locks:",
        "cache:",
        "cache:session:",
        "json:",
        "ts:",
        "ts:x:",
        "idempotency:",
        "gtx:",
        "gridtokenx:",
        "iam:",
        "metrics:",
        "metrics:host:",
        "user_preferences:",
        "energy:",
        "energy:generation:",
        "market:",
        "settlement:",
        "trading:",
        "orderbook:",
        "rate_limit:exceptions:",
        "rate_limit:",
        "rate_limit:list:",
    ] {
        let bad = rule(5).replace("rate_limit:l:", prefix);
        let error = service.app().reloader().reload(Config::with_overrides(&bad).expect("TOML")).expect_err(prefix);
        assert!(error.to_string().contains("ratelimit.limiters[0].key"), "{prefix}: {error}");
    }
    for prefix in ["rate_limit:a:", "quota:", "platform:limits:"] {
        let good = rule(5).replace("rate_limit:l:", prefix);
        service.app().reloader().reload(Config::with_overrides(&good).expect("TOML")).expect(prefix);
    }
}

#[test]
fn sighup_reloads_the_file() {
    let redis = RedisServer::start();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("service.toml");
    fs::write(&file, rule(5)).expect("a file");
    let mut service = ServiceProcess::start_with(&file, &[("REDIS_URL", &redis.url())]);
    let limit = |service: &mut ServiceProcess| -> Value {
        let (status, body) = service.get("/ratelimit/limiters");
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["items"][0]["strategy"]["limit"].clone()
    };
    assert_eq!(limit(&mut service), 5);
    for (text, expected, logged) in [
        (rule(7), 7, "configuration reloaded"),
        ("[ratelimit".to_owned(), 7, "the previous one stays in effect"),
        (rule(9), 9, "configuration reloaded"),
    ] {
        fs::write(&file, text).expect("a file");
        let before = service.output().matches(logged).count();
        service.signal("HUP");
        wait_until(|| service.output().matches(logged).count() > before);
        wait_until(|| limit(&mut service) == expected);
    }
}

#[test]
fn a_reload_logs_what_applies_and_what_needs_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("service.toml");
    fs::write(&file, rule(5)).expect("a file");
    let data = directory.path().join("redis").display().to_string();
    let mut service = ServiceProcess::start_with(&file, &[("GTX__REDIS__EMBEDDED__DATA_DIR", &data)]);
    service.address();
    let mut reload = |text: &str| -> (Value, Vec<Value>) {
        fs::write(&file, text).expect("a file");
        service.signal("HUP");
        let line: Value = serde_json::from_str(&service.line_with("configuration reloaded")).expect("JSON");
        let output = service.output();
        let waiting = output.lines().filter(|line| line.contains("changed settings need a restart"));
        let settings = waiting.map(|line| serde_json::from_str::<Value>(line).expect("JSON")["settings"].clone());
        (line["applied"].clone(), settings.collect())
    };
    let changed = format!("{}[cache]\ndefault_ttl = \"2h\"\n", rule(7));
    assert_eq!(reload(&changed).0, "ratelimit.limiters");
    // The setting still differs from the one in effect.
    let (applied, waiting) = reload(&changed);
    assert_eq!((applied, &waiting[0]), ("none".into(), &"cache.default_ttl".into()));
    let (applied, waiting) = reload(&rule(5));
    assert_eq!((applied, waiting.len()), ("ratelimit.limiters".into(), 2));
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "the condition did not hold in time");
        // Polls a blocking connection; `eventually` needs a runtime.
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
