//! The Redis keys of candles, and of the fold's turn. The tape has its own, see [`tape`](crate::tape).

use super::interval::{Period, Stored};
use crate::redis::{Key, KeySpace, Segment};
use crate::tape::{Symbol, TapeKeys};

#[derive(Clone, Debug)]
pub(super) struct TradeKeys {
    space: KeySpace,
}

impl TradeKeys {
    pub(super) fn new(space: &KeySpace) -> Self {
        Self { space: space.clone() }
    }

    pub(super) fn tape(&self, symbol: &Symbol) -> TapeKeys {
        TapeKeys::new(&self.space, symbol)
    }

    /// `candles:{<symbol>}:1m:<yyyymmdd>`, `:15m:<yyyymm>`, `:1d:<yyyy>` - hash, beginning of the candle in Unix ms ->
    /// [`Candle::encode`](crate::tape::Candle::encode). Expires [`Stored::retention`] after its period.
    pub(super) fn candles(&self, symbol: &Symbol, stored: Stored, period: &Period) -> Key {
        let symbol = Segment(symbol.as_str());
        self.space.key(format_args!("candles:{{{symbol}}}:{}:{}", stored.name(), period.name))
    }

    /// `market:fold_turn` - string, Unix milliseconds: when a replica last began to fold all tapes. Never expires.
    pub(super) fn turn(&self) -> Key {
        self.space.key("market:fold_turn")
    }
}
