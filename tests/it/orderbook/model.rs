//! Random operations of several clients on two replicas, compared with a model: no order is lost, doubled or out of place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::copy::CopyOfBook;
use super::{BOOK, digest, fill, levels, queue, report, view};
use crate::support::{NDJSON, Reply, TestApp, ndjson};

/// Source: `SplitMix64`; Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[derive(Clone)]
struct ModelOrder {
    id: String,
    request: Value,
    is_buy: bool,
    cents: i64,
    /// Thousandths.
    quantity: u64,
    remaining: u64,
    /// Its place in time.
    place: u64,
    expires_at: i64,
}

pub fn decimal(units: u64, decimals: u32) -> String {
    let scale = 10_u64.pow(decimals);
    format!("{}.{:0width$}", units / scale, units % scale, width = decimals as usize)
}

/// The book as it must be, and how much was filled, cancelled and expired on each side, thousandths.
#[derive(Default)]
struct Model {
    live: Vec<ModelOrder>,
    ended: Vec<ModelOrder>,
    trades: Vec<Value>,
    places: u64,
    placed: [u64; 2],
    filled: [u64; 2],
    cancelled: [u64; 2],
    expired: [u64; 2],
    numbers: u64,
}

impl Model {
    fn next(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    fn expire(&mut self, now: i64) {
        let (gone, live): (Vec<_>, Vec<_>) = self.live.drain(..).partition(|order| order.expires_at <= now);
        self.live = live;
        for order in gone {
            self.expired[usize::from(order.is_buy)] += order.remaining;
            self.ended.push(order);
        }
    }

    fn queue(&self, is_buy: bool) -> Vec<String> {
        let mut side: Vec<&ModelOrder> = self.live.iter().filter(|order| order.is_buy == is_buy).collect();
        side.sort_by_key(|order| (if is_buy { -order.cents } else { order.cents }, order.place));
        side.into_iter().map(|order| order.id.clone()).collect()
    }

    fn levels(&self, is_buy: bool) -> Vec<(String, String, u64)> {
        let mut totals: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for order in self.live.iter().filter(|order| order.is_buy == is_buy) {
            let total = totals.entry(if is_buy { -order.cents } else { order.cents }).or_default();
            *total = (total.0 + order.remaining, total.1 + 1);
        }
        let show = |(cents, (quantity, orders)): (i64, (u64, u64))| {
            (decimal(cents.unsigned_abs(), 2), decimal(quantity, 3), orders)
        };
        totals.into_iter().map(show).collect()
    }
}

struct Trial {
    apps: [TestApp; 2],
    model: Model,
    random: Random,
    copy: CopyOfBook,
}

impl Trial {
    fn now(&self) -> i64 {
        self.apps[0].clock().now()
    }

    fn app(&mut self) -> &TestApp {
        let at = self.random.below(2);
        &self.apps[usize::try_from(at).expect("0 or 1")]
    }

    fn pick(&mut self) -> Option<usize> {
        let count = u64::try_from(self.model.live.len()).expect("few");
        (count > 0).then(|| usize::try_from(self.random.below(count)).expect("few"))
    }

    /// A call that must fail or be a repetition: it changes nothing.
    async fn without_effect(&mut self, call: impl AsyncFnOnce(&TestApp) -> Reply, expected: u16) {
        // Reading every key takes long, so some calls are only made.
        if self.random.below(4) > 0 {
            self.app().get("/orderbooks/GRID").await.expect(200);
            call(&self.apps[0]).await.expect(expected);
            return;
        }
        // Ends what has expired.
        view(&self.apps[0]).await;
        let before = digest(&self.apps[0]);
        let app = &self.apps[usize::try_from(self.random.below(2)).expect("0 or 1")];
        call(app).await.expect(expected);
        assert!(digest(&self.apps[0]) == before, "a call without effect changed the book");
    }

    async fn place(&mut self) {
        self.model.numbers += 1;
        let id = format!("{:x}-{}", self.random.below(1 << 40), self.model.numbers);
        let (is_buy, life) = (self.random.below(2) == 0, 1_000 + self.random.below(600_000));
        let cents = 400 + i64::try_from(self.random.below(40)).expect("small") + if is_buy { 0 } else { 20 };
        let quantity = 1 + self.random.below(20_000);
        let expires_at = self.now() + i64::try_from(life).expect("small");
        let request = json!({ "order_id": id, "owner": format!("o{}", self.random.below(5)),
            "side": if is_buy { "buy" } else { "sell" }, "price": decimal(cents.unsigned_abs(), 2),
            "quantity": decimal(quantity, 3), "expires_at": expires_at });
        self.app().post("/orderbooks/GRID/orders", request.clone()).await.expect(201);
        let place = self.model.next();
        self.model.placed[usize::from(is_buy)] += quantity;
        let order = ModelOrder { id, request, is_buy, cents, quantity, remaining: quantity, place, expires_at };
        self.model.live.push(order);
    }

    async fn cancel(&mut self) {
        let Some(at) = self.pick() else { return };
        let id = self.model.live[at].id.clone();
        self.app().delete(&format!("/orderbooks/GRID/orders/{id}")).await.expect(200);
        let order = self.model.live.remove(at);
        self.model.cancelled[usize::from(order.is_buy)] += order.remaining;
        self.model.ended.push(order);
    }

    async fn amend(&mut self) {
        let Some(at) = self.pick() else { return };
        let order = self.model.live[at].clone();
        let filled = order.quantity - order.remaining;
        let quantity = 1 + self.random.below(20_000);
        let moves = self.random.below(3) == 0;
        let cents = if moves { order.cents + 1 } else { order.cents };
        let path = format!("/orderbooks/GRID/orders/{}", order.id);
        let change = json!({ "quantity": decimal(quantity, 3), "price": decimal(cents.unsigned_abs(), 2) });
        if quantity <= filled {
            return self.without_effect(async |app| app.patch(&path, change).await, 422).await;
        }
        self.app().patch(&path, change).await.expect(200);
        let side = usize::from(order.is_buy);
        self.model.placed[side] = self.model.placed[side] + quantity - order.quantity;
        let place = if moves || quantity > order.quantity { self.model.next() } else { order.place };
        let changed = &mut self.model.live[at];
        (changed.cents, changed.quantity, changed.remaining, changed.place) =
            (cents, quantity, quantity - filled, place);
    }

    async fn fill(&mut self) {
        let bids: Vec<_> = self.model.live.iter().filter(|order| order.is_buy).cloned().collect();
        let asks: Vec<_> = self.model.live.iter().filter(|order| !order.is_buy).cloned().collect();
        let mut pairs = bids.iter().flat_map(|bid| asks.iter().map(move |ask| (bid, ask)));
        let Some((bid, ask)) = pairs.find(|(bid, ask)| bid.cents >= ask.cents) else { return };
        let most = bid.remaining.min(ask.remaining);
        let quantity = if self.random.below(2) == 0 { most } else { 1 + self.random.below(most) };
        self.model.numbers += 1;
        let trade = fill(
            &format!("t{}", self.model.numbers),
            &bid.id,
            &ask.id,
            &decimal(ask.cents.unsigned_abs(), 2),
            &decimal(quantity, 3),
        );
        let mut too_much = trade.clone();
        too_much["quantity"] = json!(decimal(most + 1, 3));
        self.without_effect(async |app| report(app, &[too_much]).await, 409).await;
        report(self.app(), std::slice::from_ref(&trade)).await.expect(200);
        self.without_effect(async |app| report(app, std::slice::from_ref(&trade)).await, 200).await;
        self.model.trades.push(trade);
        for id in [&bid.id, &ask.id] {
            let at = self.model.live.iter().position(|order| order.id == *id).expect("live");
            let order = &mut self.model.live[at];
            order.remaining -= quantity;
            self.model.filled[usize::from(order.is_buy)] += quantity;
            if order.remaining == 0 {
                let order = self.model.live.remove(at);
                self.model.ended.push(order);
            }
        }
    }

    async fn repeat(&mut self) {
        let live = self.pick().map(|at| self.model.live[at].clone());
        for order in live.into_iter().chain(self.model.ended.last().cloned()) {
            let request = order.request.clone();
            self.without_effect(async |app| app.post("/orderbooks/GRID/orders", request).await, 201).await;
            let mut other = order.request.clone();
            other["quantity"] = json!("77.777");
            self.without_effect(async |app| app.post("/orderbooks/GRID/orders", other).await, 409).await;
        }
    }

    async fn cancel_owner(&mut self) {
        let owner = format!("o{}", self.random.below(5));
        self.app().delete(&format!("/orderbooks/GRID/orders?owner={owner}")).await.expect(200);
        let (gone, live): (Vec<_>, Vec<_>) =
            self.model.live.drain(..).partition(|order| order.request["owner"] == owner.as_str());
        self.model.live = live;
        for order in gone {
            self.model.cancelled[usize::from(order.is_buy)] += order.remaining;
            self.model.ended.push(order);
        }
    }

    /// A snapshot of most orders, with other places.
    async fn replace(&mut self) {
        let mut live = std::mem::take(&mut self.model.live);
        for order in &live {
            self.model.cancelled[usize::from(order.is_buy)] += order.remaining;
        }
        live.retain(|_| self.random.below(4) > 0);
        live.sort_by_cached_key(|_| self.random.below(u64::MAX));
        for order in &mut live {
            order.quantity = order.remaining;
            order.request["quantity"] = json!(decimal(order.quantity, 3));
            order.request["price"] = json!(decimal(order.cents.unsigned_abs(), 2));
            order.place = self.model.next();
            self.model.placed[usize::from(order.is_buy)] += order.quantity;
        }
        let lines = ndjson(live.iter().map(|order| &order.request));
        self.app().send(Method::PUT, BOOK, &[NDJSON], lines).await.expect(200);
        self.model.live = live;
        self.copy = CopyOfBook::of(&view(&self.apps[0]).await);
    }

    fn pass_time(&mut self) {
        let by = Duration::from_millis(self.random.below(20_000));
        self.apps.iter().for_each(|app| app.clock().advance(by));
        let now = self.now();
        self.model.expire(now);
    }

    async fn follow(&mut self) {
        loop {
            let path = format!("/orderbooks/GRID/deltas?after={}", self.copy.sequence);
            let message = self.app().get(&path).await.expect(200).json();
            self.copy.apply(&message);
            if message["more"] == false {
                assert_eq!(message["checksum"].as_u64(), Some(self.copy.checksum()));
                return;
            }
        }
    }

    /// Compares the book with the model and with the client's copy.
    async fn compare(&mut self) {
        self.follow().await;
        let app = &self.apps[0];
        let book = view(app).await;
        for (name, side, is_buy) in [("bids", "buy", true), ("asks", "sell", false)] {
            assert_eq!(levels(&book, name), self.model.levels(is_buy), "{name}");
            assert_eq!(self.copy.levels(name), levels(&book, name), "{name}");
            assert_eq!(queue(app, side).await, self.model.queue(is_buy), "{side}");
        }
        let key = |name: &str| format!("orderbook:{{GRID}}:{name}");
        let list = |parts: &[&str]| app.redis().command::<Vec<String>>(parts);
        let ids: BTreeSet<String> = self.model.live.iter().map(|order| order.id.clone()).collect();
        assert_eq!(list(&["HKEYS", &key("orders")]).into_iter().collect::<BTreeSet<_>>(), ids);
        assert_eq!(list(&["ZRANGE", &key("expiry"), "0", "-1"]).into_iter().collect::<BTreeSet<_>>(), ids);
        for order in &self.model.live {
            let owner = key(&format!("owner:{}", order.request["owner"].as_str().expect("an owner")));
            assert!(app.redis().command::<Option<f64>>(&["ZSCORE", &owner, &order.id]).is_some(), "{}", order.id);
        }
        let owner = format!("o{}", book["sequence"].as_u64().expect("a sequence") % 5);
        let page = app.get(&format!("/orderbooks/GRID/orders?owner={owner}&limit=500")).await.expect(200).json();
        let items = page["items"].as_array().expect("items");
        let listed: BTreeSet<_> = items.iter().filter_map(|item| item["order_id"].as_str()).collect();
        let own = self.model.live.iter().filter(|order| order.request["owner"] == owner.as_str());
        assert_eq!(listed, own.map(|order| order.id.as_str()).collect(), "{owner}");
        let deltas: Vec<(String, Vec<String>)> = app.redis().command(&["XRANGE", &key("deltas"), "-", "+"]);
        let numbers: Vec<u64> =
            deltas.iter().map(|(id, _)| id.trim_end_matches("-0").parse().expect("a number")).collect();
        for (entries, pair) in deltas.windows(2).zip(numbers.windows(2)) {
            // A snapshot takes the numbers of its orders.
            let is_snapshot = entries[1].1[1] == "snapshot";
            assert!(
                pair[1] == pair[0] + 1 || (is_snapshot && pair[1] > pair[0]),
                "the sequence rises by one: {pair:?}"
            );
        }
        assert_eq!(numbers.last().copied(), book["sequence"].as_u64());
        for side in 0..2 {
            let resting: u64 = self
                .model
                .live
                .iter()
                .filter(|order| usize::from(order.is_buy) == side)
                .map(|order| order.remaining)
                .sum();
            let model = &self.model;
            assert_eq!(model.placed[side], resting + model.filled[side] + model.cancelled[side] + model.expired[side]);
        }
        let tape: Vec<(String, Vec<String>)> = app.redis().command(&["XRANGE", "tape:{GRID}", "-", "+"]);
        let traded: u64 =
            tape.iter().map(|(_, fields)| fields[7].replace('.', "").parse::<u64>().expect("a quantity")).sum();
        assert_eq!([traded, traded], self.model.filled);
        assert_eq!(tape.len(), self.model.trades.len());
    }
}

#[tokio::test]
async fn random_operations_leave_the_book_that_the_model_has() {
    const OPERATIONS: u32 = 2_000;
    let first = super::without_fence().await;
    let second = TestApp::builder().config("[orderbook]\nrequire_fence = false").beside(&first).spawn().await;
    super::create(&first, "GRID").await;
    let copy = CopyOfBook::of(&view(&first).await);
    let mut trial = Trial { apps: [first, second], model: Model::default(), random: Random(42), copy };
    for step in 0..OPERATIONS {
        match trial.random.below(100) {
            0..45 => trial.place().await,
            45..60 => trial.cancel().await,
            60..75 => trial.amend().await,
            75..88 => trial.fill().await,
            88..94 => trial.repeat().await,
            94 => trial.cancel_owner().await,
            95 => trial.replace().await,
            _ => trial.pass_time(),
        }
        if step % 50 == 0 {
            trial.compare().await;
        }
    }
    trial.compare().await;
    assert!(trial.model.trades.len() > 100 && trial.model.expired.iter().all(|expired| *expired > 0));
}
