//! The clients of docs/orderbook.md, run as they are: they follow a book, and notice what they have missed.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{create, fill, levels, place, report, view};
use crate::recipes::DOCUMENTED_ADDRESS;
use crate::support::{LineProcess, TestApp, in_repository, node, python};

/// Reads commands: `{"read":true}`, `{"follow":true}` or `{"apply":<message>}`; prints the result and the copy.
const PYTHON: &str = "
import json, sys
book = Book()
for line in sys.stdin:
    command, applied = json.loads(line), None
    if 'read' in command: book.read()
    if 'follow' in command: book.follow(0)
    if 'apply' in command: applied = book.apply(command['apply'])
    levels = book.levels()
    print(json.dumps({'applied': applied, 'sequence': book.sequence, **levels, 'checksum': checksum(levels)}), flush=True)
";
const TYPESCRIPT: &str = r#"
import { createInterface } from "node:readline";
const book = new Book();
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  let applied: boolean | null = null;
  if (command.read) await book.read();
  if (command.follow) await book.follow(0);
  if (command.apply) applied = book.apply(command.apply);
  console.log(JSON.stringify({ applied, sequence: book.sequence, ...book.levels, checksum: checksum(book.levels) }));
}
"#;
/// Removes the types from a file, as later versions of Node do themselves.
const STRIP: &str = "const { transformSync } = require('amaro'), { readFileSync, writeFileSync } = require('node:fs');\n\
    const [from, to] = process.argv.slice(2);\n\
    writeFileSync(to, transformSync(readFileSync(from, 'utf8'), { mode: 'strip-only' }).code);\n";

fn documented(language: &str, address: &str) -> String {
    let page = std::fs::read_to_string(in_repository("docs/orderbook.md")).expect("the page");
    let (_, rest) = page.split_once(&format!("```{language}\n")).expect("the client");
    let (client, _) = rest.split_once("```").expect("its end");
    client.replace(DOCUMENTED_ADDRESS, address)
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

fn python_client(folder: &Path, address: &str) -> Command {
    python(&write(folder, "client.py", &(documented("python", address) + PYTHON)))
}

async fn typescript_client(folder: &Path, address: &str) -> Command {
    let source = write(folder, "client.ts", &(documented("typescript", address) + TYPESCRIPT));
    let (strip, client) = (write(folder, "strip.js", STRIP), folder.join("client.mjs"));
    let stripped = node(&strip).arg(&source).arg(&client).status().await.expect("node runs");
    assert!(stripped.success(), "the client is TypeScript without enums and the like");
    node(&client)
}

#[tokio::test]
async fn the_documented_python_client_keeps_the_book() {
    let folder = tempfile::tempdir().expect("a folder");
    check("python", async |address: &str| python_client(folder.path(), address)).await;
}

#[tokio::test]
async fn the_documented_typescript_client_keeps_the_book() {
    let folder = tempfile::tempdir().expect("a folder");
    check("typescript", async |address: &str| typescript_client(folder.path(), address).await).await;
}

async fn check(name: &str, client: impl AsyncFn(&str) -> Command) {
    let mut app = TestApp::builder().config("[orderbook]\nrequire_fence = false").spawn().await;
    let address = app.serve().to_string();
    create(&app, "GRID").await;
    let mut client = LineProcess::start(name, client(&address).await);
    let agree = async |copy: &Value| {
        let book = view(&app).await;
        for side in ["bids", "asks"] {
            let without_orders = |view: &Value| -> Vec<(String, String)> {
                let pair =
                    |level: &Value| ["price", "quantity"].map(|field| level[field].as_str().expect("text").to_owned());
                view[side]
                    .as_array()
                    .expect("levels")
                    .iter()
                    .map(pair)
                    .map(|[price, quantity]| (price, quantity))
                    .collect()
            };
            assert_eq!(without_orders(copy), without_orders(&book), "{side}: {copy}");
        }
        assert_eq!((&copy["sequence"], &copy["checksum"]), (&book["sequence"], &book["checksum"]), "{copy}");
    };
    agree(&client.request(json!({ "read": true })).await).await;
    for n in 1..=12 {
        place(&app, &format!("b{n}"), "buy", &format!("{n}.1"), "1").await;
        place(&app, &format!("s{n}"), "sell", &format!("{}", 9 + n), "2.5").await;
    }
    agree(&client.request(json!({ "follow": true })).await).await;
    report(&app, &[fill("t", "b12", "s1", "11", "1")]).await.expect(200);
    app.delete("/orderbooks/GRID/orders/s2").await.expect(200);
    let old = app.get(&format!("/orderbooks/GRID/deltas?after={}", 10)).await.expect(200).json();
    let copy = client.request(json!({ "follow": true })).await;
    agree(&copy).await;
    // A buffered message that the copy includes is dropped, and one behind a gap is not applied.
    assert_eq!(client.request(json!({ "apply": old })).await["applied"], true);
    agree(&client.request(json!({ "apply": old })).await).await;
    let first = view(&app).await["sequence"].as_u64().expect("a sequence");
    for id in ["x", "y"] {
        place(&app, id, "buy", "3", "1").await;
    }
    let gap = app.get(&format!("/orderbooks/GRID/deltas?after={}", first + 1)).await.expect(200).json();
    assert_eq!(client.request(json!({ "apply": gap })).await["applied"], false);
    agree(&client.request(json!({ "follow": true })).await).await;
    // A checksum that differs, another generation, and a snapshot.
    place(&app, "z", "buy", "3", "1").await;
    let next = app.get(&format!("/orderbooks/GRID/deltas?after={}", first + 2)).await.expect(200).json();
    for (field, value) in [("generation", json!(1)), ("kind", json!("snapshot")), ("checksum", json!(1))] {
        let mut wrong = next.clone();
        wrong[field] = value;
        assert_eq!(client.request(json!({ "apply": wrong })).await["applied"], false, "{field}");
    }
    agree(&client.request(json!({ "read": true })).await).await;
    app.delete("/orderbooks/GRID/orders?owner=owner-buy").await.expect(200);
    let _: i64 = app.redis().command(&["XTRIM", "orderbook:{GRID}:deltas", "MAXLEN", "0"]);
    agree(&client.request(json!({ "follow": true })).await).await;
    assert_eq!(levels(&view(&app).await, "bids"), vec![]);
}
