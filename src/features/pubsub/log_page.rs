//! A page of a channel's log, which serves several subscribers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delivery::{Delivery, Position};

/// How long a page of the log serves further subscribers.
pub(super) const PAGE_LIFE: Duration = Duration::from_secs(1);

/// The last page that was read from the log.
#[derive(Debug)]
pub(super) struct LogPage {
    /// The position after which the page begins.
    pub after: Position,
    pub read: Arc<LogRead>,
    pub at: Instant,
}

/// A part of the log.
#[derive(Debug)]
pub(super) struct LogRead {
    pub epoch: Box<str>,
    /// The offset of the oldest message of the log.
    pub first: Option<u64>,
    /// The last offset of the channel.
    pub top: u64,
    pub messages: Vec<Arc<Delivery>>,
}
