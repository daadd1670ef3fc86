//! Sixteen clients at once on two replicas, while Redis is killed: what was acknowledged is in the book, once and in its place,
//! and clients that follow the book have it at every checksum.
//!
//! The short form runs with all other tests. `make book-check` runs the long form: 100,000 operations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::copy::CopyOfBook;
use super::model::{Random, decimal};
use super::{create, fill, levels, queue, report, view};
use crate::support::{RedisServer, Reply, TestApp};

const CLIENTS: u64 = 16;
/// The most resting orders of a client.
const MOST: usize = 40;
/// The life of orders that expire within the test.
const SHORT_LIFE: i64 = 2_000;
/// How often a condition is looked at, and how long a client waits before it tries again.
const PAUSE: Duration = Duration::from_millis(20);

#[tokio::test]
async fn sixteen_clients_and_a_killed_redis_leave_the_book_that_was_acknowledged() {
    run(2_000).await;
}

#[tokio::test]
#[ignore = "takes minutes: make book-check"]
async fn many_operations_of_sixteen_clients_and_a_killed_redis_leave_the_book_that_was_acknowledged() {
    run(100_000).await;
}

struct Resting {
    id: String,
    is_buy: bool,
    cents: u64,
    /// Thousandths.
    quantity: u64,
    remaining: u64,
    sequence: u64,
}

/// A client with orders of its own, which no other client changes.
struct Client<'a> {
    apps: &'a [TestApp; 2],
    number: u64,
    random: Random,
    named: u64,
    resting: Vec<Resting>,
    /// Ids of orders that expire, and when the last one does.
    expiring: Vec<String>,
    expired_at: i64,
    trades: u64,
    /// Quantities of both sides, thousandths: placed (amendments included), filled, and ended otherwise.
    placed: [u64; 2],
    filled: [u64; 2],
    ended: [u64; 2],
}

/// Repeats a call until Redis has executed it.
pub async fn settled(call: impl AsyncFn() -> Reply) -> Reply {
    loop {
        let reply = call().await;
        if !reply.is(503) && !reply.is(504) {
            return reply;
        }
        // The pause of a client before it tries again.
        tokio::time::sleep(PAUSE).await;
    }
}

impl Client<'_> {
    async fn send(&mut self, call: impl AsyncFn(&TestApp) -> Reply, expected: u16) -> Value {
        let apps = self.apps;
        let first = usize::try_from(self.random.below(2)).expect("0 or 1");
        let turn = AtomicU64::new(0);
        // A repetition goes to the other replica.
        let reply = settled(async || {
            let repeated = usize::try_from(turn.fetch_add(1, Ordering::Relaxed)).expect("few");
            call(&apps[(first + repeated) % 2]).await
        })
        .await;
        reply.expect(expected).json()
    }

    async fn run(&mut self, operations: u64, count: &AtomicU64) {
        for _ in 0..operations {
            match self.random.below(100) {
                0..45 if self.resting.len() < MOST => self.place().await,
                45..60 => self.amend().await,
                60..80 => self.fill().await,
                80..86 => self.mistake().await,
                _ => self.cancel().await,
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn name(&mut self, kind: &str) -> String {
        self.named += 1;
        format!("{kind}-{:04x}-{}-{}", self.random.below(1 << 16), self.number, self.named)
    }

    fn pick(&mut self) -> Option<usize> {
        let count = u64::try_from(self.resting.len()).expect("few");
        (count > 0).then(|| usize::try_from(self.random.below(count)).expect("few"))
    }

    async fn place(&mut self) {
        let (id, is_buy) = (self.name("o"), self.random.below(2) == 0);
        let cents = if is_buy { 420 } else { 400 } + self.random.below(20);
        let quantity = 1 + self.random.below(20_000);
        let expires = self.random.below(10) == 0;
        let mut request = json!({ "order_id": id, "owner": format!("o{}", self.number), "price": decimal(cents, 2),
            "side": if is_buy { "buy" } else { "sell" }, "quantity": decimal(quantity, 3) });
        let at = self.apps[0].clock().now() + if expires { SHORT_LIFE } else { 3_600_000 };
        request["expires_at"] = json!(at);
        let path = "/orderbooks/GRID/orders";
        if expires {
            // If Redis is away until it has expired, it cannot be placed any more.
            let app = &self.apps[0];
            let reply = settled(async || app.post(path, request.clone()).await).await;
            assert!(reply.is(201) || reply.is(422), "{}", reply.text());
            self.expiring.push(id);
            self.expired_at = self.expired_at.max(at);
            return;
        }
        let placed = self.send(async |app| app.post(path, request.clone()).await, 201).await;
        self.placed[usize::from(is_buy)] += quantity;
        let sequence = placed["order"]["sequence"].as_u64().expect("a sequence");
        self.resting.push(Resting { id, is_buy, cents, quantity, remaining: quantity, sequence });
    }

    async fn cancel(&mut self) {
        let Some(at) = self.pick() else { return };
        let order = self.resting.swap_remove(at);
        let path = format!("/orderbooks/GRID/orders/{}", order.id);
        let cancelled = self.send(async |app| app.delete(&path).await, 200).await;
        assert_eq!(cancelled["remaining"], decimal(order.remaining, 3), "{cancelled}");
        self.ended[usize::from(order.is_buy)] += order.remaining;
    }

    async fn amend(&mut self) {
        let Some(at) = self.pick() else { return };
        let quantity = 1 + self.random.below(20_000);
        let moves = self.random.below(3) == 0;
        let order = &self.resting[at];
        let filled = order.quantity - order.remaining;
        let cents = order.cents + u64::from(moves);
        let path = format!("/orderbooks/GRID/orders/{}", order.id);
        let change = json!({ "quantity": decimal(quantity, 3), "price": decimal(cents, 2) });
        if quantity <= filled {
            self.send(async |app| app.patch(&path, change.clone()).await, 422).await;
            return;
        }
        let amended = self.send(async |app| app.patch(&path, change.clone()).await, 200).await;
        let order = &mut self.resting[at];
        let side = usize::from(order.is_buy);
        self.placed[side] = self.placed[side] + quantity - order.quantity;
        let sequence = amended["sequence"].as_u64().expect("a sequence");
        assert_eq!(sequence == order.sequence, !moves && quantity <= order.quantity, "{amended}");
        (order.cents, order.quantity, order.remaining, order.sequence) = (cents, quantity, quantity - filled, sequence);
    }

    /// A buy order and a sell order of this client, which cross.
    fn pair(&mut self) -> Option<[usize; 2]> {
        let of = |is_buy| self.resting.iter().position(|order| order.is_buy == is_buy);
        let pair = [of(true)?, of(false)?];
        (self.resting[pair[0]].cents >= self.resting[pair[1]].cents).then_some(pair)
    }

    async fn fill(&mut self) {
        let Some([buyer, seller]) = self.pair() else { return };
        let most = self.resting[buyer].remaining.min(self.resting[seller].remaining);
        let quantity = if self.random.below(2) == 0 { most } else { 1 + self.random.below(most) };
        let name = self.name("t");
        let price = decimal(self.resting[seller].cents, 2);
        let trade = fill(&name, &self.resting[buyer].id, &self.resting[seller].id, &price, &decimal(quantity, 3));
        let filled = self.send(async |app| report(app, std::slice::from_ref(&trade)).await, 200).await;
        self.trades += 1;
        for (at, rest) in [(buyer, "buy_remaining"), (seller, "sell_remaining")] {
            let order = &mut self.resting[at];
            order.remaining -= quantity;
            self.filled[usize::from(order.is_buy)] += quantity;
            assert_eq!(filled["fills"][0][rest], decimal(order.remaining, 3), "{filled}");
        }
        self.resting.retain(|order| order.remaining > 0);
    }

    /// Requests that are refused and change nothing.
    async fn mistake(&mut self) {
        let Some([buyer, seller]) = self.pair() else { return };
        let (buyer, seller) = (&self.resting[buyer], &self.resting[seller]);
        let too_much = decimal(buyer.remaining.max(seller.remaining) + 1, 3);
        let trade = fill("never", &buyer.id, &seller.id, &decimal(seller.cents, 2), &too_much);
        let other = json!({ "order_id": buyer.id, "owner": "another", "price": "1", "side": "sell", "quantity": "1" });
        self.send(async |app| report(app, std::slice::from_ref(&trade)).await, 409).await;
        self.send(async |app| app.post("/orderbooks/GRID/orders", other.clone()).await, 409).await;
    }
}

/// Follows the book by its deltas until `done`; returns how many checksums agreed.
async fn follow(app: &TestApp, done: &AtomicBool) -> u64 {
    let read = async || {
        CopyOfBook::of(&settled(async || app.get("/orderbooks/GRID?depth=1000").await).await.expect(200).json())
    };
    let (mut copy, mut agreed) = (read().await, 0);
    loop {
        let was_done = done.load(Ordering::SeqCst);
        let path = format!("/orderbooks/GRID/deltas?after={}&wait_ms=200", copy.sequence);
        let reply = settled(async || app.get(&path).await).await;
        let message = if reply.is(410) { Value::Null } else { reply.expect(200).json() };
        if message["generation"].as_u64() != Some(copy.generation) {
            let again = read().await;
            assert!((again.generation, again.sequence) > (copy.generation, copy.sequence), "a state comes back");
            copy = again;
            continue;
        }
        let is_empty = message["changes"].as_array().is_some_and(Vec::is_empty);
        copy.apply(&message);
        if message["more"] == false {
            assert_eq!(message["checksum"].as_u64(), Some(copy.checksum()), "{message}");
            agreed += 1;
            if was_done && is_empty {
                return agreed;
            }
        }
    }
}

async fn run(operations: u64) {
    let mut server = RedisServer::with_options(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let config = format!("redis.url = \"{}\"\n[orderbook]\nrequire_fence = false", server.url());
    let replica = async || TestApp::builder().config(&config).system_clock().spawn().await;
    let apps = [replica().await, replica().await];
    create(&apps[0], "GRID").await;
    let (count, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let client = |number| Client {
        apps: &apps,
        number,
        random: Random(number),
        named: 0,
        resting: Vec::new(),
        expiring: Vec::new(),
        expired_at: 0,
        trades: 0,
        placed: [0; 2],
        filled: [0; 2],
        ended: [0; 2],
    };
    let mut clients: Vec<Client<'_>> = (0..CLIENTS).map(client).collect();
    let work = async {
        let each = operations / CLIENTS;
        futures_util::future::join_all(clients.iter_mut().map(|client| client.run(each, &count))).await;
        done.store(true, Ordering::SeqCst);
    };
    let kill = async {
        while count.load(Ordering::Relaxed) < operations / 2 {
            // Polls a condition that takes minutes in the long form.
            tokio::time::sleep(PAUSE).await;
        }
        server.kill();
        server.boot();
    };
    let ((), (), first, second) = tokio::join!(work, kill, follow(&apps[0], &done), follow(&apps[1], &done));
    let expired_at = clients.iter().map(|client| client.expired_at).max().unwrap_or_default();
    while apps[0].clock().now() <= expired_at {
        // The test is about time: orders expire on the system's clock.
        tokio::time::sleep(PAUSE).await;
    }
    compare(&apps[0], &server, &clients).await;
    println!("{operations} operations; {first} and {second} checksums agreed");
}

/// Compares the book with what was acknowledged to the clients.
async fn compare(app: &TestApp, server: &RedisServer, clients: &[Client<'_>]) {
    let book = view(app).await;
    let resting = || clients.iter().flat_map(|client| &client.resting);
    for (name, side, is_buy) in [("bids", "buy", true), ("asks", "sell", false)] {
        let mut orders: Vec<&Resting> = resting().filter(|order| order.is_buy == is_buy).collect();
        let price = |order: &Resting| if is_buy { u64::MAX - order.cents } else { order.cents };
        orders.sort_by_key(|order| (price(order), order.sequence));
        assert_eq!(queue(app, side).await, orders.iter().map(|order| order.id.clone()).collect::<Vec<_>>(), "{side}");
        let mut totals: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
        for order in orders {
            let total = totals.entry(price(order)).or_insert((order.cents, 0, 0));
            *total = (order.cents, total.1 + order.remaining, total.2 + 1);
        }
        let expected: Vec<_> = totals
            .into_values()
            .map(|(cents, quantity, count)| (decimal(cents, 2), decimal(quantity, 3), count))
            .collect();
        assert_eq!(levels(&book, name), expected, "{name}");
        let at = usize::from(is_buy);
        for client in clients {
            let rest: u64 =
                client.resting.iter().filter(|order| order.is_buy == is_buy).map(|order| order.remaining).sum();
            assert_eq!(client.placed[at], rest + client.filled[at] + client.ended[at], "client {}", client.number);
        }
    }
    let key = |name: &str| format!("orderbook:{{GRID}}:{name}");
    let ids: BTreeSet<String> = resting().map(|order| order.id.clone()).collect();
    let stored = |parts: &[&str]| server.command::<BTreeSet<String>>(parts);
    assert_eq!(stored(&["HKEYS", &key("orders")]), ids);
    assert_eq!(stored(&["ZRANGE", &key("expiry"), "0", "-1"]), ids);
    for client in clients {
        let own = stored(&["ZRANGE", &key(&format!("owner:o{}", client.number)), "0", "-1"]);
        assert!(client.resting.iter().all(|order| own.contains(&order.id)), "client {}", client.number);
        assert!(client.expiring.iter().all(|id| !ids.contains(id)));
    }
    let tape: Vec<(String, Vec<String>)> = server.command(&["XRANGE", "tape:{GRID}", "-", "+"]);
    let traded: u64 = tape.iter().map(|(_, of)| of[7].replace('.', "").parse::<u64>().expect("a quantity")).sum();
    let filled = |side: usize| clients.iter().map(|client| client.filled[side]).sum::<u64>();
    assert_eq!([traded, traded], [filled(0), filled(1)]);
    assert_eq!(tape.len() as u64, clients.iter().map(|client| client.trades).sum::<u64>());
    let deltas: Vec<(String, Vec<String>)> = server.command(&["XRANGE", &key("deltas"), "-", "+"]);
    let numbers: Vec<u64> = deltas.iter().map(|(id, _)| id.trim_end_matches("-0").parse().expect("a number")).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "the sequence rises by one");
    assert_eq!(numbers.last().copied(), book["sequence"].as_u64());
}
