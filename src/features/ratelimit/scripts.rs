//! The scripts of rate limits as typed calls; their contracts are in `migrations-lua/ratelimit/`.
//!
//! The argument `now` is [`crate::clock::Clock::redis_arg`].

use super::check::{Mode, ResolvedCheck};
use super::error::LimitError;
use super::keys::reservations;
use super::limiter::Limiter;
use super::model::LimitKey;
use super::strategy::rule::{Algorithm, Rule};
use crate::clock::UnixMillis;
use crate::lua_scripts;
use crate::redis::{BadReply, Binding, Key, KeySpace, ScriptCall};

lua_scripts! {
    CHECK = "ratelimit/check.lua";
    SET_OVERRIDE = "ratelimit/set_override.lua";
    READ_OVERRIDES = "ratelimit/read_overrides.lua";
    INDEX_KEYS = "ratelimit/index_keys.lua";
    SETTLE = "ratelimit/settle.lua";
}

/// Why a script did nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// Redis's clock, in Unix microseconds, is outside a calendar window.
    OutsideWindow { now: u64 },
    /// The check at this index has overdue reservations.
    Overdue { at: usize },
    /// The key has the maximum of open reservations.
    TooManyReservations,
    /// At most `max` of a reservation can be settled.
    UsedTooMuch { max: u64 },
}

/// Takes every cost or none, or peeks. Returns 1 if all costs may be taken or else 0, and the numbers of each check, which
/// [`Rule::usage`] interprets.
pub(super) fn check(
    checks: &[ResolvedCheck],
    mode: Mode<'_>,
    keys: &KeySpace,
    now: &str,
) -> ScriptCall<Vec<u64>, Result<Vec<u64>, NotDone>> {
    let mut names = Vec::with_capacity(checks.len());
    for check in checks {
        let state = check.limiter.pattern.state(keys, &check.key);
        let reservations = check.limiter.reservations_ms.map(|_| reservations(&state));
        names.push(state);
        names.extend(reservations);
    }
    let names: Vec<&Key> = names.iter().collect();
    let mut call = match mode {
        Mode::Take => CHECK.write(&names).arg(now).arg("take"),
        Mode::Peek => CHECK.read(&names).arg(now).arg("peek"),
        Mode::Reserve { secret, hold_ms, max_open } => {
            CHECK.write(&names).arg(now).arg("reserve").arg(secret).arg(hold_ms * 1_000).arg(max_open)
        }
    };
    for ResolvedCheck { limiter, cost, .. } in checks {
        let (refuses_all, has_reservations) = (!limiter.shadow, limiter.reservations_ms.is_some());
        call = call.arg(u8::from(refuses_all) + 2 * u8::from(has_reservations) + 4 * u8::from(limiter.is_inline));
        if let Some(longest_ms) = limiter.reservations_ms {
            call = call.arg(longest_ms * 1_000);
        }
        call = bind_numbers(call, &limiter.rule, *cost);
    }
    call.returns(|numbers| match numbers.as_slice() {
        [0 | 1, ..] => Ok(Ok(numbers)),
        [2, now] => Ok(Err(NotDone::OutsideWindow { now: *now })),
        [3, nth] => Ok(Err(NotDone::Overdue { at: usize::try_from(*nth).unwrap_or_default().saturating_sub(1) })),
        [4, _] => Ok(Err(NotDone::TooManyReservations)),
        _ => Err(BadReply::new(numbers)),
    })
}

/// Adds a check's strategy and the strategy's numbers.
fn bind_numbers(call: Binding, rule: &Rule, cost: u64) -> Binding {
    match &rule.algorithm {
        Algorithm::Gcra(gcra) => {
            let (cost, capacity) = (gcra.split(gcra.time(cost)), gcra.split(gcra.time(gcra.capacity)));
            let call = call.arg("flow").arg(cost).arg(gcra.denominator).arg(capacity);
            call.arg(gcra.numerator).arg(gcra.capacity)
        }
        Algorithm::Fixed { length } => call.arg("fixed").arg(cost).arg(rule.limit).arg(length),
        Algorithm::Calendar(calendar) => {
            let window = calendar.current();
            call.arg("calendar").arg(cost).arg(rule.limit).arg(window.start).arg(window.end)
        }
        Algorithm::Sliding { length } => call.arg("sliding").arg(cost).arg(rule.limit).arg(length),
        Algorithm::Backoff { window, factor_thousandths, max_penalty_ms, decay, max_level } => {
            let call = call.arg("backoff").arg(cost).arg(rule.limit).arg(window).arg(factor_thousandths);
            call.arg(max_penalty_ms).arg(decay).arg(max_level)
        }
    }
}

/// Returns all overdue reservations of a state, and settles the one with this `secret`, of which `used` was used: at most
/// `max`, or what was reserved. An empty `secret` returns overdue reservations only. The reply is the number of reservations
/// that were settled.
pub(super) fn settle(
    state: &Key,
    now: &str,
    secret: &str,
    limiter: &Limiter,
    used: u64,
    max: u64,
) -> ScriptCall<(u8, u64), Result<u64, NotDone>> {
    let hold_ms = limiter.reservations_ms.unwrap_or_default();
    let call = SETTLE.write(&[state, &reservations(state)]).arg(now).arg(secret);
    let call = call.arg(hold_ms * 1_000).arg(used).arg(max);
    let call = match &limiter.rule.algorithm {
        Algorithm::Gcra(gcra) => {
            let call = call.arg("flow").arg(gcra.split(gcra.time(used))).arg(gcra.denominator);
            call.arg(gcra.numerator).arg(gcra.capacity)
        }
        Algorithm::Fixed { length } => call.arg("fixed").arg(length),
        Algorithm::Calendar(calendar) => {
            let window = calendar.current();
            call.arg("calendar").arg(window.start).arg(window.end)
        }
        // Unreachable for a back-off, which takes no reservations.
        Algorithm::Sliding { length } | Algorithm::Backoff { window: length, .. } => call.arg("sliding").arg(length),
    };
    call.returns(|raw| match raw {
        (0 | 1, count) => Ok(Ok(count)),
        (2, now) => Ok(Err(NotDone::OutsideWindow { now })),
        (3, max) => Ok(Err(NotDone::UsedTooMuch { max })),
        other => Err(BadReply::new(other)),
    })
}

/// The most overrides of a deployment: every replica keeps all of them in memory, and reads all of them after a change.
const MAX_OVERRIDES: usize = 10_000;

/// Writes the override of the field `<limiter> <key>` as JSON; an empty text deletes it. An empty field only changes the
/// version. The reply is the end of the override; an override without `ttl_ms` has none.
pub(super) fn set_override(
    overrides: &Key,
    now: &str,
    field: &str,
    stored: &str,
    ttl_ms: Option<u64>,
) -> ScriptCall<(u8, UnixMillis), Result<Option<UnixMillis>, LimitError>> {
    let ttl_ms = ttl_ms.unwrap_or_default();
    let call = SET_OVERRIDE.write(&[overrides]).arg(now).arg(field).arg(stored).arg(ttl_ms).arg(MAX_OVERRIDES);
    call.returns(|raw| match raw {
        (1, ends) => Ok(Ok((ends > 0).then_some(ends))),
        (0, _) => Ok(Err(LimitError::TooManyOverrides { max: MAX_OVERRIDES })),
        other => Err(BadReply::new(other)),
    })
}

/// All overrides at one time.
#[derive(Debug)]
pub(super) struct OverrideRows {
    /// Unix milliseconds of Redis's clock.
    pub now: UnixMillis,
    /// The version of the last change; empty if there was none.
    pub version: String,
    /// The field `<limiter> <key>` of each override, and its value `<end> <JSON>`: the end in Unix milliseconds of Redis's
    /// clock, or 0 without one.
    pub rows: Vec<(String, String)>,
}

pub(super) fn read_overrides(overrides: &Key, now: &str) -> ScriptCall<Vec<String>, OverrideRows> {
    READ_OVERRIDES.read(&[overrides]).arg(now).returns(|raw| {
        let mut texts = raw.into_iter();
        let now = texts.next().unwrap_or_default();
        let now = now.parse().map_err(|_| BadReply::new(now))?;
        let mut all = OverrideRows { now, version: String::new(), rows: Vec::new() };
        while let (Some(field), Some(value)) = (texts.next(), texts.next()) {
            if field.is_empty() {
                all.version = value;
            } else {
                all.rows.push((field, value));
            }
        }
        Ok(all)
    })
}

/// Adds keys to a limiter's index of at most `max` keys, and resets its TTL. Returns the number of keys in the index.
pub(super) fn index_keys(index: &Key, max: usize, ttl_ms: u64, keys: &[&LimitKey]) -> ScriptCall<u64, u64> {
    let call = INDEX_KEYS.write(&[index]).arg(max).arg(ttl_ms);
    keys.iter().fold(call, |call, key| call.arg(key.as_str())).returns(Ok)
}
