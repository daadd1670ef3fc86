//! Four processes with thirty-two clients each: is every limit kept to the call, and is nobody refused in vain?
//!
//! The clients know what they were told, Redis's MONITOR shows when it was decided, and an oracle (`rates.rs`) replays
//! both against the definitions of the limits. It is itself tried: by rules that allow one call more or less than the
//! real ones, by two Redises that each keep half of a limit, and by one that forgets.

mod clocks;
mod load;
mod monitor;
mod rates;
mod replay;
mod rules;
mod scene;

use std::time::Duration;

use load::Verdict;
use monitor::Monitor;
use rates::Rate;
use replay::{Evidence, Replay};
use rules::{PER_SECOND, Rule};
use scene::Scene;

use crate::support::{Proxy, RedisServer, eventually};

/// Calls of each limiter in a second: 0.5, 1, 1.5 and 10 times what it admits.
const SPEEDS: [u32; 4] = [PER_SECOND / 2, PER_SECOND, PER_SECOND * 3 / 2, PER_SECOND * 10];
const WINDOW: Duration = Duration::from_millis(250);
/// No Redis takes so long to start again.
const LONG_WINDOW: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_exact_across_processes() {
    let redis = RedisServer::start();
    let scene = Scene::on(&redis, WINDOW).await;
    watched(&scene, &redis, async |calls| scene.load.answered(calls).await).await.iter().for_each(Replay::expect_exact);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_exact_while_redis_forgets_its_scripts() {
    let redis = RedisServer::start();
    let scene = Scene::on(&redis, WINDOW).await;
    let flushes = async |calls| {
        for _ in 0..5 {
            scene.load.answered(calls / 5).await;
            redis.command::<()>(&["SCRIPT", "FLUSH"]);
        }
    };
    watched(&scene, &redis, flushes).await.iter().for_each(Replay::expect_exact);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_exact_with_processes_an_hour_apart() {
    let redis = RedisServer::start();
    let scene = Scene::set(WINDOW, |nth| {
        let mut variables = clocks::ahead_by(nth);
        variables.push(("REDIS_URL".to_owned(), redis.url()));
        variables
    })
    .await;
    let began: Vec<i64> = scene
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
    watched(&scene, &redis, async |calls| scene.load.answered(calls).await).await.iter().for_each(Replay::expect_exact);
}

/// The calls of all limiters in half a second at a speed: as many are made at each.
fn calls(speed: u32) -> usize {
    usize::try_from(speed * 4 / 2).expect("small")
}

/// Load at each speed until `events`, which know how many calls that is, are over; no call may fail.
async fn watched(scene: &Scene, redis: &RedisServer, events: impl AsyncFn(usize)) -> Vec<Replay> {
    let monitor = Monitor::start(redis);
    for speed in SPEEDS {
        scene.load.during(speed, events(calls(speed))).await;
    }
    let evidence = Evidence { accounts: vec![monitor.stop(redis)], answers: scene.load.answers() };
    let failed = evidence.answers.iter().find(|answer| !matches!(answer.verdict, Verdict::Admitted | Verdict::Refused));
    assert!(failed.is_none(), "{failed:?}");
    evidence.replays(&scene.rules)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_kept_when_a_durable_redis_is_killed() {
    let redis = RedisServer::with_options(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let replays = killed(redis, &SPEEDS, async |scene, speed| scene.load.answered(calls(speed) / 2).await).await;
    replays.iter().for_each(Replay::expect_no_breach);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_finds_what_a_killed_redis_forgot() {
    let redis = RedisServer::with_options(&["--save", "", "--appendonly", "no"]);
    let used_up =
        async |scene: &Scene, _| eventually("limits are used up", async || scene.load.is_refused_everywhere()).await;
    for replay in killed(redis, &SPEEDS[3..], used_up).await {
        // A fixed window may just have ended.
        assert!(replay.surplus(0) > 0 || matches!(replay.rule.rate, Rate::Fixed { .. }), "{}", replay.rule.name);
    }
}

/// Kills Redis once at each speed, after `before`.
async fn killed(mut redis: RedisServer, speeds: &[u32], before: impl AsyncFn(&Scene, u32)) -> Vec<Replay> {
    let proxy = Proxy::start(&redis.socket());
    let url = format!("{}{}", proxy.url(), redis.login());
    // Refusals from the processes' memory would hide what Redis has forgotten.
    let rules = Rule::all(LONG_WINDOW).map(Rule::decided_by_redis);
    let scene = Scene::with_rules(rules, |_| vec![("REDIS_URL".to_owned(), url.clone())]).await;
    let mut monitor = Monitor::start(&redis);
    let mut accounts = Vec::new();
    for speed in speeds {
        let fault = async {
            before(&scene, *speed).await;
            redis.kill();
            // Nobody gets to the new server before it is watched.
            proxy.cut();
            accounts.push(monitor.ended());
            redis.boot();
            let monitor = Monitor::start(&redis);
            proxy.heal();
            scene.ready().await;
            scene.load.answered(calls(*speed) / 2).await;
            monitor
        };
        monitor = scene.load.during(*speed, fault).await;
    }
    accounts.push(monitor.stop(&redis));
    Evidence { accounts, answers: scene.load.answers() }.replays(&scene.rules)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_finds_two_redises_with_a_limit_each() {
    let redises = [RedisServer::start(), RedisServer::start()];
    let scene = Scene::set(WINDOW, |nth| vec![("REDIS_URL".to_owned(), redises[nth % 2].url())]).await;
    let [one, two] = redises.each_ref().map(Monitor::start);
    scene.load.during(SPEEDS[3], scene.load.answered(calls(SPEEDS[3]))).await;
    let mut both = one.stop(&redises[0]);
    both.decisions.extend(two.stop(&redises[1]).decisions);
    let evidence = Evidence { accounts: vec![both], answers: scene.load.answers() };
    for replay in evidence.replays(&scene.rules) {
        assert!(replay.surplus(0) > 0, "{}", replay.rule.name);
    }
}
