//! Tests of the service against real servers, one file or folder per capability.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, also outside of #[test] functions"
)]

mod support;

mod advice;
mod archive;
mod attack;
mod audit;
mod auth;
mod auth_scopes;
mod availability;
#[cfg(feature = "backup")]
mod backup;
mod cache;
mod cache_counters;
mod cache_faults;
mod cache_lease;
mod cache_many;
mod cache_tags;
mod clients;
mod command;
mod compression;
mod cors;
mod demo;
mod documentation;
mod epoch;
mod faults;
mod faults_keyspace;
mod faults_load;
mod faults_refusals;
mod features_on_cluster;
mod fencing;
mod health;
mod holdings;
mod hosts;
mod http_rules;
mod idempotency;
mod interoperability;
mod json;
mod json_backends;
mod json_faults;
mod json_golden;
mod json_limits;
mod json_model;
mod json_platform;
mod json_secrets;
mod json_standards;
mod json_values;
mod json_writers;
mod keys;
mod large_bodies;
mod lock_check;
mod locks;
mod locks_faults;
mod locks_hold;
mod locks_input;
mod locks_metrics;
mod locks_nodes;
mod locks_redlock;
mod locks_together;
mod locks_topologies;
mod locks_waiting;
mod logs;
mod middleware;
mod migrate_json;
mod migrate_timeseries;
mod operations;
mod orderbook;
mod pubsub;
mod ratelimit;
mod recipes;
mod recorded_data;
mod redis_production;
mod redis_roles;
mod redis_security;
mod redis_topologies;
mod schemathesis;
mod serve;
mod server;
mod streams;
mod subjects;
mod swagger_ui;
mod telemetry;
mod timeseries;
mod timeseries_aggregates;
mod timeseries_backends;
mod timeseries_bulk;
mod timeseries_calendar;
mod timeseries_counters;
mod timeseries_export;
mod timeseries_faults;
mod timeseries_golden;
mod timeseries_groups;
mod timeseries_influx;
mod timeseries_input;
mod timeseries_labels;
mod timeseries_model;
mod timeseries_packing;
mod timeseries_platform;
mod timeseries_prom;
mod timeseries_prom_labels;
mod timeseries_range;
mod timeseries_refusals;
mod timeseries_rollup_loads;
mod timeseries_rollups;
mod timeseries_times;
mod timeseries_writers;
mod trades;
mod ui;
mod warming;
