//! Replays the recorded answers of RedisJSON over HTTP.
//!
//! `tests/golden/json_*.json` hold scenarios of commands with the module's answers. Every command that HTTP can express
//! is translated into a request ([`translate`]), and its answer is compared with the recorded one ([`verdict`]). What
//! cannot be expressed, or intentionally differs, is an entry of [`Reason`]; docs/json.md explains each.

mod reason;
pub mod translate;
pub mod vectors;
mod verdict;

use std::collections::BTreeMap;

use reason::Reason;
use translate::{Request, Translation};
use vectors::Step;

use crate::support::{TestApp, in_repository};

/// The result of a step.
enum Verdict {
    Same,
    /// The step is not replayed, or its answer intentionally differs.
    Excepted(Reason),
    Different(String),
}

/// Runs a family of scenarios and fails with every difference.
async fn run(family: &str, at_least: usize) {
    let app = TestApp::spawn().await;
    let (mut same, mut excepted, mut differences) = (0, BTreeMap::<Reason, usize>::new(), Vec::new());
    for scenario in vectors::load(family) {
        let _: String = app.redis().command(&["FLUSHALL"]);
        let mut history = translate::History::default();
        for command in &scenario.setup {
            let step = Step::setup(command);
            if let Verdict::Different(text) = replay(&app, &step, &mut history).await {
                differences.push(format!("{}: setup {}: {text}", scenario.name, step.text()));
            }
        }
        for (number, step) in scenario.steps.iter().enumerate() {
            match replay(&app, step, &mut history).await {
                Verdict::Same => same += 1,
                Verdict::Excepted(reason) => *excepted.entry(reason).or_default() += 1,
                Verdict::Different(text) => {
                    differences.push(format!("{} #{number}: {}: {text}", scenario.name, step.text()));
                }
            }
        }
    }
    println!("{family}: {same} answers match the module's, {excepted:?} are not replayed or intentionally differ");
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(same >= at_least, "only {same} steps were compared");
}

async fn replay(app: &TestApp, step: &Step, history: &mut translate::History) -> Verdict {
    match translate::translate(step, history) {
        Translation::Excepted(reason) => Verdict::Excepted(reason),
        Translation::Redis { command, expected } => verdict::of_redis(app, &command, &expected),
        Translation::HalfApplied { key, operation, by } => half_apply(app, &key, operation, &by).await,
        Translation::Requests { requests, difference } => {
            let mut replies = Vec::new();
            for request in requests {
                replies.push(request.send(app).await);
            }
            match difference {
                None => verdict::of_replies(&replies, step, history),
                Some(reason) => Verdict::Excepted(reason),
            }
        }
    }
}

/// The module changes members up to the first that it cannot change, then fails; here nothing may be changed.
///
/// For the following steps, the document is set to the state in which the module left it.
async fn half_apply(app: &TestApp, key: &str, operation: &str, by: &str) -> Verdict {
    let whole = Request::calculation(key, operation, "$.*", by).send(app).await;
    if !whole.is(409) {
        return Verdict::Different(format!("{} instead of 409", whole.status));
    }
    let names = Request::members(key).send(app).await.expect(200).json();
    for name in names["results"][0].as_array().expect("members") {
        let reply = Request::calculation(key, operation, &format!("$[{name}]"), by).send(app).await;
        if reply.is(409) && reply.json()["code"] == "json-no-number" {
            break;
        }
    }
    Verdict::Excepted(Reason::HalfApplied)
}

#[tokio::test]
async fn setting_values_matches_the_module() {
    run("json_set", 400).await;
}

#[tokio::test]
async fn reading_values_matches_the_module() {
    run("json_get", 400).await;
}

#[tokio::test]
async fn filters_match_the_module() {
    run("json_filter", 200).await;
}

#[tokio::test]
async fn deleting_values_matches_the_module() {
    run("json_del", 200).await;
}

#[tokio::test]
async fn changes_of_arrays_match_the_module() {
    run("json_arr", 250).await;
}

#[tokio::test]
async fn changes_of_numbers_match_the_module() {
    run("json_num", 200).await;
}

#[tokio::test]
async fn changes_of_strings_match_the_module() {
    run("json_str", 80).await;
}

#[tokio::test]
async fn types_and_members_match_the_module() {
    run("json_obj_type", 250).await;
}

#[tokio::test]
async fn merging_and_reading_many_documents_matches_the_module() {
    run("json_mget_mset_merge", 150).await;
}

#[tokio::test]
async fn random_programs_match_the_module() {
    run("json_fuzz", 700).await;
}

#[test]
fn every_difference_is_explained() {
    let page = std::fs::read_to_string(in_repository("docs/json.md")).expect("docs/json.md");
    for reason in Reason::ALL {
        assert!(page.contains(reason.title()), "docs/json.md does not explain: {}", reason.title());
    }
}
