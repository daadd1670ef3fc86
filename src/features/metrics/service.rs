//! Collects metrics without asking Redis.

use prometheus::proto::MetricFamily;

use crate::deps::Deps;
use crate::redis::{RedisRoles, server_metrics};
use crate::telemetry::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct MetricsService {
    metrics: Metrics,
    redis: RedisRoles,
}

impl MetricsService {
    pub(super) fn new(deps: &Deps) -> Self {
        Self { metrics: deps.metrics.clone(), redis: deps.redis.clone() }
    }

    /// The metrics of the service.
    pub(super) fn own(&self) -> Vec<MetricFamily> {
        self.metrics.gather()
    }

    /// What the Redis servers said about themselves at the last check.
    pub(super) fn servers(&self) -> Vec<MetricFamily> {
        server_metrics::families(&self.redis)
    }
}
