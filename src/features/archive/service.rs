//! What the operations and the background work share.

use super::error::ArchiveError;
use super::window::WindowReader;
use crate::clock::Clock;
use crate::config::archive::ArchiveConfig;
use crate::deps::{Deps, Fold};
use crate::redis::Redis;
use crate::tape::{Listing, Symbol};

#[derive(Debug)]
pub(super) struct ArchiveService {
    pub redis: Redis,
    pub window: WindowReader,
    pub listing: Listing,
    pub clock: Clock,
    pub config: ArchiveConfig,
    fold: Fold,
}

impl ArchiveService {
    pub(super) fn new(deps: &Deps, config: ArchiveConfig) -> Self {
        let redis = deps.redis.state.clone();
        Self {
            window: WindowReader { redis: redis.clone() },
            listing: Listing::new(&redis, &deps.clock),
            redis,
            clock: deps.clock.clone(),
            config,
            fold: deps.fold.clone(),
        }
    }

    /// Brings the window up to date, so that callers see the trades that they have just reported.
    ///
    /// # Errors
    /// [`ArchiveError::NotFolded`].
    pub(super) async fn fold(&self, symbol: &Symbol) -> Result<(), ArchiveError> {
        self.fold.fold(symbol).await.map_err(ArchiveError::NotFolded)
    }
}
