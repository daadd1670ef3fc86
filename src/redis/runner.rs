//! Periodic jobs of which one replica runs each round.

use super::Redis;
use super::fault::RedisFault;
use super::key::Key;
use super::script::{LuaScript, flag};
use crate::clock::Clock;

static TAKE_TURN: LuaScript = LuaScript::new(
    "redis/take_turn.lua",
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/redis/take_turn.lua")),
);

impl Redis {
    /// Takes the turn of a periodic job, or reports its progress. `last` is the key of the job's last turn. Returns `false`
    /// if a replica took the turn, or reported progress, within `interval_ms`.
    ///
    /// A turn is not a lock: if a round takes longer than the interval, another replica may begin the next one.
    ///
    /// # Errors
    /// A [`RedisFault`]; the turn may have been taken.
    pub async fn take_turn(&self, last: &Key, interval_ms: u64, clock: &Clock) -> Result<bool, RedisFault> {
        self.call(TAKE_TURN.write(&[last]).arg(interval_ms).arg(clock.redis_arg()).returns(flag)).await
    }
}
