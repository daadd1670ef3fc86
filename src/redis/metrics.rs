//! What is counted of commands and connections, per role, and the span of a command within a traced request.

use std::time::Instant;

use opentelemetry::KeyValue;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use redis::Arg;

use super::Role;
use super::connection::Packet;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::{ClientSpan, client_span};

/// Command durations, seconds: from a unix socket's round trip to twice the default command timeout.
const DURATION_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

/// The metrics of every role.
#[derive(Debug)]
pub(super) struct RedisMetrics {
    commands: IntCounterVec,
    durations: HistogramVec,
    connections: IntGaugeVec,
    connects: IntCounterVec,
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
                "Shared connections made; more than there are at once were made anew",
                &["role"],
            ),
        }
    }

    /// The metrics of a server, labelled with everything that it serves.
    pub(super) fn of(&self, roles: &[Role]) -> RoleMetrics {
        let role = roles.iter().map(|role| role.label()).collect::<Vec<_>>().join(",");
        RoleMetrics {
            answered: self.commands.with_label_values(&[&role, "ok"]),
            commands: self.commands.clone(),
            duration: self.durations.with_label_values(&[&role]),
            connections: self.connections.with_label_values(&[&role]),
            connects: self.connects.with_label_values(&[&role]),
            role,
        }
    }
}

/// One role's metrics, their handles prepared.
#[derive(Debug)]
pub(super) struct RoleMetrics {
    role: String,
    answered: IntCounter,
    commands: IntCounterVec,
    duration: Histogram,
    connections: IntGauge,
    connects: IntCounter,
}

impl RoleMetrics {
    /// Times an exchange from now on.
    pub(super) fn begin(&self, packet: Packet<'_>) -> Exchange<'_> {
        Exchange {
            metrics: self,
            started: Instant::now(),
            outcome: "abandoned",
            span: client_span(|| describe(packet)),
        }
    }

    /// Counts a shared connection as up until the guard goes.
    pub(super) fn connected(&self) -> Connected<'_> {
        self.connects.inc();
        self.connections.inc();
        Connected(&self.connections)
    }
}

/// An exchange under way; dropped before its end, it was abandoned with its request.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    metrics: &'a RoleMetrics,
    started: Instant,
    outcome: &'static str,
    span: Option<ClientSpan>,
}

impl Exchange<'_> {
    /// `outcome` is `ok` or a kind of fault.
    pub(super) fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.metrics.duration.observe(self.started.elapsed().as_secs_f64());
        if self.outcome == "ok" {
            self.metrics.answered.inc();
            return;
        }
        self.metrics.commands.with_label_values(&[&self.metrics.role, self.outcome]).inc();
        if let Some(span) = &mut self.span {
            span.fail(self.outcome);
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

/// Name and attributes after OpenTelemetry's conventions for database calls; keys and values are the callers' data and
/// stay out.
fn describe(packet: Packet<'_>) -> (String, Vec<KeyValue>) {
    let (name, batch) = match packet {
        Packet::Command(command) => (verb(command), None),
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
