//! The answers of RedisTimeSeries, recorded once, against the service's own: each command that HTTP can express is sent
//! and its answer compared. What cannot be expressed, and where the service answers otherwise on purpose, is counted
//! under a reason that docs/timeseries.md explains.

mod call;
mod differences;
mod many;
mod range;
mod rules;
mod series;
mod vector;
mod words;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{TestApp, clear, in_repository, on_module_redis, optional_module_redis_url};
use call::{Caller, Inexpressible};
use vector::{Answer, Step, scenarios};

/// As the module behaves: nothing is created by MADD, nothing expires, and duplicates are refused.
///
/// Hundreds of commands one after the other meet a slow moment of the machine that a caller would not notice.
const LIKE_THE_MODULE: &str = "timeseries.create_unknown = false\ntimeseries.retention = \"0s\"\ntimeseries.duplicate_policy = \"block\"\n\
                               redis.command_timeout = \"10s\"\nhttp.request_deadline = \"30s\"\n";

/// The results of the steps of a family.
#[derive(Debug, Default)]
struct Tally {
    equal: usize,
    otherwise: BTreeMap<&'static str, usize>,
    wrong: Vec<String>,
}

impl Tally {
    fn count(&mut self, reason: &'static str) {
        *self.otherwise.entry(reason).or_default() += 1;
    }
}

async fn replay(family: &str, least_equal: usize) {
    let builder = || TestApp::builder().config(LIKE_THE_MODULE);
    let native = builder().spawn().await;
    compare(&native, family, least_equal, async || native.redis().command(&["FLUSHALL"])).await;
    if let Some(url) = optional_module_redis_url() {
        let module = builder().config("timeseries.backend = \"module\"").config(&on_module_redis(&url)).spawn().await;
        compare(&module, family, least_equal, async || clear(&module).await).await;
    }
}

/// `empty` deletes what the scenario before has left.
async fn compare(app: &TestApp, family: &str, least_equal: usize, empty: impl AsyncFn()) {
    let mut tally = Tally::default();
    for scenario in scenarios(family) {
        empty().await;
        let mut caller = Caller::new(app);
        for command in &scenario.setup {
            if caller.run(command).await.is_err() {
                caller.miss(command);
            }
        }
        for step in &scenario.steps {
            judge(&mut caller, &scenario.name, step, &mut tally).await;
        }
    }
    println!("{family}: {} equal, otherwise {:#?}", tally.equal, tally.otherwise);
    assert!(tally.wrong.is_empty(), "{} answers differ:\n{}", tally.wrong.len(), tally.wrong.join("\n"));
    assert!(tally.equal >= least_equal, "{family}: only {} answers were compared: {tally:#?}", tally.equal);
    let page = std::fs::read_to_string(in_repository("docs/timeseries.md")).expect("the page");
    for reason in tally.otherwise.keys() {
        assert!(page.contains(reason), "docs/timeseries.md does not explain: {reason}");
    }
}

async fn judge(caller: &mut Caller<'_>, scenario: &str, step: &Step, tally: &mut Tally) {
    let found = match caller.run(&step.cmd).await {
        Ok(found) => found,
        Err(reason) => {
            // An error changes nothing, and what was incremented is there.
            if step.error.is_none() && call::changes_something(&step.cmd) && reason != Inexpressible::INCREMENT {
                caller.miss(&step.cmd);
            }
            return tally.count(reason.0);
        }
    };
    if step.quirk.is_some() {
        return tally.count("a quirk of the recording");
    }
    let shown = |answer: &Answer| differences::shown(&step.cmd, answer.clone());
    if step.expected().iter().any(|expected| agree(&shown(expected), &shown(&found))) {
        tally.equal += 1;
    } else if let Some(reason) = differences::reason(step, &found) {
        tally.count(reason);
    } else {
        tally.wrong.push(format!("{scenario}: {:?}\n  expected {:?}\n  found    {found:?}", step.cmd, step.expected()));
    }
}

fn agree(expected: &Answer, found: &Answer) -> bool {
    match (expected, found) {
        (Answer::Error, Answer::Error) => true,
        (Answer::Reply(expected), Answer::Reply(found)) => equal(expected, found),
        _ => false,
    }
}

/// Equal, with numbers in text compared as numbers.
fn equal(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(expected, found)| equal(expected, found))
        }
        (Value::Object(expected), Value::Object(found)) => {
            expected.contains_key("error") && found.contains_key("error")
        }
        (Value::String(expected), Value::String(found)) => match (expected.parse::<f64>(), found.parse::<f64>()) {
            (Ok(expected), Ok(found)) => close(expected, found),
            _ => expected == found,
        },
        _ => expected == found,
    }
}

fn close(expected: f64, found: f64) -> bool {
    let distance = (expected - found).abs();
    (expected.is_nan() && found.is_nan())
        || expected.to_bits() == found.to_bits()
        || distance <= 1e-9
        || distance <= 1e-9 * expected.abs().max(found.abs())
}

#[tokio::test]
async fn adding_single_samples_matches_the_module() {
    replay("ts_add", 518).await;
}

#[tokio::test]
async fn ranges_match_the_module() {
    replay("ts_range", 260).await;
}

#[tokio::test]
async fn aggregations_match_the_module() {
    replay("ts_aggregation", 898).await;
}

#[tokio::test]
async fn retention_matches_the_module() {
    replay("ts_retention", 134).await;
}

#[tokio::test]
async fn deleting_windows_matches_the_module() {
    replay("ts_del", 58).await;
}

#[tokio::test]
async fn creating_series_matches_the_module() {
    replay("ts_create", 90).await;
}

#[tokio::test]
async fn altering_and_describing_series_matches_the_module() {
    replay("ts_alter_info", 48).await;
}

#[tokio::test]
async fn ranges_of_many_series_match_the_module() {
    replay("ts_mrange", 280).await;
}

#[tokio::test]
async fn newest_samples_of_many_series_match_the_module() {
    replay("ts_get_mget", 146).await;
}

#[tokio::test]
async fn incremented_values_match_the_module() {
    replay("ts_incrby", 68).await;
}

#[tokio::test]
async fn random_programs_match_the_module() {
    replay("ts_fuzz", 706).await;
}

#[tokio::test]
async fn rollups_match_the_rules_of_the_module() {
    replay("ts_rules", 500).await;
}

#[tokio::test]
async fn rollups_match_the_rules_of_the_module_in_random_programs() {
    replay("ts_rules_fuzz", 500).await;
}
