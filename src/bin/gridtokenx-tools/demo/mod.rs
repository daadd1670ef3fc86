//! `demo`: loads meter readings into a running service over HTTP and reads daily sums back.
//!
//! It is a client like any other: every service of the platform can do the same with an HTTP library. It streams the
//! readings, so its memory does not grow with the file.

mod client;
mod file;
mod report;
mod simulation;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::fail;
use client::Service;
use file::CsvFile;
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
    #[error("`{url}` is not the address of a service: {reason}")]
    Address { url: String, reason: String },
    #[error("{url} cannot be reached: {reason}; is the service running (`make run`)?")]
    Unreachable { url: String, reason: String },
    #[error("{request} took longer than {seconds} s")]
    TooSlow { request: String, seconds: u64 },
    #[error("{request} was answered {status}: {body}")]
    Refused { request: String, status: u16, body: String },
    #[error("the answer to {request} is not valid: {reason}")]
    Answer { request: String, reason: String },
    #[error("{sent} readings were sent to `{series}`, but only {stored} came back")]
    Missing { series: String, sent: u32, stored: f64 },
}

impl DemoError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } | Self::Row { .. } | Self::Address { .. } => exit_code::CONFIG,
            Self::Unreachable { .. } => exit_code::UNAVAILABLE,
            _ => exit_code::FAILURE,
        }
    }
}

pub(super) fn run(config: &Config, options: &Options) -> ExitCode {
    let base = match (&options.url, config.section::<HttpConfig>()) {
        (Some(url), _) => url.clone(),
        (None, Ok(http)) => http.local_url(),
        (None, Err(error)) => return fail(exit_code::CONFIG, &error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(exit_code::FAILURE, &error),
    };
    match runtime.block_on(demonstrate(&base, options)) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => fail(error.exit_code(), &error),
    }
}

async fn demonstrate(base: &str, options: &Options) -> Result<Report, DemoError> {
    let service = Service::new(base, options.api_key.as_deref())?;
    let source = Source::new(options);
    let survey = Survey::of(source.readings()?)?;
    println!("sending {} readings of {} series to {base}", survey.readings(), survey.series.len());
    let bar = progress(survey.readings());
    let answer = service.send(source.readings()?, &bar).await?;
    bar.finish_and_clear();
    println!("the service answered {answer}");
    let mut report = Report::default();
    for (series, extent) in &survey.series {
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

/// The source of the readings. It is read twice: to survey them and to send them.
enum Source {
    File(CsvFile),
    Simulation(Simulation),
}

impl Source {
    fn new(options: &Options) -> Self {
        match &options.file {
            Some(path) => Self::File(CsvFile::new(path, &options.meter)),
            None => Self::Simulation(Simulation { meters: options.meters, days: options.days, seed: options.seed }),
        }
    }

    fn readings(&self) -> Result<Readings, DemoError> {
        match self {
            Self::File(file) => file.readings(),
            Self::Simulation(simulation) => Ok(Box::new(simulation.readings().map(Ok))),
        }
    }
}

/// The extent of every series, so that a malformed file is rejected before anything is stored.
#[derive(Debug, Default)]
struct Survey {
    series: BTreeMap<Arc<str>, Extent>,
}

/// The readings of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    from: UnixMillis,
    to: UnixMillis,
    readings: u32,
}

impl Survey {
    fn of(readings: Readings) -> Result<Self, DemoError> {
        let mut survey = Self::default();
        for reading in readings {
            let Reading { series, timestamp, .. } = reading?;
            let extent = survey.series.entry(series).or_insert(Extent { from: timestamp, to: timestamp, readings: 0 });
            extent.from = extent.from.min(timestamp);
            extent.to = extent.to.max(timestamp);
            extent.readings = extent.readings.saturating_add(1);
        }
        Ok(survey)
    }

    fn readings(&self) -> u64 {
        self.series.values().map(|extent| u64::from(extent.readings)).sum()
    }
}
