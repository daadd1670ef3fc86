//! Decisions: by an exception, from memory, by Redis, or without it.

use std::time::Duration;

use super::asking::{Ask, Ruling};
use super::decision::Decision;
use super::error::LimitError;
use super::limiter::WithoutRedis;
use super::rule::Plan;
use super::scripts::{CHECK, Check, Checked, Peek, Take};
use super::service::LimitService;
use crate::redis::{BadReply, Effect, FaultKind, Outcome, RedisFault};

/// Whether a decision takes what it grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Take,
    Peek,
}

/// Whether all may be taken, and how each limit stands.
type Decisions = (bool, Vec<Decision>);

/// At a calendar's boundary the script answers what time it is, and is asked again. A second boundary can only fall
/// between two questions when Redis's clock jumps.
const QUESTIONS: usize = 4;

impl LimitService {
    /// Takes a cost if it fits in. One EVALSHA, unless the answer is known without it.
    ///
    /// # Errors
    /// [`LimitError::Unavailable`], [`LimitError::Redis`]; when the outcome is unknown, the cost may have been taken.
    pub(super) async fn check(&self, ask: Ask) -> Result<Decision, LimitError> {
        let started = self.clock.elapsed();
        if ask.ruling.is_none()
            && let Some(decision) = self.blocked.recall(&ask)
        {
            self.count(started, std::slice::from_ref(&decision));
            return Ok(decision);
        }
        let asked = self.blocked.asking();
        let (_, mut decisions) = self.decide(std::slice::from_ref(&ask), Mode::Take).await?;
        self.count(started, &decisions);
        let decision = decisions.pop().ok_or_else(|| incomplete(Effect::Write))?;
        if ask.ruling.is_none() && !decision.degraded {
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

    fn count(&self, started: Duration, decisions: &[Decision]) {
        let took = self.clock.elapsed().saturating_sub(started).as_secs_f64();
        for decision in decisions {
            decision.limiter.metrics.count(decision);
            decision.limiter.metrics.latency.observe(took);
        }
    }

    async fn decide(&self, asks: &[Ask], mode: Mode) -> Result<Decisions, LimitError> {
        if asks.iter().any(|ask| ask.ruling.is_some()) {
            // Boxed: a future is as large as its largest branch, and exceptions are few.
            return Box::pin(self.decide_with_rulings(asks, mode)).await;
        }
        self.decide_by_limits(asks, mode).await
    }

    /// Answers what admins decided, and has the other limits decide unless the call is refused already.
    async fn decide_with_rulings(&self, asks: &[Ask], mode: Mode) -> Result<Decisions, LimitError> {
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
    async fn decide_by_limits(&self, asks: &[Ask], mode: Mode) -> Result<Decisions, LimitError> {
        let is_open = asks.iter().all(|ask| ask.limiter.without_redis == WithoutRedis::Open);
        if is_open && self.watch.is_away() {
            return Ok(self.local.decide(asks, mode));
        }
        let fault = match self.ask_redis(asks, mode, is_open).await {
            Err(fault) if is_away(fault.kind) => fault,
            answered => return Ok(answered?),
        };
        if fault.kind == FaultKind::Timeout {
            self.watch.note_away();
        }
        if is_open { Ok(self.local.decide(asks, mode)) } else { Err(LimitError::Unavailable(fault)) }
    }

    async fn ask_redis(&self, asks: &[Ask], mode: Mode, is_open: bool) -> Result<Decisions, RedisFault> {
        let limit = if is_open { self.open_timeout } else { self.redis.command_timeout() };
        let checks: Vec<Check<'_>> = asks.iter().map(|ask| ask.check(self.redis.keys())).collect();
        for _ in 0..QUESTIONS {
            let take = Take { checks: &checks, now: self.clock.redis_arg() };
            let answer = match mode {
                Mode::Take => self.redis.call_within(limit, &take).await?,
                Mode::Peek => self.redis.call_within(limit, &Peek(take)).await?,
            };
            match answer {
                Checked::Decided { granted, numbers } => {
                    let taken = granted && mode == Mode::Take;
                    return read(asks, granted, taken, numbers).ok_or_else(|| incomplete(mode.effect()));
                }
                Checked::Outside { now } => {
                    for ask in asks {
                        if let Plan::Calendar { calendar, .. } = &ask.limiter.rule.plan {
                            calendar.move_to(now).map_err(|error| RedisFault::bad_reply(error, Effect::Read))?;
                        }
                    }
                }
            }
        }
        Err(RedisFault::new(FaultKind::NotReady, Outcome::NotApplied))
    }
}

impl Mode {
    const fn effect(self) -> Effect {
        match self {
            Self::Take => Effect::Write,
            Self::Peek => Effect::Read,
        }
    }
}

/// Whether a fault says that Redis does not decide now, rather than that something is wrong with the question.
const fn is_away(kind: FaultKind) -> bool {
    !matches!(kind, FaultKind::WrongType | FaultKind::Internal | FaultKind::Denied)
}

fn read(asks: &[Ask], granted: bool, taken: bool, numbers: Vec<u64>) -> Option<Decisions> {
    let mut numbers = numbers.into_iter();
    let decision = |ask: &Ask| {
        let standing = ask.limiter.rule.plan.standing(&mut numbers, ask.cost, taken)?;
        Some(Decision::new(&ask.limiter, standing))
    };
    Some((granted, asks.iter().map(decision).collect::<Option<_>>()?))
}

/// Script and service disagree about how many numbers a check has.
fn incomplete(effect: Effect) -> RedisFault {
    RedisFault::bad_reply(BadReply::new(&CHECK, "too few numbers"), effect)
}
