//! `migrate`: moves stored data between the native form and the modules of Redis.

mod json;
mod timeseries;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tokio::runtime::Builder;

use super::refuse;
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::redis::RedisConfig;
use crate::config::value::Span;
use crate::lifecycle::{Tasks, exit_code};
use crate::redis::{Backend, Redis, RedisRoles};
use crate::telemetry::metrics::Metrics;
use crate::tls;

/// What one round trip may take: a hundred large values are moved in it, and nobody waits for an answer.
const COMMAND_TIMEOUT: Span = Span::from_millis(30_000);

/// Names of what is left that are told.
const TOLD: usize = 20;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// JSON documents: to RedisJSON, or back to strings.
    Json(Target),
    /// Time series: to RedisTimeSeries, or back to Redis's own types.
    Timeseries(Target),
}

#[derive(Debug, Args)]
pub(super) struct Target {
    /// Where the data is to be: `module` or `native`.
    #[arg(long, value_parser = backend)]
    to: Backend,
}

fn backend(name: &str) -> Result<Backend, String> {
    Backend::named(name).ok_or_else(|| "must be `module` or `native`".to_owned())
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
            Command::Json(target) => json::run(redis, config, target).await,
            Command::Timeseries(target) => timeseries::run(redis, config, target).await,
        };
        tasks.stop();
        migrated
    });
    match migrated {
        Ok(()) => ExitCode::SUCCESS,
        Err(Refusal { code, reason }) => refuse(code, &reason),
    }
}

/// Tells the first names of what was left.
fn tell_left(left: &[String], no: &str) {
    for name in left.iter().take(TOLD) {
        println!("left as it is, since it is no {no}: {name}");
    }
    if left.len() > TOLD {
        println!("... and {} more", left.len() - TOLD);
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
