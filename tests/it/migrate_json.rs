//! `migrate json` moves documents to RedisJSON and back.

use std::process::Output;

use axum::http::Method;

use crate::support::{
    RedisServer, Reply, TestApp, command, eventually, migration, module_redis_url, on_module_redis, output_text,
};

fn migrate(to: &str, url: &str, prefix: &str) -> Output {
    migration("json", to, url, prefix).output().expect("the binary runs")
}

#[test]
fn a_migration_without_the_module_is_rejected() {
    let redis = RedisServer::start();
    redis.command::<()>(&["SET", "json:a", "1"]);
    let refused = migrate("module", &redis.url(), "");
    if refused.status.success() {
        // The machine's Redis has the module, which the other tests cover.
        return;
    }
    assert_eq!(refused.status.code(), Some(69), "{}", output_text(&refused));
    assert!(output_text(&refused).contains("does not have the command JSON.SET"), "{}", output_text(&refused));
    assert_eq!(redis.command::<Vec<String>>(&["KEYS", "*"]), ["json:a"], "nothing was changed");
    let without_url = migrate("native", "", "");
    assert_eq!(without_url.status.code(), Some(64), "{}", output_text(&without_url));
    assert!(output_text(&without_url).contains("redis.url"), "{}", output_text(&without_url));
    let wrong = migrate("postgres", &redis.url(), "");
    assert!(!wrong.status.success() && output_text(&wrong).contains("`module` or `native`"), "{}", output_text(&wrong));
}

async fn service(url: &str, config: &str) -> TestApp {
    let config = format!("{}\nredis.check_interval = \"50ms\"\n{config}", on_module_redis(url));
    TestApp::builder().config(&config).spawn().await
}

async fn put(app: &TestApp, path: &str, body: &str) -> Reply {
    app.send(Method::PUT, path, &[("content-type", "application/json")], body.to_owned()).await.expect(201)
}

const DOCUMENTS: [(&str, &str); 4] = [
    ("/json/plain", r#"{"a":[1,"x",null]}"#),
    ("/json/exact", r#"{"money":10.10,"long":123456789012345678901234567890}"#),
    ("/json/user_preferences:7?ttl_ms=600000", r#"{"theme":"dark","zoom":1.50}"#),
    ("/json/a%20b%7Bc%7D", "[0.10]"),
];

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn a_migration_keeps_versions_ttls_and_digits_in_both_directions() {
    let url = module_redis_url();
    let app = service(&url, "[json]\nbackend = \"native\"").await;
    let mut written = Vec::new();
    for (path, body) in DOCUMENTS {
        let etag = put(&app, path, body).await.header("etag").expect("a version").to_owned();
        written.push((path.split('?').next().expect("a path"), body, etag));
    }
    let prefix = app.state().keys().key("").as_str().to_owned();
    let _: String = command(&app, &["SET", &format!("{prefix}json:text"), "hello"]).await;
    for (to, kind, first) in [("module", "ReJSON-RL", "5 native, 0 in"), ("native", "string", "1 native, 4 in")] {
        let moved = migrate(to, &url, &prefix);
        assert!(moved.status.success(), "{}", output_text(&moved));
        let output = output_text(&moved);
        let after =
            if to == "module" { "after: 1 native, 4 in the module" } else { "after: 5 native, 0 in the module" };
        assert!(output.contains(&format!("before: {first} the module")), "{output}");
        assert!(output.contains("moved: 4\n") && output.contains(after), "{output}");
        assert_eq!(output.contains("no document"), to == "module", "{output}");
        assert_eq!(command::<String>(&app, &["TYPE", &format!("{prefix}json:exact")]).await, kind);
        for (path, body, etag) in &written {
            eventually("the service follows", async || app.get(path).await.is(200)).await;
            let reply = app.get(path).await;
            assert_eq!((reply.text().as_str(), reply.header("etag")), (*body, Some(etag.as_str())), "{path}");
            assert_eq!(reply.header("document-ttl-ms").is_some(), path.contains("preferences"), "{path}");
        }
        let repeated = output_text(&migrate(to, &url, &prefix));
        assert!(repeated.contains("moved: 0\n"), "{repeated}");
    }
    assert_eq!(command::<i64>(&app, &["EXISTS", &format!("json:text:{{{prefix}json:exact}}")]).await, 0);
    assert_eq!(command::<String>(&app, &["GET", &format!("{prefix}json:text")]).await, "hello");
}

#[tokio::test]
#[ignore = "needs a Redis with modules: make test-modules"]
async fn the_next_migration_moves_a_document_that_was_missed() {
    let url = module_redis_url();
    let app = service(&url, "").await;
    put(&app, "/json/one", "1.10").await;
    let prefix = app.state().keys().key("").as_str().to_owned();
    let _: String = command(&app, &["SET", &format!("{prefix}json:two"), "2.20"]).await;
    let output = output_text(&migrate("module", &url, &prefix));
    assert!(output.contains("before: 1 native, 1 in the module") && output.contains("moved: 1\n"), "{output}");
    assert_eq!(app.get("/json/one").await.expect(200).text(), "1.10");
    assert_eq!(app.get("/json/two").await.expect(200).text(), "2.20");
}
