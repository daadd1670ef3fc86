//! `migrate`: moves stored data between the native form and the modules of Redis.

mod json;

use std::process::ExitCode;

use clap::Subcommand;
use tokio::runtime::Builder;

use super::refuse;
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::redis::RedisConfig;
use crate::config::value::Span;
use crate::lifecycle::{Tasks, exit_code};
use crate::redis::{Redis, RedisRoles};
use crate::telemetry::metrics::Metrics;
use crate::tls;

/// What one round trip may take: a hundred large values are moved in it, and nobody waits for an answer.
const COMMAND_TIMEOUT: Span = Span::from_millis(30_000);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// JSON documents: to RedisJSON, or back to strings.
    Json(json::Options),
}

/// Why a migration did not run, and the exit code that says so.
struct Refusal {
    code: u8,
    reason: String,
}

impl Refusal {
    fn because(code: u8) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |reason| Self { code, reason: reason.to_string() }
    }
}

pub(super) fn run(config: &Config, command: &Command) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(exit_code::FAILURE, &error),
    };
    let migrated = runtime.block_on(async {
        let tasks = Tasks::new(Clock::System);
        let redis = connect(config, &tasks).await?;
        let migrated = match command {
            Command::Json(options) => json::run(redis, config, options).await,
        };
        tasks.stop();
        migrated
    });
    match migrated {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal { code, reason }) => refuse(code, &reason),
    }
}

/// The Redis that keeps the service's state, looked at once.
async fn connect(config: &Config, tasks: &Tasks) -> Result<Redis, Refusal> {
    let misconfigured = Refusal::because(exit_code::CONFIG);
    app::check_config(config).map_err(|error| misconfigured(&error))?;
    let redis: RedisConfig = config.section().map_err(|error| misconfigured(&error))?;
    if !redis.base().is_named() && redis.state.is_none() {
        return Err(misconfigured(&"redis.url names no Redis, and a private one has nothing to move to"));
    }
    tls::install_provider();
    let command_timeout = redis.command_timeout.max(COMMAND_TIMEOUT);
    let redis = RedisConfig { command_timeout, ..redis };
    let fencing = config.section().map_err(|error| misconfigured(&error))?;
    let roles = RedisRoles::new(&redis, fencing, &app::scripts(), 1, &Metrics::new());
    let redis = roles.map_err(|error| misconfigured(&error))?.state;
    redis.attach(0, tasks);
    redis.settled().await;
    Ok(redis)
}
