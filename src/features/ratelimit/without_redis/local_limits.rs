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
    windows: ExpiringTable<Window>,
    instances: u64,
    clock: Clock,
}

/// The window of a key. Limits and costs are below 2^32.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    used: u32,
    /// The share that `used` was taken from.
    share: u32,
}

impl Window {
    fn new(used: u64, share: u64) -> Self {
        let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self { used: narrow(used), share: narrow(share) }
    }

    /// The cost that counts as taken from a share. If the rule has changed, what was left stays left, up to the new share.
    fn used_of(self, share: u64) -> u64 {
        if u64::from(self.share) == share {
            return self.used.into();
        }
        share.saturating_sub(self.share.saturating_sub(self.used).into())
    }
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
            let new = Entry { value: Window::new(0, share), ends: now + window };
            let Entry { value, ends } = entry.unwrap_or(new);
            // A window of a previous rule does not last longer than one of this rule.
            let (used, ends) = (value.used_of(share), ends.min(new.ends));
            let fits = used + check.cost <= share;
            let used = if fits && take { used + check.cost } else { used };
            if take && (fits || entry.is_some()) {
                *entry = Some(Entry { value: Window::new(used, share), ends });
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
                let Window { used, share } = entry.value;
                entry.value = Window::new(u64::from(used).saturating_sub(check.cost), share.into());
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
    fn another_rule_leaves_what_was_left() {
        let clock = Clock::manual(1_000_000);
        let local = LocalLimits::new(100, 1, &clock);
        let rule = |limit: u64, period: &str| {
            limiter("a", &format!(r#"{{ kind = "gcra", limit = {limit}, period = "{period}" }}"#))
        };
        assert_eq!(local.decide(&[check(&rule(10, "1h"), 7)], Mode::Take)[0].remaining, 3);
        for (limit, left) in [(100, 3), (2, 2), (10, 0)] {
            assert_eq!(local.decide(&[check(&rule(limit, "1h"), 1)], Mode::Peek)[0].remaining, left, "{limit}");
            let decision = &local.decide(&[check(&rule(limit, "1h"), limit)], Mode::Take)[0];
            assert_eq!(decision.allowed, left == limit, "{limit}");
        }
        // A shorter window ends sooner.
        let decision = &local.decide(&[check(&rule(10, "1s"), 10)], Mode::Take)[0];
        assert_eq!((decision.allowed, decision.reset_ms), (false, 1_000));
        clock.advance(Duration::from_secs(1));
        assert!(local.decide(&[check(&rule(10, "1s"), 10)], Mode::Take)[0].allowed);
    }

    #[test]
    fn a_share_is_at_least_1() {
        let local = LocalLimits::new(100, 20, &Clock::manual(1_000_000));
        assert_eq!(local.decide(&[check(&limiter("a", RULE), 1)], Mode::Take)[0].limit, 1);
    }
}
