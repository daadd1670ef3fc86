//! `agent`: an example agent that sends the metrics of this machine to a running service at a regular interval.
//!
//! It does what every agent should do: its samples carry timestamps, and samples that could not be sent are sent again
//! with the next one. The service stores a sample once, however often it receives it.

mod machine;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::client::{RequestError, Service};
use crate::fail;
use gridtokenx_redis::clock::Clock;
use gridtokenx_redis::config::value::Span;
use gridtokenx_redis::lifecycle::exit_code;
use machine::Machine;

/// Samples that are kept while the service is unavailable: more than an hour at one every 5 s. A request may contain as
/// many.
const BACKLOG: usize = 1_000;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The address of the service.
    #[arg(long, default_value = "http://127.0.0.1:4040")]
    url: String,
    /// The name under which this machine reports.
    #[arg(long)]
    host: String,
    /// The time between two samples, such as `5s`; at least 200ms, the shortest time over which load can be measured.
    #[arg(long, default_value = "5s")]
    interval: Span,
    /// Exit after this many samples.
    #[arg(long)]
    count: Option<u64>,
    /// An API key with the scope `hosts:write`, if the service requires one.
    #[arg(long, env = "GTX_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

pub(super) async fn run(options: &Options) -> ExitCode {
    if options.interval.duration() < machine::SHORTEST_INTERVAL {
        return fail(exit_code::CONFIG, &"--interval must be at least 200ms");
    }
    match report(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(exit_code::FAILURE, &error),
    }
}

async fn report(options: &Options) -> Result<(), RequestError> {
    let service = Service::new(&options.url, options.api_key.as_deref())?;
    let path = format!("/hosts/{}/metrics", utf8_percent_encode(&options.host, NON_ALPHANUMERIC));
    let mut machine = Machine::new();
    let mut backlog: VecDeque<Value> = VecDeque::new();
    let mut rounds = tokio::time::interval(options.interval.duration());
    // The first tick is immediate, and measuring load takes an interval.
    rounds.tick().await;
    let mut sent = 0;
    while options.count.is_none_or(|count| sent < count) {
        rounds.tick().await;
        if backlog.len() == BACKLOG {
            backlog.pop_front();
        }
        backlog.push_back(machine.sample(Clock::System.now()));
        let samples = backlog.iter().cloned().collect();
        match service.json(Method::POST, &path, &samples, TIMEOUT).await {
            Ok(_) => {
                sent += backlog.len() as u64;
                println!("{} sent", backlog.len());
                backlog.clear();
            }
            Err(error) if !error.is_temporary() => return Err(error),
            Err(error) => {
                eprintln!("gridtokenx-tools: {error}; {} samples are kept for the next attempt", backlog.len());
            }
        }
    }
    Ok(())
}

/// Longer than the service takes to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
