//! Processes with wrong clocks.

use crate::support::faketime;

/// The variables that set a process's clock `hours` ahead; its monotonic clock stays correct.
pub fn ahead_by(hours: usize) -> Vec<(String, String)> {
    let mut variables = faketime(&["-m", "-f", &format!("+{}s", hours * 3_600)]);
    variables.push(("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()));
    variables
}
