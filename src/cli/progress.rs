//! The progress of a long command, on standard error if that is a terminal.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};

pub(super) struct Progress {
    total: u64,
    unit: &'static str,
    percent: Cell<Option<u64>>,
    is_visible: bool,
}

impl Progress {
    pub(super) fn new(total: u64, unit: &'static str) -> Self {
        Self { total, unit, percent: Cell::new(None), is_visible: total > 0 && io::stderr().is_terminal() }
    }

    /// Shows `done` of the total when the percentage changes.
    pub(super) fn set(&self, done: u64) {
        let percent = u128::from(done) * 100 / u128::from(self.total.max(1));
        let percent = u64::try_from(percent).ok();
        if self.is_visible && self.percent.replace(percent) != percent {
            // A terminal that went away does not stop the command.
            let _ = write!(io::stderr(), "\r{done} of {} {} ({} %)", self.total, self.unit, percent.unwrap_or(100));
        }
    }

    /// Erases the line.
    pub(super) fn finish(&self) {
        if self.is_visible {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}
