//! Minutes, profiles, footprints and single trades equal an exact recomputation.

use std::collections::BTreeMap;

use axum::http::Method;
use gridtokenx_redis::http::auth::api_key;
use serde_json::{Value, json};

use super::{DAY, HOUR, MINUTE, all_items, report, trade};
use crate::support::{START, TestApp, eventually};

/// A generator of pseudo-random numbers: the same ones in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) % limit
    }
}

/// Thousandths as the service prints them.
fn thousandths(units: i64) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:03}", units.abs() / 1_000, units.abs() % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Buy, sell and total volume in thousandths, and the number of trades.
type Volumes = (i64, i64, i64, u64);

fn shown(price: i64, (buy, sell, total, count): Volumes) -> Value {
    json!({ "price_level": thousandths(price), "buy_volume": thousandths(buy), "sell_volume": thousandths(sell),
        "total_volume": thousandths(total), "delta": thousandths(buy - sell), "trade_count": count })
}

#[tokio::test]
async fn minutes_and_profiles_equal_an_exact_recomputation() {
    let app = TestApp::spawn().await;
    let mut numbers = Numbers(3);
    let mut below = |limit: i64| i64::try_from(numbers.below(limit.unsigned_abs())).expect("a number");
    let (mut minutes, mut profile) = (BTreeMap::<i64, BTreeMap<i64, Volumes>>::new(), BTreeMap::<i64, Volumes>::new());
    let mut trades = Vec::new();
    for n in 0..2_000 {
        // Prices from -1 to 3 with three decimals, in the last two hours, in an order of their own.
        let (time, price, quantity) = (START - below(2 * HOUR), below(40) * 100 - 1_000, below(5_000) + 1);
        let side = ["buy", "sell", ""][usize::try_from(below(3)).expect("a side")];
        trades.push(trade(&format!("t-{n}"), time, &thousandths(price), &thousandths(quantity), side));
        for levels in [minutes.entry(time - time.rem_euclid(MINUTE)).or_default(), &mut profile] {
            let (buy, sell, total, count) = levels.entry(price).or_default();
            *buy += if side == "buy" { quantity } else { 0 };
            *sell += if side == "sell" { quantity } else { 0 };
            *total += quantity;
            *count += 1;
        }
    }
    for part in trades.chunks(200) {
        report(&app, "GRID", part).await.expect(201);
    }
    let range = format!("from={}&to={}", START - 3 * HOUR, START + MINUTE);
    let levels =
        |of: &BTreeMap<i64, Volumes>| of.iter().map(|(price, volumes)| shown(*price, *volumes)).collect::<Vec<_>>();
    for limit in [1, 7, 500] {
        let path = format!("/trades/windows?symbol=GRID&{range}&limit={limit}");
        let found = all_items(&app, &path).await;
        assert_eq!(found.len(), minutes.len());
        for (item, (minute, expected)) in found.iter().zip(&minutes) {
            assert_eq!(item["minute"], *minute);
            assert_eq!(item["price_levels"], json!(levels(expected)), "{minute}");
            let trades: u64 = expected.values().map(|(.., count)| count).sum();
            assert_eq!(item["sum"]["trades"], trades);
        }
        let mut reversed = all_items(&app, &format!("{path}&order=desc")).await;
        reversed.reverse();
        assert_eq!(reversed, found, "the order does not change the minutes");
    }
    let found = app.get(&format!("/trades/profile?symbol=GRID&{range}")).await.expect(200).json();
    assert_eq!(found["price_levels"], json!(levels(&profile)));
    let (point, _) = profile.iter().rev().max_by_key(|(_, (_, _, total, _))| *total).expect("a price");
    assert_eq!((&found["trades"], &found["point_of_control"]), (&json!(2_000), &json!(thousandths(*point))));
    // Buckets of a quarter of an hour with levels of 0.2, prices below zero included.
    let mut buckets = BTreeMap::<i64, BTreeMap<i64, Volumes>>::new();
    for (minute, levels) in &minutes {
        for (price, (buy, sell, total, count)) in levels {
            let bucket = buckets.entry(minute - minute.rem_euclid(15 * MINUTE)).or_default();
            let sum = bucket.entry(price - price.rem_euclid(200)).or_default();
            *sum = (sum.0 + buy, sum.1 + sell, sum.2 + total, sum.3 + count);
        }
    }
    let path = format!("/trades/footprint?symbol=GRID&{range}&bucket=15m&step=0.2");
    let found = app.get(&path).await.expect(200).json();
    let found = found["items"].as_array().expect("buckets");
    assert_eq!(found.len(), buckets.len());
    for (item, (start, expected)) in found.iter().zip(&buckets) {
        assert_eq!((&item["from"], &item["to"]), (&json!(start), &json!(start + 15 * MINUTE)));
        assert_eq!(item["price_levels"], json!(levels(expected)), "{start}");
    }
}

#[tokio::test]
async fn more_than_a_thousand_prices_drop_no_trade() {
    let app = TestApp::spawn().await;
    for part in 0..12 {
        let price = |n: i64| thousandths((part * 200 + n) * 10);
        let trades: Vec<Value> =
            (0..200).map(|n| trade(&format!("{part}-{n}"), START, &price(n), "0.1", "buy")).collect();
        report(&app, "GRID", &trades).await.expect(201);
        // Each read folds, so that the levels become wider in steps.
        app.get(&format!("/trades/windows/GRID/{START}")).await.expect(200);
    }
    let minute = app.get(&format!("/trades/windows/GRID/{START}")).await.expect(200).json();
    let levels = minute["price_levels"].as_array().expect("levels");
    assert_eq!((&minute["level_size"], levels.len()), (&json!("0.1"), 240), "2,400 prices of a cent each");
    assert!(levels.iter().all(|level| level["total_volume"] == "1" && level["trade_count"] == 10), "{minute}");
    assert_eq!((&minute["sum"]["volume"], &minute["sum"]["trades"]), (&json!("240"), &json!(2_400)));
}

#[tokio::test]
async fn a_list_is_json_ndjson_or_csv_and_has_an_entity_tag() {
    let app = TestApp::spawn().await;
    report(&app, "GRID", &[trade("a", START, "3.41", "2", "buy"), trade("b", START, "3.40", "1", "sell")])
        .await
        .expect(201);
    report(&app, "GRID", &[trade("c", START + MINUTE, "3.5", "1", "")]).await.expect(422);
    app.clock().advance(std::time::Duration::from_secs(60));
    report(&app, "GRID", &[trade("c,\"", START + MINUTE, "3.5", "1", "")]).await.expect(201);
    let get = async |path: &str, accept: &str| app.send(Method::GET, path, &[("accept", accept)], "").await.expect(200);
    let csv = get("/trades/windows?symbol=GRID&limit=1", "text/csv").await;
    let header = "minute,price_level,buy_volume,sell_volume,total_volume,delta,trade_count";
    assert_eq!(csv.text(), format!("{header}\n{START},3.4,0,1,1,-1,1\n{START},3.41,2,0,2,2,1\n"));
    assert_eq!(csv.header("next-cursor"), Some((START + MINUTE).to_string().as_str()));
    let lines = get("/trades/windows?symbol=GRID", "application/x-ndjson").await.text();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[0]["complete"], &lines[1]["complete"]), (2, &json!(true), &json!(false)));
    let trades = get("/trades?symbol=GRID", "text/csv").await.text();
    assert!(trades.contains("\n\"c,\"\"\","), "{trades}");
    assert_eq!(get("/trades/profile?symbol=GRID", "text/csv").await.text().lines().count(), 4);
    let closed = format!("/trades/windows?symbol=GRID&from={START}&to={}", START + MINUTE);
    let etag = app.get(&closed).await.expect(200).header("etag").expect("a tag").to_owned();
    app.send(Method::GET, &closed, &[("if-none-match", &etag)], "").await.expect(304);
    report(&app, "GRID", &[trade("late", START + 5, "3.4", "1", "buy")]).await.expect(201);
    app.send(Method::GET, &closed, &[("if-none-match", &etag)], "").await.expect(200);
}

#[tokio::test]
async fn single_trades_show_parties_to_callers_with_the_scope() {
    const KEY: &str = "ak_ffeeddccbbaa99887766554433221100";
    let digest = api_key::hex(&api_key::digest(KEY.as_bytes()));
    let scopes = "scopes = [\"trades:read:GRID\"]";
    let keys = format!("[[auth.keys]]\nid = \"reader\"\nsha256 = \"{digest}\"\n{scopes}");
    let app = TestApp::builder().admin_key().config(&keys).spawn().await;
    let admin = [("x-api-key", crate::support::ADMIN_KEY), ("content-type", "application/json")];
    let mut first = trade("a", START, "3", "1", "buy");
    (first["buyer"], first["seller"]) = (json!("alice"), json!("bob"));
    let body = json!({ "symbol": "GRID", "trades": [first, trade("b", START - HOUR, "2", "1", "")] });
    app.send(Method::POST, "/trades", &admin, body.to_string()).await.expect(201);
    let parties = app.send(Method::GET, "/trades?symbol=GRID", &admin, "").await.expect(200).json();
    assert_eq!((&parties["items"][1]["buyer"], &parties["items"][1]["seller"]), (&json!("alice"), &json!("bob")));
    let reader = [("x-api-key", KEY)];
    let read = async |path: &str| app.send(Method::GET, path, &reader, "").await;
    let without = read("/trades?symbol=GRID").await.expect(200).text();
    assert!(!without.contains("alice") && without.contains("\"3\""), "{without}");
    let hour = format!("/trades?symbol=GRID&from={}", START - MINUTE);
    assert_eq!(read(&hour).await.expect(200).json()["items"].as_array().map(Vec::len), Some(1));
    read("/trades/windows/GRID/now").await.expect(200);
    for path in [
        "/trades?symbol=OTHER",
        "/trades/windows?symbol=OTHER",
        "/trades/windows/OTHER/now",
        "/trades/profile?symbol=OTHER",
        "/trades/footprint?symbol=OTHER",
    ] {
        read(path).await.expect_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn bad_queries_name_their_parameter() {
    let app = TestApp::spawn().await;
    let seconds = START / 1_000;
    for (path, pointer) in [
        ("/trades/windows?symbol=..%2F..", "/symbol"),
        ("/trades/windows?symbol=GRID&from=2026-01-02&to=2026-01-01", "/from"),
        (&format!("/trades/windows?symbol=GRID&from={seconds}"), "/from"),
        (&format!("/trades/windows?symbol=GRID&to={START}000"), "/to"),
        ("/trades/windows?symbol=GRID&limit=501", "/limit"),
        ("/trades/windows?symbol=GRID&cursor=x", "/cursor"),
        ("/trades/windows?symbol=GRID&x=1", "/x"),
        ("/trades?symbol=GRID&cursor=0-0", "/cursor"),
        ("/trades?symbol=GRID&limit=0", "/limit"),
        ("/trades/profile?symbol=GRID&from=-8d", "/from"),
        ("/trades/profile?symbol=GRID&step=0.3", "/step"),
        ("/trades/footprint?symbol=GRID&bucket=7m", "/bucket"),
        ("/trades/footprint?symbol=GRID&bucket=1m&from=-4h", "/from"),
    ] {
        app.get(path).await.expect_violation(422, "invalid-query", pointer);
    }
    for path in [&format!("/trades/windows/GRID/{seconds}"), "/trades/windows/GRID/soon"] {
        app.get(path).await.expect_violation(422, "invalid-path", "/minute");
    }
    app.get("/trades/windows/a%20b/now").await.expect_violation(422, "invalid-path", "/symbol");
    let empty = app.get("/trades/windows?symbol=NONE").await.expect(200).json();
    assert_eq!(empty, json!({ "items": [], "next_cursor": null }));
    assert_eq!(app.get("/trades/windows/NONE/now").await.expect(200).json()["sum"], Value::Null);
}

#[tokio::test]
async fn old_minutes_leave_redis() {
    let app = TestApp::spawn().await;
    let trades = [trade("a", START - 6 * DAY, "3", "1", "buy"), trade("b", START - 8 * DAY, "3", "1", "buy")];
    report(&app, "GRID", &trades).await.expect(201);
    let path = format!("/trades/windows?symbol=GRID&from={}", START - 30 * DAY);
    assert_eq!(all_items(&app, &path).await.len(), 1, "a minute above window_max does not enter");
    app.clock().advance(std::time::Duration::from_secs(2 * 86_400));
    eventually("the old minute is removed", async || all_items(&app, &path).await.is_empty()).await;
    let kept: i64 = app.redis().command(&["EXISTS", "trades_window:{GRID}:minutes", "trades_window:{GRID}:dirty"]);
    assert_eq!(kept, 0);
}
