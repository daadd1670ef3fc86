//! How long connecting, waiting and commands may take.

use std::time::Duration;

use super::Backoff;

/// For how many checks of a server its rules of snapshots count as unchanged.
pub(super) const SAVE_POINTS_CHECKS: u32 = 12;

/// How long a request waits for a connection before it is rejected: long enough for a burst, and a tenth of the time that
/// a command may take.
pub(super) const POOL_WAIT: Duration = Duration::from_millis(50);
/// The bounds of the delay between two attempts to connect. The upper one is below 2 s, so that the service is back within
/// 2 s of Redis.
pub(super) const RECONNECT_MIN: Duration = Duration::from_millis(50);
pub(super) const RECONNECT_MAX: Duration = Duration::from_secs(1);

/// The configured limits of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub connect: Duration,
    pub command: Duration,
    pub check_interval: Duration,
    pub backoff: Backoff,
}
