//! Fences: what keeps a lock's former holder from writing.
//!
//! Every grant of a lock has a larger token than the ones before. A target of writes remembers the highest token it has
//! seen in a key of its own, its fence, and refuses smaller ones. Check and write are one script: the text of
//! `migrations-lua/redis/fence.lua` is put around the write's own, so a call without a fence runs what it always ran.
//!
//! Source: Kleppmann, "How to do distributed locking", 2016 (fencing tokens).

use super::Redis;
use super::fault::{Effect, RedisFault};
use super::key::Key;
use super::script::{BadReply, Binding, LuaScript, ScriptCall};
use crate::config::fencing::FencingConfig;

/// The number of a lock's grant: 1 to [`FencingToken::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FencingToken(u64);

impl FencingToken {
    /// 2^53 - 1: up to here Lua's numbers are exact. Tokens begin near Redis's time in microseconds, so the year 2255
    /// is the last one that fits.
    pub const MAX: u64 = (1 << 53) - 1;

    /// `None`: no lock grants this number.
    pub fn new(number: u64) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }
}

/// What a call has to pass: the target's fence, and the token of the caller's grant.
#[derive(Clone, Debug)]
pub struct Fence {
    key: Key,
    token: FencingToken,
    life: FencingConfig,
}

impl Fence {
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Adds the arguments of `fence.lua`, which follow the write's own.
    pub(super) fn bind(&self, call: &mut Binding) {
        call.arg(self.token.0).arg(self.life.outlive.as_millis()).arg(self.life.endless.as_millis());
    }
}

impl Redis {
    /// The fence `key`, as a caller with `token` has to pass it; `key` shares the slot of the target.
    pub fn fence(&self, key: Key, token: FencingToken) -> Fence {
        Fence { key, token, life: self.0.fencing }
    }

    /// Lets a fence judge and remember its token before a write of several steps takes the first one.
    ///
    /// The step that writes has to pass the fence again: a newer token may come in between.
    ///
    /// # Errors
    /// [`FaultKind::StaleFence`](super::FaultKind::StaleFence), or another [`RedisFault`]; nothing was written either way.
    pub async fn pass(&self, target: &Key, fence: &Fence) -> Result<(), RedisFault> {
        self.call(&Pass { target, fence }).await.map_err(RedisFault::not_applied)
    }
}

/// A guarded write that writes nothing.
static PASS: LuaScript = LuaScript::new("redis/fence.lua", "");

struct Pass<'a> {
    target: &'a Key,
    fence: &'a Fence,
}

impl ScriptCall for Pass<'_> {
    type Raw = ();
    type Reply = ();
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = &PASS;

    fn fence(&self) -> Option<&Fence> {
        Some(self.fence)
    }

    fn bind(&self, call: &mut Binding) {
        call.key(self.target);
    }

    fn decode((): ()) -> Result<(), BadReply> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_number_that_lua_keeps_exactly() {
        for good in [1, 1_795_250_253_460_884, FencingToken::MAX] {
            assert_eq!(FencingToken::new(good), Some(FencingToken(good)));
        }
        for bad in [0, FencingToken::MAX + 1, u64::MAX] {
            assert_eq!(FencingToken::new(bad), None, "{bad}");
        }
    }
}
