//! A recorded feed of orders, replayed over HTTP: after every hundredth event the book has the levels, the totals and the queues
//! of the feed.
//!
//! `GTX_TEST_RECORDED` is the path of a file in the form of DBN (version 1, compressed with zstd) with market-by-order records.

use std::collections::{BTreeMap, HashMap};

use async_compression::tokio::bufread::ZstdDecoder;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::load::settled;
use super::{create, levels};
use crate::support::TestApp;

/// The record type of market by order, and the length of its records, bytes.
const BY_ORDER: u8 = 0xA0;
const LENGTH: usize = 56;
/// The events between two comparisons.
const INTERVAL: usize = 100;
/// Prices are in units of 10^-9, those of the book in hundredths.
const UNITS: i64 = 10_000_000;

struct Event {
    id: u64,
    cents: i64,
    size: u64,
    action: u8,
    is_buy: bool,
}

fn event(record: &[u8]) -> Event {
    let eight = |at: usize| record[at..at + 8].try_into().expect("eight bytes");
    Event {
        id: u64::from_le_bytes(eight(16)),
        cents: i64::from_le_bytes(eight(24)) / UNITS,
        size: u64::from(u32::from_le_bytes(record[32..36].try_into().expect("four bytes"))),
        action: record[38],
        is_buy: record[39] == b'B',
    }
}

fn events(file: &[u8]) -> Vec<Event> {
    let metadata = u32::from_le_bytes(file[4..8].try_into().expect("four bytes"));
    let mut rest = &file[8 + usize::try_from(metadata).expect("small")..];
    let mut events = Vec::new();
    while let [length, kind, ..] = rest {
        let length = usize::from(*length) * 4;
        if *kind == BY_ORDER {
            assert_eq!(length, LENGTH);
            events.push(event(&rest[..length]));
        }
        rest = &rest[length..];
    }
    events
}

/// The queues of both sides by price, as the feed says: id and size.
#[derive(Default)]
struct Feed {
    sides: [BTreeMap<i64, Vec<(u64, u64)>>; 2],
    places: HashMap<u64, (usize, i64)>,
}

impl Feed {
    fn queue(&mut self, id: u64) -> (&mut Vec<(u64, u64)>, usize) {
        let (side, cents) = self.places[&id];
        let queue = self.sides[side].get_mut(&cents).expect("the level");
        let at = queue.iter().position(|(known, _)| *known == id).expect("the order");
        (queue, at)
    }

    fn add(&mut self, event: &Event) {
        let side = usize::from(event.is_buy);
        self.sides[side].entry(event.cents).or_default().push((event.id, event.size));
        assert!(self.places.insert(event.id, (side, event.cents)).is_none(), "{} twice", event.id);
    }

    fn remove(&mut self, id: u64) {
        let (queue, at) = self.queue(id);
        queue.remove(at);
        let (side, cents) = self.places.remove(&id).expect("the order");
        self.sides[side].retain(|price, queue| *price != cents || !queue.is_empty());
    }

    fn side(&self, is_buy: bool) -> Vec<(i64, &Vec<(u64, u64)>)> {
        let mut side: Vec<_> = self.sides[usize::from(is_buy)].iter().map(|(cents, queue)| (*cents, queue)).collect();
        if is_buy {
            side.reverse();
        }
        side
    }
}

fn price(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn quantity(size: u64) -> String {
    format!("{size}.000")
}

async fn replay(app: &TestApp, feed: &mut Feed, event: &Event) {
    let path = format!("/orderbooks/GRID/orders/{}", event.id);
    match event.action {
        b'A' => {
            feed.add(event);
            let order = json!({ "order_id": event.id.to_string(), "owner": format!("o{}", event.id % 64),
                "side": if event.is_buy { "buy" } else { "sell" }, "price": price(event.cents), "quantity": quantity(event.size) });
            settled(async || app.post("/orderbooks/GRID/orders", order.clone()).await).await.expect(201);
        }
        b'C' => {
            let (queue, at) = feed.queue(event.id);
            queue[at].1 -= event.size;
            let rest = queue[at].1;
            if rest > 0 {
                settled(async || app.patch(&path, json!({ "quantity": quantity(rest) })).await).await.expect(200);
            } else {
                feed.remove(event.id);
                settled(async || app.delete(&path).await).await.expect(200);
            }
        }
        b'M' => {
            let (queue, at) = feed.queue(event.id);
            let size = queue[at].1;
            if feed.places[&event.id].1 == event.cents && event.size <= size {
                let (queue, at) = feed.queue(event.id);
                queue[at].1 = event.size;
            } else {
                feed.remove(event.id);
                feed.add(event);
            }
            let change = json!({ "price": price(event.cents), "quantity": quantity(event.size) });
            settled(async || app.patch(&path, change.clone()).await).await.expect(200);
        }
        // Trades and fills: the feed reports what they take from the book as changes and cancellations.
        b'T' | b'F' => {}
        other => panic!("an unknown action: {other}"),
    }
}

/// Ids and remaining quantities of a side, in the order in which they match.
async fn queue(app: &TestApp, side: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (mut orders, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/orderbooks/GRID/orders?side={side}&limit=500{cursor}");
        let page = settled(async || app.get(&path).await).await.expect(200).json();
        let items = page["items"].as_array().expect("items");
        orders.extend(items.iter().map(|item| (text(&item["order_id"]), text(&item["remaining"]))));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return orders,
        }
    }
}

async fn compare(app: &TestApp, feed: &Feed, after: usize) {
    let book = settled(async || app.get("/orderbooks/GRID?depth=1000").await).await.expect(200).json();
    for (name, side, is_buy) in [("bids", "buy", true), ("asks", "sell", false)] {
        let all = feed.side(is_buy);
        let total = |(cents, queue): &(i64, &Vec<(u64, u64)>)| {
            let sizes: u64 = queue.iter().map(|(_, size)| size).sum();
            (price(*cents), quantity(sizes), queue.len() as u64)
        };
        let expected: Vec<_> = all.iter().take(1_000).map(total).collect();
        assert!(levels(&book, name) == expected, "{name} after {after} events");
        let orders = all.iter().flat_map(|(_, queue)| queue.iter());
        let expected: Vec<_> = orders.map(|(id, size)| (id.to_string(), quantity(*size))).collect();
        assert!(queue(app, side).await == expected, "{side} after {after} events");
    }
}

#[tokio::test]
#[ignore = "needs a recorded feed: GTX_TEST_RECORDED"]
#[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
async fn a_recorded_feed_leaves_the_book_of_the_feed() {
    let path = std::env::var("GTX_TEST_RECORDED").expect("GTX_TEST_RECORDED is the path of the feed");
    let compressed = std::fs::read(path).expect("the feed");
    let mut file = Vec::new();
    let mut decoder = ZstdDecoder::new(&*compressed);
    decoder.multiple_members(true);
    decoder.read_to_end(&mut file).await.expect("zstd");
    let app = TestApp::spawn().await;
    create(&app, "GRID").await;
    let (mut feed, mut most) = (Feed::default(), 0);
    let events = events(&file);
    assert!(!events.is_empty(), "the feed has market-by-order records");
    for (number, event) in events.iter().enumerate() {
        replay(&app, &mut feed, event).await;
        most = most.max(feed.places.len());
        if number % INTERVAL == 0 {
            compare(&app, &feed, number + 1).await;
        }
    }
    compare(&app, &feed, events.len()).await;
    println!("{} events, at most {most} resting orders", events.len());
}
