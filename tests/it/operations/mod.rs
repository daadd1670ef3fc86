//! What operators look at: metrics, rules, alerts, dashboards, the inside of Redis.

mod alerts;
mod dashboards;
mod inspect;
mod metrics;
mod rules;
