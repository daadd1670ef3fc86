//! What a limit promises: never more than it allows, on Redis's clock, whatever replica decides.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::config::RatelimitConfig;
use super::decision::Decision;
use super::error::{BadAsk, LimitError};
use super::limiter::{Limiter, Limiters};
use super::metrics::LimitMetrics;
use super::model::{CheckRequest, LimitKey, LimitStats, LimiterView};
use super::rule::Plan;
use super::scripts::{CHECK, Check, Checked, Peek, Take};
use super::strategy::BadStrategy;
use crate::clock::{Clock, UnixMillis};
use crate::deps::Deps;
use crate::redis::{BadReply, Effect, FaultKind, KeySpace, Outcome, Redis, RedisFault};

#[derive(Clone, Debug)]
pub(super) struct LimitService(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Redis,
    clock: Clock,
    limiters: ArcSwap<Limiters>,
    metrics: LimitMetrics,
    sliding_limit: u64,
    since: UnixMillis,
}

/// A cost against a limit, checked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub limiter: Arc<Limiter>,
    pub key: LimitKey,
    pub cost: u64,
}

impl Ask {
    fn check(&self, keys: &KeySpace) -> Check<'_> {
        Check {
            state: self.limiter.shape.state(keys, &self.key),
            rule: &self.limiter.rule,
            cost: self.cost,
            must: !self.limiter.shadow,
        }
    }
}

/// Whether a decision takes what it grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Take,
    Peek,
}

/// At a calendar's boundary the script answers what time it is, and is asked again. A second boundary can only fall
/// between two questions when Redis's clock jumps.
const QUESTIONS: usize = 4;

impl LimitService {
    /// # Errors
    /// The limiter whose strategy is unusable.
    pub(super) fn new(deps: &Deps, config: RatelimitConfig) -> Result<Self, BadStrategy> {
        let metrics = LimitMetrics::new(&deps.metrics);
        let sliding_limit = config.sliding_limit;
        let limiters: Limiters = config
            .limiters
            .into_iter()
            .map(|limiter| Limiter::new(limiter, sliding_limit, &metrics))
            .collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner {
            redis: deps.redis.state.clone(),
            clock: deps.clock.clone(),
            limiters: ArcSwap::from_pointee(limiters),
            metrics,
            sliding_limit,
            since: deps.clock.now(),
        })))
    }

    /// Finds the limiter of a request and checks the cost against it.
    ///
    /// # Errors
    /// [`BadAsk`] naming the field.
    pub(super) fn ask(&self, request: CheckRequest) -> Result<Ask, BadAsk> {
        let limiter = match (request.limiter, request.strategy) {
            (Some(name), None) => {
                self.limiter(&name).map_err(|_| BadAsk::new("limiter", format!("no limiter is called `{name}`")))?
            }
            (None, Some(strategy)) => {
                Arc::new(Limiter::inline(strategy, self.0.sliding_limit, &self.0.metrics).map_err(BadAsk::from)?)
            }
            (Some(_), Some(_)) => return Err(BadAsk::new("strategy", "must not stand beside a limiter")),
            (None, None) => return Err(BadAsk::new("limiter", "is needed, or a strategy instead of it")),
        };
        Self::priced(limiter, request.key, request.cost)
    }

    /// The same for each of several requests, which must be different.
    ///
    /// # Errors
    /// [`BadAsk`] naming the field.
    pub(super) fn asks(&self, requests: Vec<CheckRequest>) -> Result<Vec<Ask>, BadAsk> {
        let mut asks: Vec<Ask> = Vec::with_capacity(requests.len());
        for (at, request) in requests.into_iter().enumerate() {
            let ask = self.ask(request).map_err(|bad| bad.within("checks", at))?;
            if asks.iter().any(|other| other.key == ask.key && other.limiter.shape == ask.limiter.shape) {
                return Err(BadAsk::new("key", "stands twice with this limiter").within("checks", at));
            }
            asks.push(ask);
        }
        Ok(asks)
    }

    /// A look at a limiter's key, for a cost.
    ///
    /// # Errors
    /// [`BadAsk`] naming the cost.
    pub(super) fn priced(limiter: Arc<Limiter>, key: LimitKey, cost: Option<u64>) -> Result<Ask, BadAsk> {
        let cost = cost.unwrap_or(limiter.cost);
        let limit = limiter.rule.limit();
        if !(1..=limit).contains(&cost) {
            return Err(BadAsk::new("cost", format!("is {cost}; this limit allows 1 to {limit}")));
        }
        Ok(Ask { limiter, key, cost })
    }

    /// # Errors
    /// [`LimitError::UnknownLimiter`].
    pub(super) fn limiter(&self, name: &str) -> Result<Arc<Limiter>, LimitError> {
        let limiters = self.0.limiters.load();
        limiters.get(name).cloned().ok_or_else(|| LimitError::UnknownLimiter { name: name.to_owned() })
    }

    /// Takes a cost if it fits in. One EVALSHA.
    ///
    /// # Errors
    /// [`LimitError::Redis`]; when the outcome is unknown, the cost may have been taken.
    pub(super) async fn check(&self, ask: Ask) -> Result<Decision, LimitError> {
        let (_, mut decisions) = self.counted(std::slice::from_ref(&ask)).await?;
        decisions.pop().ok_or_else(|| incomplete(Effect::Write).into())
    }

    /// Takes all costs, or none when one of them does not fit in. One EVALSHA.
    ///
    /// # Errors
    /// - [`LimitError::Apart`] when a cluster keeps the keys apart.
    /// - [`LimitError::Redis`]; when the outcome is unknown, all costs may have been taken, or none.
    pub(super) async fn check_all(&self, asks: &[Ask]) -> Result<(bool, Vec<Decision>), LimitError> {
        let group = asks.first().and_then(|ask| ask.key.group()).map(|(group, _)| group);
        let is_together = |ask: &Ask| group.is_some() && ask.key.group().map(|(group, _)| group) == group;
        if asks.len() > 1 && self.0.redis.is_cluster() && !asks.iter().all(is_together) {
            return Err(LimitError::Apart);
        }
        self.counted(asks).await
    }

    /// What a check would say, without taking anything. One EVALSHA that writes nothing.
    ///
    /// # Errors
    /// [`LimitError::Redis`].
    pub(super) async fn peek(&self, ask: Ask) -> Result<Decision, LimitError> {
        let (_, mut decisions) = self.decide(std::slice::from_ref(&ask), Mode::Peek).await?;
        decisions.pop().ok_or_else(|| incomplete(Effect::Read).into())
    }

    /// The rules in force.
    pub(super) fn views(&self) -> Vec<LimiterView> {
        self.0.limiters.load().iter().map(|limiter| limiter.view()).collect()
    }

    pub(super) fn stats(&self) -> LimitStats {
        LimitStats {
            since: self.0.since,
            limiters: self.0.limiters.load().iter().map(|limiter| limiter.stats()).collect(),
        }
    }

    async fn counted(&self, asks: &[Ask]) -> Result<(bool, Vec<Decision>), LimitError> {
        let started = Instant::now();
        let (granted, decisions) = self.decide(asks, Mode::Take).await?;
        let elapsed = started.elapsed().as_secs_f64();
        for decision in &decisions {
            decision.limiter.metrics.count(decision);
            decision.limiter.metrics.latency.observe(elapsed);
        }
        Ok((granted, decisions))
    }

    async fn decide(&self, asks: &[Ask], mode: Mode) -> Result<(bool, Vec<Decision>), RedisFault> {
        let keys = self.0.redis.keys();
        let checks: Vec<Check<'_>> = asks.iter().map(|ask| ask.check(keys)).collect();
        for _ in 0..QUESTIONS {
            let take = Take { checks: &checks, now: self.0.clock.redis_arg() };
            let answer = match mode {
                Mode::Take => self.0.redis.call(&take).await?,
                Mode::Peek => self.0.redis.call(&Peek(take)).await?,
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

fn read(asks: &[Ask], granted: bool, taken: bool, numbers: Vec<u64>) -> Option<(bool, Vec<Decision>)> {
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
