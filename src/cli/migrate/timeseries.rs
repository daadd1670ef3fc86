//! `migrate timeseries`: time series.

use indicatif::{ProgressBar, ProgressStyle};

use super::{Refusal, Target, tell_left};
use crate::config::Config;
use crate::features::timeseries::migration::{Census, Migration};
use crate::lifecycle::exit_code;
use crate::redis::{Backend, Redis};

pub(super) async fn run(redis: Redis, config: &Config, target: &Target) -> Result<(), Refusal> {
    let failed = Refusal::because(exit_code::UNAVAILABLE);
    let migration = Migration::new(redis, config).map_err(|error| Refusal::because(exit_code::CONFIG)(&error))?;
    let before = migration.census().await.map_err(|error| failed(&error))?;
    println!("before: {}", words(&before));
    let to_move = if target.to == Backend::Module { before.native.points } else { before.module.points };
    // It goes to standard error, and only where somebody looks at it.
    let bar = ProgressBar::new(to_move);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} points, {per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    let moved = migration.run(target.to, |points| bar.set_position(points)).await;
    bar.finish_and_clear();
    let progress = moved.map_err(|error| failed(&error))?;
    let after = migration.census().await.map_err(|error| failed(&error))?;
    println!("moved: {} series with {} points", progress.moved.series, progress.moved.points);
    println!("after: {}", words(&after));
    tell_left(&progress.left, "series");
    if before.points() == after.points() {
        return Ok(());
    }
    let reason = format!(
        "there were {} points and there are {}: somebody wrote to the series meanwhile, or some have expired",
        before.points(),
        after.points()
    );
    Err(Refusal { code: exit_code::FAILURE, reason })
}

fn words(Census { native, module }: &Census) -> String {
    let (series, points) = (native.series, native.points);
    format!("{series} native series with {points} points, {} in the module with {}", module.series, module.points)
}
