//! Compares the answers of clients with the decisions of Redis and with the limits.

use super::load::{Answer, Verdict};
use super::monitor::CommandLog;
use super::rates::Moment;
use super::rules::Rule;

/// The records of a run.
#[derive(Debug, Default)]
pub struct Evidence {
    /// In chronological order, unless they belong to different servers.
    pub logs: Vec<CommandLog>,
    pub answers: Vec<Answer>,
}

/// The calls of one limiter.
#[derive(Debug)]
pub struct Replay {
    pub rule: Rule,
    /// In Redis's order.
    pub admitted: Vec<Moment>,
    /// All calls that are or may be admitted.
    possibly_admitted: Vec<Moment>,
    refused: Vec<Moment>,
}

impl Evidence {
    /// The times at which a killed server was not monitored: from the last reported command to the first of the next log.
    fn gaps(&self) -> Vec<Moment> {
        let start = |log: &CommandLog| log.decisions.first().map_or(u64::MAX, |decision| decision.at.earliest);
        let pairs = self.logs.iter().zip(self.logs.iter().skip(1));
        pairs.map(|(one, next)| Moment { earliest: one.until, latest: start(next) }).collect()
    }

    /// Checks that answers and decisions agree, and groups them by limiter.
    pub fn replays(&self, rules: &[Rule]) -> Vec<Replay> {
        rules.iter().map(|rule| self.replay(rule)).collect()
    }

    fn replay(&self, rule: &Rule) -> Replay {
        let gaps = self.gaps();
        let decisions = self.logs.iter().flat_map(|log| &log.decisions);
        let mut decided: Vec<_> = decisions.filter(|decision| decision.key.starts_with(&rule.prefix())).collect();
        decided.sort_by_key(|decision| decision.at.earliest);
        let moments = |granted: bool| {
            decided.iter().filter(move |decision| decision.granted == granted).map(|decision| decision.at)
        };
        let answered = |verdict: Verdict| {
            self.answers.iter().filter(move |answer| answer.limiter == rule.name && answer.verdict == verdict)
        };
        let is_in_gap = |answer: &&Answer| gaps.iter().any(|gap| gap.overlaps(answer.at));
        let admitted: Vec<Moment> = moments(true).collect();
        let unseen: Vec<Moment> = answered(Verdict::Admitted).filter(is_in_gap).map(|answer| answer.at).collect();
        let unsure: Vec<Moment> = answered(Verdict::Unknown).map(|answer| answer.at).collect();
        let count = answered(Verdict::Admitted).count();
        assert!(count <= admitted.len() + unseen.len(), "{}: admitted without a decision of Redis", rule.name);
        assert!(admitted.len() <= count + unsure.len(), "{}: taken, but answered as refused", rule.name);
        let refused = moments(false).chain(answered(Verdict::Refused).map(|answer| answer.at)).collect();
        let possibly_admitted = [admitted.clone(), unseen, unsure].concat();
        Replay { rule: rule.clone(), admitted, possibly_admitted, refused }
    }
}

impl Replay {
    /// The number of calls that exceed a limit that is `more` higher than the real one.
    pub fn surplus(&self, more: i64) -> usize {
        self.rule.rate.off_by(more).surplus(&self.admitted).len()
    }

    /// The number of refused calls that a limit that is `more` higher would have admitted.
    pub fn wrongly_refused(&self, more: i64) -> usize {
        self.rule.rate.off_by(more).wrongly_refused(&self.refused, &self.possibly_admitted).len()
    }

    #[track_caller]
    pub fn expect_no_violation(&self) {
        let name = self.rule.name;
        println!("{name}: {} admitted, {} refusals", self.admitted.len(), self.refused.len());
        assert_eq!((self.surplus(0), self.wrongly_refused(0)), (0, 0), "{name}: exceeded the limit, wrongly refused");
    }

    /// Expects no violation, and enough load to detect a limit that is one call higher or lower.
    #[track_caller]
    pub fn expect_exact(&self) {
        self.expect_no_violation();
        let found = (self.surplus(-1), self.wrongly_refused(1));
        assert!(found.0 > 0 && found.1 > 0, "{}: not enough load: {found:?}", self.rule.name);
    }
}
