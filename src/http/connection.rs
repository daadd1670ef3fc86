//! The connections that count against `http.max_connections`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;

/// An open connection, which counts until the last clone is dropped.
///
/// A request that asks for another protocol has it as an extension: who takes over the connection keeps it.
#[derive(Clone, Debug)]
pub struct OpenConnection {
    counted: Arc<CountedConnection>,
}

#[derive(Debug)]
struct CountedConnection {
    connections: IntGauge,
    arrived: AtomicUsize,
    _permit: OwnedSemaphorePermit,
}

impl OpenConnection {
    pub(super) fn new(permit: OwnedSemaphorePermit, connections: IntGauge) -> Self {
        connections.inc();
        Self { counted: Arc::new(CountedConnection { connections, arrived: AtomicUsize::new(0), _permit: permit }) }
    }

    pub(super) fn count_arrived(&self, bytes: usize) {
        self.counted.arrived.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes that have arrived.
    pub fn arrived(&self) -> usize {
        self.counted.arrived.load(Ordering::Relaxed)
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.connections.dec();
    }
}

/// A request extension: the connection is one beyond `http.max_connections`, which serves only the operations that tell how
/// the service is.
#[derive(Clone, Copy, Debug)]
pub struct ProbesOnly;
