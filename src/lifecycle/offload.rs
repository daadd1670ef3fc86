//! Threads for work that would delay the other requests of a worker.

use std::panic::resume_unwind;
use std::time::Duration;

use super::permits::Permits;

/// No thread for long work became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no thread for long work became free in time")]
pub struct NoThread;

/// Runs long work on other threads than the workers'. One credential has at most half of them. Clones share the threads.
#[derive(Clone, Debug)]
pub struct Offload(Permits);

impl Default for Offload {
    /// Half of the cores stay free for the workers, which answer everything else.
    fn default() -> Self {
        Self(Permits::new(Self::threads()))
    }
}

impl Offload {
    /// The number of threads.
    pub fn threads() -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores / 2).max(1)
    }

    /// Waits at most `patience` for a thread, and until the work is done.
    ///
    /// # Errors
    /// [`NoThread`] if no thread becomes free in time; nothing was done.
    pub async fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoThread> {
        let permit = self.0.acquire(patience).await.ok_or(NoThread)?;
        let task = tokio::task::spawn_blocking(move || {
            // The thread stays taken if the request ends before its work does.
            let _permit = permit;
            work()
        });
        match task.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(result) => Ok(result),
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => Err(NoThread),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_finds_no_thread_is_rejected() {
        let (offload, patience) = (Offload::default(), Duration::from_millis(5));
        let mut taken = Vec::new();
        for _ in 0..Offload::threads() {
            taken.push(offload.0.acquire(patience).await.expect("a thread"));
        }
        assert_eq!(offload.run(patience, || 1).await, Err(NoThread));
        drop(taken);
        assert_eq!(offload.run(patience, || 2).await, Ok(2));
    }
}
