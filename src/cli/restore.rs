//! `restore` and `drill`: bring a backup back, or prove on a private server that it could be.

use std::path::PathBuf;

use clap::Args;

use super::migrate::{COMMAND_TIMEOUT, connect};
use super::progress::Progress;
use super::{Failure, backup, runtime};
use crate::app;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::redis::{EmbeddedConfig, RedisConfig, ServerUrl};
use crate::features::backup::command::{self, Drill, RestoreOptions, Restored};
use crate::lifecycle::{Tasks, exit_code};
use crate::random;
use crate::redis::{EmbeddedServer, Redis, RedisRoles};
use crate::telemetry::metrics::Metrics;
use crate::tls;

#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// A file, or the id of a backup in the configured directory.
    #[arg(value_name = "FILE|ID")]
    file: PathBuf,
    /// The file with the secret key.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// Write the keys. Without it, the backup and the server are only checked.
    #[arg(long)]
    apply: bool,
    /// Restore below this key prefix instead of the configured one.
    #[arg(long, value_name = "PREFIX")]
    pub(super) prefix: Option<String>,
    /// Restore only these capabilities, such as `json,locks`.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct DrillArguments {
    /// A file, or the id of a backup in the configured directory; the newest one by default.
    #[arg(value_name = "FILE|ID")]
    file: Option<PathBuf>,
    /// The file with the secret key.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
}

pub(super) fn restore(config: &Config, arguments: RestoreArguments) -> Result<u8, Failure> {
    let options = RestoreOptions { apply: arguments.apply, only: arguments.only.into_iter().collect() };
    runtime()?.block_on(async {
        let file = command::file(config, Some(&arguments.file))?;
        let identities = command::identities(&arguments.identity)?;
        let tasks = Tasks::new(Clock::System);
        let redis = connect(config, &tasks).await?;
        let (restore, manifest) = command::restore(&redis, config, &file, identities, options).await?;
        let total = backup::keys(&manifest);
        println!("{}: whole, {total} keys", manifest.id);
        let shown = Progress::new(total, "keys");
        let restored = restore.run(&manifest, |done| shown.set(done)).await;
        shown.finish();
        tasks.stop();
        let Restored { written, expired, transient, unselected, kept, erased } = restored?;
        let verb = if arguments.apply { "restored" } else { "would restore" };
        println!("{verb} {written} keys");
        println!("left out: {expired} expired, {transient} transient, {unselected} not selected, {kept} older than the server's");
        if erased > 0 {
            println!("erased again: {erased} keys and members of persons who were erased since the backup");
        }
        if !arguments.apply {
            println!("nothing was written; --apply writes");
        }
        Ok(exit_code::CLEAN)
    })
}

pub(super) fn drill(config: &Config, arguments: DrillArguments) -> Result<u8, Failure> {
    runtime()?.block_on(async {
        let file = command::file(config, arguments.file.as_deref())?;
        let identities = command::identities(&arguments.identity)?;
        let redis: RedisConfig = config.section().map_err(Failure::config)?;
        let token = random::token().map_err(Failure::other)?;
        let directory = std::env::temp_dir().join(format!("gridtokenx-drill-{token}"));
        let embedded = EmbeddedConfig { binary: redis.embedded.binary.clone(), data_dir: directory.clone() };
        let server = EmbeddedServer::start(&embedded).await.map_err(Failure::unavailable)?;
        let tasks = Tasks::new(Clock::System);
        let drilled = match scratch(config, &redis, &server, &tasks).await {
            Ok(scratch) => {
                let shown = Progress::new(0, "keys");
                command::drill(&scratch, config, &file, identities, |done| shown.set(done)).await.map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        tasks.stop();
        server.stop().await;
        // What is left is in the directory of temporary files.
        let _ = std::fs::remove_dir_all(&directory);
        let drill = drilled?;
        let Drill { id, keys, duration_ms, .. } = &drill;
        println!("{id}: passed, {keys} keys in {duration_ms} ms");
        if redis.base().is_named() || redis.state.is_some() {
            let tasks = Tasks::new(Clock::System);
            let recorded = command::record(&connect(config, &tasks).await?, &drill).await;
            tasks.stop();
            recorded?;
        } else {
            println!("redis.url is not set: the service does not know of the drill");
        }
        Ok(exit_code::CLEAN)
    })
}

/// Connects to the private server, whatever servers the configuration names.
async fn scratch(
    config: &Config,
    redis: &RedisConfig,
    server: &EmbeddedServer,
    tasks: &Tasks,
) -> Result<Redis, Failure> {
    tls::install_provider();
    let fencing = config.section().map_err(Failure::config)?;
    let roles = RedisRoles::new(redis, fencing, &app::scripts(), 1, &Metrics::new()).map_err(Failure::config)?;
    let url = ServerUrl::from(server.url().as_str());
    let scratch = roles.beside(&url, COMMAND_TIMEOUT, &app::scripts()).map_err(Failure::other)?;
    scratch.attach(0, tasks);
    scratch.settled().await;
    Ok(scratch)
}
