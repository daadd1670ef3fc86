//! Decisions: by an exception, from memory, by Redis, or without it.

use std::time::Duration;

use super::asking::{Ask, Ruling};
use super::decision::Decision;
use super::error::LimitError;
use super::limiter::WithoutRedis;
use super::reservations::Hold;
use super::rule::Plan;
use super::scripts::{Check, Checked, Peek, Take};
use super::service::LimitService;
use crate::redis::{BadReply, Effect, FaultKind, Outcome, RedisFault, ScriptCall};

/// Whether a decision takes what it grants.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode<'a> {
    Take,
    Peek,
    /// Takes one cost, to be settled later.
    Reserve(&'a Hold),
}

/// Whether all may be taken, and how each limit stands.
type Decisions = (bool, Vec<Decision>);

/// At a calendar's boundary the script answers what time it is, and is asked again. A second boundary can only fall
/// between two questions when Redis's clock jumps. Beyond these, each check may have reservations to give back first.
const QUESTIONS: usize = 4;

impl LimitService {
    /// Takes a cost if it fits in. One EVALSHA, unless the answer is known without it.
    ///
    /// # Errors
    /// [`LimitError::Unavailable`], [`LimitError::Redis`]; when the outcome is unknown, the cost may have been taken.
    pub(super) async fn check(&self, ask: Ask) -> Result<Decision, LimitError> {
        let started = self.clock.elapsed();
        let is_frozen = ask.ruling.is_none() && ask.limiter.reservations.is_none();
        if is_frozen && let Some(decision) = self.blocked.recall(&ask) {
            self.count(started, std::slice::from_ref(&decision));
            return Ok(decision);
        }
        let asked = self.blocked.asking();
        let (_, mut decisions) = self.decide(std::slice::from_ref(&ask), Mode::Take).await?;
        self.count(started, &decisions);
        let decision = decisions.pop().ok_or_else(|| incomplete(Effect::Write))?;
        if is_frozen && !decision.degraded {
            self.blocked.learn(&ask, asked, &decision);
        }
        Ok(decision)
    }

    /// Takes all costs, or none when one of them does not fit in. One EVALSHA at most.
    ///
    /// # Errors
    /// - [`LimitError::Apart`] when a cluster keeps the keys apart.
    /// - [`LimitError::Unavailable`], [`LimitError::Redis`]; when the outcome is unknown, all costs may have been taken,
    ///   or none.
    pub(super) async fn check_all(&self, asks: &[Ask]) -> Result<Decisions, LimitError> {
        let group = asks.first().and_then(|ask| ask.key.group()).map(|(group, _)| group);
        let is_together = |ask: &Ask| group.is_some() && ask.key.group().map(|(group, _)| group) == group;
        if asks.len() > 1 && self.redis.is_cluster() && !asks.iter().all(is_together) {
            return Err(LimitError::Apart);
        }
        let started = self.clock.elapsed();
        let (granted, decisions) = self.decide(asks, Mode::Take).await?;
        self.count(started, &decisions);
        Ok((granted, decisions))
    }

    /// What a check would say, without taking anything. One EVALSHA that writes nothing.
    ///
    /// # Errors
    /// [`LimitError::Unavailable`], [`LimitError::Redis`].
    pub(super) async fn peek(&self, ask: Ask) -> Result<Decision, LimitError> {
        let (_, mut decisions) = self.decide(std::slice::from_ref(&ask), Mode::Peek).await?;
        decisions.pop().ok_or_else(|| incomplete(Effect::Read).into())
    }

    pub(super) fn count(&self, started: Duration, decisions: &[Decision]) {
        let took = self.clock.elapsed().saturating_sub(started).as_secs_f64();
        for decision in decisions {
            decision.limiter.metrics.count(decision);
            decision.limiter.metrics.latency.observe(took);
        }
    }

    pub(super) async fn decide(&self, asks: &[Ask], mode: Mode<'_>) -> Result<Decisions, LimitError> {
        if asks.iter().any(|ask| ask.ruling.is_some()) {
            // Boxed: a future is as large as its largest branch, and exceptions are few.
            return Box::pin(self.decide_with_rulings(asks, mode)).await;
        }
        self.decide_by_limits(asks, mode).await
    }

    /// Answers what admins decided, and has the other limits decide unless the call is refused already.
    async fn decide_with_rulings(&self, asks: &[Ask], mode: Mode<'_>) -> Result<Decisions, LimitError> {
        let now = self.clock.elapsed();
        let ruled = |ask: &Ask| match ask.ruling? {
            Ruling::Allow => Some(Decision::excepted(&ask.limiter)),
            Ruling::Deny(until) => Some(Decision::barred(&ask.limiter, until.map(|until| until.saturating_sub(now)))),
        };
        let ruled: Vec<Option<Decision>> = asks.iter().map(ruled).collect();
        let is_barred = ruled.iter().flatten().any(|decision| !decision.allowed);
        let others: Vec<Ask> = asks.iter().filter(|ask| ask.ruling.is_none()).cloned().collect();
        let (granted, others) = match others.as_slice() {
            [] => (true, Vec::new()),
            others => self.decide_by_limits(others, if is_barred { Mode::Peek } else { mode }).await?,
        };
        let mut others = others.into_iter();
        let decisions = ruled.into_iter().filter_map(|decision| decision.or_else(|| others.next())).collect();
        Ok((granted && !is_barred, decisions))
    }

    /// Has Redis decide, or this process where Redis is away and every limiter is open.
    async fn decide_by_limits(&self, asks: &[Ask], mode: Mode<'_>) -> Result<Decisions, LimitError> {
        // A reservation that only this process knew could not be settled elsewhere.
        let is_local = !matches!(mode, Mode::Reserve(_));
        let is_open = is_local && asks.iter().all(|ask| ask.limiter.without_redis == WithoutRedis::Open);
        if is_open && self.watch.is_away() {
            return Ok(self.local.decide(asks, mode));
        }
        match self.ask_redis(asks, mode, is_open.then_some(self.open_timeout)).await {
            Err(LimitError::Redis(fault)) if is_away(fault.kind) => {
                if fault.kind == FaultKind::Timeout {
                    self.watch.doubt();
                }
                if is_open { Ok(self.local.decide(asks, mode)) } else { Err(LimitError::Unavailable(fault)) }
            }
            answered => answered,
        }
    }

    /// Gives up when Redis is silent for longer than `patience`, if that is given.
    async fn ask_redis(
        &self,
        asks: &[Ask],
        mode: Mode<'_>,
        patience: Option<Duration>,
    ) -> Result<Decisions, LimitError> {
        let checks: Vec<Check<'_>> = asks.iter().map(|ask| ask.check(self.redis.keys())).collect();
        for _ in 0..QUESTIONS + asks.len() {
            let hold = if let Mode::Reserve(hold) = mode { Some(hold) } else { None };
            let take = Take { checks: &checks, hold, now: self.clock.redis_arg() };
            let answer = match mode {
                Mode::Take | Mode::Reserve(_) => self.call(patience, &take).await?,
                Mode::Peek => self.call(patience, &Peek(take)).await?,
            };
            match answer {
                Checked::Decided { granted, numbers } => {
                    let taken = granted && !matches!(mode, Mode::Peek);
                    let decisions = self.read(asks, taken, numbers).ok_or_else(|| incomplete(mode.effect()))?;
                    return Ok((granted, decisions));
                }
                Checked::Overdue { at } => {
                    if let Some(ask) = asks.get(at) {
                        // Few limiters take reservations, and few reservations are not settled.
                        Box::pin(self.give_back_overdue(patience, ask)).await?;
                    }
                }
                Checked::Crowded => return Err(LimitError::TooManyReservations { most: self.open_reservations }),
                Checked::Outside { now } => {
                    for ask in asks {
                        if let Plan::Calendar { calendar, .. } = &ask.limiter.rule.plan {
                            calendar.move_to(now).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
                        }
                    }
                }
            }
        }
        Err(RedisFault::new(FaultKind::NotReady, Outcome::NotApplied).into())
    }

    pub(super) async fn call<S: ScriptCall>(
        &self,
        patience: Option<Duration>,
        call: &S,
    ) -> Result<S::Reply, RedisFault> {
        match patience {
            Some(patience) => self.redis.call_if_responsive(patience, call).await,
            None => self.redis.call(call).await,
        }
    }

    /// What the script's numbers say, and where a state was made, its key for the list.
    fn read(&self, asks: &[Ask], taken: bool, numbers: Vec<u64>) -> Option<Vec<Decision>> {
        let mut numbers = numbers.into_iter();
        let decision = |ask: &Ask| {
            let standing = ask.limiter.rule.plan.standing(&mut numbers, ask.cost, taken)?;
            if taken && standing.fits && standing.is_new {
                self.index.note(&ask.limiter, &ask.key);
            }
            Some(Decision::new(&ask.limiter, standing))
        };
        asks.iter().map(decision).collect()
    }
}

impl Mode<'_> {
    const fn effect(self) -> Effect {
        match self {
            Self::Take | Self::Reserve(_) => Effect::Write,
            Self::Peek => Effect::Read,
        }
    }
}

/// Whether a fault says that Redis does not decide now, rather than that something is wrong with the question.
pub(super) const fn is_away(kind: FaultKind) -> bool {
    !matches!(kind, FaultKind::WrongType | FaultKind::Internal | FaultKind::Denied)
}

/// Script and service disagree about how many numbers a check has.
fn incomplete(effect: Effect) -> RedisFault {
    RedisFault::bad_reply(BadReply::new(Take::SCRIPT, "too few numbers"), effect)
}
