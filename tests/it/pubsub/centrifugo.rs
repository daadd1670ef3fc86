//! Centrifugo's own client libraries, without changes, at the service.

use serde_json::{Value, json};

use super::centrifugo_client::{Client, LIBRARIES, Link};
use super::socket::price;
use crate::auth::{SECRET, platform_token};
use crate::support::TestApp;

/// A namespace whose messages have any data and are kept.
pub const LOGGED: &str = "[[pubsub.namespaces]]\npattern = \"orderbook:{symbol}\"\nkeep = \"log\"\n\
                      subscribe = [\"public\"]\npublish = [\"public\"]";

async fn logged() -> TestApp {
    TestApp::builder().config(LOGGED).system_clock().spawn().await
}

/// Publishes a numbered message.
async fn publish(app: &TestApp, number: u64) {
    app.post("/pubsub/orderbook:E", json!({ "message_type": "message", "data": number })).await.expect(201);
}

async fn expect_numbers(client: &mut Client, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        let publication = client.until("publication").await;
        assert_eq!(publication["data"], number, "{publication}");
    }
}

#[tokio::test]
async fn clients_publish_receive_and_read_the_history() {
    for library in LIBRARIES {
        let mut app = TestApp::builder().system_clock().spawn().await;
        let mut client = Client::connect(library, app.serve(), None).await;
        client.until("connected").await;
        let subscribed = client.subscribe("market:events", json!({})).await;
        assert_eq!((&subscribed["was_recovering"], &subscribed["position"]["offset"]), (&json!(false), &json!(0)));
        let untyped = json!({ "do": "publish", "channel": "market:events", "data": price(1)["data"] });
        assert_eq!(client.command(untyped).await["code"], 107);
        let typed = json!({ "message_type": "PriceUpdate", "data": price(1)["data"] });
        let reply = client.command(json!({ "do": "publish", "channel": "market:events", "data": typed })).await;
        assert_eq!(reply, json!({}));
        let expected = json!({ "data": price(1)["data"], "offset": 1, "tags": { "message_type": "PriceUpdate" } });
        let mut publication = client.until("publication").await;
        publication.as_object_mut().expect("an object").remove("event");
        assert_eq!(publication, expected);
        let history = json!({ "do": "history", "channel": "market:events", "limit": 10 });
        let history = client.command(history).await;
        assert_eq!((&history["publications"], &history["offset"]), (&json!([expected]), &json!(1)));
        assert_eq!(history["epoch"], subscribed["position"]["epoch"]);
        for (since, code) in [
            (json!({ "offset": 0, "epoch": history["epoch"] }), json!(null)),
            (json!({ "offset": 0, "epoch": "_" }), json!(112)),
        ] {
            let after = json!({ "do": "history", "channel": "market:events", "limit": 10, "since": since });
            assert_eq!(client.command(after).await["code"], code);
        }
        assert_eq!(client.command(json!({ "do": "presence", "channel": "market:events" })).await["code"], 108);
        assert_eq!(client.command(json!({ "do": "rpc" })).await["code"], 104);
        client.command(json!({ "do": "subscribe", "channel": "weather" })).await;
        assert_eq!(client.until("unsubscribed").await["code"], 102);
    }
}

#[tokio::test]
async fn clients_recover_what_they_missed_while_their_link_was_cut() {
    for library in LIBRARIES {
        let mut app = logged().await;
        let link = Link::to(app.serve()).await;
        let mut client = Client::connect(library, link.address(), None).await;
        client.subscribe("orderbook:E", json!({})).await;
        publish(&app, 1).await;
        expect_numbers(&mut client, 1..=1).await;
        link.cut();
        client.until("subscribing").await;
        for number in 2..=100 {
            publish(&app, number).await;
        }
        link.lead_to(app.serve());
        let subscribed = client.until("subscribed").await;
        assert_eq!((&subscribed["was_recovering"], &subscribed["recovered"]), (&json!(true), &json!(true)));
        publish(&app, 101).await;
        expect_numbers(&mut client, 2..=101).await;
    }
}

#[tokio::test]
async fn clients_of_a_replica_that_stops_go_on_at_another() {
    for library in LIBRARIES {
        let mut first =
            TestApp::builder().config("[pubsub]\ndrain_spread = \"10ms\"").config(LOGGED).system_clock().spawn().await;
        let mut second = TestApp::builder().config(LOGGED).beside(&first).system_clock().spawn().await;
        let link = Link::to(first.serve()).await;
        let mut client = Client::connect(library, link.address(), None).await;
        client.subscribe("orderbook:E", json!({})).await;
        publish(&first, 1).await;
        expect_numbers(&mut client, 1..=1).await;
        first.app().deps.phase.begin_draining();
        while client.until("connecting").await["code"] != 3001 {}
        link.lead_to(second.serve());
        publish(&second, 2).await;
        client.until("subscribed").await;
        expect_numbers(&mut client, 2..=2).await;
    }
}

#[tokio::test]
async fn clients_learn_of_lost_data_and_go_on() {
    for library in LIBRARIES {
        let mut app = logged().await;
        let mut client = Client::connect(library, app.serve(), None).await;
        client.subscribe("orderbook:E", json!({})).await;
        publish(&app, 1).await;
        expect_numbers(&mut client, 1..=1).await;
        let _: () = app.redis().command(&["FLUSHALL"]);
        publish(&app, 2).await;
        assert_eq!(client.until("subscribing").await["code"], 2500);
        let subscribed = client.until("subscribed").await;
        assert_eq!((&subscribed["was_recovering"], &subscribed["recovered"]), (&json!(true), &json!(false)));
        publish(&app, 3).await;
        expect_numbers(&mut client, 3..=3).await;
    }
}

#[tokio::test]
async fn clients_subscribe_when_redis_is_back() {
    for library in LIBRARIES {
        let mut app = TestApp::builder().config(LOGGED).behind_proxy().system_clock().spawn().await;
        let mut client = Client::connect(library, app.serve(), None).await;
        client.until("connected").await;
        app.proxy().cut();
        client.command(json!({ "do": "subscribe", "channel": "orderbook:E" })).await;
        assert_eq!(client.until("error").await["code"], 100);
        app.proxy().heal();
        client.until("subscribed").await;
    }
}

#[tokio::test]
async fn clients_replace_tokens_that_expire() {
    let mut app = TestApp::builder().config(&format!("[auth]\njwt_secret = \"{SECRET}\"")).system_clock().spawn().await;
    let address = app.serve();
    let token = |seconds: i64| {
        let now = app.clock().now() / 1_000;
        platform_token(&json!({ "sub": "ann", "role": null, "exp": now + seconds }))
    };
    for library in LIBRARIES {
        let mut client = Client::connect(library, address, Some(&token(-5))).await;
        client.until("token").await;
        client.command(json!({ "do": "token", "token": token(8) })).await;
        client.until("connected").await;
        client.until("token").await;
        client.command(json!({ "do": "token", "token": token(3_600) })).await;
        client.subscribe("orders:ann", json!({})).await;
        client.command(json!({ "do": "subscribe", "channel": "orders:bob" })).await;
        assert_eq!(client.until("unsubscribed").await["code"], 103);
    }
    let forged = format!("{}x", token(3_600));
    for library in LIBRARIES {
        let mut client = Client::connect(library, address, Some(&forged)).await;
        assert_eq!(client.until("disconnected").await["code"], 3500);
    }
}

#[tokio::test]
async fn clients_choose_how_they_receive_messages() {
    for library in LIBRARIES {
        let mut app = TestApp::builder().system_clock().spawn().await;
        let mut client = Client::connect(library, app.serve(), None).await;
        client.subscribe("market:prices", json!({ "data": { "mode": "latest", "max_rate": 2 } })).await;
        for number in 1..=300 {
            app.post("/pubsub/market:prices", price(number)).await.expect(201);
        }
        let mut received = 0;
        let is_last = |publication: &Value| publication["data"]["price"] == "300";
        while !is_last(&client.until("publication").await) {
            received += 1;
        }
        assert!(received < 50, "{library:?} received {received} messages");

        let mut filtering = Client::connect(library, app.serve(), None).await;
        let filter = json!({ "key": "side", "cmp": "eq", "val": "buy" });
        filtering.subscribe("orderbook:E", json!({ "filter": filter })).await;
        for (number, side) in [(1, "sell"), (2, "buy"), (3, "sell"), (4, "buy")] {
            let message = json!({ "message_type": "message", "data": number, "tags": { "side": side } });
            app.post("/pubsub/orderbook:E", message).await.expect(201);
        }
        expect_numbers(&mut filtering, [2, 4].into_iter()).await;
    }
}
