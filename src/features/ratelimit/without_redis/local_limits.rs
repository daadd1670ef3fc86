//! Limits without Redis: each replica admits its share, counted in its own memory.
//!
//! A share is the limit divided by `ratelimit.instances`, in windows that begin with a key's first call. Any interval of
//! one window's length that begins before the outage contains at most one such window. So at most the limit is admitted
//! in addition to what Redis had admitted: twice the limit in total.

use std::time::Duration;

use super::super::check::{Decision, Mode, ResolvedCheck, microseconds};
use super::super::limiter::Limiter;
use super::super::strategy::rule::KeyUsage;
use super::expiring_table::{Entry, ExpiringTable};
use crate::clock::Clock;

#[derive(Debug)]
pub(in crate::features::ratelimit) struct LocalLimits {
    /// The cost that was taken of each key in its window.
    windows: ExpiringTable<u64>,
    instances: u64,
    clock: Clock,
}

impl LocalLimits {
    pub(in crate::features::ratelimit) fn new(keys: usize, instances: u64, clock: &Clock) -> Self {
        Self { windows: ExpiringTable::new(keys), instances, clock: clock.clone() }
    }

    /// Takes every cost or none, as the script in Redis does.
    pub(in crate::features::ratelimit) fn decide(&self, checks: &[ResolvedCheck], mode: Mode<'_>) -> Vec<Decision> {
        let take = !matches!(mode, Mode::Peek);
        let mut usages: Vec<KeyUsage> = checks.iter().map(|check| self.count(check, take)).collect();
        let granted = checks.iter().zip(&usages).all(|(check, usage)| usage.fits || check.limiter.shadow);
        if !granted && take {
            for (check, usage) in checks.iter().zip(&mut usages).filter(|(_, usage)| usage.fits) {
                self.undo(check);
                usage.remaining += check.cost;
            }
        }
        let decision = |(check, usage): (&ResolvedCheck, KeyUsage)| {
            let share = self.share(&check.limiter);
            Decision { degraded: true, limit: share, ..Decision::new(&check.limiter, usage) }
        };
        checks.iter().zip(usages).map(decision).collect()
    }

    /// The part of a limit that this replica may admit: at least 1, or small limits would admit nothing.
    fn share(&self, limiter: &Limiter) -> u64 {
        (limiter.rule.limit / self.instances).max(1)
    }

    fn count(&self, check: &ResolvedCheck, take: bool) -> KeyUsage {
        let (now, share) = (self.clock.elapsed(), self.share(&check.limiter));
        self.windows.update(&check.state_id(), now, |entry| {
            let window = Duration::from_millis(check.limiter.rule.window_ms());
            let Entry { value: used, ends } = entry.unwrap_or_else(|| Entry { value: 0, ends: now + window });
            let fits = used + check.cost <= share;
            let used = if fits && take { used + check.cost } else { used };
            if fits && take {
                *entry = Some(Entry { value: used, ends });
            }
            let left = if used > 0 { microseconds(ends.saturating_sub(now)) } else { 0 };
            // A cost above the share fits once Redis is available again; that time is unknown.
            let retry = if fits { 0 } else { left.max(1) };
            KeyUsage { fits, is_new: false, remaining: share.saturating_sub(used), reset: left, more: left, retry }
        })
    }

    fn undo(&self, check: &ResolvedCheck) {
        self.windows.update(&check.state_id(), self.clock.elapsed(), |entry| {
            if let Some(entry) = entry {
                entry.value = entry.value.saturating_sub(check.cost);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::features::ratelimit::check::all_allowed;
    use crate::features::ratelimit::metrics::LimitMetrics;
    use crate::features::ratelimit::model::LimitKey;
    use crate::telemetry::metrics::Metrics;

    const RULE: &str = r#"{ kind = "gcra", limit = 8, period = "1m" }"#;

    fn limiter(name: &str, strategy: &str) -> Arc<Limiter> {
        let text =
            format!("name = \"{name}\"\nkey = \"{name}:{{k}}\"\nstrategy = {strategy}\nwithout_redis = \"open\"");
        let config = toml::from_str(&text).expect("a limiter");
        Arc::new(Limiter::new(config, &LimitMetrics::new(&Metrics::new())).expect("a strategy"))
    }

    fn check(limiter: &Arc<Limiter>, cost: u64) -> ResolvedCheck {
        let key = LimitKey::try_from("k".to_owned()).expect("a key");
        ResolvedCheck { limiter: Arc::clone(limiter), key, cost, forced: None }
    }

    #[test]
    fn a_replica_admits_its_share_in_each_window() {
        let clock = Clock::manual(1_000_000);
        let local = LocalLimits::new(100, 2, &clock);
        let checks = [check(&limiter("a", RULE), 1)];
        for left in (0..4).rev() {
            let decision = &local.decide(&checks, Mode::Take)[0];
            assert!(decision.allowed && decision.degraded);
            assert_eq!((decision.limit, decision.remaining, decision.reset_ms), (4, left, 60_000));
        }
        clock.advance(Duration::from_secs(59));
        let refused = &local.decide(&checks, Mode::Take)[0];
        assert_eq!((refused.allowed, refused.retry_after_ms), (false, Some(1_000)));
        clock.advance(Duration::from_secs(1));
        assert!(local.decide(&checks, Mode::Take)[0].allowed);
    }

    #[test]
    fn costs_are_taken_together_or_not_at_all() {
        let local = LocalLimits::new(100, 1, &Clock::manual(1_000_000));
        let (a, b) = (limiter("a", RULE), limiter("b", r#"{ kind = "gcra", limit = 3, period = "1m" }"#));
        let checks = [check(&a, 2), check(&b, 2)];
        assert!(all_allowed(&local.decide(&checks, Mode::Take)));
        let refused = local.decide(&checks, Mode::Take);
        assert!(!all_allowed(&refused));
        assert_eq!((refused[0].remaining, refused[1].remaining), (6, 1));
        assert_eq!(local.decide(&[check(&a, 1)], Mode::Peek)[0].remaining, 6);
    }

    #[test]
    fn a_share_is_at_least_1() {
        let local = LocalLimits::new(100, 20, &Clock::manual(1_000_000));
        assert_eq!(local.decide(&[check(&limiter("a", RULE), 1)], Mode::Take)[0].limit, 1);
    }
}
