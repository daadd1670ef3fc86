//! Series behave like a small model: random batches, out of order, under every duplicate policy.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::support::TestApp;
use crate::timeseries::{read, sample};
use crate::timeseries_packing::packed;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(i64, f64)>),
    Delete(i64, i64),
    /// Waits until every sealed chunk is packed.
    Pack,
}

/// The expected contents of a series.
#[derive(Debug, Default)]
struct Model {
    policy: &'static str,
    retention: i64,
    samples: BTreeMap<i64, f64>,
}

impl Model {
    /// Returns the numbers of accepted, stored and refused samples.
    fn write(&mut self, batch: &[(i64, f64)]) -> (usize, usize, usize) {
        let newest = self.samples.keys().next_back().copied();
        let latest = batch.iter().map(|&(time, _)| time).chain(newest).max().unwrap_or(0);
        let floor = if self.retention > 0 { latest - self.retention } else { 0 };
        let mut batch = batch.to_vec();
        batch.sort_by_key(|&(time, _)| time);
        let (mut stored, mut refused) = (0, 0);
        for &(time, new) in &batch {
            if time < floor {
                refused += 1;
                continue;
            }
            let kept = match self.samples.get(&time).copied() {
                None => Some(new),
                Some(old) => match self.policy {
                    "last" => Some(new),
                    "block" if old.to_bits() != new.to_bits() => None,
                    "min" if new < old => Some(new),
                    "max" if new > old => Some(new),
                    "sum" => Some(old + new),
                    _ => Some(old),
                },
            };
            match kept {
                None => refused += 1,
                Some(kept) => {
                    let before = self.samples.insert(time, kept);
                    stored += usize::from(before.map(f64::to_bits) != Some(kept.to_bits()));
                }
            }
        }
        self.samples.retain(|time, _| *time >= floor);
        (batch.len() - refused, stored, refused)
    }

    fn delete(&mut self, from: i64, to: i64) -> usize {
        let before = self.samples.len();
        self.samples.retain(|time, _| !(from..=to).contains(time));
        before - self.samples.len()
    }

    fn bits(&self) -> Vec<(i64, u64)> {
        self.samples.iter().map(|(&time, value)| (time, value.to_bits())).collect()
    }
}

/// The samples of a run: a few random runs fill several chunks, and a batch stays within one script call.
const RUN: i64 = 16;

fn steps(with_deletes: bool) -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![Just(0.0), Just(-0.0), Just(1.0), Just(2.0), Just(5e-324), -1e6..1e6];
    // Dense and sparse times, so that batches hit stored samples, and fall between and after them.
    let time = prop_oneof![0_i64..300, 0_i64..3_000];
    let write = proptest::collection::vec((time, value), 1..60).prop_map(|runs| {
        let run = |&(time, value): &(i64, f64)| (0..RUN).map(move |at| (time * RUN + at, value));
        Step::Write(runs.iter().flat_map(run).collect())
    });
    let ordered = (0_i64..2_000 * RUN, 1_usize..1_000)
        .prop_map(|(start, count)| Step::Write((start..).take(count).map(|time| (time, 1.0)).collect()));
    let delete = (0_i64..3_000 * RUN, 0_i64..600 * RUN).prop_map(|(from, length)| Step::Delete(from, from + length));
    let step = prop_oneof![3 => write, 2 => ordered, 2 => Just(Step::Pack), u32::from(with_deletes) => delete];
    proptest::collection::vec(step, 1..14)
}

async fn assert_agrees(app: &TestApp, series: &str, model: &mut Model, steps: &[Step]) -> Result<(), TestCaseError> {
    let definition = json!({ "duplicate_policy": model.policy, "retention_ms": model.retention });
    app.put(series, definition).await.expect(201);
    for step in steps {
        match step {
            Step::Write(batch) => {
                let samples: Vec<Value> = batch.iter().map(|&(time, value)| sample(time, value)).collect();
                let reply = app.post(&format!("{series}/samples"), json!({ "samples": samples })).await;
                let (accepted, stored, refused) = model.write(batch);
                if accepted == 0 {
                    let detail = reply.expect_problem(422, "samples-refused")["detail"].to_string();
                    prop_assert!(detail.contains(&format!("{refused} samples were refused")), "{detail}");
                    continue;
                }
                let answer = reply.expect(200).json();
                let found = (&answer["accepted"], &answer["stored"], answer["refused"].as_array().map_or(0, Vec::len));
                prop_assert_eq!(found, (&json!(accepted), &json!(stored), refused));
            }
            Step::Pack => packed(app, &series.replace("/timeseries/", "ts:")).await,
            Step::Delete(from, to) => {
                let path = format!("{series}/samples?from={from}&to={to}");
                let deleted = app.delete(&path).await.expect(200).json()["deleted"].clone();
                prop_assert_eq!(deleted, json!(model.delete(*from, *to)));
            }
        }
    }
    let mut expected = model.bits();
    prop_assert_eq!(&read(app, series, "", 100_000).await, &expected);
    prop_assert_eq!(&read(app, series, "", 701).await, &expected);
    let described = app.get(series).await.expect(200).json();
    prop_assert_eq!(&described["count"], &json!(expected.len()));
    prop_assert_eq!(&described["first_timestamp"], &json!(expected.first().map(|first| first.0)));
    prop_assert_eq!(&described["last_timestamp"], &json!(expected.last().map(|last| last.0)));
    expected.reverse();
    prop_assert_eq!(&read(app, series, "&order=desc", 1_103).await, &expected);
    Ok(())
}

/// Each case is a separate series on one server.
fn check(name: &str, policy: &'static str, retention: i64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let app = runtime.block_on(TestApp::spawn());
    let case = std::cell::Cell::new(0);
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(retention == 0), |steps| {
        case.set(case.get() + 1);
        let series = format!("/timeseries/{name}-{}", case.get());
        let mut model = Model { policy, retention, samples: BTreeMap::new() };
        runtime.block_on(assert_agrees(&app, &series, &mut model, &steps))
    });
    outcome.unwrap_or_else(|failure| panic!("{policy}, retention {retention}: {failure}"));
}

#[test]
fn random_batches_agree_with_the_model_under_last() {
    check("last", "last", 0);
    check("last-kept", "last", 500 * RUN);
}

#[test]
fn random_batches_agree_with_the_model_under_first() {
    check("first", "first", 0);
}

#[test]
fn random_batches_agree_with_the_model_under_block() {
    check("block", "block", 0);
    check("block-kept", "block", 1_000 * RUN);
}

#[test]
fn random_batches_agree_with_the_model_under_min_and_max() {
    check("min", "min", 0);
    check("max", "max", 0);
}

#[test]
fn random_batches_agree_with_the_model_under_sum() {
    check("sum", "sum", 0);
    check("sum-kept", "sum", 700 * RUN);
}
