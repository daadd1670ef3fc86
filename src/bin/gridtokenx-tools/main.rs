//! Example clients of the service: `demo` loads meter readings, `agent` reports the metrics of this machine.
//!
//! They are a binary of their own so that the service does not contain what only they need.

mod agent;
mod client;
mod demo;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gridtokenx_redis::config::{Config, env};
use gridtokenx_redis::lifecycle::exit_code;

/// Example clients of the GridTokenX Redis service.
#[derive(Debug, Parser)]
#[command(name = "gridtokenx-tools", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fill a running service with simulated data, or load readings from a file, and read daily sums back.
    Demo {
        /// The configuration file of the service on this machine; it says where the service listens.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        options: demo::Options,
    },
    /// Send the metrics of this machine to a running service at a regular interval.
    Agent(agent::Options),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit_code::FAILURE, &error),
    };
    match command {
        Command::Agent(options) => runtime.block_on(agent::run(&options)),
        Command::Demo { config, options } => match Config::load(config.as_deref(), env::variables()) {
            Ok(config) => runtime.block_on(demo::run(&config, &options)),
            Err(error) => fail(exit_code::CONFIG, &error),
        },
    }
}

/// Prints why a command failed.
fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("gridtokenx-tools: {error}");
    ExitCode::from(code)
}
