//! The result of a run.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::path::PathBuf;

use super::checker::{Violation, check, contended};
use super::faults::Fault;
use super::history::{Event, History, Outcome, save};
use crate::support::build_directory;

pub struct Verdict {
    pub grants: usize,
    pub violations: Vec<Violation>,
    /// The history file of a run with violations.
    pub left_at: Option<PathBuf>,
    contended: usize,
    /// Accepted, refused, unknown.
    writes: [usize; 3],
    faults: BTreeMap<Fault, usize>,
}

impl Verdict {
    /// Checks a run; `name` is the name of the history file.
    pub fn of(events: &[Event], name: &str) -> Self {
        let history = History::new(events);
        let violations = check(&history);
        let folder = build_directory().join("lock-check");
        let left_at = (!violations.is_empty()).then(|| save(events, &folder, name));
        let mut faults = BTreeMap::new();
        for event in events {
            if let Event::FaultInjected { fault, .. } = event {
                *faults.entry(*fault).or_default() += 1;
            }
        }
        let writes = [Outcome::Accepted, Outcome::Refused, Outcome::Unknown]
            .map(|wanted| history.writes.iter().filter(|write| write.outcome == wanted).count());
        Self { grants: history.grants.len(), contended: contended(&history), violations, left_at, writes, faults }
    }

    /// How many violations are of a kind.
    pub fn count(&self, is_kind: fn(&Violation) -> bool) -> usize {
        self.violations.iter().filter(|violation| is_kind(violation)).count()
    }

    pub fn expect_clean(&self) {
        let Self { violations, left_at, .. } = self;
        assert_eq!(violations, &[], "the history is in {left_at:?}");
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let [accepted, refused, unknown] = self.writes;
        write!(
            f,
            "{} grants ({} contended); writes: {accepted} accepted, {refused} refused as stale, {unknown} unknown; \
             {} overlaps, {} inversions, {} stale writes; faults: {:?}",
            self.grants,
            self.contended,
            self.count(|violation| matches!(violation, Violation::Overlap { .. })),
            self.count(|violation| matches!(violation, Violation::Inversion { .. })),
            self.count(|violation| matches!(violation, Violation::StaleWrite { .. })),
            self.faults,
        )
    }
}
