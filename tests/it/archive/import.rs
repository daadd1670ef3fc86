//! `trades import` reads the files of the system that this service replaces, and names those that it cannot read.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{HOUR, MINUTE, all_items, report, trade};
use crate::support::{RedisServer, START, TestApp, eventually, output_text};

/// A file as the other system writes it.
fn original(timestamp: &str) -> String {
    format!(
        "{{\"timestamp\": \"{timestamp}\", \"price_levels\": {{\"111480\": {{\"price_level\": 111480.0, \"buy_volume\": 7e-05, \
         \"sell_volume\": 0.0, \"total_volume\": 7e-05, \"delta\": 7e-05, \"trade_count\": 1}}, \"111479\": \
         {{\"price_level\": 111479.0, \"buy_volume\": 0.1, \"sell_volume\": 0.51524, \"total_volume\": 0.61524, \
         \"delta\": -0.41524, \"trade_count\": 5}}}}}}"
    )
}

/// The lines that the command prints; the last one has the counts.
fn import(redis: &RedisServer, archive: &Path, source: &Path, more: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
    command.env_clear().env("REDIS_URL", redis.url()).env("GTX__ARCHIVE__DIR", archive);
    command.env("GTX__ARCHIVE__MIN_FREE", "1B");
    command.args(["trades", "import", "--symbol", "GRID", "--timezone", "Europe/Berlin", "--dir"]).arg(source);
    let output = command.args(more).output().expect("the binary runs");
    assert!(output.status.success(), "{}", output_text(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn files_of_the_other_system_become_minutes_of_the_archive() {
    let (redis, archive, source) =
        (RedisServer::start(), tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let folder = source.path().join("2025-12-31");
    std::fs::create_dir(&folder).expect("a folder");
    // 20:10 in Berlin is 19:10 in UTC; the window has 20:12.
    let first = START - 5 * HOUR + 10 * MINUTE;
    for (name, content) in [
        ("trades_20251231_2010.json", original("2025-12-31T20:10:08.943476")),
        ("trades_20251231_2011.json", original("2025-12-31T20:11:00")),
        ("trades_20251231_2012.json", original("2025-12-31T20:12:00")),
        ("trades_20251231_2013.json", original("2025-12-31T20:14:00")),
        ("trades_20251231_2014.json", original("2025-12-31T20:14:30")),
        ("trades_20251231_2015.json", original("2025-12-31T20:15:00").replace("0.61524", "0.7")),
        ("trades_20251231_2016.json", String::new()),
        ("trades_20251231_2017.json", "{\"timestamp\": \"2025-12-31T20:17:0".to_owned()),
        ("notes.txt", "x".to_owned()),
    ] {
        std::fs::write(folder.join(name), content).expect("written");
    }
    // The background work leaves the minutes alone until the clock moves.
    let config = format!("[archive]\ndir = \"{}\"\narchive_after = \"6h\"\nwindow = \"12h\"", archive.path().display());
    let app = TestApp::builder().config(&config).on(redis).spawn().await;
    report(&app, "GRID", &[trade("own", first + 2 * MINUTE, "3", "1", "buy")]).await.expect(201);
    app.get("/trades/windows/GRID/now").await.expect(200);
    let counts = |imported: u64, known: u64| json!({ "read": 9, "imported": imported, "known": known, "flagged": 2, "skipped": 5 });
    let dry = import(&app.redis(), archive.path(), source.path(), &["--dry-run"]);
    assert_eq!(dry.last(), Some(&counts(4, 0)), "{dry:?}");
    assert!(!archive.path().join("GRID").exists(), "a dry run writes nothing");
    let printed = import(&app.redis(), archive.path(), source.path(), &[]);
    assert_eq!(printed.last(), Some(&counts(4, 0)));
    let said = |name: &str| {
        let file = format!("2025-12-31/{name}");
        let line = printed.iter().find(|line| line["file"] == *file).unwrap_or_else(|| panic!("{name}: {printed:?}"));
        line["reason"].as_str().map_or_else(|| line["remarks"][0].to_string(), str::to_owned)
    };
    assert_eq!(said("trades_20251231_2013.json"), "\"name\"");
    assert_eq!(said("trades_20251231_2014.json"), "a file before it has the same minute");
    assert_eq!(said("trades_20251231_2015.json"), "\"totals\"");
    assert_eq!(said("trades_20251231_2016.json"), "is empty");
    assert_eq!(said("notes.txt"), "its name is not that of a minute");
    assert!(said("trades_20251231_2012.json").starts_with("the minute is in Redis"));
    assert!(said("trades_20251231_2017.json").starts_with("is not a minute"));
    let again = import(&app.redis(), archive.path(), source.path(), &[]);
    assert_eq!(again.last(), Some(&counts(0, 4)), "a second import changes nothing");

    let path = format!("/trades/windows?symbol=GRID&from={}&to={START}", START - 6 * HOUR);
    let items = all_items(&app, &path).await;
    let minutes: Vec<i64> =
        items.iter().map(|item| (item["minute"].as_i64().expect("a time") - first) / MINUTE).collect();
    assert_eq!(minutes, [0, 1, 2, 4, 5]);
    let sum = &items[0]["sum"];
    assert_eq!((&sum["volume"], &sum["trades"], &sum["high"]), (&json!("0.61531"), &json!(6), &json!("111480")));
    assert_eq!((&sum["open"], &sum["close"], &sum["first_trade"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(items[0]["price_levels"][1]["buy_volume"], "0.00007");
    assert_eq!(items[2]["sum"]["open"], "3");
    // A late trade is added to the imported minute.
    report(&app, "GRID", &[trade("late", first + 5, "3", "1", "buy")]).await.expect(201);
    let minute = async || app.get(&format!("/trades/windows/GRID/{first}")).await.expect(200).json();
    assert_eq!(minute().await["sum"]["volume"], "1.61531");
    app.clock().advance(Duration::from_secs(2 * 3_600));
    eventually("the minute is in a file", async || {
        app.post("/trades/archive/run", json!({ "step": "archive" })).await.expect(200);
        minute().await["version"] == 2
    })
    .await;
    assert_eq!((&minute().await["sum"]["volume"], &minute().await["sum"]["open"]), (&json!("1.61531"), &Value::Null));
    let verified = app.post("/trades/archive/verify", json!({ "symbol": "GRID" })).await.expect(200).json();
    assert_eq!(verified["findings"], json!([]));
}

#[tokio::test]
async fn a_directory_of_the_other_system_is_read_in_place() {
    let [archive, source] = [0; 2].map(|_| tempfile::tempdir().expect("a directory"));
    for minute in 10..14 {
        let content = original(&format!("2025-12-31T20:{minute}:08.5"));
        std::fs::write(source.path().join(format!("trades_20251231_20{minute}.json")), content).expect("written");
    }
    std::fs::write(source.path().join("trades_20251231_2014.json"), "{").expect("written");
    let config = format!(
        "[archive]\ndir = \"{}\"\nwindow = \"2h\"\n[[archive.legacy]]\ndir = \"{}\"\nsymbol = \"GRID\"\ntimezone = \"Europe/Berlin\"",
        archive.path().display(),
        source.path().display()
    );
    let app = TestApp::builder().config(&config).spawn().await;
    let first = START - 5 * HOUR + 10 * MINUTE;
    report(&app, "GRID", &[trade("own", first + MINUTE, "3", "1", "buy")]).await.expect(201);
    let range = format!("symbol=GRID&from={}&to={START}", START - 6 * HOUR);
    let expected = [("0.61531", 0), ("1", 1), ("0.61531", 2), ("0.61531", 3)];
    for limit in [1, 100] {
        let items = all_items(&app, &format!("/trades/windows?{range}&limit={limit}")).await;
        let found: Vec<(&str, i64)> = items
            .iter()
            .map(|item| {
                (
                    item["sum"]["volume"].as_str().expect("text"),
                    (item["minute"].as_i64().expect("a time") - first) / MINUTE,
                )
            })
            .collect();
        assert_eq!(found, expected);
    }
    let profile = app.get(&format!("/trades/profile?{range}")).await.expect(200).json();
    assert_eq!((&profile["total_volume"], &profile["trades"]), (&json!("2.84593"), &json!(19)));
    app.get("/trades/windows?symbol=OTHER").await.expect(200);
    assert_eq!(std::fs::read_dir(source.path()).expect("files").count(), 5, "the source is only read");
}

#[test]
fn an_import_without_an_archive_or_a_time_zone_is_rejected() {
    let run = |timezone: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
        command.env_clear().env("REDIS_URL", "redis://127.0.0.1:1").args(["trades", "import", "--symbol", "GRID"]);
        let output = command.args(["--dir", "/nowhere", "--timezone", timezone]).output().expect("the binary runs");
        assert!(!output.status.success());
        output_text(&output)
    };
    assert!(run("Europe/Berlin").contains("archive.dir is not set"));
    assert!(run("Mars").contains("must be a zone"));
}
