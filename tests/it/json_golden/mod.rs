//! Answers recorded from RedisJSON, asked of the documents over HTTP.
//!
//! `tests/golden/json_*.json` hold scenarios of commands with the module's answers. Every command that HTTP can express
//! is translated into a request ([`translate`]), and its answer is held against the recorded one ([`verdict`]). What
//! cannot be expressed, or is meant to differ, is an entry of [`Reason`]; docs/json.md explains each.

mod reason;
pub mod translate;
pub mod vectors;
mod verdict;

use std::collections::BTreeMap;

use reason::Reason;
use translate::{Request, Translation};
use vectors::Step;

use crate::support::{TestApp, in_repository};

/// What became of a step.
enum Verdict {
    Same,
    /// It was not asked, or its answer is meant to be another one.
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
            if let Verdict::Different(text) = ask(&app, &step, &mut history).await {
                differences.push(format!("{}: setup {}: {text}", scenario.name, step.text()));
            }
        }
        for (number, step) in scenario.steps.iter().enumerate() {
            match ask(&app, step, &mut history).await {
                Verdict::Same => same += 1,
                Verdict::Excepted(reason) => *excepted.entry(reason).or_default() += 1,
                Verdict::Different(text) => {
                    differences.push(format!("{} #{number}: {}: {text}", scenario.name, step.text()));
                }
            }
        }
    }
    println!("{family}: {same} answers are the module's, {excepted:?} are not asked or meant to differ");
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(same >= at_least, "only {same} steps were compared");
}

async fn ask(app: &TestApp, step: &Step, history: &mut translate::History) -> Verdict {
    match translate::translate(step, history) {
        Translation::Excepted(reason) => Verdict::Excepted(reason),
        Translation::Redis { command, expected } => verdict::of_redis(app, &command, &expected),
        Translation::HalfApplied { key, operation, by } => half_apply(app, &key, operation, &by).await,
        Translation::Requests { requests, meant } => {
            let mut replies = Vec::new();
            for request in requests {
                replies.push(request.send(app).await);
            }
            match meant {
                None => verdict::of_replies(&replies, step, history),
                Some(reason) => Verdict::Excepted(reason),
            }
        }
    }
}

/// The module changes members up to the first that it cannot change, then fails; here nothing may be changed.
///
/// For the steps that follow, the document is brought to where the module left it.
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
async fn values_are_set_as_by_the_module() {
    run("json_set", 400).await;
}

#[tokio::test]
async fn values_are_read_as_by_the_module() {
    run("json_get", 400).await;
}

#[tokio::test]
async fn filters_select_what_the_module_selects() {
    run("json_filter", 200).await;
}

#[tokio::test]
async fn values_are_deleted_as_by_the_module() {
    run("json_del", 200).await;
}

#[tokio::test]
async fn arrays_change_as_in_the_module() {
    run("json_arr", 250).await;
}

#[tokio::test]
async fn numbers_change_as_in_the_module() {
    run("json_num", 200).await;
}

#[tokio::test]
async fn strings_change_as_in_the_module() {
    run("json_str", 80).await;
}

#[tokio::test]
async fn types_and_members_are_told_as_by_the_module() {
    run("json_obj_type", 250).await;
}

#[tokio::test]
async fn documents_are_merged_and_read_together_as_by_the_module() {
    run("json_mget_mset_merge", 150).await;
}

#[tokio::test]
async fn random_programs_end_as_in_the_module() {
    run("json_fuzz", 700).await;
}

#[test]
fn every_difference_is_explained() {
    let page = std::fs::read_to_string(in_repository("docs/json.md")).expect("docs/json.md");
    for reason in Reason::ALL {
        assert!(page.contains(reason.title()), "docs/json.md does not explain: {}", reason.title());
    }
}
