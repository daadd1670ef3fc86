//! Which backups are no longer kept.

use std::collections::BTreeSet;

use crate::clock::UnixMillis;
use crate::config::backup::BackupConfig;

const DAY: i64 = 86_400_000;

/// A backup that may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub id: String,
    pub started: UnixMillis,
}

/// How many backups are kept: the last ones, and the newest of each of the last days and weeks with one, in UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub last: usize,
    pub daily: usize,
    pub weekly: usize,
}

impl From<&BackupConfig> for Retention {
    fn from(config: &BackupConfig) -> Self {
        Self { last: config.keep_last, daily: config.keep_daily, weekly: config.keep_weekly }
    }
}

impl Retention {
    /// The ids of the backups that no rule keeps. The newest one is always kept, and so is `drilled`, which is known to
    /// restore. Without a rule nothing is removed.
    pub(super) fn superfluous(self, backups: &[Kept], drilled: Option<&str>) -> Vec<String> {
        if self.last + self.daily + self.weekly == 0 {
            return Vec::new();
        }
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
            let is_kept = nth < self.last.max(1) || is_of_day || is_of_week || drilled == Some(backup.id.as_str());
            if !is_kept {
                removed.push(backup.id.clone());
            }
        }
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
            let removed = Retention { last, daily, weekly }.superfluous(&all, Some(&drilled));
            let newest = all.iter().max_by_key(|backup| (backup.started, backup.id.clone()));
            prop_assert!(!removed.contains(&drilled));
            prop_assert!(newest.is_none_or(|newest| !removed.contains(&newest.id)));
            prop_assert!(all.len() - removed.len() >= last.min(all.len()));
            prop_assert!(last + daily + weekly > 0 || removed.is_empty());
            // What is kept now is kept again: pruning twice removes nothing more.
            let left: Vec<Kept> = all.iter().filter(|backup| !removed.contains(&backup.id)).cloned().collect();
            let again = Retention { last, daily, weekly }.superfluous(&left, Some(&drilled));
            prop_assert!(again.is_empty());
        }
    }

    #[test]
    fn days_and_weeks_keep_their_newest_backup() {
        // Monday 1970-01-05 at hours 0, 1 and 30, then the next Monday.
        let hour = 3_600_000;
        let all = backups(&[4 * DAY, 4 * DAY + hour, 4 * DAY + 30 * hour, 11 * DAY]);
        let removed = |last, daily, weekly| Retention { last, daily, weekly }.superfluous(&all, None);
        assert_eq!(removed(0, 9, 0), ["000"]);
        assert_eq!(removed(0, 0, 9), ["001", "000"]);
        assert_eq!(removed(2, 0, 0), ["001", "000"]);
        assert!(removed(0, 0, 0).is_empty());
    }
}
