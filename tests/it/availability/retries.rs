//! How often the service has sent something to Redis again.

use super::durability::metric;
use crate::support::TestApp;

/// What a service with one server and one lane has counted.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    pub retries: u64,
    /// What was sent to Redis, also again.
    sent: u64,
}

impl Retries {
    /// The retries that the service makes at most beyond a tenth of its exchanges.
    const RESERVE: u64 = 10;

    /// Since the start of the service.
    pub async fn of(app: &TestApp) -> Self {
        let retries = metric(app, "redis_retries_total").await;
        Self { retries, sent: metric(app, "redis_commands_total").await }
    }

    pub fn since(self, earlier: Self) -> Self {
        Self { retries: self.retries - earlier.retries, sent: self.sent - earlier.sent }
    }

    /// Retries are at most a tenth of the exchanges, beyond the reserve.
    #[track_caller]
    pub fn assert_few(self) {
        let exchanges = self.sent.saturating_sub(self.retries);
        assert!(self.retries <= exchanges / 10 + Self::RESERVE, "{} retries of {exchanges} exchanges", self.retries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_few(retries: u64, sent: u64) -> bool {
        std::panic::catch_unwind(|| Retries { retries, sent }.assert_few()).is_ok()
    }

    #[test]
    fn more_retries_than_a_tenth_and_the_reserve_are_found() {
        assert!(are_few(10, 10) && are_few(110, 1_110));
        assert!(!are_few(11, 11) && !are_few(111, 1_120));
    }
}
