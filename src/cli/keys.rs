//! `keys`: shows which keys are in use, and rotates them.

use clap::{Args, Subcommand};

use super::migrate::connect;
use super::progress::Progress;
use super::{Failure, runtime};
use crate::clock::Clock;
use crate::config::Config;
use crate::features::audit::command;
use crate::features::json::rotation::{Rotated, Rotation};
use crate::lifecycle::{Tasks, exit_code};
use crate::redis::Redis;

/// How long an answer that an older key has encrypted is kept for a repeated request.
const ANSWERS: &str = "24 hours";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the configured keys, and how much each of them encrypts or signs.
    Status,
    /// Rotate keys.
    #[command(subcommand)]
    Rotate(Rotate),
}

#[derive(Debug, Subcommand)]
pub(super) enum Rotate {
    /// Encrypt the values of all documents again, with the first key of the configuration. It may be interrupted and run again.
    Json(JsonOptions),
    /// Put a new key first in `audit.key_file`. Replicas use it after a restart.
    Audit,
}

#[derive(Debug, Args)]
pub(super) struct JsonOptions {
    /// Count, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(config: &Config, command: &Command) -> Result<u8, Failure> {
    if let Command::Rotate(Rotate::Audit) = command {
        let id = command::rotate(config)?;
        println!("the new key {id} is the first one: restart all replicas with this file");
        println!("keep the former keys as long as entries and exported files need them");
        return Ok(exit_code::CLEAN);
    }
    runtime()?.block_on(async {
        let tasks = Tasks::new(Clock::System);
        let redis = connect(config, &tasks).await?;
        let done = match command {
            Command::Rotate(Rotate::Json(options)) => rotate(redis, config, options.dry_run).await,
            _ => status(redis, config).await,
        };
        tasks.stop();
        done
    })
}

async fn status(redis: Redis, config: &Config) -> Result<u8, Failure> {
    match command::key_ring(config) {
        Ok(ring) => {
            let used = command::entries_by_key(&redis, &ring).await?;
            for id in ring.ids() {
                println!("audit {id}: {} entries", used.get(id).copied().unwrap_or_default());
            }
            for (id, entries) in used.iter().filter(|(id, _)| ring.ids().all(|known| known != id.as_str())) {
                println!("audit {id}: {entries} entries, NOT CONFIGURED");
            }
        }
        Err(command::CommandError::Log(_)) => println!("audit: off"),
        Err(error) => return Err(error.into()),
    }
    let counted = run_rotation(redis, config, true).await?;
    println!("json: {} documents of collections with encrypted values", counted.documents);
    print_keys(&counted);
    Ok(exit_code::CLEAN)
}

async fn rotate(redis: Redis, config: &Config, dry_run: bool) -> Result<u8, Failure> {
    let done = run_rotation(redis.clone(), config, dry_run).await?;
    println!("before:");
    print_keys(&done);
    println!("{}: {} of {} documents", if dry_run { "to rotate" } else { "rotated" }, done.rotated, done.documents);
    if done.left > 0 {
        println!("left: {} documents that do not decrypt or kept changing; run again", done.left);
        return Ok(exit_code::FAILURE);
    }
    if !dry_run {
        let after = run_rotation(redis, config, true).await?;
        println!("after:");
        print_keys(&after);
        println!("keys without values may be removed in {ANSWERS}, when the kept answers of requests have expired");
    }
    Ok(exit_code::CLEAN)
}

async fn run_rotation(redis: Redis, config: &Config, dry_run: bool) -> Result<Rotated, Failure> {
    let rotation = Rotation::new(redis, config).map_err(Failure::config)?;
    let shown = Progress::new(0, "documents");
    let done = rotation.run(dry_run, |progress| shown.set(progress.documents)).await;
    shown.finish();
    done.map_err(Failure::unavailable)
}

fn print_keys(counted: &Rotated) {
    for (id, values) in &counted.by_key {
        println!("json {id}: {values} values");
    }
}
