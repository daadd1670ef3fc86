//! Reservations: a cost is taken now, and settled when it is known what was used.
//!
//! What was not used is given back as far as it still counts: to the window or the entry of the log that it was taken
//! from, or from a debt that is not gone yet. What was used beyond it is taken whatever the limit says, as debt. A
//! reservation that nobody settles is given back in full, as of its end: whoever next asks about the key does it, so that
//! no process has to live for it.
//!
//! Settling counts once, however often it is sent: a reservation that is settled or past its time is unknown. Who wants
//! the first answer again sends an `Idempotency-Key`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::asking::Ask;
use super::deciding::Mode;
use super::decision::Decision;
use super::error::{BadAsk, LimitError};
use super::exceptions::Verdict;
use super::keys;
use super::limiter::Limiter;
use super::model::{LimitKey, ReserveRequest};
use super::rule::Plan;
use super::scripts::{Settle, Settled};
use super::service::LimitService;
use crate::http::auth::api_key::hex;
use crate::redis::{Effect, FaultKind, Outcome, RedisFault};

/// Times the limit that may turn out to have been used.
const MOST_USED: u64 = 10;
/// Hexadecimal digits of a reservation's secret.
const SECRET: usize = 32;
/// A calendar's boundary may fall between the question and its answer.
const QUESTIONS: usize = 4;

/// A reservation, as its holder knows it: a secret, and what it was reserved of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReservationId {
    secret: String,
    limiter: Box<str>,
    key: LimitKey,
}

impl ReservationId {
    /// # Errors
    /// When the system has no randomness.
    fn random(limiter: &Limiter, key: &LimitKey) -> Result<Self, getrandom::Error> {
        let mut random = [0; SECRET / 2];
        getrandom::fill(&mut random)?;
        Ok(Self { secret: hex(&random), limiter: limiter.name.clone(), key: key.clone() })
    }

    /// Reads what [`ReservationId::to_string`] wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (secret, of) = text.split_once('.')?;
        if secret.len() != SECRET || !secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let of = String::from_utf8(URL_SAFE_NO_PAD.decode(of).ok()?).ok()?;
        let (limiter, key) = of.split_once(' ')?;
        Some(Self { secret: secret.to_owned(), limiter: limiter.into(), key: LimitKey::try_from(key.to_owned()).ok()? })
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names of limiters have no spaces.
        let of = URL_SAFE_NO_PAD.encode(format!("{} {}", self.limiter, self.key.as_str()));
        write!(f, "{}.{of}", self.secret)
    }
}

/// What a reservation is made with.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub secret: String,
    pub length: Duration,
    /// How many reservations of a key may be open.
    pub most: usize,
}

/// A cost that was reserved.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    pub id: ReservationId,
    pub length: Duration,
}

impl LimitService {
    /// Checks what is to be reserved, and for how long.
    ///
    /// # Errors
    /// [`BadAsk`] naming the field.
    pub(super) fn hold(&self, request: ReserveRequest) -> Result<(Ask, Duration), BadAsk> {
        let ReserveRequest { limiter: name, key, cost, hold_ms } = request;
        let limiter =
            self.limiter(&name).map_err(|_| BadAsk::new("limiter", format!("no limiter is called `{name}`")))?;
        let ask = self.priced(limiter, key, cost)?;
        let Some(longest) = ask.limiter.reservations else {
            return Err(BadAsk::new("limiter", "takes no reservations of this key"));
        };
        let length = hold_ms.map_or(longest, Duration::from_millis);
        if length.is_zero() || length > longest {
            return Err(BadAsk::new("hold_ms", format!("must be from 1 to {}", longest.as_millis())));
        }
        Ok((ask, length))
    }

    /// Takes a cost if it fits in, to be settled within `length`. One EVALSHA.
    ///
    /// No reservation is made where nothing was taken: of a refusal, of a shadow limiter that is used up, and of a key
    /// that an admin allowed.
    ///
    /// # Errors
    /// [`LimitError::TooManyReservations`], [`LimitError::Unavailable`], [`LimitError::Redis`]; when the outcome is
    /// unknown, a reservation may have been made that nobody can settle: it returns by itself.
    pub(super) async fn reserve(
        &self,
        ask: Ask,
        length: Duration,
    ) -> Result<(Decision, Option<Reservation>), LimitError> {
        let id = ReservationId::random(&ask.limiter, &ask.key)?;
        let hold = Hold { secret: id.secret.clone(), length, most: self.open_reservations };
        let started = self.clock.elapsed();
        let (granted, mut decisions) = self.decide(std::slice::from_ref(&ask), Mode::Reserve(&hold)).await?;
        self.count(started, &decisions);
        let decision = decisions.pop().ok_or_else(|| RedisFault::new(FaultKind::Internal, Outcome::Unknown))?;
        let is_taken = granted && decision.allowed && !decision.shadow && ask.ruling.is_none();
        Ok((decision, is_taken.then_some(Reservation { id, length })))
    }

    /// Gives back what was reserved and not used, or takes what was used beyond it; how the limit stands then.
    ///
    /// # Errors
    /// [`LimitError::UnknownReservation`], also when the limiter takes no reservations any more; [`LimitError::Used`],
    /// [`LimitError::Unavailable`], [`LimitError::Redis`].
    pub(super) async fn settle(&self, id: &ReservationId, used: u64) -> Result<Decision, LimitError> {
        let limiters = self.limiters.load();
        let limiter = limiters.get(&id.limiter).ok_or(LimitError::UnknownReservation)?;
        let limiter = match self.exceptions.find(limiter, &id.key) {
            Some(Verdict::Limit(own)) => own,
            _ => Arc::clone(limiter),
        };
        if limiter.reservations.is_none() {
            return Err(LimitError::UnknownReservation);
        }
        let most = limiter.rule.limit().saturating_mul(MOST_USED);
        if used > most {
            return Err(LimitError::Used { used, most });
        }
        if !self.settle_within(None, &limiter, &id.key, &id.secret, used).await? {
            return Err(LimitError::UnknownReservation);
        }
        let cost = limiter.cost;
        let standing = self.peek(Ask { limiter, key: id.key.clone(), cost, ruling: None }).await;
        standing.map_err(LimitError::applied)
    }

    /// Gives back all reservations of a key that are past their time; gives up on a Redis that is silent for `patience`.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn give_back_overdue(&self, patience: Option<Duration>, ask: &Ask) -> Result<(), RedisFault> {
        self.settle_within(patience, &ask.limiter, &ask.key, "", 0).await.map(|_| ())
    }

    /// Whether anything was settled; an empty `secret` is nobody's.
    async fn settle_within(
        &self,
        patience: Option<Duration>,
        limiter: &Limiter,
        key: &LimitKey,
        secret: &str,
        used: u64,
    ) -> Result<bool, RedisFault> {
        let state = limiter.shape.state(self.redis.keys(), key);
        let reservations = keys::reservations(&state);
        for _ in 0..QUESTIONS {
            let now = self.clock.redis_arg();
            let call =
                Settle { state: &state, reservations: &reservations, now, secret, plan: &limiter.rule.plan, used };
            match self.call(patience, &call).await? {
                Settled::Done { count } => return Ok(count > 0),
                Settled::Outside { now } => {
                    if let Plan::Calendar { calendar, .. } = &limiter.rule.plan {
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
        for bad in ["", ".", "abc", &text[1..], &text[..SECRET], &format!("{text}!"), &text.replace('.', "")] {
            assert_eq!(ReservationId::parse(bad), None, "{bad}");
        }
    }
}
