//! `restore` and `drill`: bring a backup back, or prove on a private server that it could be.

use std::path::PathBuf;

use clap::Args;

use super::migrate::connect;
use super::progress::Progress;
use super::{Failure, runtime};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::redis::RedisConfig;
use crate::features::backup::command::{self, Drill, RestoreOptions, Restored};
use crate::lifecycle::{Tasks, exit_code};
use crate::redis::RedisRoles;
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
        let total = manifest.keys();
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

pub(super) fn drill(config: &Config, arguments: &DrillArguments) -> Result<u8, Failure> {
    tls::install_provider();
    runtime()?.block_on(async {
        let file = command::file(config, arguments.file.as_deref())?;
        let identities = command::identities(&arguments.identity)?;
        let redis: RedisConfig = config.section().map_err(Failure::config)?;
        let shown = Progress::new(0, "keys");
        let fencing = config.section().map_err(Failure::config)?;
        let roles = RedisRoles::new(&redis, fencing, &[], 1, &Metrics::new()).map_err(Failure::config)?;
        let drill = command::drill(&roles, config, &file, identities, |done| shown.set(done)).await;
        shown.finish();
        let drill = drill?;
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
