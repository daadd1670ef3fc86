//! Calls to the Redis facade, as a feature makes them.

use std::cell::RefCell;

use gridtokenx_redis::redis::{Effect, Key, ListenerChange, LuaScript, News, Outcome, Redis, RedisFault, ScriptCall};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub async fn get(redis: &Redis, key: &str) -> Result<Option<String>, RedisFault> {
    redis.query(redis::cmd("GET").arg(redis.keys().key(key)), Effect::Read).await
}

pub async fn set(redis: &Redis, key: &str, value: &str) -> Result<(), RedisFault> {
    redis.query(redis::cmd("SET").arg(redis.keys().key(key)).arg(value), Effect::Write).await
}

pub async fn increment(redis: &Redis, key: &str) -> Result<i64, RedisFault> {
    redis.query(redis::cmd("INCR").arg(redis.keys().key(key)), Effect::Write).await
}

/// Follows one channel until `stop`: `None` when it is subscribed, then its messages.
pub async fn follow(
    redis: &Redis,
    channel: Key,
    stop: CancellationToken,
    heard: mpsc::UnboundedSender<Option<String>>,
) {
    let (change, mut changes) = mpsc::unbounded_channel();
    change.send(ListenerChange::Subscribe(channel.clone())).expect("the receiver exists");
    let deliver = |news: News<'_>| match news {
        News::Subscribed(channels) if channels.contains(&channel) => drop(heard.send(None)),
        News::Message { payload, .. } => drop(heard.send(Some(String::from_utf8_lossy(payload).into_owned()))),
        News::Subscribed(_) | News::Lost | News::Denied(_) | News::Probed => {}
    };
    redis.listen(&mut changes, stop, deliver).await;
}

/// Writes each key with one call, to compare the reported outcomes with the stored values.
#[derive(Default)]
pub struct Ledger(RefCell<Vec<Result<i64, Outcome>>>);

impl Ledger {
    /// Increments a new key once.
    pub async fn write(&self, redis: &Redis) -> Result<i64, RedisFault> {
        let number = {
            let mut entries = self.0.borrow_mut();
            entries.push(Err(Outcome::NotApplied));
            entries.len() - 1
        };
        let result = increment(redis, &format!("ledger-{number}")).await;
        self.0.borrow_mut()[number] = result.as_ref().copied().map_err(|fault| fault.outcome);
        result
    }

    /// Checks that acknowledged writes exist, that writes reported as not applied do not, and that no write was applied
    /// twice.
    ///
    /// Returns the number of acknowledged writes and the number with an unknown outcome.
    pub async fn verify(&self, redis: &Redis) -> (usize, usize) {
        let (mut acknowledged, mut unknown) = (0, 0);
        for (number, reported) in self.0.take().into_iter().enumerate() {
            let stored = get(redis, &format!("ledger-{number}")).await.expect("a read");
            match (reported, stored.as_deref()) {
                (Ok(1), Some("1")) => acknowledged += 1,
                (Err(Outcome::NotApplied), None) => {}
                (Err(Outcome::Unknown), None | Some("1")) => unknown += 1,
                (reported, stored) => panic!("write {number} returned {reported:?}, stored is {stored:?}"),
            }
        }
        (acknowledged, unknown)
    }
}

static STAMP: LuaScript = LuaScript::new(
    "test/stamp.lua",
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000) return {KEYS[1], redis.call('GET', KEYS[1])}",
);

/// A script that writes its argument and returns its key and the value that it reads back.
pub struct Stamp {
    key: Key,
    value: String,
}

impl Stamp {
    pub fn new(redis: &Redis, name: &str) -> Self {
        Self { key: redis.keys().key(name), value: format!("value of {name}") }
    }

    pub fn call(&self) -> ScriptCall<(String, String), (String, String)> {
        STAMP.write(&[&self.key]).arg(&self.value).returns(Ok)
    }

    /// Whether the reply belongs to this call.
    pub fn owns(&self, reply: &(String, String)) -> bool {
        reply.0 == self.key.as_str() && reply.1 == self.value
    }
}
