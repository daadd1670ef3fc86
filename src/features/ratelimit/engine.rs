//! Decides checks: by an override, from memory, in Redis, or without it.

use std::slice;
use std::time::Duration;

use redis::FromRedisValue;

use super::check::{Decision, Mode, ResolvedCheck};
use super::error::LimitError;
use super::model::WithoutRedis;
use super::scripts::{self, NotDone};
use super::service::LimitService;
use super::strategy::rule::Algorithm;
use crate::lifecycle::large_work;
use crate::redis::{BadReply, Effect, FaultKind, Outcome, RedisFault, ScriptCall};

/// The most open reservations of one key, about 100 bytes each in Redis. One script call returns all overdue ones.
pub(super) const MAX_OPEN: usize = 1_000;

/// At the boundary of a calendar window the script replies with the time and must be called again. A second boundary
/// between two calls means that Redis's clock jumped. In addition, each check may have reservations to return first.
pub(super) const MAX_ATTEMPTS: usize = 4;

/// More checks of one request are much work: Redis decides 100 in about a millisecond, and everyone else waits meanwhile.
const MANY_CHECKS: usize = 32;

impl LimitService {
    /// Takes a cost if the limit allows it. One EVALSHA, unless the decision is known without it.
    ///
    /// # Errors
    /// [`LimitError::Unavailable`], [`LimitError::Redis`]; if the outcome is unknown, the cost may have been taken.
    pub(super) async fn check(&self, check: ResolvedCheck) -> Result<Decision, LimitError> {
        let started = self.clock.elapsed();
        // Other strategies of callers, and settlements, may change the state of a refused key in either direction.
        let is_cacheable =
            check.forced.is_none() && check.limiter.reservations_ms.is_none() && !check.limiter.is_inline;
        if is_cacheable && let Some(decision) = self.denials.find(&check) {
            self.record(started, slice::from_ref(&decision));
            return Ok(decision);
        }
        let generation = self.denials.generation();
        let decision = self.decide_one(&check, Mode::Take).await?;
        self.record(started, slice::from_ref(&decision));
        if is_cacheable && !decision.degraded {
            self.denials.insert(&check, started, generation, &decision);
        }
        Ok(decision)
    }

    /// Takes a cost, or fails if the limit refuses it.
    ///
    /// # Errors
    /// [`LimitError::Refused`], and those of [`LimitService::check`].
    pub(super) async fn enforce(&self, check: ResolvedCheck) -> Result<Decision, LimitError> {
        let decision = self.check(check).await?;
        if decision.allowed { Ok(decision) } else { Err(LimitError::Refused(Box::new(decision))) }
    }

    /// Takes all costs, or none if one of the limits refuses its cost. One EVALSHA at most.
    ///
    /// # Errors
    /// - [`LimitError::KeysApart`] if the keys are in different slots of a cluster.
    /// - [`LimitError::Unavailable`], [`LimitError::Redis`]; if the outcome is unknown, either all costs were taken or
    ///   none.
    pub(super) async fn check_all(&self, checks: &[ResolvedCheck]) -> Result<Vec<Decision>, LimitError> {
        let group = checks.first().and_then(|check| check.key.group()).map(|(group, _)| group);
        let is_together = |check: &ResolvedCheck| group.is_some() && check.key.group().map(|(group, _)| group) == group;
        if checks.len() > 1 && self.redis.is_cluster() && !checks.iter().all(is_together) {
            return Err(LimitError::KeysApart);
        }
        let started = self.clock.elapsed();
        let decisions = self.decide(checks, Mode::Take).await?;
        self.record(started, &decisions);
        Ok(decisions)
    }

    /// Decides one check; with [`Mode::Peek`] without taking the cost. One EVALSHA at most.
    ///
    /// # Errors
    /// [`LimitError::TooManyReservations`], [`LimitError::Unavailable`], [`LimitError::Redis`].
    pub(super) async fn decide_one(&self, check: &ResolvedCheck, mode: Mode<'_>) -> Result<Decision, LimitError> {
        let decision = self.decide(slice::from_ref(check), mode).await?.pop();
        decision.ok_or_else(|| incomplete(mode).into())
    }

    /// Records decisions, and the time since `started`, in the metrics.
    pub(super) fn record(&self, started: Duration, decisions: &[Decision]) {
        let took = self.clock.elapsed().saturating_sub(started).as_secs_f64();
        for decision in decisions {
            decision.record(took);
        }
    }

    async fn decide(&self, checks: &[ResolvedCheck], mode: Mode<'_>) -> Result<Vec<Decision>, LimitError> {
        if checks.iter().any(|check| check.forced.is_some()) {
            // Boxed because a future is as large as its largest branch, and overrides are rare.
            return Box::pin(self.decide_with_overrides(checks, mode)).await;
        }
        self.decide_by_limits(checks, mode).await
    }

    /// Applies overrides, then lets the other limits decide; without taking anything if an override denies the call.
    async fn decide_with_overrides(
        &self,
        checks: &[ResolvedCheck],
        mode: Mode<'_>,
    ) -> Result<Vec<Decision>, LimitError> {
        let now = self.clock.elapsed();
        let forced: Vec<Option<Decision>> =
            checks.iter().map(|check| Some(Decision::forced(&check.limiter, check.forced?, now))).collect();
        let is_denied = forced.iter().flatten().any(|decision| !decision.allowed);
        let others: Vec<ResolvedCheck> = checks.iter().filter(|check| check.forced.is_none()).cloned().collect();
        let others = match others.as_slice() {
            [] => Vec::new(),
            others => self.decide_by_limits(others, if is_denied { Mode::Peek } else { mode }).await?,
        };
        let mut others = others.into_iter();
        Ok(forced.into_iter().filter_map(|decision| decision.or_else(|| others.next())).collect())
    }

    /// Decides in Redis, or in this process if Redis does not decide, for whatever reason, and every limiter is open.
    async fn decide_by_limits(&self, checks: &[ResolvedCheck], mode: Mode<'_>) -> Result<Vec<Decision>, LimitError> {
        // Other replicas could not settle a reservation that only this process knows.
        let may_be_local = !matches!(mode, Mode::Reserve { .. });
        let is_open = may_be_local && checks.iter().all(|check| check.limiter.without_redis == WithoutRedis::Open);
        if is_open && self.probe.is_unresponsive() {
            return Ok(self.local.decide(checks, mode));
        }
        match self.decide_in_redis(checks, mode, is_open.then_some(self.open_timeout)).await {
            Err(LimitError::Redis(fault)) => {
                if fault.kind == FaultKind::Timeout {
                    self.probe.report_timeout();
                }
                if is_open { Ok(self.local.decide(checks, mode)) } else { Err(LimitError::Unavailable(fault)) }
            }
            decided => decided,
        }
    }

    /// Fails if Redis stays silent for longer than `patience`, if that is given.
    async fn decide_in_redis(
        &self,
        checks: &[ResolvedCheck],
        mode: Mode<'_>,
        patience: Option<Duration>,
    ) -> Result<Vec<Decision>, LimitError> {
        if checks.len() > MANY_CHECKS {
            large_work::note();
        }
        for _ in 0..MAX_ATTEMPTS + checks.len() {
            let call = scripts::check(checks, mode, self.redis.keys(), &self.clock.redis_arg());
            match self.call(patience, call).await? {
                Ok(numbers) => {
                    return self.decisions(checks, mode, numbers).ok_or_else(|| incomplete(mode).into());
                }
                Err(NotDone::Overdue { at }) => {
                    if let Some(check) = checks.get(at) {
                        // Boxed because few limiters take reservations, and few reservations are abandoned.
                        Box::pin(self.settle_within(patience, &check.limiter, &check.key, "", 0)).await?;
                    }
                }
                Err(NotDone::TooManyReservations) => {
                    return Err(LimitError::TooManyReservations { max: MAX_OPEN });
                }
                Err(NotDone::UsedTooMuch { .. }) => break,
                Err(NotDone::OutsideWindow { now }) => {
                    checks.iter().try_for_each(|check| move_to(&check.limiter.rule.algorithm, now))?;
                }
            }
        }
        Err(RedisFault::new(FaultKind::NotReady, Outcome::NotApplied).into())
    }

    pub(super) async fn call<Raw: FromRedisValue, Reply>(
        &self,
        patience: Option<Duration>,
        call: ScriptCall<Raw, Reply>,
    ) -> Result<Reply, RedisFault> {
        match patience {
            Some(patience) => self.redis.call_if_responsive(patience, call).await,
            None => self.redis.call(call).await,
        }
    }

    /// Interprets the script's numbers, and adds each key whose state is new to the index.
    fn decisions(&self, checks: &[ResolvedCheck], mode: Mode<'_>, numbers: Vec<u64>) -> Option<Vec<Decision>> {
        let mut numbers = numbers.into_iter();
        let taken = numbers.next()? == 1 && !matches!(mode, Mode::Peek);
        let decision = |check: &ResolvedCheck| {
            let usage = check.limiter.rule.usage(&mut numbers, check.cost, taken)?;
            if taken && usage.fits && usage.is_new {
                self.index.add(&check.limiter, &check.key);
            }
            Some(Decision::new(&check.limiter, usage))
        };
        checks.iter().map(decision).collect()
    }
}

/// Moves a calendar to the window that contains `now`, in Unix microseconds of Redis's clock.
pub(super) fn move_to(algorithm: &Algorithm, now: u64) -> Result<(), RedisFault> {
    let Algorithm::Calendar(calendar) = algorithm else { return Ok(()) };
    calendar.move_to(now).map_err(|error| RedisFault::bad_reply(error, Effect::Read))
}

/// The script replied with fewer numbers than the checks have.
fn incomplete(mode: Mode<'_>) -> RedisFault {
    let effect = if matches!(mode, Mode::Peek) { Effect::Read } else { Effect::Write };
    RedisFault::bad_reply(BadReply::new("too few numbers"), effect)
}
