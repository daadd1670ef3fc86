//! A private redis-server, for `serve` without a configured address.
//!
//! It listens on a unix socket only, keeps its data under `redis.embedded.data_dir`, and ends with the service, even if
//! the service is killed: a shell holds the other end of a pipe and stops the server when that end closes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};

use crate::config::redis::EmbeddedConfig;

/// How long the server may take to start: loading a large append-only file takes time.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the private server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(
        "no address is configured (REDIS_URL) and `{binary}` cannot be started: {reason}; scripts/setup_redis.sh installs it"
    )]
    NotStarted { binary: String, reason: String },
    #[error("the data directory {directory} cannot be used: {reason}")]
    DataDirectory { directory: String, reason: String },
    #[error("the data directory {directory} is in use by another service")]
    InUse { directory: String },
    #[error("the private redis-server exited at startup; its log is {log}")]
    Ended { log: String },
    #[error("the private redis-server did not open its socket within {limit:?}; its log is {log}")]
    TooSlow { limit: Duration, log: String },
}

/// A running private server; dropping it stops the server.
#[derive(Debug)]
pub struct EmbeddedServer {
    shepherd: Child,
    /// Closing this pipe stops the server. It is not left in `shepherd`, since waiting for a child closes it.
    leash: Option<ChildStdin>,
    socket: PathBuf,
    /// Locked while the server runs: two servers would destroy one append-only file.
    _lock: std::fs::File,
}

/// Removes what a crash of the machine left of a transaction.
const REPAIR: &str = include_str!("../../config/redis/repair_aof.sh");

/// Starts the server and waits for it. A watcher stops the server when standard input closes, which the kernel does if
/// the service dies. SIGTERM lets Redis write its data first.
const SHEPHERD: &str = r#"exec 3<&0
"$@" </dev/null 3<&- & server=$!
{ cat <&3 >/dev/null; kill -TERM "$server"; } & watcher=$!
exec 3<&-
wait "$server"
kill "$watcher" 2>/dev/null"#;

impl EmbeddedServer {
    /// Checks that the binary runs.
    ///
    /// # Errors
    /// [`EmbeddedError::NotStarted`].
    pub fn check(config: &EmbeddedConfig) -> Result<(), EmbeddedError> {
        require_binary(&config.binary).map_err(|reason| not_started(&config.binary, reason))
    }

    /// Starts a server and waits until it accepts connections.
    ///
    /// # Errors
    /// [`EmbeddedError`] if the binary is missing, the directory is unusable, or the server does not start.
    pub async fn start(config: &EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let directory = create_directory(&config.data_dir)?;
        let socket = directory.join("redis.sock");
        let lock = take_over(&directory, &socket, START_TIMEOUT).await?;
        let log = directory.join("redis.log");
        Self::check(config)?;
        repair(&config.binary, &directory).await?;
        let mut shepherd = Command::new("sh")
            .arg("-c")
            .arg(SHEPHERD)
            .arg("redis-shepherd")
            .arg(&config.binary)
            .args(["--port", "0", "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
            .args(["--maxmemory-policy", "noeviction", "--daemonize", "no", "--unixsocketperm", "700"])
            // Otherwise a snapshot begins after five seconds.
            .args(["--repl-diskless-sync-delay", "0"])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(&directory)
            .arg("--logfile")
            .arg(&log)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A process group of its own: Ctrl-C must reach the service first, so that Redis outlives the last write.
            .process_group(0)
            .spawn()
            .map_err(|error| not_started(&config.binary, error.to_string()))?;
        let leash = shepherd.stdin.take();
        let limit = START_TIMEOUT;
        let opened = tokio::time::timeout(limit, wait_for_socket(&socket, &mut shepherd)).await;
        let log = log.display().to_string();
        match opened {
            Ok(true) => Ok(Self { shepherd, leash, socket, _lock: lock }),
            Ok(false) => Err(EmbeddedError::Ended { log }),
            Err(_) => Err(EmbeddedError::TooSlow { limit, log }),
        }
    }

    /// The address for `redis.url`.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Resolves when the server exits by itself.
    pub async fn ended(&mut self) {
        if let Err(error) = self.shepherd.wait().await {
            tracing::warn!(%error, "cannot wait for the private redis-server");
        }
    }

    /// Stops the server and waits until it has written its data.
    pub async fn stop(mut self) {
        drop(self.leash.take());
        if let Err(error) = self.shepherd.wait().await {
            tracing::warn!(%error, "cannot wait for the private redis-server to stop");
        }
    }
}

async fn repair(binary: &Path, directory: &Path) -> Result<(), EmbeddedError> {
    // It is installed beside the server.
    let check = binary.with_file_name("redis-check-aof");
    let ran = Command::new("sh").args(["-c", REPAIR, "repair_aof"]).arg(directory).env("CHECK", check).output().await;
    let output = ran.map_err(|error| unusable(directory, &error))?;
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !output.status.success() {
        return Err(unusable(directory, &std::io::Error::other(text)));
    }
    if !text.is_empty() {
        tracing::warn!("{text}");
    }
    Ok(())
}

/// An absolute path, because the server changes its working directory.
fn create_directory(directory: &Path) -> Result<PathBuf, EmbeddedError> {
    std::fs::create_dir_all(directory)
        .and_then(|()| directory.canonicalize())
        .map_err(|error| unusable(directory, &error))
}

/// Takes the directory over: acquires its lock and waits until a predecessor's server has written its data.
async fn take_over(directory: &Path, socket: &Path, limit: Duration) -> Result<std::fs::File, EmbeddedError> {
    let in_use = || EmbeddedError::InUse { directory: directory.display().to_string() };
    let lock = std::fs::File::create(directory.join("lock")).map_err(|error| unusable(directory, &error))?;
    lock.try_lock().map_err(|_| in_use())?;
    let gone = async {
        while tokio::net::UnixStream::connect(socket).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, gone).await.map_err(|_| in_use())?;
    // A socket left by a killed server would look like a running server.
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unusable(directory, &error)),
        _ => Ok(lock),
    }
}

fn not_started(binary: &Path, reason: String) -> EmbeddedError {
    EmbeddedError::NotStarted { binary: binary.display().to_string(), reason }
}

fn unusable(directory: &Path, error: &std::io::Error) -> EmbeddedError {
    EmbeddedError::DataDirectory { directory: directory.display().to_string(), reason: error.to_string() }
}

/// Checks the binary first: the shell would report a missing program late and in its own words.
fn require_binary(binary: &Path) -> Result<(), String> {
    let ran = std::process::Command::new(binary).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match ran {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("it ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Resolves to `true` when the socket accepts connections, and to `false` if the server exits first.
async fn wait_for_socket(socket: &Path, shepherd: &mut Child) -> bool {
    loop {
        if tokio::net::UnixStream::connect(socket).await.is_ok() {
            return true;
        }
        let pause = tokio::time::sleep(Duration::from_millis(5));
        tokio::select! {
            _ = shepherd.wait() => return false,
            () = pause => {}
        }
    }
}
