//! `migrate`: moves stored data between native Redis types and the modules of Redis.

mod json;
mod timeseries;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tokio::runtime::Builder;

use super::progress::Progress;
use super::{Failure, fail};
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::redis::RedisConfig;
use crate::config::value::Span;
use crate::lifecycle::{Tasks, exit_code};
use crate::redis::{Backend, Redis, RedisRoles};
use crate::telemetry::metrics::Metrics;
use crate::tls;

/// The time limit of one command. A command moves up to a hundred large values, and no client waits for it.
const COMMAND_TIMEOUT: Span = Span::from_millis(30_000);

/// The most names of skipped data that are printed.
const MAX_NAMES: usize = 20;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Move JSON documents to RedisJSON, or back to strings.
    Json(Target),
    /// Move time series to RedisTimeSeries, or back to native types.
    Timeseries(Target),
}

#[derive(Debug, Args)]
pub(super) struct Target {
    /// The destination: `module` or `native`.
    #[arg(long, value_parser = backend)]
    to: Backend,
}

fn backend(name: &str) -> Result<Backend, String> {
    Backend::named(name).ok_or_else(|| "must be `module` or `native`".to_owned())
}

pub(super) fn run(config: &Config, command: &Command) -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit_code::FAILURE, &error),
    };
    let migrated = runtime.block_on(async {
        let tasks = Tasks::new(Clock::System);
        let redis = connect(config, &tasks).await?;
        let migrated = match command {
            Command::Json(target) => json::run(redis, config, target).await,
            Command::Timeseries(target) => timeseries::run(redis, config, target).await,
        };
        tasks.stop();
        migrated
    });
    match migrated {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, reason }) => fail(code, &reason),
    }
}

/// Prints the first names of the data that was skipped because it is not a `kind`.
fn print_skipped(skipped: &[String], kind: &str) {
    for name in skipped.iter().take(MAX_NAMES) {
        println!("skipped, not a valid {kind}: {name}");
    }
    if skipped.len() > MAX_NAMES {
        println!("... and {} more", skipped.len() - MAX_NAMES);
    }
}

/// Connects to the Redis that stores the service's state, and detects its modules.
async fn connect(config: &Config, tasks: &Tasks) -> Result<Redis, Failure> {
    let misconfigured = Failure::with_code(exit_code::CONFIG);
    app::check_config(config).map_err(|error| misconfigured(&error))?;
    let redis: RedisConfig = config.section().map_err(|error| misconfigured(&error))?;
    if !redis.base().is_named() && redis.state.is_none() {
        return Err(misconfigured(&"redis.url is not set, and a private Redis has no modules"));
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
