//! The Redis keys of a tape. They share the cluster slot of their symbol.

use super::symbol::Symbol;
use super::window::WindowKeys;
use crate::redis::{Key, KeySpace, Segment};

#[derive(Clone, Debug)]
pub struct TapeKeys {
    /// `tape:{<symbol>}` - stream, one trade an entry. The fold trims it to the newest 100,000 entries, as far as it has
    /// processed the others. Expires 35 days after the last trade.
    pub tape: Key,
    /// `tape:{<symbol>}:ids:0` and `:ids:1` - hashes, trade id -> entry id and fingerprint. New ids go to the one that was
    /// begun later; after an hour, or 100,000 ids, the other one is emptied and takes its place. Each expires two hours
    /// after its last id.
    pub ids: [Key; 2],
    /// `tape:{<symbol>}:positions` - hash, reader -> the id of the last entry it has processed. Expires a day after the
    /// tape.
    pub positions: Key,
    /// `tape:{<symbol>}:fence` - integer: the highest fencing token seen. Expires `fencing.outlive` after the tape.
    pub fence: Key,
    pub window: WindowKeys,
}

/// The tape of a symbol, for a script in the symbol's slot that appends to it.
pub fn tape_of(space: &KeySpace, symbol: &Symbol) -> Key {
    key(space, symbol, "")
}

fn key(space: &KeySpace, symbol: &Symbol, kind: &str) -> Key {
    space.key(format_args!("tape:{{{}}}{kind}", Segment(symbol.as_str())))
}

impl TapeKeys {
    pub fn new(space: &KeySpace, symbol: &Symbol) -> Self {
        let key = |kind: &str| key(space, symbol, kind);
        Self {
            tape: key(""),
            ids: [key(":ids:0"), key(":ids:1")],
            positions: key(":positions"),
            fence: key(":fence"),
            window: WindowKeys::new(space, symbol.as_str()),
        }
    }
}
