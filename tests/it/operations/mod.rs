//! What operators look at: metrics, rules, alerts, dashboards, the inside of Redis.

mod alert_streams;
mod alerts;
mod apt_lock;
mod dashboards;
mod deployment;
mod health_check;
mod injected;
mod inspect;
mod metrics;
mod outages;
mod rules;
