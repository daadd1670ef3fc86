//! `openapi`: prints, writes or checks the API document.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Compare with the file instead of writing it; fail if they differ.
    #[arg(long)]
    check: bool,
    /// The file; without it the document is printed.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(config: Config, options: &Options) -> Result<(), Failure> {
    let document = crate::app::document(config).map_err(Failure::other)?;
    let text = crate::http::openapi_text::text(&document).map_err(Failure::other)?;
    let Some(file) = &options.file else {
        print!("{text}");
        return Ok(());
    };
    if !options.check {
        return std::fs::write(file, text).map_err(Failure::other);
    }
    match std::fs::read_to_string(file) {
        Ok(current) if current == text => Ok(()),
        _ => Err(Failure::other(format!("{} is out of date: run `make openapi`", file.display()))),
    }
}
