//! What operators look at: metrics, rules, alerts, dashboards, the inside of Redis.

mod metrics;
mod rules;
