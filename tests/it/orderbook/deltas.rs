//! Deltas: what clients need to follow a book without loss, and to notice a loss.

use std::time::Duration;

use serde_json::{Value, json};

use super::copy::CopyOfBook;
use super::{create, fill, level, levels, place, report, view, without_fence};
use crate::support::{TestApp, eventually, in_repository, output_text, run_python_tool};

async fn deltas(app: &TestApp, after: &Value) -> Value {
    app.get(&format!("/orderbooks/GRID/deltas?after={after}")).await.expect(200).json()
}

#[tokio::test]
async fn snapshot_and_deltas_share_one_sequence() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    let mut copy = CopyOfBook::of(&view(&app).await);
    place(&app, "b", "buy", "4", "10").await;
    place(&app, "s", "sell", "4", "4").await;
    let message = deltas(&app, &json!(copy.sequence)).await;
    assert_eq!(message["first_sequence"].as_u64(), Some(copy.sequence + 1));
    copy.apply(&message);
    report(&app, &[fill("t", "b", "s", "4", "4")]).await.expect(200);
    let message = deltas(&app, &json!(copy.sequence)).await;
    let both = json!([{ "side": "buy", "price": "4.00", "quantity": "6.000", "orders": 1 },
        { "side": "sell", "price": "4.00", "quantity": "0.000", "orders": 0 }]);
    assert_eq!((&message["changes"], &message["more"]), (&both, &json!(false)), "both sides in one message");
    copy.apply(&message);
    let book = view(&app).await;
    assert_eq!((copy.levels("bids"), copy.levels("asks")), (levels(&book, "bids"), levels(&book, "asks")));
    assert_eq!(
        (message["checksum"].clone(), copy.checksum()),
        (book["checksum"].clone(), book["checksum"].as_u64().expect("one"))
    );
    let none = deltas(&app, &message["last_sequence"]).await;
    assert_eq!((&none["changes"], &none["last_sequence"]), (&json!([]), &message["last_sequence"]));
}

#[tokio::test]
async fn a_level_that_falls_out_of_the_depth_of_a_client_is_not_in_the_checksum() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    for n in 1..=10 {
        place(&app, &format!("b{n}"), "buy", &format!("{n}"), "1").await;
    }
    let mut copy = CopyOfBook::of(&app.get("/orderbooks/GRID?depth=10").await.expect(200).json());
    place(&app, "best", "buy", "11", "1").await;
    let message = deltas(&app, &json!(copy.sequence)).await;
    copy.apply(&message);
    copy.cut(10);
    assert_eq!(message["checksum"].as_u64(), Some(copy.checksum()));
    assert_eq!(copy.levels("bids").last(), Some(&level("2.00", "1.000", 1)));
}

#[tokio::test]
async fn the_checksum_of_few_levels_is_that_of_the_levels() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    assert_eq!(view(&app).await["checksum"], 0);
    for n in 1..=9 {
        place(&app, &format!("s{n}"), "sell", &format!("{n}"), "1").await;
        let book = view(&app).await;
        assert_eq!(book["checksum"].as_u64(), Some(CopyOfBook::of(&book).checksum()), "{n} levels");
    }
}

#[tokio::test]
async fn the_documented_routine_calculates_the_checksum() {
    let app = TestApp::spawn().await;
    let settings = json!({ "mode": "store", "kind": "orders", "min_price": "-9", "quantity_decimals": 18 });
    app.put("/orderbooks/GRID/settings", settings).await.expect(201);
    for n in -6..9 {
        place(&app, &format!("b{n}"), "buy", &format!("{n}.05").replace("-0", "-1"), "0.000000000000000001").await;
        place(&app, &format!("s{n}"), "sell", &format!("{n}"), "999999999999").await;
    }
    let page = std::fs::read_to_string(in_repository("docs/orderbook.md")).expect("the page");
    let routine = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the routine");
    let book = view(&app).await;
    let program = format!("import json\n{routine}\nprint(checksum(json.loads('{book}')))");
    let output = std::process::Command::new("python3").args(["-c", &program]).output().expect("python3 runs");
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(printed, book["checksum"].to_string(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_third_party_library_calculates_the_same_checksums() {
    const PROGRAM: &str = "
import json, sys
from decimal import Decimal
from order_book import OrderBook

for book in json.loads(sys.argv[1]):
    copy = OrderBook(checksum_format='KRAKEN', max_depth=10)
    for side, levels in (copy.bids, book['bids']), (copy.asks, book['asks']):
        for level in levels:
            side[Decimal(level['price'])] = Decimal(level['quantity'])
    print(copy.checksum())
";
    let app = TestApp::spawn().await;
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 5, "quantity_decimals": 18 });
    app.put("/orderbooks/GRID/settings", settings).await.expect(201);
    let mut books = vec![view(&app).await];
    for n in 1..=13 {
        let quantity = format!("{}.00000000000000000{n:x}", n % 3).replace(['a', 'b', 'c', 'd'], "4");
        place(&app, &format!("b{n}"), "buy", &format!("{}.0{n}", n % 4), &quantity).await;
        books.push(view(&app).await);
        place(&app, &format!("s{n}"), "sell", &format!("{}.5", 100 * n), "999999999999").await;
        books.push(view(&app).await);
    }
    let output = run_python_tool("python", &["-c", PROGRAM, &json!(books).to_string()]).await;
    let text = output_text(&output);
    assert!(output.status.success(), "{text}");
    let judged: Vec<u64> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| line.parse().expect("a number")).collect();
    let ours: Vec<_> = books.iter().map(|book| book["checksum"].as_u64().expect("a checksum")).collect();
    assert_eq!(judged, ours, "{text}");
}

#[tokio::test]
async fn a_client_that_missed_changes_must_read_the_book_again() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let before = view(&app).await["sequence"].as_u64().expect("a sequence");
    place(&app, "a", "buy", "4", "1").await;
    for after in [0, before + 5] {
        app.get(&format!("/orderbooks/GRID/deltas?after={after}")).await.expect_problem(410, "deltas-trimmed");
    }
    let _: i64 = app.redis().command(&["XTRIM", "orderbook:{GRID}:deltas", "MAXLEN", "0"]);
    app.get(&format!("/orderbooks/GRID/deltas?after={before}")).await.expect_problem(410, "deltas-trimmed");
    deltas(&app, &json!(before + 1)).await;
    for query in ["", "?after=x", "?after=1&wait_ms=30001", "?after=1&view=all"] {
        app.get(&format!("/orderbooks/GRID/deltas{query}")).await.expect_problem(422, "invalid-query");
    }
}

#[tokio::test]
async fn long_histories_come_in_pages_whose_last_has_the_checksum() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let mut copy = CopyOfBook::of(&view(&app).await);
    for n in 0..150 {
        place(&app, &format!("b{n}"), "buy", &format!("{}", 1 + n % 7), "1").await;
    }
    let first = deltas(&app, &json!(copy.sequence)).await;
    assert_eq!((&first["more"], &first["checksum"]), (&json!(true), &json!(null)));
    copy.apply(&first);
    let last = deltas(&app, &json!(copy.sequence)).await;
    copy.apply(&last);
    assert_eq!((&last["more"], last["checksum"].as_u64()), (&json!(false), Some(copy.checksum())));
}

#[tokio::test]
async fn a_waiting_client_is_woken_by_the_next_change() {
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let after = view(&app).await["sequence"].clone();
    let path = format!("/orderbooks/GRID/deltas?after={after}&wait_ms=20000");
    let channel = "orderbook:{GRID}:moved";
    let wait = app.get(&path);
    let change = async {
        eventually("the client waits", async || {
            let counts: Vec<String> = app.redis().command(&["PUBSUB", "NUMSUB", channel]);
            counts.get(1).is_some_and(|count| count != "0")
        })
        .await;
        place(&app, "a", "buy", "4", "1").await
    };
    let (message, _) = tokio::join!(wait, change);
    assert_eq!(message.expect(200).json()["changes"][0]["quantity"], "1.000");
    let waited = std::time::Instant::now();
    let after = view(&app).await["sequence"].clone();
    let none = app.get(&format!("/orderbooks/GRID/deltas?after={after}&wait_ms=50")).await.expect(200).json();
    assert_eq!(none["changes"], json!([]));
    assert!(waited.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_matching_engine_follows_the_queue_of_orders() {
    let app = without_fence().await;
    create(&app, "GRID").await;
    let after = view(&app).await["sequence"].clone();
    place(&app, "b", "buy", "4", "10").await;
    place(&app, "s", "sell", "4", "4").await;
    app.patch("/orderbooks/GRID/orders/b", json!({ "quantity": "9" })).await.expect(200);
    report(&app, &[fill("t", "b", "s", "4", "4")]).await.expect(200);
    app.delete("/orderbooks/GRID/orders/b").await.expect(200);
    let message = app.get(&format!("/orderbooks/GRID/deltas?after={after}&view=orders")).await.expect(200).json();
    let kinds: Vec<_> = message["orders"]
        .as_array()
        .expect("orders")
        .iter()
        .map(|change| {
            (
                change["kind"].as_str().expect("a kind"),
                change["order_id"].as_str().expect("an id"),
                change["remaining"].as_str().expect("one"),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            ("placed", "b", "10.000"),
            ("placed", "s", "4.000"),
            ("amended", "b", "9.000"),
            ("filled", "b", "5.000"),
            ("filled", "s", "0.000"),
            ("cancelled", "b", "5.000")
        ]
    );
    assert!(!message.to_string().contains("owner"), "{message}");
}
