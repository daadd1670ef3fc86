//! The keys that the service encrypts and signs with: fingerprints, and rotation while the service runs.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::audit::KeyFile;
use crate::support::TestApp;

const ONE: &str = "{ id = \"one\", key = \"1111111111111111111111111111111111111111111111111111111111111111\" }";
const TWO: &str = "{ id = \"two\", key = \"2222222222222222222222222222222222222222222222222222222222222222\" }";

fn config(keys: &[&str]) -> String {
    format!(
        "[json.encryption]\nkeys = [{}]\n[[json.collections]]\nprefix = \"accounts:\"\nencrypted = [\"$.email\", \"$.cards[*]\"]\n",
        keys.join(", ")
    )
}

/// Runs `keys` of the command line with these keys.
fn run(key: &KeyFile, app: &TestApp, keys: &[&str], arguments: &[&str]) -> Output {
    let file = key.directory().join("service.toml");
    std::fs::write(&file, config(keys)).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
    command.arg("--config").arg(&file).arg("keys").args(arguments).env_clear();
    command.env("REDIS_URL", app.redis().url()).env("GTX__AUDIT__KEY_FILE", key.path());
    command.output().expect("the binary runs")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn all_encrypted_values_move_to_the_newest_key_and_stay_readable() {
    let key = KeyFile::new();
    let app = TestApp::builder().config(&config(&[ONE])).spawn().await;
    for n in 0..5 {
        let document = json!({ "email": format!("{n}@example.org"), "cards": ["a", "b"], "plain": n });
        app.put(&format!("/json/accounts:{n}"), document).await.expect(201);
    }
    app.put("/json/other", json!({ "email": "x" })).await.expect(201);
    let before: Vec<String> = (0..5).map(|n| app.redis().document(&format!("accounts:{n}"))).collect();

    let status = printed(&run(&key, &app, &[TWO, ONE], &["status"]));
    assert!(status.contains("json: 5 documents") && status.contains("json one: 15 values"), "{status}");
    let dry = run(&key, &app, &[TWO, ONE], &["rotate", "json", "--dry-run"]);
    assert!(dry.status.success() && printed(&dry).contains("to rotate: 5 of 5"), "{}", printed(&dry));
    let after: Vec<String> = (0..5).map(|n| app.redis().document(&format!("accounts:{n}"))).collect();
    assert_eq!(before, after, "a dry run changes nothing");
    // Without the former key nothing can be moved, and nothing is lost.
    let without = run(&key, &app, &[TWO], &["rotate", "json"]);
    assert!(without.status.code() == Some(1) && printed(&without).contains("left: 5"), "{}", printed(&without));

    let done = run(&key, &app, &[TWO, ONE], &["rotate", "json"]);
    let text = printed(&done);
    assert!(done.status.success() && text.contains("rotated: 5 of 5"), "{text}");
    assert!(
        text.split("after:").nth(1).is_some_and(|rest| rest.contains("json two: 15") && !rest.contains("one")),
        "{text}"
    );
    let again = printed(&run(&key, &app, &[TWO, ONE], &["rotate", "json"]));
    assert!(again.contains("rotated: 0 of 5"), "{again}");
    let stored = app.redis().document("accounts:3");
    assert!(stored.contains("sealed:two:") && !stored.contains("sealed:one:"), "{stored}");
    let new = TestApp::builder().beside(&app).config(&config(&[TWO])).spawn().await;
    let read = new.get("/json/accounts:3").await.expect(200).json();
    assert_eq!(read, json!({ "email": "3@example.org", "cards": ["a", "b"], "plain": 3 }));
}

#[tokio::test]
async fn keys_are_shown_by_fingerprint_only() {
    let key = KeyFile::new();
    let app = key.builder().config(&config(&[TWO, ONE])).spawn().await;
    let reply = app.get("/admin/keys").await.expect(200);
    let keys = reply.json();
    let ids: Vec<&Value> = keys["json"].as_array().expect("keys").iter().map(|key| &key["id"]).collect();
    assert_eq!(ids, ["two", "one"], "{keys}");
    assert_ne!(keys["json"][0]["fingerprint"], keys["json"][1]["fingerprint"], "{keys}");
    assert_eq!(keys["audit"].as_array().map(Vec::len), Some(1), "{keys}");
    assert!(!["1111", "2222", "5e5e"].iter().any(|secret| reply.text().contains(secret)), "{}", reply.text());
    app.get("/admin/keys?a=1").await.expect_problem(422, "invalid-query");
}

#[tokio::test]
async fn a_new_key_of_the_audit_log_comes_first_and_the_former_one_still_verifies() {
    let key = KeyFile::new();
    let app = key.builder().spawn().await;
    app.delete("/ratelimit/api?prefix=a").await.expect(200);
    let rotated = run(&key, &app, &[ONE], &["rotate", "audit"]);
    assert!(rotated.status.success(), "{}", printed(&rotated));
    let lines = std::fs::read_to_string(key.path()).expect("read");
    assert_eq!((lines.lines().count(), lines.lines().nth(1)), (2, Some("5e".repeat(32).as_str())));
    assert!(!lines.lines().any(|line| printed(&rotated).contains(line)), "{}", printed(&rotated));
    let next = key.builder().beside(&app).spawn().await;
    next.delete("/ratelimit/api?prefix=b").await.expect(200);
    crate::support::eventually("both keys are in use", async || {
        let status = printed(&run(&key, &app, &[ONE], &["status"]));
        status.matches(": 3 entries").count() == 2
    })
    .await;
    assert_eq!(key.verify(&app.redis(), &[]), (0, "6 entries are whole\n".to_owned()));
}
