//! Which changes the record of an epoch permits.

use super::error::EpochError;
use super::model::{Epoch, EpochChange, EpochStatus, MAX_CLEARINGS};
use crate::clock::{MAX_TIMESTAMP, UnixMillis};
use crate::random;
use crate::tape::{Decimal, Symbol};

/// The shortest and the longest epoch, milliseconds.
pub(super) const LENGTHS: std::ops::RangeInclusive<i64> = 1_000..=86_400_000;

/// How far ahead of the clock an epoch may begin, milliseconds. A later time is usually in another unit.
const MAX_AHEAD: i64 = 7 * 86_400_000;

/// The largest number that every client can represent: 2^53 - 1.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// The epochs that a change meets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub current: Option<&'a Epoch>,
    /// The highest number ever used, if there is no current epoch.
    pub highest: u64,
    pub now: UnixMillis,
}

impl Known<'_> {
    fn last_number(self) -> u64 {
        self.current.map_or(self.highest, |current| current.epoch_number)
    }

    /// The earliest beginning of another epoch: the end of the current one, unless it was cancelled.
    fn free_from(self) -> Option<UnixMillis> {
        self.current.filter(|current| current.status != EpochStatus::Cancelled).map(|current| current.end)
    }
}

/// Rejects numbers and lists that a record cannot have.
///
/// # Errors
/// [`EpochError::Invalid`].
pub(super) fn validate(change: &EpochChange) -> Result<(), EpochError> {
    for (field, number, least) in [
        ("epoch_number", Some(change.epoch_number), 1),
        ("total_orders", change.total_orders, 0),
        ("matched_orders", change.matched_orders, 0),
    ] {
        if number.is_some_and(|number| !(least..=MAX_NUMBER).contains(&number)) {
            return Err(invalid(field, format!("must be between {least} and {MAX_NUMBER}")));
        }
    }
    // An id has the characters and the length of a symbol.
    if let Some(id) = &change.epoch_id {
        Symbol::try_from(id.clone()).map_err(|rule| invalid("epoch_id", rule))?;
    }
    let clearings = change.clearings.as_deref().unwrap_or_default();
    if clearings.len() > MAX_CLEARINGS {
        return Err(invalid(
            "clearings",
            format!("must have at most {MAX_CLEARINGS} entries, got {}", clearings.len()),
        ));
    }
    let zero = Decimal::default();
    if change.total_volume.is_some_and(|volume| volume < zero) {
        return Err(invalid("total_volume", "must not be negative".to_owned()));
    }
    for (at, clearing) in clearings.iter().enumerate() {
        if clearings.iter().take(at).any(|other| other.symbol == clearing.symbol) {
            return Err(invalid("clearings", format!("must not repeat the symbol `{}`", clearing.symbol)));
        }
        if clearing.volume < zero || clearing.matched_orders > MAX_NUMBER {
            let rule = format!("must have volumes and counts from 0, `{}` has another one", clearing.symbol);
            return Err(invalid("clearings", rule));
        }
    }
    Ok(())
}

fn invalid(field: &'static str, rule: String) -> EpochError {
    EpochError::Invalid { field, rule }
}

fn conflict<T>(rule: String) -> Result<T, EpochError> {
    Err(EpochError::Conflict(rule))
}

/// The epoch that a caller of `advance` gets: the open one, or the next one of `length` milliseconds. `None`: the open
/// epoch does not change.
///
/// # Errors
/// [`EpochError::Conflict`] if the open epoch has ended and was not cleared.
pub(super) fn advance(known: Known<'_>, length: i64, fence: Option<u64>) -> Result<Option<Epoch>, EpochError> {
    if let Some(open) = known.current.filter(|current| current.status.is_open()) {
        let (number, status) = (open.epoch_number, open.status.name());
        if open.end <= known.now {
            return conflict(format!("epoch {number} has ended and is `{status}`: clear or cancel it first"));
        }
        let begins = open.status == EpochStatus::Pending && open.start <= known.now;
        return Ok(begins.then(|| changed(Epoch { status: EpochStatus::Active, ..open.clone() }, fence)));
    }
    let start = known.free_from().map_or(known.now, |end| end.max(known.now));
    let status = if start > known.now { EpochStatus::Pending } else { EpochStatus::Active };
    created(known.last_number() + 1, None, [start, start + length], status, fence).map(Some)
}

/// A new epoch.
fn created(
    epoch_number: u64,
    id: Option<String>,
    [start, end]: [UnixMillis; 2],
    status: EpochStatus,
    fence: Option<u64>,
) -> Result<Epoch, EpochError> {
    if epoch_number > MAX_NUMBER {
        return conflict("there is no higher number for another epoch".to_owned());
    }
    Ok(Epoch {
        epoch_number,
        epoch_id: id.unwrap_or_else(unique_uuid),
        start,
        end,
        status,
        ended: None,
        clearing_price: None,
        total_volume: Decimal::default(),
        total_orders: 0,
        matched_orders: 0,
        clearings: Vec::new(),
        version: 1,
        fence,
    })
}

/// A UUID of version 8, whose bits the service defines.
fn unique_uuid() -> String {
    let digits = random::unique_text();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// The record without the token of its last change; `None` if it has none.
pub(super) fn without_token(current: Option<&Epoch>) -> Option<Epoch> {
    let current = current.filter(|current| current.fence.is_some())?;
    Some(Epoch { version: current.version + 1, fence: None, ..current.clone() })
}

fn changed(epoch: Epoch, fence: Option<u64>) -> Epoch {
    Epoch { version: epoch.version + 1, fence: fence.or(epoch.fence), ..epoch }
}

/// The record after `change`; `None` if it already says so. `stored` is the record of the number, if it exists.
///
/// # Errors
/// [`EpochError::Conflict`], [`EpochError::NotFound`], or [`EpochError::Invalid`] for a wrong period.
pub(super) fn apply(
    known: Known<'_>,
    stored: Option<&Epoch>,
    change: &EpochChange,
    fence: Option<u64>,
) -> Result<Option<Epoch>, EpochError> {
    let Some(stored) = stored else { return create(known, change, fence).map(Some) };
    let number = stored.epoch_number;
    let (from, to) = (stored.status, change.status);
    let (from_name, to_name) = (from.name(), to.name());
    let permitted = match (from, to) {
        (EpochStatus::Clearing, EpochStatus::Active) if fence <= stored.fence => {
            return conflict(format!(
                "epoch {number} returns from `clearing` to `active` only with a Fencing-Token above that of its clearing"
            ));
        }
        (EpochStatus::Pending, EpochStatus::Active | EpochStatus::Cancelled)
        | (EpochStatus::Active, EpochStatus::Clearing | EpochStatus::Cancelled)
        | (EpochStatus::Clearing, EpochStatus::Cleared | EpochStatus::Active)
        | (EpochStatus::Cleared, EpochStatus::Settled) => true,
        _ => from == to,
    };
    if !permitted {
        return conflict(format!("epoch {number} is `{from_name}` and cannot become `{to_name}`"));
    }
    let merged = merge(stored, change);
    if merged == *stored {
        return Ok(None);
    }
    if !from.is_open() && (Epoch { status: from, ..merged.clone() }) != *stored {
        return conflict(format!("epoch {number} is `{from_name}`: its results do not change"));
    }
    if merged.epoch_id != stored.epoch_id {
        return conflict(format!("epoch {number} has another epoch_id"));
    }
    if (merged.start, merged.end) != (stored.start, stored.end) {
        if from != EpochStatus::Pending {
            return conflict(format!("epoch {number} is `{from_name}`: its start and end do not change"));
        }
        check_period(merged.start, merged.end, known.now)?;
    }
    Ok(Some(changed(merged, fence)))
}

fn merge(stored: &Epoch, change: &EpochChange) -> Epoch {
    let EpochChange { epoch_id, start, end, clearing_price, total_volume, total_orders, matched_orders, .. } = change;
    Epoch {
        status: change.status,
        epoch_id: epoch_id.clone().unwrap_or_else(|| stored.epoch_id.clone()),
        start: start.unwrap_or(stored.start),
        end: end.unwrap_or(stored.end),
        clearing_price: clearing_price.or(stored.clearing_price),
        total_volume: total_volume.unwrap_or(stored.total_volume),
        total_orders: total_orders.unwrap_or(stored.total_orders),
        matched_orders: matched_orders.unwrap_or(stored.matched_orders),
        clearings: change.clearings.clone().unwrap_or_else(|| stored.clearings.clone()),
        ..stored.clone()
    }
}

fn create(known: Known<'_>, change: &EpochChange, fence: Option<u64>) -> Result<Epoch, EpochError> {
    let number = change.epoch_number;
    if number <= known.last_number() {
        return Err(EpochError::NotFound(number));
    }
    if let Some(open) = known.current.filter(|current| current.status.is_open()) {
        let (open, status) = (open.epoch_number, open.status.name());
        return conflict(format!("epoch {open} is `{status}`: clear or cancel it before epoch {number}"));
    }
    let required = |field, time: Option<UnixMillis>| {
        time.ok_or_else(|| invalid(field, format!("is required, because epoch {number} does not exist yet")))
    };
    let (start, end) = (required("start", change.start)?, required("end", change.end)?);
    check_period(start, end, known.now)?;
    if !matches!(change.status, EpochStatus::Pending | EpochStatus::Active) {
        return Err(invalid("status", "must be `pending` or `active` for a new epoch".to_owned()));
    }
    if known.free_from().is_some_and(|free| start < free) {
        return conflict(format!("epoch {number} must not begin before epoch {} ends", known.last_number()));
    }
    let new = created(number, change.epoch_id.clone(), [start, end], change.status, fence)?;
    Ok(Epoch { version: 1, ..merge(&new, change) })
}

fn check_period(start: UnixMillis, end: UnixMillis, now: UnixMillis) -> Result<(), EpochError> {
    if !(0..=MAX_TIMESTAMP).contains(&start) {
        return Err(invalid("start", format!("must be between 0 and {MAX_TIMESTAMP}, got {start}")));
    }
    if start > now.saturating_add(MAX_AHEAD) {
        let rule = format!("must be Unix milliseconds, at most 7 days ahead of the clock, got {start}");
        return Err(invalid("start", rule));
    }
    if !LENGTHS.contains(&end.saturating_sub(start)) {
        return Err(invalid(
            "end",
            format!("must be 1000 to 86400000 ms after start, got {}", end.saturating_sub(start)),
        ));
    }
    if end <= now {
        return Err(invalid("end", format!("must be in the future, got {end}")));
    }
    Ok(())
}
