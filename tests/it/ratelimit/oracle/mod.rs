//! Four processes with 32 clients each: is every limit exact to the call, and is no call refused wrongly?
//!
//! The clients record the answers, Redis's MONITOR shows when Redis decided, and an oracle (`rates.rs`) compares both with
//! the definitions of the limits. The oracle is tested as well: with rules that allow one call more or less than the real
//! ones, with two Redis servers that count separately, and with one that loses its data.

mod clocks;
mod deployment;
mod load;
mod monitor;
mod rates;
mod replay;
mod rules;

use std::time::Duration;

use deployment::Deployment;
use load::Verdict;
use monitor::Monitor;
use replay::{Evidence, Replay};
use rules::{PER_SECOND, Rule};

use crate::support::{Proxy, RedisServer, eventually};

/// Calls of each limiter in a second: 0.5, 1, 1.5 and 10 times the calls that it admits.
const SPEEDS: [u32; 4] = [PER_SECOND / 2, PER_SECOND, PER_SECOND * 3 / 2, PER_SECOND * 10];
const WINDOW: Duration = Duration::from_millis(250);
/// Longer than a restart of Redis on a busy machine.
const LONG_WINDOW: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_exact_across_processes() {
    let redis = RedisServer::start();
    let deployment = Deployment::on(&redis, WINDOW).await;
    run_load(&deployment, &redis, async |calls| deployment.load.answered(calls).await)
        .await
        .iter()
        .for_each(Replay::expect_exact);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_exact_while_scripts_are_flushed() {
    let redis = RedisServer::start();
    let deployment = Deployment::on(&redis, WINDOW).await;
    let flushes = async |calls| {
        for _ in 0..5 {
            deployment.load.answered(calls / 5).await;
            redis.command::<()>(&["SCRIPT", "FLUSH"]);
        }
    };
    run_load(&deployment, &redis, flushes).await.iter().for_each(Replay::expect_exact);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_exact_with_clocks_an_hour_apart() {
    let redis = RedisServer::start();
    let deployment = Deployment::start(WINDOW, |nth| {
        let mut variables = clocks::ahead_by(nth);
        variables.push(("REDIS_URL".to_owned(), redis.url()));
        variables
    })
    .await;
    let began: Vec<i64> = deployment
        .load
        .get("/ratelimit/stats")
        .await
        .iter()
        .map(|(_, stats)| stats["since"].as_i64().expect("a time"))
        .collect();
    for pair in began.windows(2) {
        let apart = Duration::from_millis(u64::try_from(pair[1] - pair[0]).expect("later"));
        assert!(apart.abs_diff(Duration::from_secs(3_600)) < Duration::from_secs(60), "{began:?}");
    }
    run_load(&deployment, &redis, async |calls| deployment.load.answered(calls).await)
        .await
        .iter()
        .for_each(Replay::expect_exact);
}

/// The calls of all limiters in half a second at a speed.
fn calls(speed: u32) -> usize {
    usize::try_from(speed * 4 / 2).expect("small")
}

/// Applies load at each speed until `events`, which receive the number of calls, end. No call may fail.
async fn run_load(deployment: &Deployment, redis: &RedisServer, events: impl AsyncFn(usize)) -> Vec<Replay> {
    let monitor = Monitor::start(redis);
    for speed in SPEEDS {
        deployment.load.during(speed, events(calls(speed))).await;
    }
    let evidence = Evidence { logs: vec![monitor.stop(redis)], answers: deployment.load.answers() };
    let failed = evidence.answers.iter().find(|answer| !matches!(answer.verdict, Verdict::Admitted | Verdict::Refused));
    assert!(failed.is_none(), "{failed:?}");
    evidence.replays(&deployment.rules)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_exact_when_a_durable_redis_is_killed() {
    let redis = RedisServer::with_options(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let replays =
        run_with_kills(redis, &SPEEDS, async |deployment, speed| deployment.load.answered(calls(speed) / 2).await)
            .await;
    replays.iter().for_each(Replay::expect_no_violation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_detects_the_data_loss_of_a_killed_redis() {
    let redis = RedisServer::with_options(&["--save", "", "--appendonly", "no"]);
    let used_up = async |deployment: &Deployment, _| {
        eventually("limits are used up", async || deployment.load.is_refused_everywhere()).await;
    };
    let replays = run_with_kills(redis, &SPEEDS[3..], used_up).await;
    // A window may end before the new server answers.
    assert!(replays.iter().any(|replay| replay.surplus(0) > 0), "no limiter admitted more than its limit");
}

/// Kills Redis once at each speed, after `before`.
async fn run_with_kills(mut redis: RedisServer, speeds: &[u32], before: impl AsyncFn(&Deployment, u32)) -> Vec<Replay> {
    let proxy = Proxy::start(&redis.socket());
    let url = format!("{}{}", proxy.url(), redis.login());
    // Refusals from the processes' memory would hide the data loss of Redis.
    let rules = Rule::all(LONG_WINDOW).map(Rule::decided_by_redis);
    let deployment = Deployment::with_rules(rules, |_| vec![("REDIS_URL".to_owned(), url.clone())]).await;
    let mut monitor = Monitor::start(&redis);
    let mut logs = Vec::new();
    for speed in speeds {
        let fault = async {
            before(&deployment, *speed).await;
            redis.kill();
            // No call reaches the new server before it is monitored.
            proxy.cut();
            logs.push(monitor.ended());
            redis.boot();
            let monitor = Monitor::start(&redis);
            proxy.heal();
            deployment.ready().await;
            deployment.load.answered(calls(*speed) / 2).await;
            monitor
        };
        monitor = deployment.load.during(*speed, fault).await;
    }
    logs.push(monitor.stop(&redis));
    Evidence { logs, answers: deployment.load.answers() }.replays(&deployment.rules)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_detects_two_servers_that_count_separately() {
    let redises = [RedisServer::start(), RedisServer::start()];
    let deployment = Deployment::start(WINDOW, |nth| vec![("REDIS_URL".to_owned(), redises[nth % 2].url())]).await;
    let [one, two] = redises.each_ref().map(Monitor::start);
    deployment.load.during(SPEEDS[3], deployment.load.answered(calls(SPEEDS[3]))).await;
    let mut both = one.stop(&redises[0]);
    both.decisions.extend(two.stop(&redises[1]).decisions);
    let evidence = Evidence { logs: vec![both], answers: deployment.load.answers() };
    for replay in evidence.replays(&deployment.rules) {
        assert!(replay.surplus(0) > 0, "{}", replay.rule.name);
    }
}
