//! `audit`: verifies the audit log, and acknowledges breaks.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::migrate::connect;
use super::progress::Progress;
use super::{Failure, runtime};
use crate::clock::Clock;
use crate::config::Config;
use crate::features::audit::command::{self, CommandError, Verified};
use crate::lifecycle::{Tasks, exit_code};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Verify the audit log. The exit code is 0 if it is whole, 1 if not, and 69 if it cannot be read.
    Verify(Options),
    /// Acknowledge the first break of the log in Redis, so that the entries after it are verified again.
    Reanchor,
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// `redis`, or an exported file; repeat the option for files that follow each other.
    #[arg(long = "from", value_name = "redis|FILE", default_value = "redis")]
    from: Vec<PathBuf>,
    /// A file with signed checkpoints, one a line, such as the lines of the service's log. The log must have what they say.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

pub(super) fn run(config: &Config, command: &Command) -> Result<u8, Failure> {
    let ring = command::key_ring(config)?;
    runtime()?.block_on(async {
        let tasks = Tasks::new(Clock::System);
        let code = match command {
            Command::Verify(options) if options.from.iter().all(|from| from.as_os_str() != "redis") => {
                print(&command::verify_files(&options.from, ring, options.checkpoint.as_deref())?)
            }
            Command::Verify(options) => {
                let redis = connect(config, &tasks).await?;
                let total = command::size(&redis, &ring).await?;
                let shown = Progress::new(total, "entries");
                let checkpoint = options.checkpoint.as_deref();
                let verified = command::verify_redis(&redis, ring, checkpoint, |checked| shown.set(checked)).await;
                shown.finish();
                print(&verified?)
            }
            Command::Reanchor => {
                let redis = connect(config, &tasks).await?;
                match command::reanchor(&redis, ring).await? {
                    Some(seq) => println!("entry {seq} acknowledges the break"),
                    None => println!("the audit log is whole"),
                }
                exit_code::CLEAN
            }
        };
        tasks.stop();
        Ok(code)
    })
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Config(_) | CommandError::Key(_) => Self::config(error),
            CommandError::Log(_) | CommandError::Unreadable { .. } => Self::unavailable(error),
        }
    }
}

fn print(verified: &Verified) -> u8 {
    for seq in &verified.acknowledged {
        println!("acknowledged: break at entry {seq}");
    }
    match verified.first_break {
        None => {
            println!("{} entries are whole", verified.checked);
            exit_code::CLEAN
        }
        Some((seq, kind)) => {
            println!("broken at entry {seq}: {kind}");
            exit_code::FAILURE
        }
    }
}
