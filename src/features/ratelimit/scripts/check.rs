//! The script that decides checks.

use std::time::Duration;

use super::super::check::ResolvedCheck;
use super::super::keys::reservations;
use super::super::strategy::calendar::Window;
use super::super::strategy::rule::Algorithm;
use crate::lua;
use crate::redis::{BadReply, Effect, KeySpace, LuaScript, OldBinding, OldScriptCall};

/// Whether a decision takes the costs that it grants.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Mode<'a> {
    Take,
    Peek,
    /// Takes the cost of a single check, to be settled later.
    Reserve(&'a NewReservation),
}

/// A reservation to record when its cost is taken.
#[derive(Clone, Debug)]
pub(in super::super) struct NewReservation {
    pub secret: String,
    pub duration: Duration,
    /// How many reservations of a key may be open.
    pub max_open: usize,
}

/// Takes every cost or none.
#[derive(Debug)]
pub(in super::super) struct TakeCosts<'a> {
    pub checks: &'a [ResolvedCheck],
    pub mode: Mode<'a>,
    pub keys: &'a KeySpace,
    /// [`crate::clock::Clock::redis_arg`].
    pub now: String,
}

/// Decides as [`TakeCosts`] does, and changes nothing.
#[derive(Debug)]
pub(in super::super) struct PeekCosts<'a>(pub TakeCosts<'a>);

/// The script's reply.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum CheckOutcome {
    Decided {
        granted: bool,
        /// [`Algorithm::usage`] interprets the numbers of each check.
        numbers: Vec<u64>,
    },
    /// Nothing was decided: Redis's clock, in Unix microseconds, is outside a calendar window.
    OutsideWindow { now: u64 },
    /// Nothing was decided: the check at this index has overdue reservations.
    Overdue { at: usize },
    /// Nothing was reserved: the key has the maximum of open reservations.
    TooManyReservations,
}

impl Mode<'_> {
    pub(in super::super) const fn effect(self) -> Effect {
        match self {
            Self::Take | Self::Reserve(_) => Effect::Write,
            Self::Peek => Effect::Read,
        }
    }

    const fn argument(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Peek => "peek",
            Self::Reserve(_) => "reserve",
        }
    }
}

impl OldScriptCall for TakeCosts<'_> {
    type Raw = Vec<u64>;
    type Reply = CheckOutcome;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Write;

    const SCRIPT: &'static LuaScript = lua!("ratelimit/check.lua");

    fn keys(&self) -> usize {
        self.checks.len() + self.checks.iter().filter(|check| check.limiter.reservations.is_some()).count()
    }

    fn bind(&self, call: &mut OldBinding) {
        for check in self.checks {
            let state = check.limiter.pattern.state(self.keys, &check.key);
            call.key(&state);
            if check.limiter.reservations.is_some() {
                call.key(&reservations(&state));
            }
        }
        call.arg(&self.now).arg(self.mode.argument());
        if let Mode::Reserve(reservation) = self.mode {
            let duration = u64::try_from(reservation.duration.as_micros()).unwrap_or(u64::MAX);
            call.arg(&reservation.secret).arg(duration).arg(reservation.max_open);
        }
        for check in self.checks {
            bind_check(check, call);
        }
    }

    fn decode(mut raw: Self::Raw) -> Result<CheckOutcome, BadReply> {
        match raw.as_slice() {
            [0 | 1, ..] => {
                let granted = raw.remove(0) == 1;
                Ok(CheckOutcome::Decided { granted, numbers: raw })
            }
            [2, now] => Ok(CheckOutcome::OutsideWindow { now: *now }),
            [3, nth] => {
                let at = usize::try_from(*nth).unwrap_or_default().saturating_sub(1);
                Ok(CheckOutcome::Overdue { at })
            }
            [4, _] => Ok(CheckOutcome::TooManyReservations),
            _ => Err(BadReply::new(raw)),
        }
    }
}

impl OldScriptCall for PeekCosts<'_> {
    type Raw = Vec<u64>;
    type Reply = CheckOutcome;
    const KEYS: usize = 1;
    const EFFECT: Effect = Effect::Read;

    const SCRIPT: &'static LuaScript = TakeCosts::SCRIPT;

    fn keys(&self) -> usize {
        self.0.keys()
    }

    fn bind(&self, call: &mut OldBinding) {
        self.0.bind(call);
    }

    fn decode(raw: Self::Raw) -> Result<CheckOutcome, BadReply> {
        TakeCosts::decode(raw)
    }
}

/// Adds the flags of a check, its strategy and the strategy's numbers.
fn bind_check(check: &ResolvedCheck, call: &mut OldBinding) {
    let (cost, limiter) = (check.cost, &check.limiter);
    let (refuses_all, has_reservations) = (!limiter.shadow, limiter.reservations.is_some());
    call.arg(u8::from(refuses_all) + 2 * u8::from(has_reservations));
    match &limiter.rule.algorithm {
        Algorithm::Gcra(gcra) => {
            let (cost, capacity) = (gcra.time(cost), gcra.time(gcra.capacity));
            call.arg("flow").arg(cost.whole).arg(cost.parts).arg(gcra.denominator());
            call.arg(capacity.whole).arg(capacity.parts);
        }
        Algorithm::Fixed { limit, length } => {
            call.arg("fixed").arg(cost).arg(limit).arg(length);
        }
        Algorithm::Calendar { limit, calendar } => {
            let Window { start, end } = calendar.current();
            call.arg("calendar").arg(cost).arg(limit).arg(start).arg(end);
        }
        Algorithm::Sliding { limit, length } => {
            call.arg("sliding").arg(cost).arg(limit).arg(length);
        }
        Algorithm::Backoff { limit, window, factor_thousandths, max_penalty_ms, decay, max_level } => {
            call.arg("backoff").arg(cost).arg(limit).arg(window).arg(factor_thousandths);
            call.arg(max_penalty_ms).arg(decay).arg(max_level);
        }
    }
}
