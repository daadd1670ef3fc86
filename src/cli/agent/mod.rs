//! `agent`: an example of an agent. It sends what it sees of this machine to a running service, at a steady pace.
//!
//! It does what every agent should: its samples carry timestamps, and what could not be sent is sent with the next one.
//! The service stores a sample once however often it comes.

mod client;
mod machine;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::refuse;
use crate::clock::Clock;
use crate::config::value::Span;
use crate::lifecycle::exit_code;
use client::Service;
use machine::Machine;

/// Samples that wait while the service is away: an hour and more at one every 5 s. It is also what one request may have.
const BACKLOG: usize = 1_000;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where the service is.
    #[arg(long, default_value = "http://127.0.0.1:4040")]
    url: String,
    /// The name under which this machine reports.
    #[arg(long)]
    host: String,
    /// How often, such as `5s`; at least 200ms, below which processor load cannot be told.
    #[arg(long, default_value = "5s")]
    interval: Span,
    /// End after so many samples.
    #[arg(long)]
    count: Option<u64>,
    /// A key with the scope `hosts:write`, if the service asks for one.
    #[arg(long, env = "GTX_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

/// Why the agent ends early.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("`{url}` is not an address of a service: {reason}")]
    Address { url: String, reason: String },
    #[error("{url} cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },
    /// The service understood, and does not want it: sending it again would not help.
    #[error("the samples were answered {status}: {body}")]
    Refused { status: u16, body: String },
    #[error("the service answered {status}; the samples wait")]
    Later { status: u16 },
}

pub(super) fn run(options: &Options) -> ExitCode {
    if options.interval.duration() < machine::SHORTEST_INTERVAL {
        return refuse(exit_code::CONFIG, &"--interval must be at least 200ms");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(exit_code::FAILURE, &error),
    };
    match runtime.block_on(report(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(exit_code::FAILURE, &error),
    }
}

async fn report(options: &Options) -> Result<(), AgentError> {
    let service = Service::new(&options.url, &options.host, options.api_key.as_deref())?;
    let mut machine = Machine::new();
    let mut backlog: VecDeque<Value> = VecDeque::new();
    let mut rounds = tokio::time::interval(options.interval.duration());
    // The first tick comes at once, and load is told from two looks.
    rounds.tick().await;
    let mut sent = 0;
    while options.count.is_none_or(|count| sent < count) {
        rounds.tick().await;
        if backlog.len() == BACKLOG {
            backlog.pop_front();
        }
        backlog.push_back(machine.sample(Clock::System.now()));
        match service.send(backlog.make_contiguous()).await {
            Ok(()) => {
                sent += backlog.len() as u64;
                println!("{} sent", backlog.len());
                backlog.clear();
            }
            Err(refused @ AgentError::Refused { .. }) => return Err(refused),
            Err(error) => eprintln!("gridtokenx-redis: {error}; {} samples wait", backlog.len()),
        }
    }
    Ok(())
}

/// Longer than the service takes for any answer.
const PATIENCE: Duration = Duration::from_secs(5);
