//! `migrate json`: JSON documents.

use clap::Args;
use indicatif::ProgressBar;

use super::Refusal;
use crate::config::Config;
use crate::features::json::migration::Migration;
use crate::lifecycle::exit_code;
use crate::redis::{Backend, Redis};

/// Names of what is no document that are told.
const TOLD: usize = 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// Where the documents are to be: `module` or `native`.
    #[arg(long, value_parser = backend)]
    to: Backend,
}

fn backend(name: &str) -> Result<Backend, String> {
    Backend::named(name).ok_or_else(|| "must be `module` or `native`".to_owned())
}

pub(super) async fn run(redis: Redis, config: &Config, options: &Options) -> Result<(), Refusal> {
    let failed = Refusal::because(exit_code::UNAVAILABLE);
    let migration = Migration::new(redis, config).map_err(|error| Refusal::because(exit_code::CONFIG)(&error))?;
    let before = migration.census().await.map_err(|error| failed(&error))?;
    println!("before: {} native, {} in the module", before.native, before.module);
    let to_move = if options.to == Backend::Module { before.native } else { before.module };
    // It goes to standard error, and only where somebody looks at it.
    let bar = ProgressBar::new(to_move);
    let moved = migration.run(options.to, |progress| bar.set_position(progress.moved)).await;
    bar.finish_and_clear();
    let progress = moved.map_err(|error| failed(&error))?;
    let after = migration.census().await.map_err(|error| failed(&error))?;
    println!("moved: {}", progress.moved);
    println!("after: {} native, {} in the module", after.native, after.module);
    for name in progress.left.iter().take(TOLD) {
        println!("left as it is, since it is no document: {name}");
    }
    if progress.left.len() > TOLD {
        println!("... and {} more", progress.left.len() - TOLD);
    }
    Ok(())
}
