//! `migrate json`: moves JSON documents.

use super::{Failure, Progress, Target, print_skipped};
use crate::config::Config;
use crate::features::json::migration::Migration;
use crate::lifecycle::exit_code;
use crate::redis::{Backend, Redis};

pub(super) async fn run(redis: Redis, config: &Config, target: &Target) -> Result<(), Failure> {
    let failed = Failure::with_code(exit_code::UNAVAILABLE);
    let migration = Migration::new(redis, config).map_err(|error| Failure::with_code(exit_code::CONFIG)(&error))?;
    let before = migration.census().await.map_err(|error| failed(&error))?;
    println!("before: {} native, {} in the module", before.native, before.module);
    let to_move = if target.to == Backend::Module { before.native } else { before.module };
    let shown = Progress::new(to_move, "documents");
    let moved = migration.run(target.to, |progress| shown.set(progress.moved)).await;
    shown.finish();
    let progress = moved.map_err(|error| failed(&error))?;
    let after = migration.census().await.map_err(|error| failed(&error))?;
    println!("moved: {}", progress.moved);
    println!("after: {} native, {} in the module", after.native, after.module);
    print_skipped(&progress.left, "document");
    Ok(())
}
