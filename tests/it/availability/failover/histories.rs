//! The histories of a channel, a stream of events and the keys of a limiter while masters fail.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::load::{JSON, LIMITER, Load, ONE, PAUSE, pause};
use super::record::Told;
use crate::pubsub::loss::{Observer, PAGE, Position, Published};
use crate::pubsub::socket::price;
use crate::support::{Reply, TestApp};

/// A channel that keeps a log, and that nothing else uses.
const CHANNEL: &str = "/pubsub/market:events:HISTORY";
/// What the limiter admits for a key.
const LIMIT: u64 = 5;
/// A key is checked less often than the limit permits: the service remembers refusals, which would hide what a failover loses.
const CHECKS_PER_KEY: u64 = 3;
/// The time between two steps of a history, which leaves most of the load to the other callers.
const STEP: Duration = Duration::from_millis(20);
/// The reader has so many polls for the rest of the channel after the last message.
const LAST_POLLS: u32 = 500;

pub struct Histories {
    /// The number of the stream and of the keys.
    number: u64,
    /// The confirmed messages, in the order in which they were sent.
    messages: Published,
    /// A client that polls the channel.
    reader: Observer,
    is_published: bool,
    /// The confirmed events, in the order in which they were sent. Their versions are offsets.
    events: Published,
    /// The admitted calls of each key.
    admitted: BTreeMap<Limited, u64>,
}

/// A key of the limiter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Limited {
    is_durable: bool,
    key: String,
}

/// How many calls were admitted beyond the limit of their key.
fn excess(admitted: &BTreeMap<Limited, u64>, is_durable: bool) -> u64 {
    let of_kind = admitted.iter().filter(|(limited, _)| limited.is_durable == is_durable);
    of_kind.map(|(_, admitted)| admitted.saturating_sub(LIMIT)).sum()
}

impl Histories {
    pub async fn begin(app: &TestApp, number: u64) -> Self {
        let start = Position::of(&app.post(CHANNEL, price(number)).await.expect(201).json());
        Self {
            number,
            messages: Published::begin(start.clone()),
            reader: Observer::new("the reader of the channel".to_owned(), start),
            is_published: false,
            events: Published::begin(Position::default()),
            admitted: BTreeMap::new(),
        }
    }

    /// What the histories contradict. `events` has read the stream.
    fn wrong(&self, events: &Observer) -> Vec<String> {
        let mut wrong = self.messages.backwards();
        wrong.extend(self.events.backwards());
        wrong.extend(self.reader.verify(&self.messages).err());
        wrong.extend(events.verify(&self.events).err());
        if excess(&self.admitted, true) > 0 {
            wrong.push(format!("more than {LIMIT} calls were admitted: {:?}", self.admitted));
        }
        wrong
    }
}

impl Load<'_> {
    /// Publishes one message after the other, each until it was made.
    pub(super) async fn publish(&self) {
        while self.goes_on() {
            let number = self.number();
            let (reply, sent) = self.until_made(CHANNEL, &price(number)).await;
            self.histories().messages.add(Position::of(&reply.json()), number, sent);
            pause(STEP).await;
        }
        self.histories().is_published = true;
    }

    /// Appends one event after the other, each until it was made.
    pub(super) async fn append(&self) {
        let path = format!("/streams/history-{}/events", self.histories().number);
        while self.goes_on() {
            let number = self.number();
            let event = json!({ "type": "a", "id": format!("e{number}"), "data": { "number": number } });
            let (reply, sent) = self.until_made(&path, &json!({ "events": [event] })).await;
            let version = reply.json()["first_version"].as_u64().expect("a version");
            self.histories().events.add(Position::new("", version), number, sent);
            pause(STEP).await;
        }
    }

    /// Returns the response of success, and how often the request was sent.
    async fn until_made(&self, path: &str, body: &Value) -> (Reply, usize) {
        let mut sent = 1;
        loop {
            let (reply, told) = self.send(Method::POST, path, &[JSON, ONE], body).await;
            if told == Told::Made {
                return (reply, sent);
            }
            sent += 1;
            pause(PAUSE).await;
        }
    }

    /// Polls the channel until it has all messages.
    pub(super) async fn follow(&self) {
        let mut left = LAST_POLLS;
        loop {
            let path = {
                let histories = self.histories();
                let has_all = histories.reader.position == *histories.messages.end();
                if histories.is_published && (has_all || left == 0) {
                    return;
                }
                left -= u32::from(histories.is_published);
                let Position { epoch, offset } = &histories.reader.position;
                format!("{CHANNEL}/history?since={offset}&epoch={epoch}&limit={PAGE}")
            };
            let reply = self.app.get(&path).await;
            if reply.is(200) {
                self.histories().reader.page(&reply.json());
            }
            pause(STEP).await;
        }
    }

    /// Checks the limit of one key after the other.
    pub(super) async fn check(&self, is_durable: bool) {
        while self.goes_on() {
            let nth = self.checks[usize::from(is_durable)].fetch_add(1, Ordering::Relaxed) / CHECKS_PER_KEY;
            let key = format!("{}-{nth}-{is_durable}", self.histories().number);
            self.is_refused(&Limited { is_durable, key }).await;
            pause(STEP).await;
        }
    }

    /// Checks the limit of each key until a call is refused.
    async fn use_up_limits(&self) {
        let keys: Vec<Limited> = self.histories().admitted.keys().cloned().collect();
        for some in keys.chunks(32) {
            join_all(some.iter().map(async |limited| {
                while !self.is_refused(limited).await {
                    pause(PAUSE).await;
                }
            }))
            .await;
        }
    }

    /// Whether the limiter refuses a call.
    async fn is_refused(&self, limited: &Limited) -> bool {
        let headers = [JSON, ONE];
        let headers = if limited.is_durable { &headers[..] } else { &headers[..1] };
        let check = json!({ "limiter": LIMITER, "key": limited.key });
        let (reply, told) = self.send(Method::POST, "/ratelimit/check", headers, &check).await;
        let is_admitted = told == Told::Made && reply.json()["allowed"] == true;
        *self.histories().admitted.entry(limited.clone()).or_default() += u64::from(is_admitted);
        told == Told::Made && !is_admitted
    }

    /// Reads what is left, prints it, and returns what it contradicts.
    pub async fn check_histories(&self) -> Vec<String> {
        self.use_up_limits().await;
        let events = self.read_events().await;
        let histories = self.histories();
        println!(
            "  {} messages read, {} gaps announced; {} events read; {} keys of limits, {} calls admitted too many",
            histories.reader.received(),
            histories.reader.gaps(),
            events.received(),
            histories.admitted.len(),
            excess(&histories.admitted, false),
        );
        histories.wrong(&events)
    }

    /// Reads the stream from its beginning.
    async fn read_events(&self) -> Observer {
        let path = format!("/streams/history-{}/events?limit=1000", self.histories().number);
        let mut observer = Observer::new("the reader of the stream".to_owned(), Position::default());
        let mut cursor = String::new();
        loop {
            let page = self.app.get(&format!("{path}{cursor}")).await.expect(200).json();
            for event in page["items"].as_array().expect("items") {
                let version = event["version"].as_u64().expect("a version");
                observer.message(Position::new("", version), event["data"]["number"].as_u64().expect("a number"));
            }
            let Some(next) = page["next_cursor"].as_str() else { return observer };
            cursor = format!("&cursor={next}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages at these offsets, of which a client reads all, and events of which a client reads the first ones.
    fn wrong(offsets: &[u64], read: usize, admitted: u64) -> Vec<String> {
        let at = |offset| Position::new("a", offset);
        let (mut messages, mut events) = (Published::begin(at(0)), Published::begin(at(0)));
        let mut reader = Observer::new(String::new(), at(0));
        let mut events_read = Observer::new(String::new(), at(0));
        for (nth, &offset) in offsets.iter().enumerate() {
            messages.add(at(offset), offset, 1);
            events.add(at(offset), offset, 1);
            reader.message(at(offset), offset);
            if nth < read {
                events_read.message(at(offset), offset);
            }
        }
        let of = |is_durable, admitted| (Limited { is_durable, key: String::new() }, admitted);
        let admitted = BTreeMap::from([of(true, admitted), of(false, LIMIT + 3)]);
        assert_eq!(excess(&admitted, false), 3);
        Histories { number: 0, messages, reader, is_published: true, events, admitted }.wrong(&events_read)
    }

    #[test]
    fn lost_events_offsets_that_go_back_and_calls_beyond_a_limit_are_found() {
        assert!(wrong(&[1, 2, 3], 3, LIMIT).is_empty());
        assert_eq!(wrong(&[1, 2, 3], 2, LIMIT).len(), 1, "a lost event");
        assert_eq!(wrong(&[1, 2, 3], 3, LIMIT + 1).len(), 1, "a call beyond the limit");
        assert_eq!(wrong(&[1, 2, 2], 3, LIMIT).len(), 4, "a message and an event go back, and both readers see it");
    }
}
