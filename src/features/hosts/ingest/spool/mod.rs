//! The spool: a log on disk of the samples that are not in Redis yet, so that not even a killed process loses them.
//!
//! The spool is a directory of append-only segments. A record is the length of its content and the content's XXH3
//! (32 and 64 bits, big-endian), then the content: host and organisation, each preceded by its length (16 bits), and the
//! samples as a plain chunk. Records that arrive together are synced together, and then acknowledged. The batch
//! writer closes the open segment before each round, and deletes the closed ones once all their samples are in Redis.

mod log;
mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(in super::super) use record::SpoolRecord;

use crate::deps::Deps;
use crate::features::hosts::config::HostsConfig;
use crate::features::hosts::model::HostId;
use crate::features::hosts::sample::Sample;
use crate::features::hosts::tenancy::Organisation;
use crate::lifecycle::{Component, Finding};
use crate::telemetry::metrics::Row;
use log::Log;

const NAME: &str = "hosts.spool";

const METRICS: [Row; 2] = [
    Row::gauge("host_spool_bytes", "Size of the spool of samples on disk"),
    Row::gauge("host_spool_limit_bytes", "The largest size of the spool"),
];

/// The most records that are synced together, and the most that may wait.
const GROUP: usize = 1_024;

/// A request to the task that owns the log.
#[derive(Debug)]
enum LogRequest {
    /// Append these bytes; the reply is whether they are on disk.
    Append(Vec<u8>, oneshot::Sender<bool>),
    /// Close the segment; the reply lists all closed ones, oldest first.
    Close(oneshot::Sender<Vec<PathBuf>>),
}

/// A handle to the log; all clones share one log.
#[derive(Clone, Debug)]
pub(in super::super) struct Spool {
    requests: mpsc::Sender<LogRequest>,
    /// Bytes in all segments.
    size: Arc<AtomicU64>,
    limit: u64,
}

impl Spool {
    /// The configured spool, if any; its log is opened when the service starts.
    pub(in super::super) fn plan(config: &HostsConfig, deps: &Deps) -> Option<Self> {
        if config.spool_dir.as_os_str().is_empty() {
            return None;
        }
        let (requests, incoming) = mpsc::channel(GROUP);
        let size = Arc::new(AtomicU64::new(0));
        deps.metrics.watch_directory(NAME, config.spool_dir.clone());
        let (bytes, limit) = (Arc::clone(&size), config.spool_limit.bytes());
        #[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
        deps.metrics.on_scrape(METRICS, move || Some([bytes.load(Ordering::Relaxed) as f64, limit as f64]));
        let (directory, size_of_log, reports, health) =
            (config.spool_dir.clone(), Arc::clone(&size), deps.tasks.clone(), deps.component_health.clone());
        deps.tasks.plan(NAME, move |stop| async move {
            let ended = run(directory, incoming, &size_of_log, stop).await;
            if let Err(error) = &ended {
                tracing::error!(%error, "spool of host metrics unavailable: samples are kept in memory only");
                let findings = vec![Finding::degraded(format!("the spool of host metrics is unavailable: {error}"))];
                health.report(NAME, Component { findings, ..Component::default() });
            }
            reports.report(NAME, ended.map_err(|error| error.to_string()));
        });
        Some(Self { requests, size, limit })
    }

    /// Appends a record and returns whether it is on disk; it is not if the spool is full or broken.
    pub(in super::super) async fn append(&self, host: &HostId, owner: &Organisation, samples: &[Sample]) -> bool {
        let Some(bytes) = record::encode(host, owner, samples) else { return false };
        if self.size.load(Ordering::Relaxed) + bytes.len() as u64 > self.limit {
            return false;
        }
        let (done, is_done) = oneshot::channel();
        if self.requests.send(LogRequest::Append(bytes, done)).await.is_err() {
            return false;
        }
        is_done.await.unwrap_or(false)
    }

    /// Closes the segment and returns all closed ones, oldest first; none if the spool is broken or has stopped.
    pub(in super::super) async fn close_segment(&self) -> Vec<PathBuf> {
        let (done, closed) = oneshot::channel();
        if self.requests.send(LogRequest::Close(done)).await.is_err() {
            return Vec::new();
        }
        closed.await.unwrap_or_default()
    }

    /// Deletes a closed segment.
    pub(in super::super) async fn delete(&self, segment: PathBuf) -> std::io::Result<()> {
        let length = tokio::fs::metadata(&segment).await?.len();
        tokio::fs::remove_file(&segment).await?;
        self.size.fetch_sub(length, Ordering::Relaxed);
        Ok(())
    }
}

async fn run(
    directory: PathBuf,
    mut incoming: mpsc::Receiver<LogRequest>,
    size: &AtomicU64,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let (mut log, found) = blocking(move || Log::open(directory)).await?;
    size.store(found, Ordering::Relaxed);
    let mut group = Vec::with_capacity(GROUP);
    loop {
        tokio::select! {
            biased;
            count = incoming.recv_many(&mut group, GROUP) => if count == 0 { return Ok(()) },
            () = stop.cancelled() => return Ok(()),
        }
        let requests = std::mem::take(&mut group);
        let written;
        (log, written) = blocking(move || {
            let written = serve(&mut log, requests)?;
            Ok((log, written))
        })
        .await?;
        size.fetch_add(written, Ordering::Relaxed);
    }
}

/// Executes requests in order and syncs once; returns the number of bytes written.
fn serve(log: &mut Log, requests: Vec<LogRequest>) -> std::io::Result<u64> {
    let mut written = 0;
    let mut unsynced: Vec<oneshot::Sender<bool>> = Vec::new();
    for request in requests {
        match request {
            LogRequest::Append(bytes, done) => {
                log.append(&bytes)?;
                written += bytes.len() as u64;
                unsynced.push(done);
            }
            LogRequest::Close(done) => {
                // The requester may be gone.
                let _ = done.send(log.close()?);
            }
        }
    }
    log.sync()?;
    for done in unsynced {
        let _ = done.send(true);
    }
    Ok(written)
}

/// Runs blocking file operations outside the async runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// The intact records of a segment, in order, and the milliseconds since the last one was appended. Records of an unknown
/// format are skipped.
///
/// A record that was not synced may be incomplete. It was not acknowledged, and no intact record follows it.
///
/// # Errors
/// The file cannot be read.
pub(in super::super) async fn read_segment(segment: &Path) -> std::io::Result<(Vec<SpoolRecord>, u64)> {
    // Both times are those of the disk's machine. A time in the future comes from a clock that was set back since.
    let age = tokio::fs::metadata(segment).await?.modified()?.elapsed().unwrap_or_default();
    let bytes = tokio::fs::read(segment).await?;
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((content, tail)) = record::split(rest) {
        rest = tail;
        if let Some(record) = record::decode(content) {
            records.push(record);
        } else {
            tracing::error!(segment = %segment.display(), "spool record skipped: unknown format");
        }
    }
    if !rest.is_empty() {
        tracing::warn!(segment = %segment.display(), bytes = rest.len(), "spool segment ends with an incomplete record");
    }
    Ok((records, u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
}
