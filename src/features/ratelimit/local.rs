//! Limits without Redis: each replica admits its share, counted in its own memory.
//!
//! A share is the limit divided by `ratelimit.instances`, in windows that begin with a key's first call here. Whatever
//! stretch of a window's length begins before Redis went away holds at most one such window, so at most the limit comes
//! on top of what Redis had admitted: twice the limit in all.

use std::time::Duration;

use super::asking::Ask;
use super::deciding::Mode;
use super::decision::Decision;
use super::limiter::Limiter;
use super::rule::Standing;
use super::slots::{Entry, Slots};
use crate::clock::Clock;

#[derive(Debug)]
pub(super) struct LocalLimits {
    /// What was taken of each key in its window.
    windows: Slots<u64>,
    instances: u64,
    clock: Clock,
}

impl LocalLimits {
    pub(super) fn new(keys: usize, instances: u64, clock: &Clock) -> Self {
        Self { windows: Slots::new(keys), instances, clock: clock.clone() }
    }

    /// Takes every cost or none, as Redis would.
    pub(super) fn decide(&self, asks: &[Ask], mode: Mode<'_>) -> (bool, Vec<Decision>) {
        let take = !matches!(mode, Mode::Peek);
        let mut standings: Vec<Standing> = asks.iter().map(|ask| self.stand(ask, take)).collect();
        let granted = asks.iter().zip(&standings).all(|(ask, standing)| standing.fits || ask.limiter.shadow);
        if !granted && take {
            for (ask, standing) in asks.iter().zip(&mut standings).filter(|(_, standing)| standing.fits) {
                self.give_back(ask);
                standing.remaining += ask.cost;
            }
        }
        let decision = |(ask, standing): (&Ask, Standing)| {
            let share = self.share(&ask.limiter);
            Decision { degraded: true, limit: share, ..Decision::new(&ask.limiter, standing) }
        };
        (granted, asks.iter().zip(standings).map(decision).collect())
    }

    /// What this replica may admit of a limit; at least 1, or small limits would admit nothing at all.
    fn share(&self, limiter: &Limiter) -> u64 {
        (limiter.rule.limit() / self.instances).max(1)
    }

    fn stand(&self, ask: &Ask, take: bool) -> Standing {
        let (now, share) = (self.clock.elapsed(), self.share(&ask.limiter));
        self.windows.change(&ask.name(), now, |entry| {
            let Entry { value: used, ends } = entry.unwrap_or_else(|| Entry { value: 0, ends: now + window(ask) });
            let fits = used + ask.cost <= share;
            let used = if fits && take { used + ask.cost } else { used };
            if fits && take {
                *entry = Some(Entry { value: used, ends });
            }
            let left = if used > 0 { microseconds(ends.saturating_sub(now)) } else { 0 };
            // A cost above the share fits as soon as Redis is back, which nobody can say.
            let retry = if fits { 0 } else { left.max(1) };
            Standing { fits, is_new: false, remaining: share.saturating_sub(used), reset: left, more: left, retry }
        })
    }

    fn give_back(&self, ask: &Ask) {
        self.windows.change(&ask.name(), self.clock.elapsed(), |entry| {
            if let Some(entry) = entry {
                entry.value = entry.value.saturating_sub(ask.cost);
            }
        });
    }
}

fn window(ask: &Ask) -> Duration {
    Duration::from_millis(ask.limiter.rule.window_ms())
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::metrics::LimitMetrics;
    use super::super::model::LimitKey;
    use super::*;
    use crate::telemetry::metrics::Metrics;

    const RULE: &str = r#"{ kind = "gcra", limit = 8, period = "1m" }"#;

    fn limiter(name: &str, strategy: &str) -> Arc<Limiter> {
        let text =
            format!("name = \"{name}\"\nkey = \"{name}:{{k}}\"\nstrategy = {strategy}\nwithout_redis = \"open\"");
        let config = toml::from_str(&text).expect("a limiter");
        Arc::new(Limiter::new(config, 1_000, &LimitMetrics::new(&Metrics::new())).expect("a strategy"))
    }

    fn ask(limiter: &Arc<Limiter>, key: &str, cost: u64) -> Ask {
        let key = LimitKey::try_from(key.to_owned()).expect("a key");
        Ask { limiter: Arc::clone(limiter), key, cost, ruling: None }
    }

    #[test]
    fn a_replica_admits_its_share_in_each_window() {
        let clock = Clock::manual(1_000_000);
        let local = LocalLimits::new(100, 2, &clock);
        let ask = ask(&limiter("a", RULE), "k", 1);
        for left in (0..4).rev() {
            let (granted, decisions) = local.decide(std::slice::from_ref(&ask), Mode::Take);
            let decision = &decisions[0];
            assert!(granted && decision.allowed && decision.degraded);
            assert_eq!((decision.limit, decision.remaining, decision.reset_ms), (4, left, 60_000));
        }
        clock.advance(Duration::from_secs(59));
        let (granted, decisions) = local.decide(std::slice::from_ref(&ask), Mode::Take);
        assert!(!granted && !decisions[0].allowed);
        assert_eq!(decisions[0].retry_after_ms, Some(1_000));
        clock.advance(Duration::from_secs(1));
        assert!(local.decide(&[ask], Mode::Take).0);
    }

    #[test]
    fn several_are_taken_together_or_not_at_all() {
        let local = LocalLimits::new(100, 1, &Clock::manual(1_000_000));
        let (a, b) = (limiter("a", RULE), limiter("b", r#"{ kind = "gcra", limit = 3, period = "1m" }"#));
        let asks = [ask(&a, "k", 2), ask(&b, "k", 2)];
        assert!(local.decide(&asks, Mode::Take).0);
        let (granted, decisions) = local.decide(&asks, Mode::Take);
        assert!(!granted);
        assert_eq!((decisions[0].remaining, decisions[1].remaining), (6, 1));
        let (_, decisions) = local.decide(&[ask(&a, "k", 1)], Mode::Peek);
        assert_eq!(decisions[0].remaining, 6);
    }

    #[test]
    fn a_share_is_never_nothing() {
        let local = LocalLimits::new(100, 20, &Clock::manual(1_000_000));
        assert_eq!(local.decide(&[ask(&limiter("a", RULE), "k", 1)], Mode::Take).1[0].limit, 1);
    }
}
