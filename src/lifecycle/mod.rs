//! From start to exit: signals, phases and the exit code.
//!
//! A stop has three phases inside one deadline: readiness turns 503 and no connection is accepted; requests in
//! flight are answered and connections closed; then background tasks drain, so that they see what the last requests
//! left behind. A second signal ends the process at once.

mod component_health;
pub mod deadline;
mod tasks;

pub use component_health::{Component, ComponentHealth, ComponentMember, Condition, Finding};
pub use tasks::{TaskState, Tasks};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Whether the service still wants new work; shared by the listener, the health report and whoever waits for long.
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

    /// Resolves when the service begins to drain.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }
}

/// Process exit codes, after BSD's sysexits where one fits.
pub mod exit_code {
    /// Everything was answered and drained.
    pub const CLEAN: u8 = 0;
    /// A task panicked, or the drain deadline passed.
    pub const FAILURE: u8 = 1;
    /// The configuration is wrong (`EX_USAGE`).
    pub const CONFIG: u8 = 64;
    /// A service that we need refuses us (`EX_UNAVAILABLE`).
    pub const UNAVAILABLE: u8 = 69;
}

/// Resolves at the first SIGTERM or SIGINT; at the second one the process exits on the spot.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn shutdown_signal(tasks: &Tasks) -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let first = CancellationToken::new();
    let announced = first.clone();
    // Spawned as a connection: it must outlive the drain, so that a second signal still counts.
    tasks.spawn_connection(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if announced.is_cancelled() {
                tracing::warn!("second signal: exiting at once");
                std::process::exit(i32::from(exit_code::FAILURE));
            }
            announced.cancel();
        }
    });
    Ok(first)
}

/// Every SIGHUP from now on; unheard, the first one would end the process.
///
/// # Errors
/// When the handler cannot be installed.
pub fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
