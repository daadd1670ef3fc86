//! Permits for work that waits for its turn, of which one credential never has more than half.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::caller;
use super::deadline::until;

/// A number of permits, given in the order of the requests. One credential holds or awaits at most half of them, rounded
/// up; its further requests wait for its own, so that few of them are ahead of other credentials' requests. Clones share
/// the permits.
#[derive(Clone, Debug)]
pub struct Permits(Arc<State>);

#[derive(Debug)]
struct State {
    all: Arc<Semaphore>,
    share: usize,
    /// The shares in use, by credential.
    shares: Mutex<HashMap<usize, Weak<Semaphore>>>,
}

/// Is given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    _of_all: OwnedSemaphorePermit,
    _of_share: Option<OwnedSemaphorePermit>,
}

impl Permits {
    pub fn new(count: usize) -> Self {
        let all = Arc::new(Semaphore::new(count));
        Self(Arc::new(State { all, share: count.div_ceil(2), shares: Mutex::default() }))
    }

    /// Waits at most `patience` for a permit.
    pub async fn acquire(&self, patience: Duration) -> Option<Permit> {
        let share = caller::current().map(|credential| self.share(credential));
        let acquired = async {
            let of_share = match share {
                Some(share) => Some(share.acquire_owned().await.ok()?),
                None => None,
            };
            let of_all = Arc::clone(&self.0.all).acquire_owned().await.ok()?;
            Some(Permit { _of_all: of_all, _of_share: of_share })
        };
        until(Instant::now() + patience, acquired).await.flatten()
    }

    fn share(&self, credential: usize) -> Arc<Semaphore> {
        let mut shares = self.0.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, share| share.strong_count() > 0);
        if let Some(share) = shares.get(&credential).and_then(Weak::upgrade) {
            return share;
        }
        let share = Arc::new(Semaphore::new(self.0.share));
        shares.insert(credential, Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    /// Acquires a permit as a request of a credential does.
    async fn acquire(permits: &Permits, credential: usize, patience: Duration) -> Option<Permit> {
        let mut acquired = pin!(permits.acquire(patience));
        poll_fn(|cx| caller::during(Some(credential), || acquired.as_mut().poll(cx))).await
    }

    #[tokio::test]
    async fn one_credential_has_at_most_half_of_the_permits() {
        let (permits, patience) = (Permits::new(3), Duration::from_millis(5));
        let first = acquire(&permits, 1, patience).await.expect("a permit");
        let _second = acquire(&permits, 1, patience).await.expect("a permit");
        assert!(acquire(&permits, 1, patience).await.is_none(), "its share is taken");
        let other = acquire(&permits, 2, patience).await.expect("the rest is for others");
        assert!(permits.acquire(patience).await.is_none(), "all are taken");
        drop((first, other));
        acquire(&permits, 1, patience).await.expect("its share has a permit again");
        let all = [permits.acquire(patience).await, permits.acquire(patience).await];
        assert!(all.iter().all(Option::is_some), "callers that are not told apart may have all");
    }

    #[tokio::test]
    async fn waiting_requests_of_a_credential_are_behind_those_of_others() {
        let (permits, patience) = (Permits::new(1), Duration::from_secs(10));
        let running = acquire(&permits, 1, patience).await.expect("a permit");
        let mut own = pin!(acquire(&permits, 1, patience));
        let mut others = pin!(acquire(&permits, 2, patience));
        assert!(futures_util::poll!(own.as_mut()).is_pending() && futures_util::poll!(others.as_mut()).is_pending());
        drop(running);
        let permit = others.await.expect("the next permit");
        assert!(futures_util::poll!(own.as_mut()).is_pending());
        drop(permit);
        own.await.expect("the last permit");
    }
}
