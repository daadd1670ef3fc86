//! `migrate`: moves stored data between native Redis types and the modules of Redis.

use clap::{Args, Subcommand};

use super::progress::Progress;
use super::{Failure, runtime};
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::redis::RedisConfig;
use crate::config::value::Span;
use crate::features::json::migration::Migration as JsonMigration;
use crate::features::timeseries::migration::{Census, Migration as SeriesMigration};
use crate::lifecycle::Tasks;
use crate::redis::{Backend, Redis, RedisRoles};
use crate::telemetry::metrics::Metrics;
use crate::tls;

/// The time limit of one command. A command moves up to a hundred large values, and no client waits for it.
pub(super) const COMMAND_TIMEOUT: Span = Span::from_millis(30_000);

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

pub(super) fn run(config: &Config, command: &Command) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let tasks = Tasks::new(Clock::System);
        let redis = connect(config, &tasks).await?;
        let migrated = match command {
            Command::Json(target) => migrate_json(redis, config, target.to).await,
            Command::Timeseries(target) => migrate_timeseries(redis, config, target.to).await,
        };
        tasks.stop();
        migrated
    })
}

async fn migrate_json(redis: Redis, config: &Config, to: Backend) -> Result<(), Failure> {
    let migration = JsonMigration::new(redis, config).map_err(Failure::config)?;
    let before = migration.census().await.map_err(Failure::unavailable)?;
    println!("before: {} native, {} in the module", before.native, before.module);
    let shown = Progress::new(if to == Backend::Module { before.native } else { before.module }, "documents");
    let moved = migration.run(to, |progress| shown.set(progress.moved)).await;
    shown.finish();
    let progress = moved.map_err(Failure::unavailable)?;
    let after = migration.census().await.map_err(Failure::unavailable)?;
    println!("moved: {}", progress.moved);
    println!("after: {} native, {} in the module", after.native, after.module);
    print_skipped(&progress.left, "document");
    Ok(())
}

async fn migrate_timeseries(redis: Redis, config: &Config, to: Backend) -> Result<(), Failure> {
    let migration = SeriesMigration::new(redis, config).map_err(Failure::config)?;
    let before = migration.census().await.map_err(Failure::unavailable)?;
    println!("before: {}", words(&before));
    let to_move = if to == Backend::Module { before.native.points } else { before.module.points };
    let shown = Progress::new(to_move, "points");
    let moved = migration.run(to, |points| shown.set(points)).await;
    shown.finish();
    let progress = moved.map_err(Failure::unavailable)?;
    let after = migration.census().await.map_err(Failure::unavailable)?;
    println!("moved: {} series with {} points", progress.moved.series, progress.moved.points);
    println!("after: {}", words(&after));
    print_skipped(&progress.left, "series");
    if before.points() == after.points() {
        return Ok(());
    }
    Err(Failure::other(format!(
        "there were {} points before and {} after: a client wrote to the series during the migration, or points expired",
        before.points(),
        after.points()
    )))
}

fn words(Census { native, module }: &Census) -> String {
    let (series, points) = (native.series, native.points);
    format!("{series} native series with {points} points, {} in the module with {}", module.series, module.points)
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
pub(super) async fn connect(config: &Config, tasks: &Tasks) -> Result<Redis, Failure> {
    app::check_config(config).map_err(Failure::config)?;
    let redis: RedisConfig = config.section().map_err(Failure::config)?;
    if !redis.base().is_named() && redis.state.is_none() {
        return Err(Failure::config("redis.url is not set, and a private Redis runs only with the service"));
    }
    tls::install_provider();
    let command_timeout = redis.command_timeout.max(COMMAND_TIMEOUT);
    let redis = RedisConfig { command_timeout, ..redis };
    let fencing = config.section().map_err(Failure::config)?;
    let roles = RedisRoles::new(&redis, fencing, &app::scripts(), 1, &Metrics::new());
    let redis = roles.map_err(Failure::config)?.state;
    redis.attach(0, tasks);
    redis.settled().await;
    Ok(redis)
}
