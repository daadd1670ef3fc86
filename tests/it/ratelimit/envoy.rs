//! Envoy's rate-limit protocol as JSON.

use axum::http::Method;
use gridtokenx_redis::config::Config;
use serde_json::{Value, json};

use super::limits::limiter;
use crate::support::{Cluster, Reply, TestApp, eventually};

/// Three calls an hour for each address, two a minute for each address and path, and one login in 90 seconds.
fn config() -> String {
    let gcra = |limit: u64, period: &str| {
        format!("strategy = {{ kind = \"gcra\", limit = {limit}, period = \"{period}\" }}\nwithout_redis = \"closed\"")
    };
    let rules = "ratelimit.envoy = [\
        { domain = \"gateway\", entries = [{ key = \"remote_address\" }], limiter = \"address\" },\
        { domain = \"gateway\", entries = [{ key = \"remote_address\" }, { key = \"path\" }], limiter = \"path\" },\
        { domain = \"gateway\", entries = [{ key = \"remote_address\" }, { key = \"path\", value = \"/login\" }],\
          limiter = \"login\" }]\n";
    let limiters = [("address", 3, "1h"), ("path", 2, "1m"), ("login", 1, "90s")];
    let limiters = limiters.map(|(name, limit, period)| limiter(name, &gcra(limit, period)));
    format!("{rules}{}", limiters.concat())
}

/// The descriptor of a call from `address`, to `path` if given.
fn descriptor(address: &str, path: Option<&str>) -> Value {
    let mut entries = vec![json!({ "key": "remote_address", "value": address })];
    entries.extend(path.map(|path| json!({ "key": "path", "value": path })));
    json!({ "entries": entries })
}

async fn post(app: &TestApp, descriptors: &[Value]) -> Reply {
    app.post("/json", json!({ "domain": "gateway", "descriptors": descriptors })).await
}

#[tokio::test]
async fn descriptors_are_counted_by_their_limiters() {
    let app = TestApp::builder().config(&config()).spawn().await;
    let both = [descriptor("10.0.0.1", None), descriptor("10.0.0.1", Some("/orders"))];
    let first = post(&app, &both).await.expect(200);
    assert_eq!(
        first.json(),
        json!({ "overallCode": "OK", "statuses": [
            { "code": "OK", "currentLimit": { "name": "address", "requestsPerUnit": 3, "unit": "HOUR" },
              "limitRemaining": 2, "durationUntilReset": "1200s" },
            { "code": "OK", "currentLimit": { "name": "path", "requestsPerUnit": 2, "unit": "MINUTE" },
              "limitRemaining": 1, "durationUntilReset": "30s" },
        ] })
    );
    assert_eq!(first.header("ratelimit"), Some(r#""address";r=2;t=1200, "path";r=1;t=30"#));
    post(&app, &both).await.expect(200);
    let refused = post(&app, &both).await;
    assert!(refused.is(429), "{}", refused.text());
    let answer = refused.json();
    assert_eq!((&answer["overallCode"], &answer["statuses"][0]["code"]), (&json!("OVER_LIMIT"), &json!("OK")));
    assert_eq!(answer["statuses"][1]["code"], "OVER_LIMIT");
    assert_eq!(refused.header("retry-after"), Some("30"));
    // The refusal took no cost.
    let alone = post(&app, &both[..1]).await.expect(200).json();
    assert_eq!(alone["statuses"][0]["limitRemaining"], 0, "{alone}");
    let refused = post(&app, &both[..1]).await;
    assert!(refused.is(429), "{}", refused.text());
    // The limits are those of the other routes.
    assert_eq!(app.get("/ratelimit/path/10.0.0.1:%2Forders").await.expect(200).json()["remaining"], 0);
}

#[tokio::test]
async fn the_first_matching_rule_applies_and_other_descriptors_are_not_limited() {
    let app = TestApp::builder().config(&config()).spawn().await;
    let login = post(&app, &[descriptor("a", Some("/login"))]).await.expect(200).json();
    // Envoy has no unit of 90 seconds.
    assert_eq!(login["statuses"][0]["currentLimit"], json!({ "name": "login", "requestsPerUnit": 1 }), "{login}");
    let other = json!({ "entries": [{ "key": "generic_key", "value": "slow" }] });
    let free = post(&app, std::slice::from_ref(&other)).await.expect(200);
    assert_eq!(free.json(), json!({ "overallCode": "OK", "statuses": [{ "code": "OK" }] }));
    assert_eq!(free.header("ratelimit"), None);
    let mixed = post(&app, &[other, descriptor("b", Some("/login"))]).await.expect(200).json();
    assert_eq!(mixed["statuses"][1]["limitRemaining"], 0, "{mixed}");
    let elsewhere = json!({ "domain": "mesh", "descriptors": [descriptor("a", Some("/login"))] });
    app.post("/json", elsewhere).await.expect(200);
}

#[tokio::test]
async fn hits_addend_is_the_cost_in_both_spellings() {
    let app = TestApp::builder().config(&config()).spawn().await;
    for name in ["hits_addend", "hitsAddend"] {
        let mut body = json!({ "domain": "gateway", "descriptors": [descriptor(name, None)] });
        body[name] = json!(2);
        assert_eq!(app.post("/json", body.clone()).await.expect(200).json()["statuses"][0]["limitRemaining"], 1);
        let refused = app.post("/json", body).await;
        assert!(refused.is(429), "{}", refused.text());
    }
    let free = json!({ "domain": "gateway", "descriptors": [descriptor("zero", None)], "hits_addend": 0 });
    assert_eq!(app.post("/json", free).await.expect(200).json()["statuses"][0]["limitRemaining"], 2);
}

#[tokio::test]
async fn requests_of_real_programs_are_accepted() {
    let app = TestApp::builder().config(&config()).spawn().await;
    let left = async |headers: &[(&str, &str)], body: &str| {
        let reply = app.send(Method::POST, "/json", headers, body.to_owned()).await.expect(200).json();
        reply["statuses"][0]["limitRemaining"].clone()
    };
    // curl -d states the type of a form, other programs none.
    let form = ("content-type", "application/x-www-form-urlencoded");
    let body = json!({ "domain": "gateway", "descriptors": [descriptor("a", None)] }).to_string();
    assert_eq!(left(&[form], &body).await, 2);
    assert_eq!(left(&[], &body).await, 1);
    // An entry may have no value, an empty one, or null.
    for (at, entry) in [
        r#"{ "key": "remote_address" }"#,
        r#"{ "key": "remote_address", "value": "" }"#,
        r#"{ "key": "remote_address", "value": null }"#,
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!(r#"{{ "domain": "gateway", "descriptors": [{{ "entries": [{entry}] }}] }}"#);
        assert_eq!(left(&[form], &body).await, 2 - at, "{entry}");
    }
    // Fields that are not used are ignored; 64-bit numbers are text; null is no number.
    let body = r#"{ "domain": "gateway", "hitsAddend": null, "timeout": "0.1s", "descriptors": [
        { "entries": [{ "key": "remote_address", "value": "b", "comment": "" }], "hitsAddend": "2",
          "limit": { "requestsPerUnit": 5, "unit": "HOUR" } }] }"#;
    assert_eq!(left(&[form], body).await, 1);
    app.send(Method::POST, "/json", &[form], "domain=gateway").await.expect_problem(400, "invalid-json");
}

#[tokio::test]
async fn the_route_answers_404_until_it_is_configured() {
    let app = TestApp::spawn().await;
    post(&app, &[descriptor("a", None)]).await.expect_problem(404, "not-found");
    app.app().reloader().reload(Config::with_overrides(&config()).expect("TOML")).expect("valid");
    eventually("the route is on", async || post(&app, &[descriptor("a", None)]).await.is(200)).await;
    for (bad, field) in [
        (config().replace("limiter = \"login\"", "limiter = \"unknown\""), "ratelimit.envoy[2].limiter"),
        (config().replace("domain = \"gateway\"", "domain = \"\""), "ratelimit.envoy[0].domain"),
        (config().replacen("[{ key = \"remote_address\" }]", "[]", 1), "ratelimit.envoy[0].entries"),
    ] {
        let bad = Config::with_overrides(&bad).expect("TOML");
        let error = app.app().reloader().reload(bad).expect_err("refused").to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let app = TestApp::builder().config(&config()).spawn().await;
    let one = descriptor("a", None);
    for (body, pointer) in [
        (json!({ "descriptors": [one] }), "/domain"),
        (json!({ "domain": "", "descriptors": [one] }), "/domain"),
        (json!({ "domain": "gateway" }), "/descriptors"),
        (json!({ "domain": "gateway", "descriptors": [] }), "/descriptors"),
        (json!({ "domain": "gateway", "descriptors": vec![one.clone(); 101] }), "/descriptors"),
        (json!({ "domain": "gateway", "descriptors": [{ "entries": [] }] }), "/descriptors/0/entries"),
        (json!({ "domain": "gateway", "descriptors": [descriptor(&"a".repeat(513), None)] }), "/descriptors/0/entries"),
        (json!({ "domain": "gateway", "descriptors": [one, one] }), "/descriptors/1/entries"),
        (json!({ "domain": "gateway", "descriptors": [one], "hits_addend": -1 }), "/hits_addend"),
        (json!({ "domain": "gateway", "descriptors": [one], "hits_addend": 4 }), "/hits_addend"),
        (json!({ "domain": "gateway", "descriptors": [one], "hits_addend": "x" }), "/hits_addend"),
        (
            json!({ "domain": "gateway", "descriptors": [{ "entries": one["entries"], "hits_addend": 4 }] }),
            "/descriptors/0/hits_addend",
        ),
    ] {
        app.post("/json", body).await.expect_violation(422, "invalid-body", pointer);
    }
    app.post("/json?a=1", json!({})).await.expect_violation(422, "invalid-query", "/a");
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}

#[tokio::test]
async fn closed_limiters_answer_503_without_redis() {
    let app = TestApp::builder().config(&config()).behind_proxy().spawn().await;
    app.proxy().cut();
    eventually("the breaker is open", async || app.get("/health/ready").await.is(503)).await;
    let both = [descriptor("a", None), descriptor("a", Some("/b"))];
    post(&app, &both).await.expect_problem(503, "redis-unavailable");
}

#[tokio::test]
async fn descriptors_need_a_group_on_a_cluster() {
    let cluster = Cluster::start().await;
    let app = TestApp::builder().config(&format!("{}{}", config(), cluster.config())).spawn().await;
    let apart = [descriptor("a", None), descriptor("a", Some("/b"))];
    post(&app, &apart).await.expect_problem(422, "checks-apart");
    let together = [descriptor("{a}", None), descriptor("{a}", Some("/b"))];
    post(&app, &together).await.expect(200);
}
