//! From start to exit: signals, phases and the exit code.
//!
//! Stopping has three phases within one deadline. First, readiness returns 503 and no new connection is accepted. Then
//! requests in flight are answered and connections are closed. Last, background tasks drain, so that they process what
//! the last requests left. A second signal ends every wait.

pub mod caller;
mod component_health;
pub mod deadline;
pub mod large_work;
pub mod offload;
pub mod permits;
mod supervisor;
mod tasks;

pub use component_health::{Component, ComponentHealth, ComponentMember, Condition, Finding, Status};
pub use supervisor::{Heartbeats, Supervisor};
pub use tasks::{TaskState, Tasks};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Whether the service still accepts work; the listener, the health report and long waits share it.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    draining: CancellationToken,
}

impl Phase {
    pub fn begin_draining(&self) {
        self.draining.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Resolves when draining begins.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }
}

/// Process exit codes, after BSD's sysexits where one fits.
pub mod exit_code {
    /// Every request was answered and every task drained.
    pub const CLEAN: u8 = 0;
    /// A task panicked, or the drain deadline passed.
    pub const FAILURE: u8 = 1;
    /// The command line is wrong, as the other commands report it.
    pub const USAGE: u8 = 2;
    /// The configuration is wrong (`EX_USAGE`).
    pub const CONFIG: u8 = 64;
    /// A required service, such as Redis, refuses the connection (`EX_UNAVAILABLE`).
    pub const UNAVAILABLE: u8 = 69;
}

/// The signals that stop the service: SIGTERM and SIGINT.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Cancelled at the first signal: the service drains.
    pub requested: CancellationToken,
    /// Cancelled at the second signal: the service waits for nothing any more.
    pub forced: CancellationToken,
}

/// Waits for the signals that stop the service.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn shutdown_signals(tasks: &Tasks) -> std::io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = Shutdown::default();
    let Shutdown { requested, forced } = shutdown.clone();
    // Spawned like a connection: it must outlive the drain, so that a second signal still counts.
    tasks.spawn_connection(async move {
        for stage in [requested, forced] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stage.cancel();
        }
    });
    Ok(shutdown)
}

/// Every SIGHUP after this call. Without a handler the first one would end the process.
///
/// # Errors
/// If the handler cannot be installed.
pub fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
