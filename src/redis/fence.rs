//! Fences keep a lock's former holder from writing.
//!
//! Every grant of a lock has a larger token than the grants before. The target of a write remembers the highest token
//! it has accepted, in a key called its fence, and rejects smaller tokens. Check and write are one script: the text of
//! `migrations-lua/redis/fence.lua` is wrapped around the script of the write. A call without a fence runs the bare
//! script.
//!
//! Source: Kleppmann, "How to do distributed locking", 2016 (fencing tokens).

use super::key::Key;
use crate::config::fencing::{ENDLESS, FencingConfig};

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

    pub const fn number(self) -> u64 {
        self.0
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
    pub(super) fn new(key: Key, token: FencingToken, life: FencingConfig) -> Self {
        Self { key, token, life }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// The arguments of `fence.lua`, which follow those of the write.
    pub(super) fn arguments(&self) -> [u64; 3] {
        [self.token.0, self.life.outlive.as_millis(), ENDLESS.as_millis()]
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
