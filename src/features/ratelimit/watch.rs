//! What this replica sees of the others, and whether Redis is worth waiting for.
//!
//! A background task looks at the mark that admins' changes leave. Where it is new, the copy of their decisions is read
//! anew, and refusals that were remembered are forgotten.
//!
//! A stopped Redis keeps its connections, so that every call would wait for its own timeout. Whoever waited in vain has
//! the task look at once. Where it gets no answer either, who can do without Redis does so without asking, until the
//! task got one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::blocked::Blocked;
use super::exceptions::Exceptions;
use crate::lifecycle::Tasks;
use crate::redis::{FaultKind, RedisFault};

/// How often a Redis that is away is asked.
const RETRY: Duration = Duration::from_millis(50);
const NAME: &str = "ratelimit.watch";

#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    exceptions: Arc<Exceptions>,
    blocked: Arc<Blocked>,
    is_away: AtomicBool,
    doubted: Notify,
    /// The mark of the last change that was taken in; `None` when nothing was read yet.
    seen: Mutex<Option<String>>,
}

impl Watch {
    pub(super) fn new(exceptions: &Arc<Exceptions>, blocked: &Arc<Blocked>) -> Self {
        Self(Arc::new(Shared {
            exceptions: Arc::clone(exceptions),
            blocked: Arc::clone(blocked),
            is_away: AtomicBool::new(false),
            doubted: Notify::new(),
            seen: Mutex::default(),
        }))
    }

    pub(super) fn is_away(&self) -> bool {
        self.0.is_away.load(Ordering::Relaxed)
    }

    /// Somebody waited in vain.
    pub(super) fn doubt(&self) {
        self.0.doubted.notify_one();
    }

    fn conclude(&self, looked: &Result<(), RedisFault>) {
        match looked {
            Ok(()) if self.0.is_away.swap(false, Ordering::Relaxed) => {
                tracing::info!("redis answers again: limits are counted there");
            }
            Err(fault) if fault.kind == FaultKind::Timeout && !self.0.is_away.swap(true, Ordering::Relaxed) => {
                tracing::warn!("redis does not answer: open limits are counted locally");
            }
            // A Redis that refuses does not keep anybody waiting.
            _ => {}
        }
    }

    /// Looks every `interval`, and at once when somebody waited in vain, until `stop`.
    pub(super) async fn run(self, interval: Duration, tasks: Tasks, stop: CancellationToken) {
        loop {
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look() => looked,
            };
            self.conclude(&looked);
            let pause = if looked.is_ok() { interval } else { RETRY };
            // That Redis cannot be reached, its role's own report says.
            tasks.report(
                NAME,
                match looked {
                    Err(fault) if fault.kind != FaultKind::Unavailable => Err(fault.to_string()),
                    _ => Ok(()),
                },
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.0.doubted.notified() => {}
            }
        }
    }

    /// Takes in what was changed since the last look.
    ///
    /// # Errors
    /// [`RedisFault`]; what was known before still holds.
    pub(super) async fn look(&self) -> Result<(), RedisFault> {
        let mut seen = self.0.seen.lock().await;
        let mark = self.0.exceptions.mark().await?;
        if seen.as_ref() != Some(&mark) {
            *seen = Some(self.0.exceptions.reload().await?);
            self.0.blocked.clear();
        }
        Ok(())
    }

    /// Reads everything anew: the rules behind the exceptions have changed.
    ///
    /// # Errors
    /// [`RedisFault`]; the next look tries again.
    pub(super) async fn renew(&self) -> Result<(), RedisFault> {
        self.0.seen.lock().await.take();
        self.look().await
    }
}
