//! Processes with wrong clocks.

use crate::support::shifted_clock;

/// The variables that set a process's clock `hours` ahead; its monotonic clock stays correct.
pub fn ahead_by(hours: usize) -> Vec<(String, String)> {
    shifted_clock(&format!("+{}s", hours * 3_600))
}
