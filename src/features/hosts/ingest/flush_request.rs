//! The request to write all waiting samples now.

use tokio::sync::oneshot;

use crate::redis::RedisFault;

/// Asks the writer for a batch; receives the number of samples that were written.
pub(in crate::features::hosts) type FlushRequest = oneshot::Sender<Result<u64, RedisFault>>;
