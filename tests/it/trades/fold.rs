//! The fold counts each trade once, whatever crashes, and feeds the platform's series.

use serde_json::{Value, json};

use super::{items, report, trade};
use crate::support::{RedisServer, START, ServiceProcess, TestApp, eventually};

#[tokio::test]
async fn a_crash_of_the_fold_neither_loses_nor_doubles_a_trade() {
    const TRADES: usize = 4_000;
    let redis = RedisServer::start();
    // The tape, as the script of an order book writes it.
    let mut connection = redis.connect().expect("a connection");
    let mut pipeline = redis::pipe();
    for n in 0..TRADES {
        let fields = [("t", (START + i64::try_from(n).expect("a time")).to_string()), ("p", "2".to_owned())];
        pipeline
            .cmd("XADD")
            .arg("tape:{GRID}")
            .arg("*")
            .arg("id")
            .arg(n)
            .arg(&fields)
            .arg("q")
            .arg("0.1")
            .arg("side")
            .arg("");
        pipeline.ignore();
    }
    pipeline.query::<()>(&mut connection).expect("the trades");
    let _: () = redis.command(&["ZADD", "market:symbols", "4102444800000", "GRID"]);
    // The service is killed as soon as it has folded a part, again and again.
    let position = || redis.command::<Option<String>>(&["HGET", "tape:{GRID}:positions", "folded"]);
    let last: Vec<(String, Vec<String>)> = redis.command(&["XREVRANGE", "tape:{GRID}", "+", "-", "COUNT", "1"]);
    let mut kills = 0;
    while position().as_ref() != Some(&last[0].0) {
        let before = position();
        let service = ServiceProcess::start_on(&redis, &[]);
        eventually("the fold moves", async || position() != before).await;
        service.signal("KILL");
        drop(service);
        kills += 1;
        assert!(kills < 50, "the fold makes no progress");
    }
    let app = TestApp::builder().on(redis).system_clock().spawn().await;
    let days = items(&app, "/market/candles/GRID?resolution=1d").await;
    let trades: u64 = days.iter().map(|day| day["trades"].as_u64().expect("a count")).sum();
    assert_eq!(trades, u64::try_from(TRADES).expect("a number"), "after {kills} kills: {days:?}");
    assert_eq!((&days[0]["volume"], &days[0]["quote_volume"]), (&json!("400"), &json!("800")));
}

#[tokio::test]
async fn concurrent_readers_on_two_replicas_fold_each_trade_once() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    for round in 0..10 {
        let trades: Vec<Value> = (0..100).map(|n| trade(&format!("{round}-{n}"), START, "1", "1")).collect();
        report(&app, "GRID", &trades).await.expect(201);
        let reads = (0..10).map(async |n| {
            let replica = if n % 2 == 0 { &app } else { &other };
            loop {
                let reply = replica.get("/market/candles/GRID").await;
                // On a busy machine, requests that wait too long for their turn are refused.
                if !reply.is(503) {
                    return reply.expect(200).json();
                }
            }
        });
        for page in futures_util::future::join_all(reads).await {
            let trades = &page["items"][0]["trades"];
            assert_eq!(*trades, (round + 1) * 100, "a reader sees what was reported before");
        }
    }
}

#[tokio::test]
async fn the_fold_trims_only_what_it_has_folded_and_full_tapes_refuse_trades() {
    let app = TestApp::spawn().await;
    let fill = |count: usize| {
        let mut connection = app.redis().connect().expect("a connection");
        for _ in 0..count / 10_000 {
            let mut pipeline = redis::pipe();
            for _ in 0..10_000 {
                let entry = ["id", "x", "t", &START.to_string(), "p", "1", "q", "1", "side", ""].map(str::to_owned);
                pipeline.cmd("XADD").arg("tape:{GRID}").arg("*").arg(&entry).ignore();
            }
            pipeline.query::<()>(&mut connection).expect("trades");
        }
    };
    fill(200_000);
    let refused = report(&app, "GRID", &[trade("t", START, "1", "1")]).await.expect_problem(503, "fold-behind");
    assert_eq!(refused["outcome"], "not_applied", "{refused}");
    let folded = async || {
        let reply = app.get("/market/candles/GRID").await;
        // A slow machine needs several requests; each of them goes on where the last one stopped.
        reply.is(200) && reply.json()["items"][0]["trades"] == 200_000
    };
    // The tape is trimmed to its newest half as soon as the other one is folded.
    eventually("half is folded", async || {
        folded().await || app.redis().command::<i64>(&["XLEN", "tape:{GRID}"]) <= 101_000
    })
    .await;
    eventually("everything is folded", folded).await;
    let left: i64 = app.redis().command(&["XLEN", "tape:{GRID}"]);
    assert!((100_000..=101_000).contains(&left), "{left}");
    report(&app, "GRID", &[trade("t", START, "1", "1")]).await.expect(201);
    let count = async || items(&app, "/market/candles/GRID").await[0]["trades"].as_u64().expect("a count");
    assert_eq!(count().await, 200_001);
    // A tape that was lost begins again, even if its ids are smaller than the position.
    let _: () = app.redis().command(&["DEL", "tape:{GRID}"]);
    let _: () =
        app.redis().command(&["XADD", "tape:{GRID}", "5-1", "id", "n", "t", &START.to_string(), "p", "1", "q", "1"]);
    let _: () = app.redis().command(&["XADD", "tape:{GRID}", "5-2", "not", "a trade"]);
    assert_eq!(count().await, 200_002, "the one of the new tape comes on top");
    assert_eq!(items(&app, "/market/trades/GRID").await.len(), 1);
}

#[tokio::test]
async fn trades_feed_the_platforms_series_once() {
    let app = TestApp::builder().system_clock().spawn().await;
    let now = app.clock().now();
    let second = now - now.rem_euclid(1_000) - 5_000;
    let trades =
        [trade("a", second, "3", "1"), trade("b", second + 10, "3.5", "2"), trade("c", second + 1_000, "4", "0.5")];
    report(&app, "GRID", &trades).await.expect(201);
    report(&app, "ENERGY", &[trade("a", second, "9", "10")]).await.expect(201);
    let values = async |path: &str| -> Vec<f64> {
        let reply = app.get(path).await;
        let page = if reply.is(200) { reply.json() } else { Value::Null };
        let samples = page["samples"].as_array().cloned().unwrap_or_default();
        samples.iter().map(|sample| sample["value"].as_f64().expect("a number")).collect()
    };
    eventually("the prices are there", async || values("/market/prices/GRID").await == [3.5, 4.0]).await;
    eventually("the volume is there", async || {
        let volumes = values("/market/volume").await;
        // The trades may be on both sides of midnight.
        volumes.iter().sum::<f64>() >= 13.5
    })
    .await;
    assert!((values("/market/volume").await.iter().sum::<f64>() - 13.5).abs() < 1e-9);
}

#[tokio::test]
async fn without_the_feed_no_series_is_written() {
    let app = TestApp::builder().config("[market]\nfeed_series = false").system_clock().spawn().await;
    let now = app.clock().now();
    report(&app, "GRID", &[trade("a", now, "3", "1")]).await.expect(201);
    let folded = async || app.redis().command::<i64>(&["HEXISTS", "tape:{GRID}:positions", "folded"]) == 1;
    eventually("the background work folds", folded).await;
    app.get("/market/prices/GRID").await.expect_problem(404, "series-not-found");
}
