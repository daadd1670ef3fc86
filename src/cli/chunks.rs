//! `show-chunks`: prints the samples of a host's history.

use std::io::{self, Read};
use std::process::ExitCode;

use super::fail;
use crate::features::hosts::dump;
use crate::lifecycle::exit_code;

/// Reads chunks from standard input, as `redis-cli --raw ZRANGE metrics:history:<host> 0 -1` prints them.
pub(super) fn run() -> ExitCode {
    let mut chunks = Vec::new();
    let shown = match io::stdin().lock().read_to_end(&mut chunks) {
        Ok(_) => dump::write(&chunks, &mut io::stdout().lock()),
        Err(error) => return fail(exit_code::FAILURE, &error),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(exit_code::FAILURE, &error),
    }
}
