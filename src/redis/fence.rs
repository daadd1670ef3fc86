//! Fences keep a lock's former holder from writing.
//!
//! Every grant of a lock has a larger token than the grants before. The target of a write remembers the highest token
//! it has accepted, in a key called its fence, and rejects smaller tokens. Check and write are one script: the text of
//! `migrations-lua/redis/fence.lua` is wrapped around the script of the write. A call without a fence runs the bare
//! script.
//!
//! Source: Kleppmann, "How to do distributed locking", 2016 (fencing tokens).

use super::Redis;
use super::fault::{Effect, RedisFault};
use super::key::Key;
use super::script::{BadReply, Binding, LuaScript, ScriptCall};
use crate::config::fencing::FencingConfig;

/// A lock grant's number: 1 to [`FencingToken::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FencingToken(u64);

impl FencingToken {
    /// 2^53 - 1, the largest integer that Lua represents exactly. Tokens start near Redis's time in microseconds, so
    /// they fit until the year 2255.
    pub const MAX: u64 = (1 << 53) - 1;

    /// Returns `None` for a number that no lock grants.
    pub fn new(number: u64) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }
}

/// The check that a guarded call must pass: the target's fence and the token of the caller's grant.
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

    /// Adds the arguments of `fence.lua`, which follow those of the write.
    pub(super) fn bind(&self, call: &mut Binding) {
        call.arg(self.token.0).arg(self.life.outlive.as_millis()).arg(self.life.endless.as_millis());
    }
}

impl Redis {
    /// The fence `key` for a caller with `token`; `key` must share the target's cluster slot.
    pub fn fence(&self, key: Key, token: FencingToken) -> Fence {
        Fence { key, token, life: self.0.fencing }
    }

    /// Checks the token, and remembers it, before the first step of a write that takes several steps.
    ///
    /// The step that writes must pass the fence again, since a newer token may arrive in between.
    ///
    /// # Errors
    /// [`FaultKind::StaleFence`](super::FaultKind::StaleFence), or another [`RedisFault`]. Either way nothing was
    /// written.
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
