//! The spool: a log on disk of what is in memory and not in Redis yet, so that not even a killed process loses it.
//!
//! A directory of segments, written to at their end. A record is the length of its content and the content's XXH3
//! (32 and 64 bits, big-endian), then the content: host and organisation, each behind its length (16 bits), and the
//! samples as a plain chunk. Records that come together are synced together, and acknowledged then. The batch writer
//! closes the segment before each round, and deletes the closed ones when all of them is in Redis.

mod log;
mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(in crate::features::hosts) use crate::features::hosts::ingest::spool::record::{Record, decode};

use crate::features::hosts::config::HostsConfig;
use crate::features::hosts::ingest::spool::log::Log;
use crate::lifecycle::{Component, ComponentHealth, Finding, Tasks};

const NAME: &str = "hosts.spool";

/// Records that are synced together at most, and that may wait for it.
const GROUP: usize = 1_024;

/// What the log is asked for.
#[derive(Debug)]
enum Request {
    /// Keep these bytes; the answer is whether they are on disk.
    Append(Vec<u8>, oneshot::Sender<bool>),
    /// Close the segment; the answer are all closed ones, oldest first.
    Close(oneshot::Sender<Vec<PathBuf>>),
}

/// The door to the log; every clone leads to the same one.
#[derive(Clone, Debug)]
pub(in crate::features::hosts) struct Spool {
    requests: mpsc::Sender<Request>,
    /// Bytes in all segments.
    size: Arc<AtomicU64>,
    limit: u64,
}

impl Spool {
    /// The spool that is configured; its log is opened with the service's start.
    pub(in crate::features::hosts) fn plan(
        config: &HostsConfig,
        tasks: &Tasks,
        parts: &ComponentHealth,
    ) -> Option<Self> {
        if config.spool_dir.as_os_str().is_empty() {
            return None;
        }
        let (requests, incoming) = mpsc::channel(GROUP);
        let size = Arc::new(AtomicU64::new(0));
        let (directory, size_of_log, board, parts) =
            (config.spool_dir.clone(), Arc::clone(&size), tasks.clone(), parts.clone());
        tasks.plan(NAME, move |stop| async move {
            let ended = run(directory, incoming, &size_of_log, stop).await;
            if let Err(error) = &ended {
                tracing::error!(%error, "the spool of host metrics cannot be used: samples are kept in memory only");
                let findings = vec![Finding::degraded(format!("the spool of host metrics cannot be used: {error}"))];
                parts.report(NAME, Component { findings, ..Component::default() });
            }
            board.report(NAME, ended.map_err(|error| error.to_string()));
        });
        Some(Self { requests, size, limit: config.spool_limit.bytes() })
    }

    /// Keeps a record; whether it is safe on disk by now. It is not where the spool is full or broken.
    pub(in crate::features::hosts) async fn append(&self, record: &Record<'_>) -> bool {
        let Ok(bytes) = record.encode() else { return false };
        if self.size.load(Ordering::Relaxed) + bytes.len() as u64 > self.limit {
            return false;
        }
        let (done, is_done) = oneshot::channel();
        if self.requests.send(Request::Append(bytes, done)).await.is_err() {
            return false;
        }
        is_done.await.unwrap_or(false)
    }

    /// Closes the segment and answers every closed one, oldest first; none where the spool is broken or has stopped.
    pub(in crate::features::hosts) async fn close_segment(&self) -> Vec<PathBuf> {
        let (done, closed) = oneshot::channel();
        if self.requests.send(Request::Close(done)).await.is_err() {
            return Vec::new();
        }
        closed.await.unwrap_or_default()
    }

    /// Deletes a closed segment.
    pub(in crate::features::hosts) async fn delete(&self, segment: PathBuf) -> std::io::Result<()> {
        let length = tokio::fs::metadata(&segment).await?.len();
        tokio::fs::remove_file(&segment).await?;
        self.size.fetch_sub(length, Ordering::Relaxed);
        Ok(())
    }
}

async fn run(
    directory: PathBuf,
    mut incoming: mpsc::Receiver<Request>,
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

/// Serves what came together; the records before a closing are in the closed segment. Answers the bytes written.
fn serve(log: &mut Log, requests: Vec<Request>) -> std::io::Result<u64> {
    let mut written = 0;
    let mut unsynced: Vec<oneshot::Sender<bool>> = Vec::new();
    for request in requests {
        match request {
            Request::Append(bytes, done) => {
                log.append(&bytes)?;
                written += bytes.len() as u64;
                unsynced.push(done);
            }
            Request::Close(done) => {
                // Whoever asked may have gone.
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

/// Files block: their work is done beside the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// The intact records of a segment, in order.
///
/// A record that was not synced may be torn: it was not acknowledged, and nothing intact follows it.
///
/// # Errors
/// When the file cannot be read.
pub(in crate::features::hosts) async fn read_segment(segment: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let bytes = tokio::fs::read(segment).await?;
    let mut records = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((content, tail)) = record::split(rest) {
        records.push(content.to_vec());
        rest = tail;
    }
    if !rest.is_empty() {
        tracing::warn!(segment = %segment.display(), bytes = rest.len(), "the end of a segment is no whole record");
    }
    Ok(records)
}
