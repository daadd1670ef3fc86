//! What clients were told and what Redis decided, put together and judged.

use super::load::{Answer, Verdict};
use super::monitor::Account;
use super::rates::Moment;
use super::rules::Rule;

/// Everything that is known of a run.
#[derive(Debug, Default)]
pub struct Evidence {
    /// In the order of time, unless they are of different servers.
    pub accounts: Vec<Account>,
    pub answers: Vec<Answer>,
}

/// The calls of one limiter.
#[derive(Debug)]
pub struct Replay {
    pub rule: Rule,
    /// In Redis's order.
    pub admitted: Vec<Moment>,
    /// All that is admitted, and what may be.
    possibly_admitted: Vec<Moment>,
    refused: Vec<Moment>,
}

impl Evidence {
    /// When nobody watched a server that was killed: from the last command that was seen until it was watched again.
    fn gaps(&self) -> Vec<Moment> {
        let began = |account: &Account| account.decisions.first().map_or(u64::MAX, |decision| decision.at.earliest);
        let pairs = self.accounts.iter().zip(self.accounts.iter().skip(1));
        pairs.map(|(one, next)| Moment { earliest: one.until, latest: began(next) }).collect()
    }

    /// Checks that answers and decisions are the same ones, and sorts them by limiter.
    pub fn replays(&self, rules: &[Rule]) -> Vec<Replay> {
        rules.iter().map(|rule| self.replay(rule)).collect()
    }

    fn replay(&self, rule: &Rule) -> Replay {
        let gaps = self.gaps();
        let decisions = self.accounts.iter().flat_map(|account| &account.decisions);
        let mut decided: Vec<_> = decisions.filter(|decision| decision.key.starts_with(&rule.prefix())).collect();
        decided.sort_by_key(|decision| decision.at.earliest);
        let moments = |granted: bool| {
            decided.iter().filter(move |decision| decision.granted == granted).map(|decision| decision.at)
        };
        let told = |verdict: Verdict| {
            self.answers.iter().filter(move |answer| answer.limiter == rule.name && answer.verdict == verdict)
        };
        let is_in_gap = |answer: &&Answer| gaps.iter().any(|gap| gap.overlaps(answer.at));
        let admitted: Vec<Moment> = moments(true).collect();
        let unseen: Vec<Moment> = told(Verdict::Admitted).filter(is_in_gap).map(|answer| answer.at).collect();
        let unsure: Vec<Moment> = told(Verdict::Unknown).map(|answer| answer.at).collect();
        let answered = told(Verdict::Admitted).count();
        assert!(answered <= admitted.len() + unseen.len(), "{}: admitted without asking Redis", rule.name);
        assert!(admitted.len() <= answered + unsure.len(), "{}: taken, and said to be refused", rule.name);
        let refused = moments(false).chain(told(Verdict::Refused).map(|answer| answer.at)).collect();
        let possibly_admitted = [admitted.clone(), unseen, unsure].concat();
        Replay { rule: rule.clone(), admitted, possibly_admitted, refused }
    }
}

impl Replay {
    /// How many did not fit in by a rule that allows so many more than the real one.
    pub fn surplus(&self, more: i64) -> usize {
        self.rule.rate.off_by(more).surplus(&self.admitted).len()
    }

    /// How many were refused in vain by such a rule.
    pub fn wrongly_refused(&self, more: i64) -> usize {
        self.rule.rate.off_by(more).wrongly_refused(&self.refused, &self.possibly_admitted).len()
    }

    #[track_caller]
    pub fn expect_no_breach(&self) {
        let name = self.rule.name;
        println!("{name}: {} admitted, {} refusals", self.admitted.len(), self.refused.len());
        assert_eq!((self.surplus(0), self.wrongly_refused(0)), (0, 0), "{name}: too many, refused in vain");
    }

    /// The same, and one call more or less would have been found.
    #[track_caller]
    pub fn expect_exact(&self) {
        self.expect_no_breach();
        let found = (self.surplus(-1), self.wrongly_refused(1));
        assert!(found.0 > 0 && found.1 > 0, "{}: too little load to judge it: {found:?}", self.rule.name);
    }
}
