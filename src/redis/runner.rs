//! Jobs that one replica does at a time.

use super::Redis;
use super::fault::RedisFault;
use super::key::Key;
use super::script::LuaScript;
use crate::clock::{Clock, UnixMillis};

static TAKE_TURN: LuaScript = LuaScript::new(
    "redis/take_turn.lua",
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/redis/take_turn.lua")),
);

/// A turn that a replica has taken: when it did so, or last reported progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn(UnixMillis);

impl Turn {
    /// The turn that a script of the job has kept until this time.
    pub const fn at_time(at: UnixMillis) -> Self {
        Self(at)
    }

    /// The value of the turn's key while no other replica has taken the turn since. A script that compares it rejects the
    /// writes of a replica that was paused for longer than its turn.
    pub const fn fence(self) -> UnixMillis {
        self.0
    }
}

impl Redis {
    /// Takes the turn of a periodic job. `last` is the key of the job's last turn. Returns `false` if a replica took the
    /// turn, or reported progress, within `interval_ms`.
    ///
    /// A turn is not a lock: if a round takes longer than the interval, another replica may begin the next one.
    ///
    /// # Errors
    /// A [`RedisFault`]; the turn may have been taken.
    pub async fn take_turn(&self, last: &Key, interval_ms: u64, clock: &Clock) -> Result<bool, RedisFault> {
        Ok(self.keep_turn(last, None, interval_ms, clock).await?.is_some())
    }

    /// Takes the turn of a job as [`Redis::take_turn`] does, or reports progress of the turn that is `held`. Returns
    /// `None` if another replica has the turn.
    ///
    /// # Errors
    /// A [`RedisFault`]; the turn may have been taken.
    pub async fn keep_turn(
        &self,
        last: &Key,
        held: Option<Turn>,
        interval_ms: u64,
        clock: &Clock,
    ) -> Result<Option<Turn>, RedisFault> {
        let held = held.map(|Turn(at)| at.to_string()).unwrap_or_default();
        let call = TAKE_TURN.write(&[last]).arg(interval_ms).arg(clock.redis_arg()).arg(held);
        self.call(call.returns(|at: Option<UnixMillis>| Ok(at.map(Turn)))).await
    }
}
