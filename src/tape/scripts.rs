//! The scripts of the tape as typed calls. Their contracts are in `migrations-lua/tape/`.

use super::amount::Decimal;
use super::keys::TapeKeys;
use super::symbol::Reference;
use super::trade::{Entry, Side};
use super::window::{MinuteChange, WindowChange, WindowKeys};
use crate::clock::{Clock, UnixMillis};
use crate::lua_scripts;
use crate::redis::{BadReply, Fence, Key, ScriptCall, flag};

lua_scripts! {
    APPEND = "tape/append.lua";
    PENDING = "tape/pending.lua";
    ADVANCE = "tape/advance.lua";
    LIST = "tape/list.lua";
}

/// The processed entries that stay on a tape.
const KEPT: u64 = 100_000;

/// The most entries of a tape: then its fold is more than [`KEPT`] entries late, and no trade is accepted.
const LIMIT: u64 = 200_000;

/// How long a tape is kept after the last trade, milliseconds.
const LIFE: u64 = 35 * 86_400_000;

/// How long the id of a trade is remembered at least, milliseconds, unless [`IDS`] trades follow within this time.
const IDS_AGE: u64 = 3_600_000;
const IDS: u64 = 100_000;

/// Lists a symbol; those that were last listed more than `life` milliseconds before `now` are forgotten.
pub(super) fn list(symbols: &Key, symbol: &str, now: UnixMillis, life: i64) -> ScriptCall<i64, ()> {
    LIST.write(&[symbols]).arg(symbol).arg(now).arg(life).returns(|_| Ok(()))
}

/// A trade to append.
#[derive(Debug)]
pub struct NewTrade {
    pub id: Reference,
    /// Of what the caller said about the trade: the same trade has the same one.
    pub fingerprint: u64,
    /// `None`: the time of the append.
    pub timestamp: Option<UnixMillis>,
    pub price: Decimal,
    pub quantity: Decimal,
    pub side: Option<Side>,
    pub buyer: Option<Reference>,
    pub seller: Option<Reference>,
    pub buy_order: Option<Reference>,
    pub sell_order: Option<Reference>,
}

/// The outcome of an append.
#[derive(Debug, PartialEq, Eq)]
pub enum Appended {
    /// The entry id of each trade, and whether it was there before.
    All(Vec<(String, bool)>),
    /// The trade at this index has the id of another trade; nothing was appended.
    Reused(usize),
    /// The fold of the tape is late; nothing was appended.
    Full,
    /// The window has as many minutes as it may have; nothing was appended.
    Behind,
}

/// Appends trades with different ids to the tape of a symbol, all or none. With `most`, no new trade is accepted once the window
/// has so many minutes.
pub fn append(
    keys: &TapeKeys,
    fence: Option<&Fence>,
    trades: &[NewTrade],
    most: Option<u64>,
    clock: &Clock,
) -> ScriptCall<Vec<String>, Appended> {
    let text = |reference: &Option<Reference>| reference.as_ref().map(Reference::to_string).unwrap_or_default();
    let [ids, other_ids] = &keys.ids;
    let mut call = APPEND.guarded_write(fence, &[&keys.tape, ids, other_ids, &keys.window.index]);
    call = call.arg(clock.redis_arg()).arg(LIMIT).arg(IDS).arg(IDS_AGE).arg(LIFE);
    call = call.arg(most.map(|most| most.to_string()).unwrap_or_default());
    for trade in trades {
        call = call
            .arg(trade.id.as_str())
            .arg(format!("{:016x}", trade.fingerprint))
            .arg(trade.timestamp.map(|ms| ms.to_string()).unwrap_or_default())
            .arg(trade.price.to_string())
            .arg(trade.quantity.to_string())
            .arg(trade.side.map(Side::name).unwrap_or_default());
        for reference in [&trade.buyer, &trade.seller, &trade.buy_order, &trade.sell_order] {
            call = call.arg(text(reference));
        }
    }
    call.returns(appended)
}

#[expect(clippy::needless_pass_by_value, reason = "a decoder owns the reply")]
fn appended(reply: Vec<String>) -> Result<Appended, BadReply> {
    let parts: Vec<&str> = reply.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["appended", rest @ ..] => {
            let (pairs, _) = rest.as_chunks::<2>();
            Ok(Appended::All(pairs.iter().map(|[entry, known]| ((*entry).to_owned(), *known == "1")).collect()))
        }
        ["reused", index] => index.parse().map(Appended::Reused).map_err(|_| BadReply::new(&reply)),
        ["full"] => Ok(Appended::Full),
        ["behind"] => Ok(Appended::Behind),
        _ => Err(BadReply::new(&reply)),
    }
}

/// What is behind the position of a reader.
#[derive(Debug)]
pub struct Pending {
    /// The position; empty if the reader has none yet.
    pub position: String,
    pub entries: Vec<Entry>,
}

/// Reads at most `count` entries behind the position of `reader`.
pub fn pending(keys: &TapeKeys, reader: &str, count: usize) -> ScriptCall<(String, Vec<Entry>), Pending> {
    let call = PENDING.read(&[&keys.tape, &keys.positions]).arg(reader).arg(count);
    call.returns(|(position, entries)| Ok(Pending { position, entries }))
}

/// The fields that a reader stores in one hash, whose key shares the slot of the tape.
#[derive(Debug)]
pub struct Results {
    pub key: Key,
    /// How long the hash is kept from now, milliseconds.
    pub life: i64,
    pub fields: Vec<(String, String)>,
}

/// A step of a reader on the tape.
#[derive(Debug)]
pub struct Advance<'a> {
    pub reader: &'a str,
    /// The position before the step, and after it.
    pub expected: &'a str,
    pub position: &'a str,
    /// Whether the entries behind the new position are trimmed.
    pub trims: bool,
    pub window: &'a WindowChange,
    pub results: &'a [Results],
}

/// Moves the position of a reader, changes minutes of the window and stores results. Returns `false`, and changes nothing, if
/// another replica has moved the position, or a minute was changed or removed, or the state lost, since it was read.
pub fn advance(keys: &TapeKeys, step: &Advance<'_>, clock: &Clock) -> ScriptCall<i64, bool> {
    let Advance { reader, expected, position, trims, window, results } = *step;
    let WindowKeys { index, dirty, minutes, state, .. } = &keys.window;
    let own = [&keys.tape, &keys.positions, index, dirty, minutes, state];
    let all: Vec<&Key> = own.into_iter().chain(results.iter().map(|of| &of.key)).collect();
    let kept = if trims { KEPT.to_string() } else { String::new() };
    let mut call = ADVANCE.write(&all).arg(reader).arg(expected).arg(position).arg(kept).arg(LIFE);
    let known = window.known.map(|known| known.to_string()).unwrap_or_default();
    call = call.arg(clock.redis_arg()).arg(known).arg(window.generation.to_string()).arg(window.minutes.len());
    for MinuteChange { minute, expected, base, trades } in &window.minutes {
        let expected = expected.map(|rev| rev.to_string()).unwrap_or_default();
        call = call.arg(minute).arg(expected).arg(format!("{} {}", base.text(), trades.encode()));
    }
    for Results { life, fields, .. } in results {
        call = call.arg(life).arg(fields.len());
        for (field, value) in fields {
            call = call.arg(field).arg(value);
        }
    }
    call.returns(flag)
}
