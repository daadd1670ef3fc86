//! The processes and their clients.

use std::sync::Arc;
use std::time::Duration;

use super::load::Load;
use super::rules::Rule;
use crate::support::{RedisServer, ServiceProcess, eventually};

pub const PROCESSES: usize = 4;

pub struct Scene {
    pub load: Arc<Load>,
    pub rules: [Rule; 4],
    /// They end with the scene.
    _services: Vec<ServiceProcess>,
}

impl Scene {
    /// Processes on one Redis, with limits for `window`; ready.
    pub async fn on(redis: &RedisServer, window: Duration) -> Self {
        Self::set(window, |_| vec![("REDIS_URL".to_owned(), redis.url())]).await
    }

    /// The same with each process's own variables.
    pub async fn set(window: Duration, variables: impl Fn(usize) -> Vec<(String, String)>) -> Self {
        Self::with_rules(Rule::all(window), variables).await
    }

    /// Processes with each one's own variables and these limiters.
    pub async fn with_rules(rules: [Rule; 4], variables: impl Fn(usize) -> Vec<(String, String)>) -> Self {
        let limiters = format!("[{}]", rules.each_ref().map(Rule::limiter).join(", "));
        let start = |nth| {
            let own = variables(nth);
            let mut all: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            all.push(("GTX__RATELIMIT__LIMITERS", &limiters));
            // A machine that is busy elsewhere is no outage.
            all.extend([("GTX__REDIS__COMMAND_TIMEOUT", "20s"), ("GTX__HTTP__REQUEST_DEADLINE", "30s")]);
            ServiceProcess::start(&all)
        };
        let mut services: Vec<ServiceProcess> = (0..PROCESSES).map(start).collect();
        let processes = services.iter_mut().map(ServiceProcess::address).collect();
        let load = Load::new(processes, rules.each_ref().map(|rule| rule.name));
        let scene = Self { load, rules, _services: services };
        scene.ready().await;
        scene
    }

    pub async fn ready(&self) {
        eventually("all processes are ready", async || {
            self.load.get("/health/ready").await.iter().all(|(status, _)| status.is_success())
        })
        .await;
    }
}
