//! Reservations: take a cost now, and settle it when the used cost is known.
//!
//! Settling returns the unused part as far as it still counts: to the window or the log entry that it was taken from, or
//! from a debt that has not drained yet. A cost beyond the reservation is taken as debt, whatever the limit says. An
//! abandoned reservation is returned in full, as of its end, by the next call for its key, so that no background process
//! is necessary.
//!
//! Settling counts once, however often it is sent: afterwards the reservation is unknown. A caller that needs the first
//! response again sends an `Idempotency-Key`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::check::ResolvedCheck;
use super::decision::Decision;
use super::error::{InvalidCheck, LimitError};
use super::keys;
use super::limiter::Limiter;
use super::model::{LimitKey, ReserveReply, ReserveRequest};
use super::overrides::OverrideEffect;
use super::scripts::{Mode, NewReservation, Settle, SettleOutcome};
use super::service::LimitService;
use super::strategy::rule::Algorithm;
use crate::random::token;
use crate::redis::{Effect, FaultKind, Outcome, RedisFault};

/// How many times the limit a settled cost may be.
const MAX_USED: u64 = 10;
/// Hexadecimal digits of a reservation's secret.
const SECRET_LENGTH: usize = 32;
/// At the boundary of a calendar window the script replies with the time and must be called again.
const MAX_ATTEMPTS: usize = 4;

/// The id that a client receives: a secret, the limiter's name and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReservationId {
    secret: String,
    limiter: Box<str>,
    key: LimitKey,
}

impl ReservationId {
    /// # Errors
    /// If the operating system has no randomness.
    fn random(limiter: &Limiter, key: &LimitKey) -> Result<Self, getrandom::Error> {
        Ok(Self { secret: token()?, limiter: limiter.name.clone(), key: key.clone() })
    }

    /// Parses the text that [`ReservationId::to_string`] writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (secret, of) = text.split_once('.')?;
        if secret.len() != SECRET_LENGTH || !secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let of = String::from_utf8(URL_SAFE_NO_PAD.decode(of).ok()?).ok()?;
        let (limiter, key) = of.split_once(' ')?;
        Some(Self { secret: secret.to_owned(), limiter: limiter.into(), key: LimitKey::try_from(key.to_owned()).ok()? })
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of limiters contain no spaces.
        let of = URL_SAFE_NO_PAD.encode(format!("{} {}", self.limiter, self.key.as_str()));
        write!(f, "{}.{of}", self.secret)
    }
}

/// A cost that was reserved.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    pub id: ReservationId,
    pub duration: Duration,
}

impl ReserveReply {
    pub(super) fn new(decision: &Decision, reservation: Option<&Reservation>) -> Self {
        let hold = reservation.map(|reservation| reservation.duration.as_millis());
        Self {
            decision: decision.into(),
            reservation: reservation.map(|reservation| reservation.id.to_string()),
            hold_ms: hold.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
        }
    }
}

impl LimitService {
    /// Resolves the check of a reservation, and the time for which it may stay open.
    ///
    /// # Errors
    /// [`InvalidCheck`] naming the field.
    pub(super) fn resolve_reservation(
        &self,
        request: ReserveRequest,
    ) -> Result<(ResolvedCheck, Duration), InvalidCheck> {
        let ReserveRequest { limiter: name, key, cost, hold_ms } = request;
        let check = self.resolve_key(self.requested_limiter(&name)?, key, cost)?;
        let Some(max) = check.limiter.reservations else {
            return Err(InvalidCheck::new("limiter", "must be a limiter that takes reservations of this key"));
        };
        let duration = hold_ms.map_or(max, Duration::from_millis);
        if duration.is_zero() || duration > max {
            let rule = format!("must be between 1 and {}, got {}", max.as_millis(), duration.as_millis());
            return Err(InvalidCheck::new("hold_ms", rule));
        }
        Ok((check, duration))
    }

    /// Takes a cost if the limit allows it, to be settled within `duration`. One EVALSHA.
    ///
    /// No reservation is made if nothing was taken: after a refusal, if a shadow limiter is used up, or if an override
    /// allows the key.
    ///
    /// # Errors
    /// [`LimitError::TooManyReservations`], [`LimitError::Unavailable`], [`LimitError::Redis`]; if the outcome is
    /// unknown, there may be a reservation whose id is lost. It is returned at its end.
    pub(super) async fn reserve(
        &self,
        check: ResolvedCheck,
        duration: Duration,
    ) -> Result<(Decision, Option<Reservation>), LimitError> {
        let id = ReservationId::random(&check.limiter, &check.key)?;
        let new = NewReservation { secret: id.secret.clone(), duration, max_open: self.open_reservations };
        let started = self.clock.elapsed();
        let (granted, mut decisions) = self.decide(std::slice::from_ref(&check), Mode::Reserve(&new)).await?;
        self.record(started, &decisions);
        let decision = decisions.pop().ok_or_else(|| RedisFault::new(FaultKind::Internal, Outcome::Unknown))?;
        let is_taken = granted && decision.allowed && !decision.shadow && check.forced.is_none();
        Ok((decision, is_taken.then_some(Reservation { id, duration })))
    }

    /// Returns the unused part of a reservation, or takes what was used beyond it. The result is the limit's new state.
    ///
    /// # Errors
    /// [`LimitError::UnknownReservation`], also if the limiter no longer takes reservations;
    /// [`LimitError::UsedTooMuch`], [`LimitError::Unavailable`], [`LimitError::Redis`].
    pub(super) async fn settle(&self, id: &ReservationId, used: u64) -> Result<Decision, LimitError> {
        let limiters = self.limiters.load();
        let limiter = limiters.get(&id.limiter).ok_or(LimitError::UnknownReservation)?;
        let limiter = match self.overrides.find(limiter, &id.key) {
            Some(OverrideEffect::Limit(own)) => own,
            _ => Arc::clone(limiter),
        };
        if limiter.reservations.is_none() {
            return Err(LimitError::UnknownReservation);
        }
        let max = limiter.rule.limit().saturating_mul(MAX_USED);
        if used > max {
            return Err(LimitError::UsedTooMuch { used, max });
        }
        if !self.settle_within(None, &limiter, &id.key, &id.secret, used).await? {
            return Err(LimitError::UnknownReservation);
        }
        let cost = limiter.cost;
        let peeked = self.peek(ResolvedCheck { limiter, key: id.key.clone(), cost, forced: None }).await;
        peeked.map_err(LimitError::applied)
    }

    /// Returns all overdue reservations of a key. Fails if Redis stays silent for longer than `patience`.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn return_overdue(
        &self,
        patience: Option<Duration>,
        check: &ResolvedCheck,
    ) -> Result<(), RedisFault> {
        self.settle_within(patience, &check.limiter, &check.key, "", 0).await.map(|_| ())
    }

    /// Whether anything was settled; an empty `secret` settles only overdue reservations.
    async fn settle_within(
        &self,
        patience: Option<Duration>,
        limiter: &Limiter,
        key: &LimitKey,
        secret: &str,
        used: u64,
    ) -> Result<bool, RedisFault> {
        let state = limiter.pattern.state(self.redis.keys(), key);
        let reservations = keys::reservations(&state);
        let algorithm = &limiter.rule.algorithm;
        for _ in 0..MAX_ATTEMPTS {
            let now = self.clock.redis_arg();
            let call = Settle { state: &state, reservations: &reservations, now, secret, algorithm, used };
            match self.call(patience, &call).await? {
                SettleOutcome::Done { count } => return Ok(count > 0),
                SettleOutcome::OutsideWindow { now } => {
                    if let Algorithm::Calendar { calendar, .. } = algorithm {
                        calendar.move_to(now).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
                    }
                }
            }
        }
        Err(RedisFault::new(FaultKind::NotReady, Outcome::NotApplied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_what_was_reserved() {
        let key = LimitKey::try_from("{user 7}:ü".to_owned()).expect("a key");
        let id = ReservationId { secret: "0f".repeat(16), limiter: "trading".into(), key };
        assert_eq!(ReservationId::parse(&id.to_string()), Some(id.clone()));
        let text = id.to_string();
        for bad in ["", ".", "abc", &text[1..], &text[..SECRET_LENGTH], &format!("{text}!"), &text.replace('.', "")] {
            assert_eq!(ReservationId::parse(bad), None, "{bad}");
        }
    }
}
