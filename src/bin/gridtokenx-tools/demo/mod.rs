//! `demo`: loads meter readings into a running service over HTTP and reads daily sums back.
//!
//! It is a client like any other: every service of the platform can do the same with an HTTP library. It streams the
//! readings, so its memory does not grow with the file.

mod file;
mod report;
mod simulation;
mod timeseries;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::{RequestError, Service};
use crate::fail;
use gridtokenx_redis::clock::UnixMillis;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::config::http::HttpConfig;
use gridtokenx_redis::lifecycle::exit_code;
use report::Report;
use simulation::Simulation;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The address of the service; by default the one in this machine's configuration.
    #[arg(long)]
    url: Option<String>,
    /// An API key with the scopes `timeseries:read` and `timeseries:write`, if the service requires one.
    #[arg(long, env = "GTX_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// A CSV file with the columns `series,timestamp,value`, or `local_time,consumption_kwh,generation_kwh` of one
    /// meter, whose local times are taken as UTC. Without a file the readings are simulated.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The meter of a file in the second format.
    #[arg(long, default_value = "household-1", value_parser = file::check_series_name)]
    meter: String,
    /// The number of simulated meters.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    meters: u32,
    /// The number of simulated days, from 2026-06-01, in steps of 15 minutes.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    days: u32,
    /// The seed of the simulation; equal seeds give equal readings.
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

/// One value of one series.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    series: Arc<str>,
    timestamp: UnixMillis,
    value: f64,
}

type Readings = Box<dyn Iterator<Item = Result<Reading, DemoError>> + Send>;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{file}: {reason}")]
    File { file: String, reason: String },
    #[error("{file}, line {line}: {reason}")]
    Row { file: String, line: u64, reason: String },
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the answer to {request} is not valid: {reason}")]
    Answer { request: String, reason: String },
    #[error("{sent} readings were sent to `{series}`, but only {stored} came back")]
    Missing { series: String, sent: u32, stored: f64 },
}

impl DemoError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Row { .. } | Self::Request(RequestError::Address { .. }) => exit_code::CONFIG,
            Self::Request(RequestError::Unreachable { .. }) => exit_code::UNAVAILABLE,
            _ => exit_code::FAILURE,
        }
    }
}

pub(super) async fn run(config: &Config, options: &Options) -> ExitCode {
    let base = match (&options.url, config.section::<HttpConfig>()) {
        (Some(url), _) => url.clone(),
        (None, Ok(http)) => http.local_url(),
        (None, Err(error)) => return fail(exit_code::CONFIG, &error),
    };
    match demonstrate(&base, options).await {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(error.exit_code(), &error),
    }
}

async fn demonstrate(base: &str, options: &Options) -> Result<Report, DemoError> {
    let service = Service::new(base, options.api_key.as_deref())?;
    // The readings are read twice: a malformed file is rejected before anything is stored.
    let extents = extents(readings(options)?)?;
    let count = extents.values().map(|extent| u64::from(extent.readings)).sum();
    println!("sending {count} readings of {} series to {base}", extents.len());
    let bar = progress(count);
    let answer = service.send_readings(readings(options)?, &bar).await?;
    bar.finish_and_clear();
    println!("the service answered {answer}");
    let mut report = Report::default();
    for (series, extent) in &extents {
        let sums = service.daily(series, "sum", extent).await?;
        let counts = service.daily(series, "count", extent).await?;
        report.add(series, &sums, &counts);
        let stored: f64 = counts.iter().map(|(_, count)| count).sum();
        if stored < f64::from(extent.readings) {
            return Err(DemoError::Missing { series: series.to_string(), sent: extent.readings, stored });
        }
    }
    Ok(report)
}

fn progress(readings: u64) -> ProgressBar {
    let bar = ProgressBar::new(readings);
    // The template is a constant; if it were malformed, the default style would still show the progress.
    match ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} readings, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The readings of the file, or simulated ones.
fn readings(options: &Options) -> Result<Readings, DemoError> {
    let &Options { meters, days, seed, .. } = options;
    match &options.file {
        Some(path) => file::readings(path, &options.meter),
        None => Ok(Box::new(Simulation { meters, days, seed }.readings().map(Ok))),
    }
}

/// The readings of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    from: UnixMillis,
    to: UnixMillis,
    readings: u32,
}

/// The extent of every series.
fn extents(readings: Readings) -> Result<BTreeMap<Arc<str>, Extent>, DemoError> {
    let mut extents = BTreeMap::new();
    for reading in readings {
        let Reading { series, timestamp, .. } = reading?;
        let extent = extents.entry(series).or_insert(Extent { from: timestamp, to: timestamp, readings: 0 });
        extent.from = extent.from.min(timestamp);
        extent.to = extent.to.max(timestamp);
        extent.readings = extent.readings.saturating_add(1);
    }
    Ok(extents)
}
