//! The commands of the binary.

mod agent;
mod chunks;
mod demo;
mod document;
mod healthcheck;
mod key;
mod migrate;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, env};
use crate::lifecycle::exit_code;

/// One HTTP door to Redis for the services of GridTokenX.
#[derive(Debug, Parser)]
#[command(name = "gridtokenx-redis", version, about)]
struct Arguments {
    /// A TOML file over the shipped defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Configured(Configured),
    /// API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Send what is to be seen of this machine to a running service, at a steady pace.
    Agent(agent::Options),
    /// Print the samples in chunks of a host's history, read from standard input, as JSON lines.
    ShowChunks,
}

/// The commands that read the configuration first.
#[derive(Debug, Subcommand)]
enum Configured {
    /// Serve requests (the default).
    Serve,
    /// Print the API document, or check the copy in the source tree.
    Openapi(document::Options),
    /// Load readings into a running service and read daily sums back.
    Demo(demo::Options),
    /// Move stored data between the native form and the modules of Redis; stop the service first.
    #[command(subcommand)]
    Migrate(migrate::Command),
    /// Check the configuration and say where it is wrong.
    CheckConfig,
    /// Ask the service on this machine whether it is ready; exits with 0 if it is.
    Healthcheck,
}

/// Runs the command line.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let command = match arguments.command {
        // Needs no configuration: it may be made to write the first one.
        Some(Command::Key(command)) => return key::run(&command),
        Some(Command::Agent(options)) => return agent::run(&options),
        Some(Command::ShowChunks) => return chunks::run(),
        Some(Command::Configured(command)) => command,
        None => Configured::Serve,
    };
    let config = match Config::load(arguments.config.as_deref(), env::variables()) {
        Ok(config) => config,
        Err(error) => return refuse(exit_code::CONFIG, &error),
    };
    match command {
        Configured::Serve => serve::run(config, arguments.config),
        Configured::Openapi(options) => document::run(config, &options),
        Configured::Demo(options) => demo::run(&config, &options),
        Configured::Migrate(command) => migrate::run(&config, &command),
        Configured::Healthcheck => healthcheck::run(&config),
        Configured::CheckConfig => match crate::app::check_config(&config) {
            Ok(()) => {
                println!("the configuration is valid");
                ExitCode::SUCCESS
            }
            Err(error) => refuse(exit_code::CONFIG, &error),
        },
    }
}

/// Says on standard error why the command does not run.
fn refuse(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("gridtokenx-redis: {error}");
    ExitCode::from(code)
}
