//! `openapi`: prints, writes or checks the API document.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::fail;
use crate::config::Config;
use crate::lifecycle::exit_code;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Compare with the file instead of writing it; fail if they differ.
    #[arg(long)]
    check: bool,
    /// The file; without it the document is printed.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(config: Config, options: &Options) -> ExitCode {
    let text = match crate::app::document(config).and_then(|document| Ok(crate::http::openapi::text(&document)?)) {
        Ok(text) => text,
        Err(error) => return fail(exit_code::FAILURE, &error),
    };
    let Some(file) = &options.file else {
        print!("{text}");
        return ExitCode::SUCCESS;
    };
    if options.check {
        return match std::fs::read_to_string(file) {
            Ok(current) if current == text => ExitCode::SUCCESS,
            _ => fail(exit_code::FAILURE, &format!("{} is out of date: run `make openapi`", file.display())),
        };
    }
    match std::fs::write(file, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(exit_code::FAILURE, &error),
    }
}
