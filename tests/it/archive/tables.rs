//! Packs as Parquet, read by libraries of others.

use std::path::Path;

use serde_json::{Value, json};

use super::{DAY, MINUTE, all_items, packed_day};
use crate::support::{output_text, run_python_tool};

const MINUTES: i64 = 40;

const READ: &str = r#"
import json, sys, duckdb, pyarrow.parquet
file = sys.argv[1]
table = pyarrow.parquet.read_table(file)
by_duckdb = duckdb.execute("SELECT epoch_ms(minute), symbol, version, price, buy_volume, sell_volume, total_volume, trade_count"
                           " FROM read_parquet(?)", [file]).fetchall()
by_pyarrow = [tuple(row.values()) for row in table.to_pylist()]
texts = lambda rows: [[str(value) for value in row[1:]] for row in rows]
assert texts(by_duckdb) == texts(by_pyarrow), (by_duckdb[0], by_pyarrow[0])
print(json.dumps({
    "schema": [f"{field.name}: {field.type}" for field in table.schema],
    "pack": table.schema.metadata[b"gridtokenx.pack.sha256"].decode(),
    "rows": [[row[0], row[1], row[2], *(format(number.normalize(), "f") for number in row[3:7]), row[7]] for row in by_duckdb],
}))
"#;

async fn read(file: &Path) -> Value {
    let output = run_python_tool("python", &["-c", READ, &file.display().to_string()]).await;
    assert!(output.status.success(), "{}", output_text(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn packs_as_parquet_have_all_digits_for_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let (app, first) = packed_day(dir.path(), "parquet = true", MINUTES).await;
    let day = dir.path().join("GRID/2025-12-31");
    let table = read(&day.join("trades_20251231.parquet")).await;
    assert_eq!(
        table["schema"],
        json!([
            "minute: timestamp[ms, tz=UTC]",
            "symbol: string",
            "version: int32",
            "price: decimal128(38, 18)",
            "buy_volume: decimal128(38, 18)",
            "sell_volume: decimal128(38, 18)",
            "total_volume: decimal128(38, 18)",
            "trade_count: int64"
        ])
    );
    let items = all_items(&app, &format!("/trades/windows?symbol=GRID&from={first}&to={}", first + DAY)).await;
    let rows: Vec<Value> = items
        .iter()
        .flat_map(|item| {
            let levels = item["price_levels"].as_array().expect("levels");
            levels.iter().map(|level| {
                let [price, buy, sell, total, trades] =
                    ["price_level", "buy_volume", "sell_volume", "total_volume", "trade_count"]
                        .map(|name| &level[name]);
                json!([item["minute"], "GRID", item["version"], price, buy, sell, total, trades])
            })
        })
        .collect();
    assert_eq!((rows.len(), &table["rows"]), (80, &Value::from(rows)));
    let listed = app.get("/trades/archive/files?symbol=GRID&day=2025-12-31").await.expect(200).json();
    assert_eq!(listed["packs"][0]["sha256"], table["pack"], "the table names its pack");
    assert_eq!(listed["packs"][1]["file"], "trades_20251231.parquet");
    let sums = std::process::Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(&day).output();
    let sums = sums.expect("sha256sum");
    assert!(sums.status.success(), "{}", output_text(&sums));
    let verify = async || app.post("/trades/archive/verify", json!({ "symbol": "GRID" })).await.expect(200).json();
    assert_eq!(verify().await["findings"], json!([]));
    // A flipped byte in the footer is found and named; reads do not need the table.
    let path = day.join("trades_20251231.parquet");
    let mut bytes = std::fs::read(&path).expect("the table");
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let found = verify().await;
    assert_eq!((&found["findings"][0]["kind"], found["findings"].as_array().map(Vec::len)), (&json!("hash"), Some(1)));
    assert_eq!(found["findings"][0]["file"], "GRID/2025-12-31/trades_20251231.parquet");
    app.get(&format!("/trades/windows/GRID/{}", first + MINUTE)).await.expect(200);
}

#[tokio::test]
async fn a_table_follows_a_crash_and_days_that_were_packed_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let (app, _) = packed_day(dir.path(), "parquet = false", 2).await;
    let table = dir.path().join("GRID/2025-12-31/trades_20251231.parquet");
    assert!(!table.exists());
    let config = format!("[archive]\ndir = \"{}\"\nmin_free = \"1B\"\nparquet = true", dir.path().display());
    let other = crate::support::TestApp::builder().config(&config).beside(&app).spawn().await;
    other.clock().advance(std::time::Duration::from_secs(5 * 86_400));
    let pack = async || other.post("/trades/archive/run", json!({ "step": "pack" })).await.expect(200);
    // The other replica may still have the turn.
    let _: i64 = app.redis().command(&["DEL", "trades_window:{GRID}:archiver"]);
    pack().await;
    let content = std::fs::read(&table).expect("a table");
    // As after a crash before the line was written: the file is there, the manifest does not name it.
    let manifest = dir.path().join("GRID/2025-12-31/manifest_20251231.ndjson");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("parquet")).collect();
    std::fs::write(&manifest, without.join("\n") + "\n").expect("written");
    pack().await;
    assert_eq!(std::fs::read(&table).expect("a table"), content, "it was adopted");
    let verified = other.post("/trades/archive/verify", json!({ "symbol": "GRID" })).await.expect(200).json();
    assert_eq!(verified["findings"], json!([]));
}
