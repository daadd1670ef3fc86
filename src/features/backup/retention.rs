//! Which backups are no longer kept.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::clock::UnixMillis;
use crate::config::backup::BackupConfig;
use crate::config::value::Span;
use crate::config::{Config, ConfigError, Section};

const DAY: i64 = 86_400_000;

/// A backup that may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub id: String,
    pub started: UnixMillis,
}

/// How long it is remembered that a person was erased.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Memory {
    tombstone_life: Span,
}

impl Section for Memory {
    const NAME: &'static str = "erasure";
}

/// How many backups are kept: the last ones, and the newest of each of the last days and weeks with one, in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub last: usize,
    pub daily: usize,
    pub weekly: usize,
    /// The greatest age, milliseconds: an older backup might bring an erased person back whose tombstone is gone.
    pub longest: u64,
}

impl Retention {
    /// # Errors
    /// [`ConfigError`].
    pub(super) fn new(backup: &BackupConfig, config: &Config) -> Result<Self, ConfigError> {
        let Memory { tombstone_life } = config.section()?;
        let BackupConfig { keep_last: last, keep_daily: daily, keep_weekly: weekly, .. } = *backup;
        Ok(Self { last, daily, weekly, longest: tombstone_life.as_millis() })
    }
}

impl Retention {
    /// The ids of the backups that are not kept, oldest first: those that are too old, and those that no rule keeps, except
    /// `drilled`, which is known to restore. The newest one is always kept. Without a rule only age counts.
    pub(super) fn superfluous(self, backups: &[Kept], drilled: Option<&str>, now: UnixMillis) -> Vec<String> {
        let has_rule = self.last + self.daily + self.weekly > 0;
        let mut newest_first: Vec<&Kept> = backups.iter().collect();
        newest_first.sort_by(|one, other| (other.started, &other.id).cmp(&(one.started, &one.id)));
        let (mut days, mut weeks) = (BTreeSet::new(), BTreeSet::new());
        let mut removed = Vec::new();
        for (nth, backup) in newest_first.into_iter().enumerate() {
            let day = backup.started.div_euclid(DAY);
            // 1970-01-01 was a Thursday; weeks begin on Monday.
            let week = (day + 3).div_euclid(7);
            let is_of_day = days.len() < self.daily && days.insert(day);
            let is_of_week = weeks.len() < self.weekly && weeks.insert(week);
            let is_kept = nth < self.last || is_of_day || is_of_week || drilled == Some(backup.id.as_str());
            let is_too_old = backup.started < now.saturating_sub_unsigned(self.longest);
            if nth > 0 && (is_too_old || (has_rule && !is_kept)) {
                removed.push(backup.id.clone());
            }
        }
        removed.reverse();
        removed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn backups(times: &[i64]) -> Vec<Kept> {
        times.iter().enumerate().map(|(nth, started)| Kept { id: format!("{nth:03}"), started: *started }).collect()
    }

    proptest! {
        #[test]
        fn the_newest_and_the_drilled_backup_are_never_removed(
            times in prop::collection::vec(0..60 * DAY, 0..60),
            last in 0..5_usize, daily in 0..5_usize, weekly in 0..5_usize, drilled in 0..60_usize,
        ) {
            let all = backups(&times);
            let drilled = format!("{drilled:03}");
            let retention = Retention { last, daily, weekly, longest: 1_000 * DAY as u64 };
            let removed = retention.superfluous(&all, Some(&drilled), 60 * DAY);
            let newest = all.iter().max_by_key(|backup| (backup.started, backup.id.clone()));
            prop_assert!(!removed.contains(&drilled));
            prop_assert!(newest.is_none_or(|newest| !removed.contains(&newest.id)));
            prop_assert!(all.len() - removed.len() >= last.min(all.len()));
            prop_assert!(last + daily + weekly > 0 || removed.is_empty());
            // What is kept now is kept again: pruning twice removes nothing more.
            let left: Vec<Kept> = all.iter().filter(|backup| !removed.contains(&backup.id)).cloned().collect();
            prop_assert!(retention.superfluous(&left, Some(&drilled), 60 * DAY).is_empty());
            // Age wins over all but the newest.
            let aged = Retention { longest: 10 * DAY as u64, ..retention }.superfluous(&all, Some(&drilled), 60 * DAY);
            let left: Vec<&Kept> = all.iter().filter(|backup| !aged.contains(&backup.id)).collect();
            prop_assert!(left.len() <= 1 || left.iter().all(|backup| backup.started >= 50 * DAY || Some(*backup) == newest));
            prop_assert!(newest.is_none_or(|newest| !aged.contains(&newest.id)));
        }
    }

    #[test]
    fn days_and_weeks_keep_their_newest_backup() {
        // Monday 1970-01-05 at hours 0, 1 and 30, then the next Monday.
        let hour = 3_600_000;
        let all = backups(&[4 * DAY, 4 * DAY + hour, 4 * DAY + 30 * hour, 11 * DAY]);
        let removed = |last, daily, weekly| {
            Retention { last, daily, weekly, longest: u64::MAX }.superfluous(&all, None, 60 * DAY)
        };
        assert_eq!(removed(0, 9, 0), ["000"]);
        assert_eq!(removed(0, 0, 9), ["000", "001"]);
        assert_eq!(removed(2, 0, 0), ["000", "001"]);
        assert!(removed(0, 0, 0).is_empty());
    }
}
