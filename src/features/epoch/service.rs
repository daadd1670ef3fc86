//! Reads and replaces the records of epochs.

use redis::Cmd;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::error::EpochError;
use super::keys::EpochKeys;
use super::lifecycle::{self, Known, LENGTHS};
use super::model::{Epoch, EpochChange, USUAL_LENGTH};
use super::scripts::{self, Exchanged, Replacement};
use crate::clock::{Clock, UnixMillis};
use crate::http::conditional::{ETag, Preconditions};
use crate::http::reply::Page;
use crate::redis::{Effect, Fence, FencingToken, Redis};

/// How often a caller decides again after another one has changed the epoch. Each time one of them succeeds.
const ATTEMPTS: usize = 16;

#[derive(Debug)]
pub(super) struct EpochService {
    pub redis: Redis,
    pub keys: EpochKeys,
    clock: Clock,
}

/// An epoch as a reply shows it.
#[derive(Debug)]
pub(super) struct Shown {
    pub epoch: Epoch,
    pub etag: ETag,
    /// Whether this call created it.
    pub is_new: bool,
}

impl EpochService {
    pub(super) fn new(redis: &Redis, clock: &Clock) -> Self {
        Self { redis: redis.clone(), keys: EpochKeys::new(redis.keys()), clock: clock.clone() }
    }

    /// The epoch with a number, or the current one. One round trip.
    ///
    /// # Errors
    /// [`EpochError::NoCurrent`], [`EpochError::NotFound`], [`EpochError::NotARecord`], [`EpochError::Redis`].
    pub(super) async fn get(&self, number: Option<u64>) -> Result<Shown, EpochError> {
        let state = self.redis.call(scripts::read(&self.keys, number, &self.clock)).await?;
        let text = if number.is_some() { &state.record } else { &state.current };
        let missing = number.map_or(EpochError::NoCurrent, EpochError::NotFound);
        shown(text, state.now)?.ok_or(missing)
    }

    /// The open epoch, or the next one of `length_ms`, which begins now or at the end of the current one. Concurrent
    /// callers get one epoch. A `pending` epoch whose beginning has passed becomes `active`.
    ///
    /// # Errors
    /// [`EpochError::Conflict`] if the open epoch has ended; [`EpochError::Invalid`], [`EpochError::NotARecord`],
    /// [`EpochError::Contended`], [`EpochError::Redis`].
    pub(super) async fn advance(
        &self,
        length_ms: Option<u64>,
        token: Option<FencingToken>,
    ) -> Result<Shown, EpochError> {
        let length = i64::try_from(length_ms.unwrap_or(USUAL_LENGTH)).unwrap_or(i64::MAX);
        if !LENGTHS.contains(&length) {
            let rule = format!("must be between {} and {}, got {length}", LENGTHS.start(), LENGTHS.end());
            return Err(EpochError::Invalid { field: "length_ms", rule });
        }
        self.change(None, token, |state, current, _| {
            let known = Known { current, highest: state.highest, now: state.now };
            lifecycle::advance(known, length, token.map(FencingToken::number))
        })
        .await
    }

    /// Applies a change to an epoch, or creates it. An epoch that already is as the change says stays as it is.
    ///
    /// # Errors
    /// [`EpochError::PreconditionFailed`], those of [`lifecycle::apply`], and those of [`EpochService::get`].
    pub(super) async fn put(
        &self,
        change: &EpochChange,
        conditions: &Preconditions,
        token: Option<FencingToken>,
    ) -> Result<Shown, EpochError> {
        lifecycle::validate(change)?;
        self.change(Some(change.epoch_number), token, |state, current, stored| {
            let etag = shown(&state.record, state.now)?.map(|shown| shown.etag);
            if !conditions.allow_write(etag) {
                return Err(EpochError::PreconditionFailed);
            }
            let known = Known { current, highest: state.highest, now: state.now };
            lifecycle::apply(known, stored, change, token.map(FencingToken::number))
        })
        .await
    }

    /// Forgets the fencing tokens that the epochs have seen, first that in the record of the current epoch, the only one whose
    /// changes compare it.
    ///
    /// # Errors
    /// [`EpochError::NotARecord`], [`EpochError::Contended`], [`EpochError::Redis`].
    pub(super) async fn reset_fence(&self, by: &str) -> Result<(), EpochError> {
        match self.change(None, None, |_, current, _| Ok(lifecycle::without_token(current))).await {
            Ok(_) | Err(EpochError::NoCurrent) => Ok(self.redis.reset_fence(&self.keys.fence, by).await?),
            Err(error) => Err(error),
        }
    }

    /// Reads the records, lets `decide` choose the new record, and stores it unless another caller was faster: then
    /// again. `decide` sees the current epoch and the record of `number`; `None` leaves everything as it is.
    async fn change(
        &self,
        number: Option<u64>,
        token: Option<FencingToken>,
        decide: impl Fn(&Exchanged, Option<&Epoch>, Option<&Epoch>) -> Result<Option<Epoch>, EpochError>,
    ) -> Result<Shown, EpochError> {
        let fence: Option<Fence> = token.map(|token| self.redis.fence(self.keys.fence.clone(), token));
        let mut state = self.redis.call(scripts::begin(&self.keys, fence.as_ref(), number, &self.clock)).await?;
        for _ in 0..ATTEMPTS {
            let (current, stored) = (record(&state.current)?, record(&state.record)?);
            let Some(new) = decide(&state, current.as_ref(), stored.as_ref())? else {
                let text = if number.is_some() { &state.record } else { &state.current };
                return shown(text, state.now)?.ok_or(EpochError::NoCurrent);
            };
            let is_current = current.is_none_or(|current| current.epoch_number <= new.epoch_number);
            let text = serde_json::to_string(&new).map_err(|_| EpochError::NotARecord)?;
            // `advance` reads no record: that of a new number does not exist, and the current epoch is its own record.
            if number.is_none() && new.version > 1 {
                state.record.clone_from(&state.current);
            }
            let replacement =
                Replacement { number: new.epoch_number, record: &text, becomes_current: is_current, seen: &state };
            let exchanged =
                self.redis.call(scripts::replace(&self.keys, fence.as_ref(), &replacement, &self.clock)).await?;
            if exchanged.was_written {
                let shown = shown(&text, exchanged.now)?.ok_or(EpochError::NotARecord)?;
                return Ok(Shown { is_new: new.version == 1, ..shown });
            }
            state = exchanged;
            if number.is_none() {
                state.record.clear();
            }
        }
        Err(EpochError::Contended)
    }

    /// A page of epochs, newest first: those before the number `before`.
    ///
    /// # Errors
    /// [`EpochError::NotARecord`], [`EpochError::Redis`].
    pub(super) async fn list(&self, limit: usize, before: Option<u64>) -> Result<Page<Epoch>, EpochError> {
        let now = self.redis.call(scripts::read(&self.keys, None, &self.clock)).await?.now;
        let read_log = |command: &str| {
            let mut read = redis::cmd(command);
            read.arg(&self.keys.log);
            read
        };
        let mut numbers: Vec<u64> = self.redis.query(&read_log("HKEYS"), Effect::Read).await?;
        numbers.retain(|number| before.is_none_or(|before| *number < before));
        numbers.sort_unstable_by(|one, other| other.cmp(one));
        let is_last = numbers.len() <= limit;
        numbers.truncate(limit);
        if numbers.is_empty() {
            return Ok(Page::empty());
        }
        let mut read: Cmd = read_log("HMGET");
        read.arg(&numbers);
        let texts: Vec<Option<String>> = self.redis.query(&read, Effect::Read).await?;
        let mut items = Vec::with_capacity(numbers.len());
        for text in texts.into_iter().flatten() {
            items.extend(shown(&text, now)?.map(|shown| shown.epoch));
        }
        let next_cursor = numbers.last().filter(|_| !is_last).map(u64::to_string);
        Ok(Page { items, next_cursor })
    }
}

/// Reads a record; an empty text is none.
fn record(text: &str) -> Result<Option<Epoch>, EpochError> {
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|_| EpochError::NotARecord)
}

/// A record as a reply shows it. Its entity tag changes when its end passes, since `ended` does.
fn shown(text: &str, now: UnixMillis) -> Result<Option<Shown>, EpochError> {
    Ok(record(text)?.map(|epoch| {
        let ended = epoch.end <= now;
        let etag = ETag(xxh3_128_with_seed(text.as_bytes(), u64::from(ended)));
        Shown { epoch: Epoch { ended: Some(ended), fence: None, ..epoch }, etag, is_new: false }
    }))
}
