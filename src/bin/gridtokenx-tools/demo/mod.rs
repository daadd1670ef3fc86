//! `demo`: loads meter readings into a running service over HTTP and reads daily sums back. Without a file, it simulates a
//! neighbourhood: readings, prices, volumes, hosts, locks, limits and documents.
//!
//! It is a client like any other: every service of the platform can do the same with an HTTP library. It streams the
//! readings, so its memory does not grow with the file.

mod activity;
mod calendar;
mod file;
mod pages;
mod report;
mod simulation;
mod timeseries;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::MissedTickBehavior;

use crate::client::{RequestError, Service};
use crate::fail;
use gridtokenx_redis::clock::{Clock, UnixMillis};
use gridtokenx_redis::config::Config;
use gridtokenx_redis::config::http::HttpConfig;
use gridtokenx_redis::lifecycle::exit_code;
use report::Report;
use simulation::{Interval, Simulation};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The address of the service; by default the one in this machine's configuration.
    #[arg(long)]
    url: Option<String>,
    /// An API key, if the service requires one. It needs the scopes `timeseries:read` and `timeseries:write`, and without a
    /// file also `hosts:write`, `json:write`, `locks:write` and `ratelimit:check`.
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
    /// The number of simulated days before today in Bangkok, in steps of 15 minutes.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    days: u32,
    /// The seed of the simulation; equal seeds give equal readings.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Keep writing every 2 seconds until interrupted, so that charts and lists move.
    #[arg(long, conflicts_with = "file")]
    live: bool,
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
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.exit_code(), &error),
    }
}

async fn demonstrate(base: &str, options: &Options) -> Result<(), DemoError> {
    let service = Service::new(base, options.api_key.as_deref())?;
    let &Options { meters, days, seed, .. } = options;
    let simulation = Simulation { meters, days, seed, now: Clock::System.now() };
    let readings = || -> Result<Readings, DemoError> {
        match &options.file {
            Some(path) => file::readings(path, &options.meter),
            None => Ok(Box::new(simulation.readings().map(Ok))),
        }
    };
    // The readings are read twice: a malformed file is rejected before anything is stored.
    let extents = extents(readings()?)?;
    let count = extents.values().map(|extent| u64::from(extent.readings)).sum();
    println!("sending {count} readings of {} series to {base}", extents.len());
    let bar = progress(count);
    let answer = service.send_readings(readings()?, &bar).await?;
    bar.finish_and_clear();
    println!("the service answered {answer}");
    let calendar = if options.file.is_some() { calendar::UTC } else { calendar::BANGKOK };
    let mut report = Report::new(calendar);
    for (series, extent) in &extents {
        let sums = service.daily(series, "sum", extent, calendar).await?;
        let counts = service.daily(series, "count", extent, calendar).await?;
        // The sum of simulated prices means nothing.
        if options.file.is_some() || series.starts_with("energy:") {
            report.add(series, &sums, &counts);
        }
        let stored: f64 = counts.iter().map(|(_, count)| count).sum();
        if stored < f64::from(extent.readings) {
            return Err(DemoError::Missing { series: series.to_string(), sent: extent.readings, stored });
        }
    }
    if options.file.is_some() {
        print!("{report}");
        return Ok(());
    }
    activity::begin(&service, &simulation).await?;
    live_round(&service, &simulation, Interval { from: simulation.now - ROUND_MS, to: simulation.now }).await?;
    print!("{report}\n{}", pages::list(base));
    if options.live { live(&service, &simulation).await } else { Ok(()) }
}

/// The time between two rounds, milliseconds.
const ROUND_MS: UnixMillis = 2_000;

/// Writes a round every two seconds until the process is interrupted.
async fn live(service: &Service, simulation: &Simulation) -> Result<(), DemoError> {
    println!("writing every 2 seconds until interrupted (Ctrl-C)");
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut rounds = tokio::time::interval(Duration::from_millis(ROUND_MS.unsigned_abs()));
    // A service that was unavailable does not need the rounds that it missed.
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut from = simulation.now;
    loop {
        tokio::select! {
            _ = &mut interrupted => return Ok(()),
            _ = rounds.tick() => {}
        }
        let interval = Interval { from, to: Clock::System.now() };
        let round = live_round(service, simulation, interval);
        let written = tokio::select! {
            _ = &mut interrupted => return Ok(()),
            written = round => written,
        };
        match written {
            Ok(()) => from = interval.to,
            Err(DemoError::Request(error)) if error.is_temporary() => eprintln!("gridtokenx-tools: {error}"),
            Err(error) => return Err(error),
        }
    }
}

/// Writes the readings of an interval and the rest of the activity.
async fn live_round(service: &Service, simulation: &Simulation, interval: Interval) -> Result<(), DemoError> {
    let readings = simulation.readings_at(interval);
    let price = readings.iter().find(|reading| reading.series.starts_with("market:price:"));
    let price = price.map_or(0.0, |reading| reading.value);
    service.send_readings(Box::new(readings.into_iter().map(Ok)), &ProgressBar::hidden()).await?;
    activity::round(service, simulation, interval.to, price).await
}

fn progress(readings: u64) -> ProgressBar {
    let bar = ProgressBar::new(readings);
    // The template is a constant; if it were malformed, the default style would still show the progress.
    match ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} readings, {per_sec}, {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
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
