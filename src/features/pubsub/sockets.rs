//! The open real-time connections of this replica: their limits, and who they are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;

use super::control::Order;
use super::error::TOO_MANY_SOCKETS;
use super::hub::Signal;
use crate::http::auth::{Principal, Scopes};
use crate::http::problem::{OVERLOADED, Problem};
use crate::http::slots::{Slot, Slots};

/// Counts the connections.
#[derive(Debug)]
pub(super) struct Sockets {
    limit: usize,
    limit_per_caller: usize,
    open: Mutex<OpenSockets>,
    long_frames: Slots,
    /// All clients that have not said who they are, as one.
    unidentified: Principal,
}

/// The memory of the read buffers for long frames, bytes. One credential has half of it.
const LONG_FRAMES: usize = 64 << 20;

#[derive(Debug, Default)]
struct OpenSockets {
    count: usize,
    by_caller: HashMap<String, usize>,
    /// By the name of the connection.
    handles: HashMap<String, Arc<SocketHandle>>,
}

/// Reaches one open connection from outside.
#[derive(Debug)]
pub(super) struct SocketHandle {
    /// The name of the connection.
    pub client: String,
    subject: Mutex<String>,
    orders: Mutex<Vec<Order>>,
    must_check_rights: AtomicBool,
    signal: Arc<Signal>,
}

impl SocketHandle {
    pub(super) fn new(client: String, subject: &str, signal: Arc<Signal>) -> Arc<Self> {
        let (orders, must_check_rights) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { client, subject: Mutex::new(subject.to_owned()), orders, must_check_rights, signal })
    }

    /// Replaces the subject, which is known when the client sends its credential.
    pub(super) fn set_subject(&self, subject: &str) {
        subject.clone_into(&mut self.subject.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether the rights of the connection must be checked, since the rules changed after the last call.
    pub(super) fn take_check_of_rights(&self) -> bool {
        self.must_check_rights.swap(false, Ordering::AcqRel)
    }

    /// The orders since the last call.
    pub(super) fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A counted connection, until it is dropped.
#[derive(Debug)]
pub(super) struct SocketPermit {
    sockets: Arc<Sockets>,
    caller: String,
    gauge: IntGauge,
}

impl Sockets {
    pub(super) fn new(limit: usize, limit_per_caller: usize) -> Arc<Self> {
        let (long_frames, unidentified) = (Slots::new(LONG_FRAMES), Principal::new("", None, Scopes::default()));
        Arc::new(Self { limit, limit_per_caller, open: Mutex::default(), long_frames, unidentified })
    }

    /// Counts a connection. Connections whose credential is not known yet count as those of one caller.
    ///
    /// # Errors
    /// `overloaded` (503) or `too-many-sockets` (429).
    pub(super) fn admit(
        self: &Arc<Self>,
        caller: Option<&Principal>,
        gauge: IntGauge,
    ) -> Result<SocketPermit, Problem> {
        let caller = name(caller);
        let mut open = self.lock();
        if open.count >= self.limit {
            return Err(Problem::new(&OVERLOADED).detail("this replica has pubsub.max_sockets connections"));
        }
        self.count(&mut open, &caller)?;
        open.count += 1;
        drop(open);
        gauge.inc();
        Ok(SocketPermit { sockets: Arc::clone(self), caller, gauge })
    }

    /// Takes the memory of a read buffer of this many bytes; `None` if there is none left for the caller.
    pub(super) fn long_frame(&self, caller: Option<&Principal>, bytes: usize) -> Option<Slot> {
        let mut slot = self.long_frames.take_many(bytes.min(LONG_FRAMES / 2)).ok()?;
        slot.assign(caller.unwrap_or(&self.unidentified)).ok()?;
        Some(slot)
    }

    /// Makes a connection reachable until its permit is dropped.
    pub(super) fn register(&self, handle: &Arc<SocketHandle>) {
        self.lock().handles.insert(handle.client.clone(), Arc::clone(handle));
    }

    /// Passes an order to the connections that it concerns.
    pub(super) fn order(&self, order: &Order) {
        let handles: Vec<_> = self.lock().handles.values().cloned().collect();
        for handle in handles {
            let concerns =
                order.concerns(&handle.subject.lock().unwrap_or_else(PoisonError::into_inner), &handle.client);
            if concerns {
                handle.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order.clone());
                handle.signal.fire();
            }
        }
    }

    /// Lets every connection check its rights.
    pub(super) fn check_rights(&self) {
        let handles: Vec<_> = self.lock().handles.values().cloned().collect();
        for handle in handles {
            handle.must_check_rights.store(true, Ordering::Release);
            handle.signal.fire();
        }
    }

    /// A connection is over.
    pub(super) fn forget(&self, handle: &SocketHandle) {
        self.lock().handles.remove(&handle.client);
    }

    /// The open connections, and the credentials that have some.
    pub(super) fn totals(&self) -> (usize, usize) {
        let open = self.lock();
        (open.count, open.by_caller.len())
    }

    fn count(&self, open: &mut OpenSockets, caller: &str) -> Result<(), Problem> {
        let count = open.by_caller.entry(caller.to_owned()).or_default();
        if *count >= self.limit_per_caller {
            let limit = self.limit_per_caller;
            return Err(Problem::new(&TOO_MANY_SOCKETS).detail(format!("this credential has {limit} connections")));
        }
        *count += 1;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, OpenSockets> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SocketPermit {
    /// Counts the connection for a caller that is known only now.
    ///
    /// # Errors
    /// `too-many-sockets` (429).
    pub(super) fn assign(&mut self, caller: &Principal) -> Result<(), Problem> {
        let caller = name(Some(caller));
        if caller != self.caller {
            let mut open = self.sockets.lock();
            self.sockets.count(&mut open, &caller)?;
            open.release(&self.caller);
            drop(open);
            self.caller = caller;
        }
        Ok(())
    }
}

impl OpenSockets {
    fn release(&mut self, caller: &str) {
        if let Some(count) = self.by_caller.get_mut(caller) {
            *count -= 1;
            if *count == 0 {
                self.by_caller.remove(caller);
            }
        }
    }
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        let mut open = self.sockets.lock();
        open.count -= 1;
        open.release(&self.caller);
        self.gauge.dec();
    }
}

fn name(caller: Option<&Principal>) -> String {
    caller.map(|caller| caller.id.clone()).unwrap_or_default()
}
