//! The window: the minutes of a symbol that are in Redis, each with the number of its last change.

use std::fmt;
use std::str::FromStr;

use redis::Value;

use super::minute::Minute;
use crate::clock::UnixMillis;
use crate::random::unique_text;
use crate::redis::{Effect, Key, KeySpace, Redis, RedisFault, Segment};

/// The keys of a symbol's window. They share the cluster slot of the symbol, and never expire before their content is
/// removed.
#[derive(Clone, Debug)]
pub struct WindowKeys {
    /// `trades_window:{<symbol>}` - sorted set, the minutes in the window, Unix ms, by themselves.
    pub index: Key,
    /// `trades_window:{<symbol>}:dirty` - sorted set, the minutes that no file has.
    pub dirty: Key,
    /// `trades_window:{<symbol>}:minutes` - hash, minute -> [`WindowMinute`].
    pub minutes: Key,
    /// `trades_window:{<symbol>}:state` - hash: `rev`, the last number of a change; `generation`, random; `since`, when the
    /// window began; `store`, the id of the directory that keeps the files of the symbol, absent without one; `dropped`, the
    /// latest minute that left Redis because a file has it. Expires 400 days after the last trade.
    pub state: Key,
    /// `trades_window:{<symbol>}:archived` - hash, minute -> `<version> <rev> <sha256> <store>` of its verified file. A field is
    /// removed with its minute.
    pub archived: Key,
    /// `trades_window:{<symbol>}:archiver` - integer: the turn of the replica that writes and removes minutes. Kept.
    pub archiver: Key,
}

impl WindowKeys {
    pub fn new(space: &KeySpace, symbol: &str) -> Self {
        let key = |kind: &str| space.key(format_args!("trades_window:{{{}}}{kind}", Segment(symbol)));
        Self {
            index: key(""),
            dirty: key(":dirty"),
            minutes: key(":minutes"),
            state: key(":state"),
            archived: key(":archived"),
            archiver: key(":archiver"),
        }
    }
}

/// Which state of a window a minute began in: random; another one after Redis has lost the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u64);

impl Generation {
    fn random() -> Self {
        unique_text().get(..16).unwrap_or_default().parse().unwrap_or_default()
    }
}

impl From<u64> for Generation {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Generation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        u64::from_str_radix(text, 16).map(Self).map_err(|_| ())
    }
}

/// What the trades of a minute in the window are relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Nothing: they are all trades of the minute. The minute has its own generation, so that it is not taken for a part of its
    /// file if the state of the window is lost alone.
    Whole(Generation),
    /// The file that counted when the minute came back; its version is not determined yet.
    Unset,
    /// This version of the minute's file.
    Version(u32),
}

impl Base {
    pub fn text(self) -> String {
        match self {
            Self::Whole(generation) => format!("-{generation}"),
            Self::Unset => "?".to_owned(),
            Self::Version(version) => version.to_string(),
        }
    }
}

/// A minute as the window has it: the number of its last change, its base and its trades, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowMinute {
    /// Rises with each change of the symbol's window, even if Redis has lost its data in between.
    pub rev: u64,
    pub base: Base,
    pub trades: Minute,
}

impl FromStr for WindowMinute {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, ' ');
        let mut next = || parts.next().ok_or(());
        let rev = next()?.parse().map_err(|_| ())?;
        let base = match next()? {
            "?" => Base::Unset,
            text => match text.strip_prefix('-') {
                Some(generation) => Base::Whole(generation.parse()?),
                None => Base::Version(text.parse().map_err(|_| ())?),
            },
        };
        Ok(Self { rev, base, trades: Minute::decode(next()?).ok_or(())? })
    }
}

/// A change of a minute by the fold.
#[derive(Debug)]
pub struct MinuteChange {
    pub minute: UnixMillis,
    /// The `rev` that the minute had when it was read; `None` if it was not in the window.
    pub expected: Option<u64>,
    pub base: Base,
    pub trades: Minute,
}

/// A change of a window by the fold.
#[derive(Debug, Default)]
pub struct WindowChange {
    /// The generation of the state when it was read; `None` if there was none.
    pub known: Option<Generation>,
    /// The generation of new minutes.
    pub generation: Generation,
    pub minutes: Vec<MinuteChange>,
}

/// The minutes of the window after new trades, which are given by minute. Without a directory of files, those before
/// `kept_from` do not enter.
///
/// # Errors
/// [`RedisFault`].
pub async fn changed(
    redis: &Redis,
    keys: &WindowKeys,
    new: Vec<(UnixMillis, Minute)>,
    kept_from: UnixMillis,
) -> Result<WindowChange, RedisFault> {
    if new.is_empty() {
        return Ok(WindowChange::default());
    }
    let mut read = redis::pipe();
    read.cmd("HMGET").arg(&keys.minutes).arg(new.iter().map(|(minute, _)| *minute).collect::<Vec<_>>());
    // After the minutes: one that was missing because it had been removed is then known as such.
    read.cmd("HMGET").arg(&keys.state).arg("dropped").arg("store").arg("generation");
    let replies = Value::Array(redis.query_together(&read, Effect::Read).await?);
    let (texts, [dropped, store, known]): (Vec<Option<String>>, [Option<String>; 3]) =
        redis::from_redis_value(replies).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
    let dropped: Option<UnixMillis> = dropped.and_then(|time| time.parse().ok());
    let known: Option<Generation> = known.and_then(|text| text.parse().ok());
    let generation = known.unwrap_or_else(Generation::random);
    let change = |((minute, new), text): ((UnixMillis, Minute), Option<String>)| {
        if let Some(known) = text.and_then(|text| text.parse::<WindowMinute>().ok()) {
            let WindowMinute { rev, base, mut trades } = known;
            trades.add(&new);
            return Some(MinuteChange { minute, expected: Some(rev), base, trades });
        }
        let base = if dropped >= Some(minute) { Base::Unset } else { Base::Whole(generation) };
        let is_kept = store.is_some() || minute >= kept_from;
        is_kept.then_some(MinuteChange { minute, expected: None, base, trades: new })
    };
    Ok(WindowChange { known, generation, minutes: new.into_iter().zip(texts).filter_map(change).collect() })
}
