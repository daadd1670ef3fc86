use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::run;
use crate::support::{PgBouncer, Postgres, TestApp, eventually};

const SCHEMA: &str = "CREATE TABLE profiles (id uuid PRIMARY KEY, name text, updated_at timestamptz NOT NULL DEFAULT now());
    INSERT INTO profiles SELECT md5(n::text)::uuid, 'user ' || n FROM generate_series(1, 300) n;
    CREATE VIEW warm_profiles AS SELECT id, jsonb_build_object('name', name) AS value, updated_at, updated_at AS last_seen FROM profiles;
    CREATE TABLE secrets (id int8, value text, done bool);
    INSERT INTO secrets VALUES (1, 'not json', true), (2, '{\"ok\":2}', false);
    CREATE ROLE reader LOGIN; GRANT SELECT ON warm_profiles, secrets TO reader; GRANT INSERT ON secrets TO reader";

fn config(url_file: &Path, more: &str) -> String {
    format!(
        "[warming]\ncpu_share = 1.0\n[warming.database]\nurl_file = \"{}\"\nstatement_timeout = \"1s\"\n{more}",
        url_file.display()
    )
}

fn source(sql: &str) -> String {
    format!(
        "[[warming.sources]]\nname = \"numbers\"\nkind = \"database\"\nvalues = \"{sql}\"\n\
         [[warming.tasks]]\nname = \"numbers\"\nkey = \"market:n:{{id:int8}}\"\nsource = \"numbers\"\nttl = \"10m\"\n\
         negative_ttl = \"30s\"\n{}",
        super::ON_DEMAND
    )
}

fn cached(app: &TestApp) -> usize {
    app.redis().keys().iter().filter(|key| key.starts_with("user:profile:")).count()
}

async fn profile_of(app: &TestApp, postgres: &Postgres, nth: u32) -> Value {
    let id = postgres.sql(&format!("SELECT md5('{nth}')::uuid"));
    let reply = app.get(&format!("/cache/user:profile:{id}")).await;
    if reply.is(200) { reply.json() } else { json!(reply.status.as_u16()) }
}

#[tokio::test]
async fn the_platforms_profiles_are_cached_and_follow_their_changes() {
    let postgres = Postgres::start();
    postgres.sql(SCHEMA);
    let app = TestApp::builder().config(&config(&postgres.url_file("reader"), "")).spawn().await;
    eventually("all profiles are cached", async || cached(&app) == 300).await;
    assert_eq!(profile_of(&app, &postgres, 7).await, json!({ "name": "user 7" }));
    eventually("the run is recorded", async || {
        app.get("/warming/tasks/warm_user_profiles").await.json()["last_result"] == "succeeded"
    })
    .await;
    postgres.sql("UPDATE profiles SET name = 'renamed', updated_at = now() WHERE id = md5('7')::uuid");
    app.clock().advance(Duration::from_secs(16));
    eventually("the change is cached", async || profile_of(&app, &postgres, 7).await == json!({ "name": "renamed" }))
        .await;
    eventually("the changes are recorded", async || {
        app.get("/warming/tasks/warm_user_profiles/runs?limit=1").await.json()["items"][0]["kind"] == "changes"
    })
    .await;
    // A row that is gone is gone from the cache after the next run.
    postgres.sql("DELETE FROM profiles WHERE id = md5('7')::uuid");
    let id = postgres.sql("SELECT md5('7')::uuid");
    let record = run(&app, "warm_user_profiles", json!({ "keys": [format!("user:profile:{id}")] })).await;
    assert_eq!(record["absent"], 1, "{record}");
    assert_eq!(profile_of(&app, &postgres, 7).await, json!(404));
    // The database goes: what is cached stays.
    drop(postgres);
    let record = run(&app, "warm_user_profiles", json!({})).await;
    assert_eq!(record["result"], "failed", "{record}");
    assert_eq!(cached(&app), 299);
    app.get("/health/ready").await.expect(200);
}

#[tokio::test]
async fn queries_only_read_and_end_in_time() {
    let postgres = Postgres::start();
    postgres.sql(SCHEMA);
    let file = postgres.url_file("reader");
    let ask = async |sql: &str| {
        let app = TestApp::builder().config(&config(&file, &source(sql))).spawn().await;
        app.get("/warming/values/market:n:2?wait_ms=10000").await
    };
    let values = "SELECT id, value FROM secrets WHERE id = ANY($1)";
    assert_eq!(ask(values).await.expect(200).text(), "{\"ok\":2}");
    for (sql, code) in [
        ("INSERT INTO secrets SELECT 9, '1', true FROM unnest($1) RETURNING id, value", "25006"),
        // PostgreSQL sleeps until its statement_timeout.
        ("SELECT 2::int8 AS id, pg_sleep(60)::text AS value WHERE $1 IS NOT NULL", "57014"),
        ("SELECT 2::int8 AS id, name AS value FROM profiles WHERE $1 IS NOT NULL", "42501"),
        ("SET transaction_read_only = off; INSERT INTO secrets VALUES (9)", "42601"),
    ] {
        let problem = ask(sql).await.expect_problem(502, "warming-source-failed");
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(code)), "{sql}: {problem}");
        assert!(!problem.to_string().contains("secrets"), "the answer does not show the query: {problem}");
    }
    assert_eq!(postgres.sql("SELECT count(*) FROM secrets"), "2");
    let app = TestApp::builder().config(&config(&file, &source(values))).spawn().await;
    // Text that is no JSON is not stored; an absent row is remembered.
    app.get("/warming/values/market:n:1").await.expect_problem(502, "warming-source-failed");
    app.get("/warming/values/market:n:3").await.expect_problem(404, "warming-value-absent");
    postgres.sql("INSERT INTO secrets VALUES (3, '3', true)");
    app.get("/warming/values/market:n:3").await.expect_problem(404, "warming-value-absent");
    let written = app.send(
        Method::POST,
        "/warming/values/market:n:3/written",
        &[("content-type", "application/json")],
        Body::from("{}"),
    );
    assert_eq!(written.await.expect(200).json()["state"], "stored");
    assert_eq!(app.get("/warming/values/market:n:3").await.expect(200).text(), "3");
    app.get("/warming/values/market:n:1%20OR%201=1").await.expect_problem(404, "warming-key-unknown");
}

#[tokio::test]
async fn a_pooler_by_transaction_serves_the_queries() {
    let postgres = Postgres::start();
    postgres.sql(SCHEMA);
    let pooler = PgBouncer::before(&postgres);
    let app = TestApp::builder().config(&config(&pooler.url_file("postgres"), "")).spawn().await;
    eventually("all profiles are cached", async || cached(&app) == 300).await;
    for _ in 0..3 {
        let record = run(&app, "warm_user_profiles", json!({})).await;
        assert_eq!((&record["result"], &record["unchanged"]), (&json!("succeeded"), &json!(300)), "{record}");
    }
}
