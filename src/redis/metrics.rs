//! Metrics of commands and connections by role, and the span of a command within a traced request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use opentelemetry::KeyValue;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use redis::{Arg, Value};

use super::Role;
use super::connection::Packet;
use super::fault::{Effect, FaultKind, RedisFault};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{ClientSpan, client_span};

/// Command durations, seconds: from a unix socket's round trip to twice the default command timeout.
const DURATION_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// Waits for a dedicated connection, seconds: from an idle one to the longest wait and a connect.
const POOL_BUCKETS: &[f64] = &[0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];

/// The metrics of every role.
#[derive(Debug)]
pub(super) struct RedisMetrics {
    commands: IntCounterVec,
    durations: HistogramVec,
    connections: IntGaugeVec,
    connects: IntCounterVec,
    retries: IntCounterVec,
    failovers: IntCounterVec,
    pool_waits: HistogramVec,
    certificate_ends: IntGaugeVec,
}

impl RedisMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            commands: metrics.counter(
                "redis_commands_total",
                "Exchanges with Redis by outcome: ok, a kind of fault, or abandoned with its request",
                &["role", "outcome"],
            ),
            durations: metrics.histogram_in(
                "redis_command_duration_seconds",
                "Time of an exchange with Redis, pipelines as one",
                &["role"],
                DURATION_BUCKETS,
            ),
            connections: metrics.gauges(
                "redis_connection_state",
                "Shared connections that are up; each worker has one, and background work another",
                &["role"],
            ),
            connects: metrics.counter(
                "redis_connects_total",
                "Shared connections made; a count above the number of lanes means reconnections",
                &["role"],
            ),
            retries: metrics.counter(
                "redis_retries_total",
                "Exchanges that were tried again, because Redis did not run them or they change nothing",
                &["role"],
            ),
            failovers: metrics.counter(
                "redis_failovers_total",
                "How often a former replica has taken over as the server of a role",
                &["role"],
            ),
            pool_waits: metrics.histogram_in(
                "redis_pool_wait_seconds",
                "Time until a dedicated connection was available, or the pool stayed exhausted",
                &["role"],
                POOL_BUCKETS,
            ),
            certificate_ends: metrics.gauges(
                "tls_certificate_expiry_timestamp_seconds",
                "When the first certificate of the Redis servers of a role ends, Unix seconds; 0: without TLS, or not known yet",
                &["role"],
            ),
        }
    }

    /// The metrics of a server, labelled with everything that it serves.
    pub(super) fn of(&self, roles: &[Role]) -> RoleMetrics {
        let role = roles.iter().map(|role| role.label()).collect::<Vec<_>>().join(",");
        RoleMetrics {
            succeeded: self.commands.with_label_values(&[&role, "ok"]),
            commands: self.commands.clone(),
            duration: self.durations.with_label_values(&[&role]),
            connections: self.connections.with_label_values(&[&role]),
            connects: self.connects.with_label_values(&[&role]),
            refused_writes: AtomicU64::new(0),
            denied_writes: AtomicU64::new(0),
            retries: self.retries.with_label_values(&[&role]),
            failovers: self.failovers.with_label_values(&[&role]),
            pool_wait: self.pool_waits.with_label_values(&[&role]),
            certificate_end: self.certificate_ends.with_label_values(&[&role]),
            role,
        }
    }
}

/// The metrics of one role, with their handles prepared.
#[derive(Debug)]
pub(super) struct RoleMetrics {
    role: String,
    succeeded: IntCounter,
    commands: IntCounterVec,
    duration: Histogram,
    connections: IntGauge,
    connects: IntCounter,
    /// Writes that the server refused because it accepts none now; readiness shows that it grows.
    pub(super) refused_writes: AtomicU64,
    /// Writes that the service's user may not make.
    pub(super) denied_writes: AtomicU64,
    pub(super) retries: IntCounter,
    pub(super) failovers: IntCounter,
    pub(super) pool_wait: Histogram,
    pub(super) certificate_end: IntGauge,
}

impl RoleMetrics {
    /// Starts timing an exchange.
    pub(super) fn begin(&self, packet: Packet<'_>) -> TimedExchange<'_> {
        TimedExchange { metrics: self, started: Instant::now(), end: None, span: client_span(|| describe(packet)) }
    }

    /// Counts the writes that the server has refused in an exchange, also in the middle of a pipeline.
    pub(super) fn count_refusals(&self, result: &Result<Value, RedisFault>, effect: Effect) {
        let add_one = |count: &AtomicU64| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let count = |kind| match kind {
            FaultKind::OutOfMemory | FaultKind::WritesRefused => add_one(&self.refused_writes),
            FaultKind::Denied if effect == Effect::Write => add_one(&self.denied_writes),
            _ => {}
        };
        match result {
            Err(fault) => count(fault.kind),
            Ok(Value::Array(replies)) => {
                for reply in replies {
                    if let Value::ServerError(error) = reply {
                        count(RedisFault::classify(error.clone().into(), effect).kind);
                    }
                }
            }
            Ok(_) => {}
        }
    }

    /// Counts a shared connection as up until the guard is dropped.
    pub(super) fn connected(&self) -> Connected<'_> {
        self.connects.inc();
        self.connections.inc();
        Connected(&self.connections)
    }
}

/// A running exchange. Dropped before its end, it counts as abandoned with its request.
#[derive(Debug)]
pub(super) struct TimedExchange<'a> {
    metrics: &'a RoleMetrics,
    started: Instant,
    end: Option<(&'static str, Instant)>,
    span: Option<ClientSpan>,
}

impl TimedExchange<'_> {
    /// `outcome` is `ok` or a kind of fault.
    pub(super) fn end(mut self, outcome: &'static str, at: Instant) {
        self.end = Some((outcome, at));
    }
}

impl Drop for TimedExchange<'_> {
    fn drop(&mut self) {
        let (outcome, at) = self.end.unwrap_or_else(|| ("abandoned", Instant::now()));
        self.metrics.duration.observe(at.saturating_duration_since(self.started).as_secs_f64());
        if outcome == "ok" {
            self.metrics.succeeded.inc();
            return;
        }
        self.metrics.commands.with_label_values(&[&self.metrics.role, outcome]).inc();
        if let Some(span) = &mut self.span {
            span.fail(outcome);
        }
    }
}

#[derive(Debug)]
pub(super) struct Connected<'a>(&'a IntGauge);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Name and attributes by OpenTelemetry's conventions for database calls. They contain no keys and values, which are the
/// callers' data.
fn describe(packet: Packet<'_>) -> (String, Vec<KeyValue>) {
    let (name, batch) = match packet {
        Packet::Command(command) | Packet::At(command, _) => (verb(command), None),
        Packet::Commands(commands) => ("PIPELINE".to_owned(), i64::try_from(commands.len()).ok()),
    };
    let mut attributes =
        vec![KeyValue::new("db.system.name", "redis"), KeyValue::new("db.operation.name", name.clone())];
    attributes.extend(batch.map(|size| KeyValue::new("db.operation.batch.size", size)));
    (name, attributes)
}

fn verb(command: &redis::Cmd) -> String {
    match command.args_iter().next() {
        Some(Arg::Simple(verb)) => String::from_utf8_lossy(verb).into_owned(),
        _ => "unnamed".to_owned(),
    }
}
