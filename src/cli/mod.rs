//! The commands of the service's binary.

mod audit;
#[cfg(feature = "backup")]
mod backup;
mod document;
mod healthcheck;
mod key;
mod keys;
mod migrate;
mod progress;
#[cfg(feature = "backup")]
mod restore;
mod serve;
mod trades;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::app::App;
use crate::clock::Clock;
use crate::config::redis::RedisConfig;
use crate::config::{Config, env};
use crate::features::hosts::dump;
use crate::lifecycle::exit_code;
use crate::redis::EmbeddedServer;

/// The HTTP service in front of Redis for the services of GridTokenX.
#[derive(Debug, Parser)]
#[command(name = "gridtokenx-redis", version, about)]
struct Arguments {
    /// A TOML file with the settings that differ from the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve requests (the default).
    Serve,
    /// Print the API document, write it to a file, or check that a file is up to date.
    Openapi(document::Options),
    /// Move stored data between native Redis types and the modules of Redis; stop the service first.
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Verify the audit log.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show and rotate the keys that the service encrypts and signs with.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Work on the archive of trades.
    #[command(subcommand)]
    Trades(trades::Command),
    /// Make an encrypted backup of Redis, or list, verify and prune backups.
    #[cfg(feature = "backup")]
    Backup(backup::Options),
    /// Restore a backup to an empty Redis; without --apply, only check both.
    #[cfg(feature = "backup")]
    Restore(restore::RestoreArguments),
    /// Restore a backup to a private Redis, and compare every value.
    #[cfg(feature = "backup")]
    Drill(restore::DrillArguments),
    /// Check the configuration and report the first mistake.
    CheckConfig,
    /// Show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check whether the service on this machine is ready; the exit code is 0 if it is.
    Healthcheck,
    /// Create API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Print the samples of a host's stored chunks, read from standard input, as JSON lines.
    ShowChunks,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the effective settings as TOML, with the source of each; secrets are masked.
    Print,
}

/// Runs the command line.
pub fn run() -> ExitCode {
    let executed = match Arguments::try_parse() {
        Ok(Arguments { config, command }) => execute(command.unwrap_or(Command::Serve), config),
        // Without a terminal, what `serve` prints is its log.
        Err(error) if error.use_stderr() && is_serve() && !io::stderr().is_terminal() => {
            let reason = error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            serve::run(Err(Failure { code: exit_code::USAGE, reason }), None)
        }
        Err(error) => error.exit(),
    };
    match executed {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, reason }) => {
            eprintln!("gridtokenx-redis: {reason}");
            ExitCode::from(code)
        }
    }
}

/// Whether the command line names no other command than `serve`.
fn is_serve() -> bool {
    let names = Arguments::command();
    let is_other = |argument: &OsString| names.get_subcommands().any(|known| known.get_name() == argument);
    !std::env::args_os().skip(1).filter(|argument| argument != "serve").any(|argument| is_other(&argument))
}

/// Executes a command and returns its exit code. `file` is the configuration file.
fn execute(command: Command, file: Option<PathBuf>) -> Result<u8, Failure> {
    let config = || Config::load(file.as_deref(), env::variables()).map_err(Failure::config);
    match command {
        Command::Serve => {
            let config = config();
            return serve::run(config, file);
        }
        Command::Openapi(options) => document::run(config()?, &options)?,
        Command::Migrate(command) => migrate::run(&config()?, &command)?,
        Command::Audit(command) => return audit::run(&config()?, &command),
        Command::Keys(command) => return keys::run(&config()?, &command),
        Command::Trades(command) => trades::run(&config()?, command)?,
        #[cfg(feature = "backup")]
        Command::Backup(options) => return backup::run(&config()?, options),
        #[cfg(feature = "backup")]
        Command::Restore(arguments) => {
            let prefix = arguments.prefix.clone().map(|prefix| ("GTX__REDIS__KEY_PREFIX".to_owned(), prefix));
            let config =
                Config::load(file.as_deref(), env::variables().into_iter().chain(prefix)).map_err(Failure::config)?;
            return restore::restore(&config, arguments);
        }
        #[cfg(feature = "backup")]
        Command::Drill(arguments) => return restore::drill(&config()?, &arguments),
        Command::Healthcheck => healthcheck::run(&config()?)?,
        Command::Config(ConfigCommand::Print) => {
            let config = config()?;
            warn(&config);
            print!("{}", config.to_toml());
        }
        Command::CheckConfig => {
            let config = config()?;
            warn(&config);
            check(config)?;
            println!("the configuration is valid");
        }
        // The first key is created before there is a configuration.
        Command::Key(command) => key::run(&command)?,
        Command::ShowChunks => show_chunks()?,
    }
    Ok(exit_code::CLEAN)
}

/// Prints which variables have no effect.
fn warn(config: &Config) {
    for warning in &config.sources().warnings {
        eprintln!("gridtokenx-redis: {warning}");
    }
}

/// Prepares everything that `serve` prepares before it binds the port: reads files and addresses, and builds the service
/// without connecting it.
fn check(config: Config) -> Result<(), Failure> {
    let redis: RedisConfig = config.section().map_err(Failure::config)?;
    let config = if redis.needs_private_server() {
        EmbeddedServer::check(&redis.embedded).map_err(Failure::unavailable)?;
        // The private server has its address only while it runs.
        config.with_redis_url("unix:///private".to_owned())
    } else {
        config
    };
    let runtime = runtime()?;
    let _entered = runtime.enter();
    App::build(config, Clock::System, 1).map(|_| ()).map_err(Failure::config)
}

/// Reads chunks from standard input, as `redis-cli --raw ZRANGE metrics:history:<host> 0 -1` prints them.
fn show_chunks() -> Result<(), Failure> {
    let mut chunks = Vec::new();
    io::stdin().lock().read_to_end(&mut chunks).map_err(Failure::other)?;
    dump::write(&chunks, &mut io::stdout().lock()).map_err(Failure::other)
}

/// Why a command failed, and its exit code.
struct Failure {
    code: u8,
    reason: String,
}

impl Failure {
    fn config(reason: impl Display) -> Self {
        Self { code: exit_code::CONFIG, reason: reason.to_string() }
    }

    fn unavailable(reason: impl Display) -> Self {
        Self { code: exit_code::UNAVAILABLE, reason: reason.to_string() }
    }

    fn other(reason: impl Display) -> Self {
        Self { code: exit_code::FAILURE, reason: reason.to_string() }
    }
}

/// A runtime on this thread.
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(Failure::other)
}
