//! The processes under test and their clients.

use std::sync::Arc;
use std::time::Duration;

use super::load::Load;
use super::rules::Rule;
use crate::support::{RedisServer, ServiceProcess, eventually};

pub const PROCESSES: usize = 4;

pub struct Deployment {
    pub load: Arc<Load>,
    pub rules: [Rule; 4],
    /// The processes end with the deployment.
    _services: Vec<ServiceProcess>,
}

impl Deployment {
    /// Starts processes with one Redis and limits for `window`, and waits until they are ready.
    pub async fn on(redis: &RedisServer, window: Duration) -> Self {
        Self::start(window, |_| vec![("REDIS_URL".to_owned(), redis.url())]).await
    }

    /// Starts processes with individual environment variables and limits for `window`.
    pub async fn start(window: Duration, variables: impl Fn(usize) -> Vec<(String, String)>) -> Self {
        Self::with_rules(Rule::all(window), variables).await
    }

    /// Starts processes with individual environment variables and these limiters.
    pub async fn with_rules(rules: [Rule; 4], variables: impl Fn(usize) -> Vec<(String, String)>) -> Self {
        let limiters = format!("[{}]", rules.each_ref().map(Rule::limiter).join(", "));
        let process = |nth| {
            let own = variables(nth);
            let mut all: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            all.push(("GTX__RATELIMIT__LIMITERS", &limiters));
            // A slow call on a busy machine is not an outage.
            all.extend([("GTX__REDIS__COMMAND_TIMEOUT", "20s"), ("GTX__HTTP__REQUEST_DEADLINE", "30s")]);
            ServiceProcess::start(&all)
        };
        let mut services: Vec<ServiceProcess> = (0..PROCESSES).map(process).collect();
        let processes = services.iter_mut().map(ServiceProcess::address).collect();
        let load = Load::new(processes, rules.each_ref().map(|rule| rule.name));
        let deployment = Self { load, rules, _services: services };
        deployment.ready().await;
        deployment
    }

    pub async fn ready(&self) {
        eventually("all processes are ready", async || {
            self.load.get("/health/ready").await.iter().all(|(status, _)| status.is_success())
        })
        .await;
    }
}
