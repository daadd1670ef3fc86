//! Messages to systemd, or to another supervisor that speaks its protocol.
//!
//! Source: the manual pages `sd_notify(3)` and `sd_watchdog_enabled(3)` of systemd.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Tasks;

const WATCHDOG: &str = "supervisor.watchdog";
/// The heartbeats of a thread, and the looks at them, within the time of the watchdog.
const BEATS: u32 = 6;
const LOOKS: u32 = 3;

/// The supervisor that has started this process; without one, messages are dropped.
#[derive(Clone, Debug, Default)]
pub struct Supervisor {
    socket: Option<Arc<UnixDatagram>>,
    /// The supervisor restarts the process after this time without a sign of life; `None`: never.
    watchdog: Option<Duration>,
}

/// When each thread last took its turn.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    started: Instant,
    /// Milliseconds after the start, for each thread.
    last: Arc<[AtomicU64]>,
}

impl Supervisor {
    /// Finds the supervisor by the variables of the environment.
    ///
    /// # Errors
    /// An address to which no message can be sent.
    pub fn find(variables: &[(String, String)]) -> io::Result<Self> {
        let variable = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let Some(address) = variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Ok(Self::default());
        };
        let socket = UnixDatagram::unbound()?;
        connect(&socket, address)?;
        // A supervisor that does not read must not stop the service.
        socket.set_nonblocking(true)?;
        let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let micros = variable("WATCHDOG_USEC").filter(|_| is_ours).and_then(|micros| micros.parse().ok());
        let watchdog = micros.filter(|micros| *micros > 0).map(Duration::from_micros);
        Ok(Self { socket: Some(Arc::new(socket)), watchdog })
    }

    /// Requests are answered.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The service drains.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Beats for thread `thread` of the current runtime, until the service stops.
    pub fn beat(&self, heartbeats: &Heartbeats, thread: usize, tasks: &Tasks) {
        let Some(watchdog) = self.watchdog else { return };
        let heartbeats = heartbeats.clone();
        tasks.spawn(WATCHDOG, move |stop| async move {
            loop {
                heartbeats.beat(thread, heartbeats.elapsed());
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(watchdog / BEATS) => {}
                }
            }
        });
    }

    /// Gives signs of life as long as every thread beats, until the service stops. A thread that hangs thus ends the process.
    pub fn watch(&self, heartbeats: &Heartbeats, tasks: &Tasks) {
        let Some(watchdog) = self.watchdog else { return };
        let (supervisor, heartbeats) = (self.clone(), heartbeats.clone());
        tasks.spawn(WATCHDOG, move |stop| async move {
            loop {
                match heartbeats.silent(heartbeats.elapsed(), watchdog / LOOKS) {
                    None => supervisor.send("WATCHDOG=1"),
                    Some(thread) => tracing::error!(thread, "a thread hangs; the supervisor gets no sign of life"),
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(watchdog / LOOKS) => {}
                }
            }
        });
    }

    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::warn!(%error, state, "the supervisor does not take messages");
        }
    }
}

impl Heartbeats {
    /// `threads` is the number of threads that beat.
    pub fn new(threads: usize) -> Self {
        Self { started: Instant::now(), last: (0..threads).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Notes that a thread takes its turn, milliseconds after the start.
    fn beat(&self, thread: usize, at: u64) {
        if let Some(last) = self.last.get(thread) {
            last.store(at, Ordering::Relaxed);
        }
    }

    /// A thread that has not beaten for longer than `limit`, milliseconds after the start.
    fn silent(&self, now: u64, limit: Duration) -> Option<usize> {
        let since = |last: &AtomicU64| Duration::from_millis(now.saturating_sub(last.load(Ordering::Relaxed)));
        self.last.iter().position(|last| since(last) > limit)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// An address that begins with `@` is not a file: Linux has such names.
#[cfg(target_os = "linux")]
fn connect(socket: &UnixDatagram, address: &str) -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    match address.strip_prefix('@') {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?),
        None => socket.connect(address),
    }
}

#[cfg(not(target_os = "linux"))]
fn connect(socket: &UnixDatagram, address: &str) -> io::Result<()> {
    socket.connect(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_thread_is_enough() {
        let heartbeats = Heartbeats::new(2);
        let silent = |now| heartbeats.silent(now, Duration::from_secs(10));
        assert_eq!((silent(10_000), silent(10_001)), (None, Some(0)));
        heartbeats.beat(0, 9_000);
        assert_eq!(silent(10_001), Some(1));
        heartbeats.beat(1, 9_000);
        assert_eq!(silent(10_001), None);
    }

    #[test]
    fn a_process_without_a_supervisor_sends_nothing_and_a_wrong_address_is_an_error() {
        let find = |pairs: &[(&str, &str)]| {
            let owned: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Supervisor::find(&owned)
        };
        let none = find(&[("WATCHDOG_USEC", "30000000")]).expect("no supervisor");
        assert!(none.socket.is_none() && none.watchdog.is_none());
        none.ready();
        assert!(find(&[("NOTIFY_SOCKET", "/nowhere/notify")]).is_err());
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let _socket = UnixDatagram::bind(&path).expect("a socket");
        let path = path.to_str().expect("text");
        // The watchdog of a parent is not that of its child.
        let of_parent = find(&[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
        assert_eq!(of_parent.expect("a supervisor").watchdog, None);
        let own = find(&[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "1000")]);
        assert_eq!(own.expect("a supervisor").watchdog, Some(Duration::from_millis(1)));
    }
}
