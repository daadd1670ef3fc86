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

use super::check::{Decision, Mode, ReserveReply, ResolvedCheck};
use super::engine::{MAX_ATTEMPTS, MAX_OPEN, move_to};
use super::error::LimitError;
use super::limiter::Limiter;
use super::model::{LimitKey, ReserveRequest};
use super::scripts::{self, NotDone};
use super::service::LimitService;
use super::strategy::{InvalidField, between};
use crate::http::auth::Principal;
use crate::random::token;
use crate::redis::{FaultKind, Outcome, RedisFault};

/// How many times the limit a settled cost may be.
const MAX_USED: u64 = 10;
/// Hexadecimal digits of a reservation's secret.
const SECRET_LENGTH: usize = 32;

/// The id that a client receives: a secret, the limiter's name and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReservationId {
    secret: String,
    pub limiter: Box<str>,
    pub key: LimitKey,
}

impl ReservationId {
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

impl LimitService {
    /// Resolves the check of a reservation, and the time for which it may stay open, in milliseconds.
    ///
    /// # Errors
    /// [`InvalidField`].
    pub(super) fn resolve_reservation(
        &self,
        caller: &Principal,
        request: ReserveRequest,
    ) -> Result<(ResolvedCheck, u64), InvalidField> {
        let ReserveRequest { limiter: name, key, cost, hold_ms } = request;
        let limiter = self.requested_limiter(caller, &name, &key)?;
        let check = self.resolve_key(&limiter, key, cost)?;
        let Some(max) = check.limiter.reservations_ms else {
            return Err(InvalidField::new("limiter", "must be a limiter that takes reservations of this key"));
        };
        Ok((check, between("hold_ms", hold_ms.unwrap_or(max), max)?))
    }

    /// Takes a cost if the limit allows it, to be settled within `hold_ms` milliseconds. One EVALSHA.
    ///
    /// No reservation is made if nothing was taken: after a refusal, if a shadow limiter is used up, or if an override
    /// allows the key.
    ///
    /// # Errors
    /// [`LimitError::TooManyReservations`], [`LimitError::Unavailable`], [`LimitError::Redis`]; if the outcome is
    /// unknown, there may be a reservation whose id is lost. It is returned at its end.
    pub(super) async fn reserve(&self, check: ResolvedCheck, hold_ms: u64) -> Result<ReserveReply, LimitError> {
        let id = ReservationId { secret: token()?, limiter: check.limiter.name.clone(), key: check.key.clone() };
        let mode = Mode::Reserve { secret: &id.secret, hold_ms, max_open: MAX_OPEN };
        let started = self.clock.elapsed();
        let decision = self.decide_one(&check, mode).await?;
        self.record(started, std::slice::from_ref(&decision));
        let is_taken = decision.allowed && !decision.shadow && check.forced.is_none();
        let reservation = is_taken.then(|| id.to_string());
        Ok(ReserveReply { decision, reservation, hold_ms: is_taken.then_some(hold_ms) })
    }

    /// Returns the unused part of a reservation, or takes what was used beyond it. The result is the limit's new state.
    ///
    /// The reservation is looked up in the state of the rule that is in force, then in the other state of its key: that of
    /// an exception, or the limiter's own from before the exception.
    ///
    /// # Errors
    /// [`LimitError::UnknownReservation`], also if the limiter no longer takes reservations;
    /// [`LimitError::UsedTooMuch`], [`LimitError::Unavailable`], [`LimitError::Redis`].
    pub(super) async fn settle(&self, id: &ReservationId, used: u64) -> Result<Decision, LimitError> {
        let limiters = self.limiters.load();
        let base = limiters.get(&id.limiter).ok_or(LimitError::UnknownReservation)?;
        let (limiter, _) = self.overrides.apply(base, &id.key);
        let other = if limiter.pattern == base.pattern { Arc::new(base.of_exceptions()) } else { Arc::clone(base) };
        for limiter in [limiter, other].iter().filter(|limiter| limiter.reservations_ms.is_some()) {
            if self.settle_within(None, limiter, &id.key, &id.secret, used).await? {
                return self.state_of(id).await.map_err(LimitError::applied);
            }
        }
        Err(LimitError::UnknownReservation)
    }

    /// The present state of the limit that a reservation, which may have been settled, belongs to.
    ///
    /// # Errors
    /// [`LimitError::UnknownReservation`] if there is no such limiter; [`LimitError::Unavailable`], [`LimitError::Redis`].
    pub(super) async fn state_of(&self, id: &ReservationId) -> Result<Decision, LimitError> {
        let limiters = self.limiters.load();
        let limiter = limiters.get(&id.limiter).ok_or(LimitError::UnknownReservation)?;
        let (limiter, _) = self.overrides.apply(limiter, &id.key);
        let cost = limiter.cost;
        let check = ResolvedCheck { limiter, key: id.key.clone(), cost, forced: None };
        self.decide_one(&check, Mode::Peek).await
    }

    /// Returns overdue reservations of a key and settles the one with this `secret`; an empty `secret` only returns overdue
    /// reservations. Returns whether anything was settled. Fails if Redis stays silent for longer than `patience`.
    ///
    /// # Errors
    /// [`LimitError::UsedTooMuch`], [`LimitError::Redis`].
    pub(super) async fn settle_within(
        &self,
        patience: Option<Duration>,
        limiter: &Limiter,
        key: &LimitKey,
        secret: &str,
        used: u64,
    ) -> Result<bool, LimitError> {
        let (state, max) = (limiter.pattern.state(self.redis.keys(), key), limiter.rule.limit.saturating_mul(MAX_USED));
        for _ in 0..MAX_ATTEMPTS {
            let call = scripts::settle(&state, &self.clock.redis_arg(), secret, limiter, used, max);
            match self.call(patience, call).await? {
                Ok(count) => return Ok(count > 0),
                Err(NotDone::OutsideWindow { now }) => move_to(&limiter.rule.algorithm, now)?,
                Err(NotDone::UsedTooMuch { max }) => return Err(LimitError::UsedTooMuch { used, max }),
                Err(NotDone::Overdue { .. } | NotDone::TooManyReservations) => break,
            }
        }
        Err(RedisFault::new(FaultKind::NotReady, Outcome::NotApplied).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_parsed_as_it_was_written() {
        let key = LimitKey::try_from("{user 7}:ü".to_owned()).expect("a key");
        let id = ReservationId { secret: "0f".repeat(16), limiter: "trading".into(), key };
        assert_eq!(ReservationId::parse(&id.to_string()), Some(id.clone()));
        let text = id.to_string();
        for bad in ["", ".", "abc", &text[1..], &text[..SECRET_LENGTH], &format!("{text}!"), &text.replace('.', "")] {
            assert_eq!(ReservationId::parse(bad), None, "{bad}");
        }
    }
}
