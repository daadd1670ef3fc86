//! The condition of every part, and the rounds of periodic tasks, as metrics.

use crate::clock::UnixMillis;
use crate::deps::Deps;
use crate::lifecycle::{Condition, Finding};
use crate::telemetry::metrics::{Labels, Row};

const CONDITION: Row =
    Row::gauge("health_condition", "Condition of a part of the service: 0 ok, 1 degraded, 2 down; readiness says why");
const TASKS: [Row; 3] = [
    Row::gauge("task_last_run_timestamp_seconds", "When a periodic task last finished a round"),
    Row::counter("task_failures_total", "Rounds of a periodic task that failed"),
    Row::gauge("task_failing", "Whether the last round of a periodic task failed"),
];

pub(super) fn register(deps: &Deps) {
    let name = deps.metrics.gauges("replica_info", "Always 1; the label is the name of this replica", &["replica"]);
    name.with_label_values(&[&deps.replica]).set(1);
    let (redis, components, tasks) = (deps.redis.clone(), deps.component_health.clone(), deps.tasks.clone());
    deps.metrics.on_scrape_labelled([CONDITION], &["part"], move || {
        let mut samples = Vec::new();
        let mut add = |part: String, findings: &[Finding]| {
            let worst = findings.iter().map(|finding| severity(finding.condition)).fold(0.0, f64::max);
            samples.push((vec![("part", part)], worst));
        };
        for redis in redis.distinct() {
            add(format!("redis {}", redis.store()), &redis.report().conditions());
        }
        for (name, findings) in components.findings_by_component() {
            add(name.to_owned(), &findings);
        }
        let failed = tasks.states().into_values().filter_map(|state| state.last_error.map(Finding::degraded));
        add("tasks".to_owned(), &failed.collect::<Vec<_>>());
        [samples]
    });
    let tasks = deps.tasks.clone();
    deps.metrics.on_scrape_labelled(TASKS, &["task"], move || {
        let [mut runs, mut failures, mut failing]: [Vec<(Labels, f64)>; 3] = Default::default();
        for (name, state) in tasks.states() {
            let Some(at) = state.last_run else { continue };
            let labels = vec![("task", name.to_owned())];
            runs.push((labels.clone(), seconds(at)));
            failures.push((labels.clone(), float(state.failures)));
            failing.push((labels, f64::from(u8::from(state.last_error.is_some()))));
        }
        [runs, failures, failing]
    });
}

const fn severity(condition: Condition) -> f64 {
    match condition {
        Condition::Degraded => 1.0,
        Condition::Down => 2.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
fn seconds(at: UnixMillis) -> f64 {
    at as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
fn float(count: u64) -> f64 {
    count as f64
}
