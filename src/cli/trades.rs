//! `trades`: works on the archive of trades.

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Failure, migrate, runtime};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::value::Zone;
use crate::features::archive::import::{Import, Source};
use crate::features::archive::show;
use crate::lifecycle::Tasks;
use crate::tape::Symbol;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Bring the files of the system that this service replaces into the archive, and name those that cannot be read.
    Import(Options),
    /// Print the content of a file of the archive, decrypted and without compression.
    Show {
        /// The path below archive.dir.
        file: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The directory with the files, one for each minute; it is only read.
    #[arg(long)]
    dir: PathBuf,
    /// The symbol whose trades they have.
    #[arg(long, value_parser = symbol)]
    symbol: Symbol,
    /// The time zone of their names and contents, such as Asia/Bangkok.
    #[arg(long)]
    timezone: Zone,
    /// Read the files and report, but change nothing.
    #[arg(long)]
    dry_run: bool,
}

fn symbol(name: &str) -> Result<Symbol, String> {
    Symbol::try_from(name.to_owned()).map_err(|rule| rule.clone())
}

pub(super) fn run(config: &Config, command: Command) -> Result<(), Failure> {
    match command {
        Command::Import(options) => import(config, options),
        Command::Show { file } => show::show(config, &file, &mut io::stdout().lock()).map_err(Failure::other),
    }
}

fn import(config: &Config, options: Options) -> Result<(), Failure> {
    let Options { dir, symbol, timezone: Zone(zone), dry_run } = options;
    runtime()?.block_on(async {
        let tasks = Tasks::new(Clock::System);
        let redis = migrate::connect(config, &tasks).await?;
        let import = Import::new(redis, config, Clock::System).map_err(Failure::config)?;
        let source = Source { dir, symbol, zone, dry_run };
        let counts = import.run(&source, &mut |file| println!("{}", json!(file))).await;
        tasks.stop();
        println!("{}", json!(counts.map_err(Failure::unavailable)?));
        Ok(())
    })
}
