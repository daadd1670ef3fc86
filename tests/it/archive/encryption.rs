//! Encrypted files: nothing of a minute is readable without a key, and nothing changes for callers.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use super::{HOUR, all_items, report, trade};
use crate::support::{START, TestApp, eventually, output_text};

fn key_file(dir: &Path, keys: &[&str]) -> String {
    let path = dir.join("keys");
    std::fs::write(&path, keys.iter().map(|key| key.repeat(32)).collect::<Vec<_>>().join("\n")).expect("written");
    path.display().to_string()
}

fn config(dir: &Path, keys: &str) -> String {
    format!(
        "[archive]\ndir = \"{}\"\narchive_after = \"1m\"\nwindow = \"2h\"\nmin_free = \"1B\"\nencryption_key_file = \"{keys}\"",
        dir.display()
    )
}

fn show(dir: &Path, keys: &str, file: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
    command.env_clear().env("GTX__ARCHIVE__DIR", dir).env("GTX__ARCHIVE__ENCRYPTION_KEY_FILE", keys);
    command.args(["trades", "show", file]).output().expect("the binary runs")
}

#[tokio::test]
async fn encrypted_files_are_read_with_their_keys_only() {
    let (dir, secrets) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let keys = key_file(secrets.path(), &["a5"]);
    let app = TestApp::builder().config(&config(dir.path(), &keys)).spawn().await;
    report(&app, "GRID", &[trade("a", START - 3 * HOUR, "60000.5", "1.25", "buy")]).await.expect(201);
    let run = async |app: &TestApp, step: &str| {
        app.post("/trades/archive/run", json!({ "step": step })).await.expect(200).json()
    };
    let is_cold = async || {
        run(&app, "archive").await;
        app.redis().command::<i64>(&["ZCARD", "trades_window:{GRID}"]) == 0
    };
    eventually("the minute is in a file", is_cold).await;
    let path = format!("/trades/windows?symbol=GRID&from={}&to={START}", START - 4 * HOUR);
    let written = all_items(&app, &path).await;
    assert_eq!(written[0]["sum"]["volume"], "1.25");
    let day = "GRID/2025-12-31";
    let minute = format!("{day}/trades_20251231_2100.json.enc");
    let hidden = |file: &str| {
        let bytes = std::fs::read(dir.path().join(file)).expect("a file");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("60000") && !text.contains("GRID"), "{file} can be read");
    };
    hidden(&minute);
    let shown = show(dir.path(), &keys, &minute);
    let content: Value = serde_json::from_slice(&shown.stdout).unwrap_or_else(|_| panic!("{}", output_text(&shown)));
    assert_eq!(content["price_levels"]["60000.5"]["buy_volume"], 1.25);
    let moved = format!("{day}/trades_20251231_2101.json.enc");
    std::fs::copy(dir.path().join(&minute), dir.path().join(&moved)).expect("copied");
    assert!(output_text(&show(dir.path(), &keys, &moved)).contains("renamed"));
    std::fs::remove_file(dir.path().join(&moved)).expect("removed");
    app.clock().advance(Duration::from_secs(5 * 86_400));
    assert_eq!(run(&app, "pack").await["items"][0]["outcome"], "1 minutes in trades_20251231.ndjson.gz.enc");
    hidden(&format!("{day}/trades_20251231.ndjson.gz.enc"));
    assert_eq!(show(dir.path(), &keys, &format!("{day}/trades_20251231.ndjson.gz.enc")).stdout, shown.stdout);
    assert_eq!(all_items(&app, &path).await, written);
    let verified = app.post("/trades/archive/verify", json!({ "symbol": "GRID" })).await.expect(200).json();
    assert_eq!(verified["findings"], json!([]));
    // Another key is in use; the old one still decrypts.
    let rotated = key_file(secrets.path(), &["b6", "a5"]);
    let other = TestApp::builder().config(&config(dir.path(), &rotated)).beside(&app).spawn().await;
    assert_eq!(all_items(&other, &path).await, written);
    let lost = key_file(secrets.path(), &["b6"]);
    let other = TestApp::builder().config(&config(dir.path(), &lost)).beside(&app).spawn().await;
    let page = other.get(&path).await.expect(200).json();
    assert_eq!((&page["items"], &page["coverage"]["gaps"][0]["reason"]), (&json!([]), &json!("missing_file")));
}
