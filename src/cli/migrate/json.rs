//! `migrate json`: JSON documents.

use indicatif::ProgressBar;

use super::{Refusal, Target, tell_left};
use crate::config::Config;
use crate::features::json::migration::Migration;
use crate::lifecycle::exit_code;
use crate::redis::{Backend, Redis};

pub(super) async fn run(redis: Redis, config: &Config, target: &Target) -> Result<(), Refusal> {
    let failed = Refusal::because(exit_code::UNAVAILABLE);
    let migration = Migration::new(redis, config).map_err(|error| Refusal::because(exit_code::CONFIG)(&error))?;
    let before = migration.census().await.map_err(|error| failed(&error))?;
    println!("before: {} native, {} in the module", before.native, before.module);
    let to_move = if target.to == Backend::Module { before.native } else { before.module };
    // It goes to standard error, and only where somebody looks at it.
    let bar = ProgressBar::new(to_move);
    let moved = migration.run(target.to, |progress| bar.set_position(progress.moved)).await;
    bar.finish_and_clear();
    let progress = moved.map_err(|error| failed(&error))?;
    let after = migration.census().await.map_err(|error| failed(&error))?;
    println!("moved: {}", progress.moved);
    println!("after: {} native, {} in the module", after.native, after.module);
    tell_left(&progress.left, "document");
    Ok(())
}
