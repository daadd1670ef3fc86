//! Questions to the Redis facade, as a feature would ask them.

use std::cell::RefCell;

use gridtokenx_redis::redis::{Effect, Key, LuaScript, Outcome, Redis, RedisFault, ScriptCall};

pub async fn get(redis: &Redis, key: &str) -> Result<Option<String>, RedisFault> {
    redis.query(redis::cmd("GET").arg(redis.keys().key(key)), Effect::Read).await
}

pub async fn set(redis: &Redis, key: &str, value: &str) -> Result<(), RedisFault> {
    redis.query(redis::cmd("SET").arg(redis.keys().key(key)).arg(value), Effect::Write).await
}

pub async fn increment(redis: &Redis, key: &str) -> Result<i64, RedisFault> {
    redis.query(redis::cmd("INCR").arg(redis.keys().key(key)), Effect::Write).await
}

/// Keys of which each is written by one call: what became of the call can be compared with what is stored.
#[derive(Default)]
pub struct Ledger(RefCell<Vec<Result<i64, Outcome>>>);

impl Ledger {
    /// Counts a new key up, once.
    pub async fn write(&self, redis: &Redis) -> Result<i64, RedisFault> {
        let number = {
            let mut entries = self.0.borrow_mut();
            entries.push(Err(Outcome::NotApplied));
            entries.len() - 1
        };
        let answer = increment(redis, &format!("ledger-{number}")).await;
        self.0.borrow_mut()[number] = answer.as_ref().copied().map_err(|fault| fault.outcome);
        answer
    }

    /// Acknowledged writes are there, those that were not applied are not, and none was applied twice.
    ///
    /// Returns how many were acknowledged, and of how many the outcome is unknown.
    pub async fn verify(&self, redis: &Redis) -> (usize, usize) {
        let (mut acknowledged, mut unknown) = (0, 0);
        for (number, told) in self.0.take().into_iter().enumerate() {
            let stored = get(redis, &format!("ledger-{number}")).await.expect("a read");
            match (told, stored.as_deref()) {
                (Ok(1), Some("1")) => acknowledged += 1,
                (Err(Outcome::NotApplied), None) => {}
                (Err(Outcome::Unknown), None | Some("1")) => unknown += 1,
                (told, stored) => panic!("write {number} was told {told:?} and is {stored:?}"),
            }
        }
        (acknowledged, unknown)
    }
}

static STAMP: LuaScript = LuaScript::new(
    "test/stamp.lua",
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000) return {KEYS[1], redis.call('GET', KEYS[1])}",
);

/// A script that writes its argument and answers its key and what it then reads there.
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

    /// Whether the answer belongs to this question.
    pub fn owns(&self, answer: &(String, String)) -> bool {
        answer.0 == self.key.as_str() && answer.1 == self.value
    }
}
