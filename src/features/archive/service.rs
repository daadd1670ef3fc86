//! What the operations and the background work share.

use std::collections::HashMap;
use std::sync::Arc;

use super::directory::Directory;
use super::error::{ArchiveError, Unfolded};
use super::key_file::encryption_keys;
use super::metrics::ArchiveMetrics;
use super::originals::Originals;
use super::report::Board;
use super::window::WindowReader;
use crate::clock::Clock;
use crate::config::FieldError;
use crate::config::archive::ArchiveConfig;
use crate::deps::{Deps, Fold};
use crate::lifecycle::ComponentHealth;
use crate::lifecycle::offload::Offload;
use crate::redis::{Redis, Turn};
use crate::s3::S3Store;
use crate::tape::{Listing, Symbol};

#[derive(Debug)]
pub(super) struct ArchiveService {
    pub redis: Redis,
    pub window: WindowReader,
    pub listing: Listing,
    pub clock: Clock,
    pub config: ArchiveConfig,
    /// `None`: there are no files.
    pub directory: Option<Directory>,
    /// The store that gets copies of packs.
    pub copies: Option<S3Store>,
    pub originals: Arc<Originals>,
    pub metrics: ArchiveMetrics,
    pub board: Board,
    pub health: ComponentHealth,
    /// The turns of this replica. One run at a time has the lock.
    pub turns: tokio::sync::Mutex<HashMap<Symbol, Turn>>,
    /// Threads for large responses.
    pub offload: Offload,
    fold: Fold,
}

/// Whether the minutes in Redis can be read.
#[derive(Debug)]
pub(super) enum Hot {
    Current,
    /// Only files can be read.
    Away(Unfolded),
}

impl ArchiveService {
    /// # Errors
    /// [`FieldError`] for a file of keys that cannot be used.
    pub(super) fn new(deps: &Deps, config: ArchiveConfig) -> Result<Self, FieldError> {
        let redis = deps.redis.state.clone();
        let keys = encryption_keys(&config)?;
        let directory = config.has_directory().then(|| Directory::new(&config, keys, &deps.clock));
        if directory.is_some() {
            deps.metrics.watch_directory("archive", config.dir.clone());
        }
        Ok(Self {
            copies: S3Store::new(&config.copy_to, &config.copy_endpoint)
                .map_err(|rule| FieldError::new("archive.copy_to", rule))?,
            originals: Arc::new(Originals::new(&config)),
            window: WindowReader { redis: redis.clone() },
            listing: deps.tapes.clone(),
            redis,
            clock: deps.clock.clone(),
            config,
            directory,
            metrics: ArchiveMetrics::new(&deps.metrics),
            board: Board::default(),
            health: deps.component_health.clone(),
            turns: tokio::sync::Mutex::default(),
            offload: deps.offload.clone(),
            fold: deps.fold.clone(),
        })
    }

    /// Brings the window up to date, so that callers see the trades that they have just reported.
    ///
    /// # Errors
    /// [`ArchiveError::NotFolded`] if trades come too fast. If Redis is unavailable, only an archive without a directory fails.
    pub(super) async fn fold(&self, symbol: &Symbol) -> Result<Hot, ArchiveError> {
        let Err(reason) = self.fold.fold(symbol).await.map_err(Unfolded) else { return Ok(Hot::Current) };
        let is_away = self.directory.is_some() && self.window.state(&self.window.keys(symbol)).await.is_err();
        if is_away { Ok(Hot::Away(reason)) } else { Err(reason.into()) }
    }
}
