//! `show-chunks`: what a host's history holds, as text.

use std::io::{self, Read};
use std::process::ExitCode;

use super::refuse;
use crate::features::hosts::store::dump;
use crate::lifecycle::exit_code;

/// Reads chunks from standard input, as `redis-cli --raw ZRANGE metrics:history:<host> 0 -1` gives them.
pub(super) fn run() -> ExitCode {
    let mut chunks = Vec::new();
    let shown = match io::stdin().lock().read_to_end(&mut chunks) {
        Ok(_) => dump::write(&chunks, &mut io::stdout().lock()),
        Err(error) => return refuse(exit_code::FAILURE, &error),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(exit_code::FAILURE, &error),
    }
}
