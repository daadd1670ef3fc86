//! Passing a fence: creating one for a client's token, checking it before a write of several steps, and resetting it.

use super::Redis;
use super::fault::RedisFault;
use super::fence::{Fence, FencingToken};
use super::key::Key;
use super::script::LuaScript;

impl Redis {
    /// The fence `key` for a caller with `token`; `key` must share the target's cluster slot.
    pub fn fence(&self, key: Key, token: FencingToken) -> Fence {
        Fence::new(key, token, self.0.fencing)
    }

    /// Checks the token, and remembers it, before the first step of a write that takes several steps.
    ///
    /// The step that writes must pass the fence again, since a newer token may arrive in between.
    ///
    /// # Errors
    /// [`FaultKind::StaleFence`](super::FaultKind::StaleFence),
    /// [`FaultKind::AheadFence`](super::FaultKind::AheadFence), or another [`RedisFault`]. Either way nothing was
    /// written.
    pub async fn pass(&self, target: &Key, fence: &Fence) -> Result<(), RedisFault> {
        self.call(PASS.guarded_write(Some(fence), &[target]).returns(|()| Ok(())))
            .await
            .map_err(RedisFault::not_applied)
    }

    /// Forgets the tokens that the target of the fence `key` has seen, and writes an audit record; `by` is the client's
    /// name. O(1).
    ///
    /// # Errors
    /// A [`RedisFault`] whose outcome says whether the fence may be reset.
    pub async fn reset_fence(&self, key: &Key, by: &str) -> Result<(), RedisFault> {
        let highest: String = self.call(RESET.write(&[key]).returns(Ok)).await?;
        tracing::warn!(target: "audit", fence = key.as_str(), by, highest, "fence reset");
        Ok(())
    }
}

static RESET: LuaScript = LuaScript::new(
    "redis/reset_fence.lua",
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/redis/reset_fence.lua")),
);

/// A guarded write that writes nothing.
static PASS: LuaScript = LuaScript::new("redis/fence.lua", "");
