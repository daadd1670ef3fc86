//! What is deleted, what is not, and what a reader sees meanwhile.

use std::time::Duration;

use serde_json::json;

use super::files::{archive, config, day_path, directory, run};
use super::{DAY, HOUR, MINUTE, report, trade};
use crate::support::{START, TestApp};

#[tokio::test]
async fn retention_deletes_only_packed_days_without_a_hold() {
    let dir = directory();
    let settings = "\nretention = \"40d\"\ncompact_after = \"3d\"\nlate_limit = \"30d\"";
    let app = TestApp::builder().config(&(config(dir.path()) + settings)).spawn().await;
    report(&app, "GRID", &[trade("a", START - 3 * HOUR, "3", "1", "buy")]).await.expect(201);
    archive(&app).await;
    app.clock().advance(Duration::from_secs(50 * 86_400));
    let outcome = async |step: &str| run(&app, step).await["items"][0]["outcome"].clone();
    assert_eq!(outcome("retention").await, "kept: it is not packed");
    assert_eq!(outcome("pack").await, "1 minutes in trades_20251231.ndjson.gz");
    std::fs::write(day_path(dir.path()).join("HOLD"), "").expect("a file");
    assert_eq!(outcome("retention").await, "kept: it has a file HOLD");
    std::fs::remove_file(day_path(dir.path()).join("HOLD")).expect("removed");
    let dry = app.post("/trades/archive/run", json!({ "step": "retention", "dry_run": true })).await.expect(200).json();
    assert_eq!(dry["items"][0]["outcome"], "1 files deleted");
    assert!(day_path(dir.path()).join("trades_20251231.ndjson.gz").exists(), "a dry run deletes nothing");
    assert_eq!(outcome("retention").await, "1 files deleted");
    let page = app.get(&format!("/trades/windows?symbol=GRID&from={}", START - DAY)).await.expect(200).json();
    assert_eq!(page["coverage"]["gaps"][0]["reason"], "deleted");
    assert!(
        app.get("/trades/archive/files?symbol=GRID&day=2025-12-31").await.expect(200).json()["deleted_at"].is_i64()
    );
}

#[tokio::test]
async fn a_reader_learns_that_the_rest_was_deleted_between_two_pages() {
    let dir = directory();
    let settings = "\nretention = \"40d\"\ncompact_after = \"3d\"\nlate_limit = \"30d\"";
    let app = TestApp::builder().config(&(config(dir.path()) + settings)).spawn().await;
    let first = START - 4 * HOUR;
    for n in 0..5 {
        let trade = trade(&n.to_string(), first + n * MINUTE, "3", "1", "buy");
        report(&app, "GRID", &[trade]).await.expect(201);
    }
    archive(&app).await;
    app.clock().advance(Duration::from_secs(50 * 86_400));
    run(&app, "pack").await;
    let path = format!("/trades/windows?symbol=GRID&from={first}&to={}&limit=2", first + DAY / 24);
    let page = app.get(&path).await.expect(200).json();
    assert_eq!((page["items"].as_array().map(Vec::len), &page["coverage"]["gaps"]), (Some(2), &json!([])), "{page}");
    run(&app, "retention").await;
    let rest = app.get(&format!("{path}&cursor={}", page["next_cursor"].as_str().expect("a page"))).await;
    let rest = rest.expect(200).json();
    assert_eq!((&rest["items"], &rest["coverage"]["gaps"][0]["reason"]), (&json!([]), &json!("deleted")), "{rest}");
}
