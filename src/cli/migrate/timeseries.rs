//! `migrate timeseries`: moves time series.

use super::{Failure, Progress, Target, print_skipped};
use crate::config::Config;
use crate::features::timeseries::migration::{Census, Migration};
use crate::lifecycle::exit_code;
use crate::redis::{Backend, Redis};

pub(super) async fn run(redis: Redis, config: &Config, target: &Target) -> Result<(), Failure> {
    let failed = Failure::with_code(exit_code::UNAVAILABLE);
    let migration = Migration::new(redis, config).map_err(|error| Failure::with_code(exit_code::CONFIG)(&error))?;
    let before = migration.census().await.map_err(|error| failed(&error))?;
    println!("before: {}", words(&before));
    let to_move = if target.to == Backend::Module { before.native.points } else { before.module.points };
    let shown = Progress::new(to_move, "points");
    let moved = migration.run(target.to, |points| shown.set(points)).await;
    shown.finish();
    let progress = moved.map_err(|error| failed(&error))?;
    let after = migration.census().await.map_err(|error| failed(&error))?;
    println!("moved: {} series with {} points", progress.moved.series, progress.moved.points);
    println!("after: {}", words(&after));
    print_skipped(&progress.left, "series");
    if before.points() == after.points() {
        return Ok(());
    }
    let reason = format!(
        "there were {} points before and {} after: a client wrote to the series during the migration, or points expired",
        before.points(),
        after.points()
    );
    Err(Failure { code: exit_code::FAILURE, reason })
}

fn words(Census { native, module }: &Census) -> String {
    let (series, points) = (native.series, native.points);
    format!("{series} native series with {points} points, {} in the module with {}", module.series, module.points)
}
