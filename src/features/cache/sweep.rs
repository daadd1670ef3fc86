//! Removes the entries of expired values from the index of keys, which would otherwise grow without bound.

use super::index::Position;
use super::service::CacheService;
use crate::lifecycle::Tasks;

const NAME: &str = "cache.sweep";

/// Starts the sweep with the service: one step per `cache.sweep_interval`, over and over.
///
/// Every replica sweeps. Steps are idempotent, and a failed step is repeated.
pub(super) fn plan(cache: &CacheService, tasks: &Tasks) {
    let (cache, board) = (cache.clone(), tasks.clone());
    tasks.plan(NAME, move |stop| async move {
        let mut position: Option<Position> = None;
        let mut hurry = false;
        loop {
            if !hurry {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(cache.config.sweep_interval.duration()) => {}
                }
            }
            if stop.is_cancelled() {
                return;
            }
            let step = cache.sweep(position.clone()).await;
            board.report(NAME, step.as_ref().map(|_| ()).map_err(ToString::to_string));
            (position, hurry) = step.unwrap_or((position, false));
        }
    });
}
