//! `backup`: makes a backup, and lists, verifies and prunes backups.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::migrate::connect;
use super::{Failure, runtime};
use crate::clock::Clock;
use crate::config::Config;
use crate::features::backup::command::{self, BackupError, Listed};
use crate::lifecycle::{Tasks, exit_code};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the backups in the configured directory, newest first.
    List,
    /// Check a backup. The exit code is 0 if it is whole and 1 if not.
    Verify(Verify),
    /// Bring a backup from the store into the configured directory.
    Fetch {
        /// The newest one by default.
        #[arg(value_name = "ID")]
        id: Option<String>,
    },
    /// Remove the backups that are no longer kept.
    Prune {
        /// Only name them.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
struct Verify {
    /// A file, or the id of a backup; the newest one by default.
    #[arg(value_name = "FILE|ID")]
    file: Option<PathBuf>,
    /// The file with the secret key. Without it, the file is only compared with the manifest beside it.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
}

pub(super) fn run(config: &Config, options: Options) -> Result<u8, Failure> {
    runtime()?.block_on(async {
        match options.command {
            None => make(config).await,
            Some(Command::List) => {
                command::list(config)?.iter().for_each(|listed| println!("{}", line(listed)));
                Ok(exit_code::CLEAN)
            }
            Some(Command::Verify(verify)) => check(config, verify).await,
            Some(Command::Fetch { id }) => {
                let tasks = Tasks::new(Clock::System);
                let service = command::service(&connect(config, &tasks).await?, config)?;
                let fetched = service.fetch(id.as_deref()).await;
                tasks.stop();
                println!("{}", line(&fetched?));
                Ok(exit_code::CLEAN)
            }
            Some(Command::Prune { dry_run }) => {
                let tasks = Tasks::new(Clock::System);
                let service = command::service(&connect(config, &tasks).await?, config)?;
                let pruned = service.prune(dry_run).await;
                tasks.stop();
                let verb = if dry_run { "would remove" } else { "removed" };
                pruned?.iter().for_each(|id| println!("{verb} {id}"));
                Ok(exit_code::CLEAN)
            }
        }
    })
}

async fn make(config: &Config) -> Result<u8, Failure> {
    let tasks = Tasks::new(Clock::System);
    let service = command::service(&connect(config, &tasks).await?, config)?;
    let made = service.run().await;
    tasks.stop();
    println!("{}", line(&made?));
    Ok(exit_code::CLEAN)
}

async fn check(config: &Config, Verify { file, identity }: Verify) -> Result<u8, Failure> {
    let path = command::file(config, file.as_deref())?;
    let Some(identity) = identity else {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = name.split('.').next().unwrap_or_default();
        return Ok(match command::compare(config, id)? {
            None => {
                println!("{id}: the file is what was written");
                exit_code::CLEAN
            }
            Some(reason) => {
                println!("{id}: {reason}");
                exit_code::FAILURE
            }
        });
    };
    let manifest = command::verify(&path, &command::identities(&identity)?, Arc::default()).await?;
    println!("{}: whole, {} keys", manifest.id, manifest.keys());
    for (name, holding) in &manifest.holdings {
        println!("  {name}: {} keys, {} bytes, {}", holding.keys, holding.bytes, holding.digest);
    }
    Ok(exit_code::CLEAN)
}

fn line(Listed { bytes, manifest, .. }: &Listed) -> String {
    let duration = manifest.ended - manifest.started;
    let way = if manifest.refusal.is_none() { "one moment" } else { "key by key" };
    format!("{} {} keys, {bytes} bytes, {duration} ms, {way}", manifest.id, manifest.keys())
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Off
            | BackupError::NoStore
            | BackupError::Config(_)
            | BackupError::Recipients(_)
            | BackupError::Identity(_) => Self::config(error),
            BackupError::Redis(_) | BackupError::Snapshot(_) => Self::unavailable(error),
            _ => Self::other(error),
        }
    }
}
