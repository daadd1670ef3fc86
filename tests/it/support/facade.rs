//! Questions to the Redis facade, as a feature would ask them.

use gridtokenx_redis::redis::{BadReply, Binding, Effect, Key, LuaScript, Redis, RedisFault, ScriptCall};

pub async fn get(redis: &Redis, key: &str) -> Result<Option<String>, RedisFault> {
    redis.query(redis::cmd("GET").arg(redis.keys().key(key)), Effect::Read).await
}

pub async fn set(redis: &Redis, key: &str, value: &str) -> Result<(), RedisFault> {
    redis.query(redis::cmd("SET").arg(redis.keys().key(key)).arg(value), Effect::Write).await
}

pub async fn increment(redis: &Redis, key: &str) -> Result<i64, RedisFault> {
    redis.query(redis::cmd("INCR").arg(redis.keys().key(key)), Effect::Write).await
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

    /// Whether the answer belongs to this question.
    pub fn owns(&self, answer: &(String, String)) -> bool {
        answer.0 == self.key.as_str() && answer.1 == self.value
    }
}

impl ScriptCall for Stamp {
    type Raw = (String, String);
    type Reply = (String, String);
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    fn script() -> &'static LuaScript {
        &STAMP
    }

    fn bind(&self, call: &mut Binding) {
        call.key(&self.key).arg(&self.value);
    }

    fn decode(raw: Self::Raw) -> Result<Self::Reply, BadReply> {
        Ok(raw)
    }
}
