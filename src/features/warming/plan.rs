//! Tasks: their rules, the graph of those that follow others, and when each is due.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::error::TaskViolation;
use super::model::{MAX_KEYS, Priority, Strategy, TaskDefinition};
use super::sources::Source;
use super::template::Template;
use crate::cached::CachedValues;
use crate::clock::UnixMillis;
use crate::config::value::Zone;

/// The most tasks.
pub(super) const MAX_TASKS: usize = 100;
/// The most tasks that one may follow, and the most tags.
const MAX_NAMES: usize = 16;
/// The longest time that absent values are remembered, milliseconds: a new object is hidden for no longer.
const MAX_NEGATIVE_TTL: u64 = 60_000;
/// The shortest TTL and the shortest interval, milliseconds.
const SHORTEST: u64 = 1_000;
/// How soon a failed run is repeated, milliseconds.
const AFTER_FAILURE: i64 = 30_000;

/// A task that can run.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub name: String,
    pub definition: TaskDefinition,
    pub template: Template,
    pub source: Arc<Source>,
    pub is_configured: bool,
    /// Whether it waits for a database that is not configured.
    pub is_disabled: bool,
    daily: Option<(Time, TimeZone)>,
}

/// All tasks, by name.
pub(super) type Plan = BTreeMap<String, Arc<Task>>;

fn violation<T>(field: &'static str, rule: impl Into<String>) -> Result<T, TaskViolation> {
    Err(TaskViolation { field, rule: rule.into() })
}

/// When a task last ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastRuns {
    pub success: Option<UnixMillis>,
    pub end: Option<UnixMillis>,
    /// When the source was last asked for changes.
    pub changes: Option<UnixMillis>,
}

impl Task {
    /// Checks the rules that a definition can violate by itself.
    ///
    /// # Errors
    /// The field and its rule.
    pub(super) fn new(
        name: &str,
        definition: TaskDefinition,
        source: Arc<Source>,
        prefixes: &[String],
        cache: &dyn CachedValues,
    ) -> Result<Self, TaskViolation> {
        let is_name = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-');
        if !is_name {
            return violation("name", format!("must have 1 to 64 characters a-z, 0-9, _ and -, got `{name}`"));
        }
        let template = match Template::parse(&definition.key) {
            Ok(template) if definition.key.len() <= 256 => template,
            Ok(_) => return violation("key", "must have at most 256 bytes"),
            Err(rule) => return violation("key", rule),
        };
        if !prefixes.iter().any(|prefix| template.prefix().starts_with(prefix.as_str())) {
            let known = prefixes.join(", ");
            return violation(
                "key",
                format!("must begin with one of warming.prefixes ({known}), got `{}`", template.as_str()),
            );
        }
        let (_, max_ttl) = cache.limits();
        if !(SHORTEST..=max_ttl).contains(&definition.ttl_ms) {
            let ttl = definition.ttl_ms;
            return violation("ttl_ms", format!("must be between {SHORTEST} and {max_ttl}, got {ttl}"));
        }
        if let Some(ttl) = definition.negative_ttl_ms
            && !(1..=MAX_NEGATIVE_TTL).contains(&ttl)
        {
            return violation("negative_ttl_ms", format!("must be between 1 and {MAX_NEGATIVE_TTL}, got {ttl}"));
        }
        if definition.negative_ttl_ms.is_some() && cache.is_raw(template.prefix()) {
            return violation("negative_ttl_ms", "must be absent: other services read these keys as they are");
        }
        for (field, names) in [("after", &definition.after), ("tags", &definition.tags)] {
            if names.len() > MAX_NAMES {
                return violation(field, format!("must have at most {MAX_NAMES} entries, got {}", names.len()));
            }
        }
        if let Some(rule) = definition.tags.iter().find_map(|tag| cache.check_tag(tag).err()) {
            return violation("tags", rule);
        }
        if definition.attempts.is_some_and(|attempts| !(1..=10).contains(&attempts)) {
            return violation("attempts", "must be between 1 and 10");
        }
        if definition.keys.len() > MAX_KEYS {
            return violation("keys", format!("must have at most {MAX_KEYS} entries, got {}", definition.keys.len()));
        }
        for key in definition.keys.iter().chain(definition.values.iter().flat_map(BTreeMap::keys)) {
            if template.read(key).is_none() || cache.check_key(key).is_err() {
                let field = if definition.values.is_some() { "values" } else { "keys" };
                return violation(field, format!("has `{key}`, which is no key of the template"));
            }
        }
        let daily = check_strategy(&definition)?;
        source.check(&template, &definition)?;
        check_freshness(&definition, &source)?;
        let name = name.to_owned();
        Ok(Self { name, definition, template, source, is_configured: false, is_disabled: false, daily })
    }

    pub(super) fn attempts(&self) -> u32 {
        self.definition.attempts.unwrap_or(3)
    }

    /// The time between complete runs, milliseconds; `None` if it has no such runs, or daily ones.
    pub(super) fn interval(&self) -> Option<i64> {
        let ms = match &self.definition.strategy {
            Strategy::Startup { every_ms } => every_ms.unwrap_or(self.definition.ttl_ms / 5 * 4),
            Strategy::Scheduled { every_ms, .. } => (*every_ms)?,
            Strategy::AccessPattern { .. } | Strategy::OnDemand { .. } => return None,
        };
        i64::try_from(ms).ok()
    }

    /// How many uses make a key hot, and the share of its life that is left when it is fetched again; `None` if the task
    /// does not follow uses.
    pub(super) fn hot_rule(&self) -> Option<HotRule> {
        match self.definition.strategy {
            Strategy::AccessPattern { threshold } => {
                Some(HotRule { uses: threshold, share: 0.5, fetches_absent: true })
            }
            Strategy::OnDemand { factor, trigger } => {
                Some(HotRule { uses: trigger, share: 1.0 - 1.0 / factor, fetches_absent: false })
            }
            Strategy::Startup { .. } | Strategy::Scheduled { .. } => None,
        }
    }

    /// When the next complete run is due; `None` if there are no complete runs. Missed runs are made up for by one.
    pub(super) fn next_run(&self, last: LastRuns) -> Option<UnixMillis> {
        let regular = match (&self.daily, self.interval()) {
            (Some((time, zone)), _) => match last.success {
                // It was never due before, so the first one is due now.
                None => 0,
                Some(success) => next_daily(*time, zone, success)?,
            },
            (None, Some(interval)) => last.success.map_or(0, |success| success + interval),
            (None, None) => return None,
        };
        let failed = last.end.filter(|end| last.success.is_none_or(|success| success < *end));
        let pause = self.interval().map_or(AFTER_FAILURE, |interval| interval.min(AFTER_FAILURE));
        Some(failed.map_or(regular, |end| regular.max(end + pause)))
    }

    /// When the source is next asked for changes; `None` before the first complete run.
    pub(super) fn next_changes(&self, last: LastRuns) -> Option<UnixMillis> {
        let every = i64::try_from(self.definition.changes_ms?).ok()?;
        let success = last.success?;
        Some(last.changes.unwrap_or(success).max(success) + every)
    }

    /// Whether a predecessor's success is recent enough for this task to follow it.
    pub(super) fn is_followed(&self, last: LastRuns, now: UnixMillis) -> bool {
        let Some(success) = last.success else { return false };
        // A day, for those that run daily; and the time that a run takes.
        let interval = self.interval().unwrap_or(86_400_000);
        now - success <= interval.saturating_mul(2)
    }
}

/// Which keys a task fetches because clients use them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct HotRule {
    pub uses: u64,
    pub share: f64,
    pub fetches_absent: bool,
}

/// The first time of day `time` after `last`.
fn next_daily(time: Time, zone: &TimeZone, last: UnixMillis) -> Option<UnixMillis> {
    let local = Timestamp::from_millisecond(last).ok()?.to_zoned(zone.clone());
    // A time that daylight saving skips is that much later, and of one that occurs twice the first counts.
    let today = local.date().to_datetime(time).to_zoned(zone.clone()).ok()?;
    let next = if today.timestamp() > local.timestamp() {
        today
    } else {
        local.date().tomorrow().ok()?.to_datetime(time).to_zoned(zone.clone()).ok()?
    };
    Some(next.timestamp().as_millisecond())
}

fn check_strategy(definition: &TaskDefinition) -> Result<Option<(Time, TimeZone)>, TaskViolation> {
    let too_short = |ms: &Option<u64>| ms.is_some_and(|ms| ms < SHORTEST);
    if too_short(&definition.changes_ms) {
        return violation("changes_ms", format!("must be at least {SHORTEST}"));
    }
    match &definition.strategy {
        Strategy::Startup { every_ms } | Strategy::Scheduled { every_ms, .. } if too_short(every_ms) => {
            violation("strategy", format!("must have an every_ms of at least {SHORTEST}"))
        }
        Strategy::Scheduled { every_ms: None, at: Some(at), time_zone } => {
            let Ok(time) = Time::strptime("%H:%M", at) else {
                return violation("strategy", format!("must have a time of day such as 03:15 in `at`, got `{at}`"));
            };
            let zone: Result<Zone, String> = time_zone.as_deref().unwrap_or("UTC").parse();
            zone.map_or_else(|rule| violation("strategy", rule), |Zone(zone)| Ok(Some((time, zone))))
        }
        Strategy::Scheduled { every_ms: Some(_), at: None, time_zone: None } => Ok(None),
        Strategy::Scheduled { .. } => {
            violation("strategy", "must have either every_ms, or at with an optional time_zone")
        }
        Strategy::AccessPattern { threshold: 0 } => violation("strategy", "must have a threshold of at least 1"),
        Strategy::OnDemand { factor, trigger } if !(1.01..=100.0).contains(factor) || *trigger == 0 => {
            violation("strategy", "must have a factor between 1.01 and 100 and a trigger of at least 1")
        }
        _ => Ok(None),
    }
}

/// Refuses a freshness that the schedule cannot hold.
fn check_freshness(definition: &TaskDefinition, source: &Source) -> Result<(), TaskViolation> {
    if definition.changes_ms.is_some() && !source.lists_changes() {
        return violation("changes_ms", "needs a database source whose keys query has $1");
    }
    let Some(freshness) = definition.freshness_ms else { return Ok(()) };
    let every = match &definition.strategy {
        Strategy::Startup { every_ms } | Strategy::Scheduled { every_ms, .. } => *every_ms,
        _ => None,
    };
    let holds = [definition.changes_ms, every].into_iter().flatten().any(|ms| ms <= freshness / 2);
    if holds {
        return Ok(());
    }
    violation("freshness_ms", "needs changes_ms or an every_ms of at most half of it")
}

/// Checks the rules between tasks.
///
/// # Errors
/// The task, the field and its rule.
pub(super) fn check_together(plan: &Plan) -> Result<(), (String, TaskViolation)> {
    if plan.len() > MAX_TASKS {
        let first = plan.keys().next().cloned().unwrap_or_default();
        return Err((first, TaskViolation { field: "name", rule: format!("is one of more than {MAX_TASKS} tasks") }));
    }
    for (name, task) in plan {
        let wrong = |field, rule| Err((name.clone(), TaskViolation { field, rule }));
        if let Some(unknown) = task.definition.after.iter().find(|before| !plan.contains_key(*before)) {
            return wrong("after", format!("names the unknown task `{unknown}`"));
        }
        if let Some(cycle) = cycle(plan, name) {
            return wrong("after", format!("must not be a circle: {}", cycle.join(" -> ")));
        }
        let same = plan.values().find(|other| {
            other.name < *name
                && other.template.prefix() == task.template.prefix()
                && shapes(&other.template) == shapes(&task.template)
        });
        if let Some(other) = same.filter(|other| !(task.definition.overlap && other.definition.overlap)) {
            return wrong("key", format!("has the template of the task `{}`; both need overlap = true", other.name));
        }
    }
    Ok(())
}

/// A template without the names of its parts.
fn shapes(template: &Template) -> String {
    let mut shape = template.as_str().to_owned();
    for part in template.parts() {
        shape = shape.replace(&format!("{{{}", part.name), "{");
    }
    shape.replace(":text}", "}")
}

/// The circle of tasks through `name` that follow each other.
fn cycle(plan: &Plan, name: &str) -> Option<Vec<String>> {
    let mut paths = vec![vec![name.to_owned()]];
    while let Some(path) = paths.pop() {
        let task = path.last().and_then(|last| plan.get(last))?;
        for before in &task.definition.after {
            if before == name {
                return Some([path, vec![name.to_owned()]].concat());
            }
            if !path.contains(before) && plan.contains_key(before) {
                paths.push([path.clone(), vec![before.clone()]].concat());
            }
        }
    }
    None
}

/// The task of a key: of several, the one with the longest prefix, and the more important one.
pub(super) fn task_of<'a>(plan: &'a Plan, key: &str) -> Option<&'a Arc<Task>> {
    let matching = plan.values().filter(|task| !task.is_disabled && task.template.read(key).is_some());
    matching.max_by_key(|task| (task.template.prefix().len(), std::cmp::Reverse(task.definition.priority)))
}

/// The order in which due tasks start.
pub(super) fn rank(priority: Priority) -> u8 {
    match priority {
        Priority::Critical => 0,
        Priority::High => 1,
        Priority::Medium => 2,
        Priority::Low => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daily_runs_follow_the_clock_of_their_zone() {
        let zone = "Europe/Berlin".parse::<Zone>().expect("a zone").0;
        let at = Time::strptime("%H:%M", "02:30").expect("a time");
        let ms = |text: &str| text.parse::<Timestamp>().expect(text).as_millisecond();
        for (last, next) in [
            ("2026-01-10T00:00:00Z", "2026-01-10T01:30:00Z"),
            ("2026-01-10T01:30:00Z", "2026-01-11T01:30:00Z"),
            // 02:30 does not exist on this day, and occurs twice on the other.
            ("2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"),
            ("2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(next_daily(at, &zone, ms(last)), Some(ms(next)), "{last}");
        }
    }
}
