//! The commands of the service's binary.

mod chunks;
mod document;
mod healthcheck;
mod key;
mod migrate;
mod progress;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, env};
use crate::lifecycle::exit_code;

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
    #[command(flatten)]
    Configured(Configured),
    /// Create API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Print the samples of a host's stored chunks, read from standard input, as JSON lines.
    ShowChunks,
}

/// The commands that need the configuration.
#[derive(Debug, Subcommand)]
enum Configured {
    /// Serve requests (the default).
    Serve,
    /// Print the API document, write it to a file, or check that a file is up to date.
    Openapi(document::Options),
    /// Move stored data between native Redis types and the modules of Redis; stop the service first.
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Check the configuration and report the first mistake.
    CheckConfig,
    /// Check whether the service on this machine is ready; the exit code is 0 if it is.
    Healthcheck,
}

/// Runs the command line.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let command = match arguments.command {
        // The first key is created before there is a configuration.
        Some(Command::Key(command)) => return key::run(&command),
        Some(Command::ShowChunks) => return chunks::run(),
        Some(Command::Configured(command)) => command,
        None => Configured::Serve,
    };
    let config = match Config::load(arguments.config.as_deref(), env::variables()) {
        Ok(config) => config,
        Err(error) => return fail(exit_code::CONFIG, &error),
    };
    match command {
        Configured::Serve => serve::run(config, arguments.config),
        Configured::Openapi(options) => document::run(config, &options),
        Configured::Migrate(command) => migrate::run(&config, &command),
        Configured::Healthcheck => healthcheck::run(&config),
        Configured::CheckConfig => match crate::app::check_config(&config) {
            Ok(()) => {
                println!("the configuration is valid");
                ExitCode::SUCCESS
            }
            Err(error) => fail(exit_code::CONFIG, &error),
        },
    }
}

/// Why a command failed, and its exit code.
struct Failure {
    code: u8,
    reason: String,
}

impl Failure {
    fn with_code(code: u8) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |reason| Self { code, reason: reason.to_string() }
    }
}

/// Prints why a command failed.
fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("gridtokenx-redis: {error}");
    ExitCode::from(code)
}
