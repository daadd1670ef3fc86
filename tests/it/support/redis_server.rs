//! A private redis-server for a test, on a unix socket in a temporary directory. It ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Starts a server, writes its process id to a file, and ends it with `END_SIGNAL`, or KILL, when standard input closes, even
/// if the test is killed. A file that must not grow is an error to the server, as a full disk is, and does not end it.
pub(super) const SUPERVISOR: &str = r#"exec 3<&0
trap '' XFSZ
"$@" </dev/null 3<&- & server=$!
echo "$server" > "$PID_FILE"
{ cat <&3 >/dev/null; kill -CONT "$server" 2>/dev/null; kill "-${END_SIGNAL:-KILL}" "$server" 2>/dev/null; } &
exec 3<&-
wait "$server""#;

/// The folder of the shipped configuration of Redis.
pub const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/redis");

/// The Redis type of RedisJSON values.
pub const MODULE_TYPE: &str = "ReJSON-RL";

/// The credentials of the service and of the test; empty if the server has no users.
#[derive(Clone, Copy, Default)]
struct Users {
    service: &'static str,
    test: &'static str,
}

pub struct RedisServer {
    directory: TempDir,
    /// A configuration file, which must precede all options on the command line.
    file: Option<PathBuf>,
    options: Vec<String>,
    users: Users,
    running: Option<Running>,
}

struct Running {
    supervisor: Child,
    stdin: Option<ChildStdin>,
}

impl RedisServer {
    /// A server with the shipped `config/redis/redis.conf` and `users.acl`; only paths are changed.
    ///
    /// The harness adds a user for itself, since the shipped users have too few permissions.
    pub fn start() -> Self {
        Self::shipped("redis.conf", &[])
    }

    /// A server with Redis's own settings, too young for its first snapshot: whoever connects may do everything.
    pub fn plain() -> Self {
        Self::with_options(&["--save", "900 1", "--appendonly", "no"])
    }

    /// A server with these options; it listens only on its socket unless the options contain `--port`.
    pub fn with_options(options: &[&str]) -> Self {
        Self::launch(temporary_directory(), None, options, Users::default())
    }

    /// A server with a shipped configuration file and the shipped users; the password of each is its name.
    pub fn shipped(file: &str, options: &[&str]) -> Self {
        let directory = temporary_directory();
        let users = std::fs::read_to_string(Path::new(SHIPPED).join("users.acl")).expect("the shipped users");
        // Sentinels let a server rewrite its file, and files include each other.
        for name in ["redis.conf", "replica.conf", "cluster.conf"] {
            std::fs::copy(Path::new(SHIPPED).join(name), directory.path().join(name)).expect("a shipped file");
        }
        let turned_on =
            |users: String, name: &str| users.replace(&format!("{name} off"), &format!("{name} on >{name}"));
        let users = ["replica", "sentinel", "backup"].into_iter().fold(users.replace(" resetpass", ""), turned_on);
        let acl = directory.path().join("users.acl");
        std::fs::write(&acl, format!("{users}\nuser harness on nopass ~* &* +@all\n")).expect("a file");
        let acl = acl.display().to_string();
        let users = Users { service: "?user=gridtokenx&pass=gridtokenx", test: "?user=harness&pass=any" };
        let file = directory.path().join(file);
        Self::launch(directory, Some(file), &[&["--aclfile", &acl], options].concat(), users)
    }

    /// A server or Sentinel with this configuration file, which it may rewrite.
    pub fn with_file(text: &str, options: &[&str]) -> Self {
        let directory = temporary_directory();
        let file = directory.path().join("own.conf");
        std::fs::write(&file, text).expect("a file");
        Self::launch(directory, Some(file), options, Users::default())
    }

    fn launch(directory: TempDir, file: Option<PathBuf>, options: &[&str], users: Users) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { directory, file, options, users, running: None };
        server.boot();
        server
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// The part of the service's URL after the address: the user, if any.
    pub fn login(&self) -> &'static str {
        self.users.service
    }

    /// The URL for the service.
    pub fn url(&self) -> String {
        format!("unix://{}{}", self.socket().display(), self.users.service)
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        let text = std::fs::read_to_string(self.pid_file()).expect("the server's pid file");
        text.trim().parse().expect("a process id")
    }

    /// Sends SIGSTOP: the server neither accepts nor replies, but its sockets stay open.
    pub fn stall(&self) {
        self.signal("STOP");
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends SIGKILL: the server does not shut down cleanly.
    pub fn kill(&mut self) {
        self.signal("KILL");
        if let Some(mut running) = self.running.take() {
            drop(running.stdin.take());
            running.supervisor.wait().expect("the supervisor ends");
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// Changes an option for the next [`RedisServer::boot`].
    pub fn set_option(&mut self, name: &str, value: &str) {
        let at = self.options.iter().position(|option| option == name).expect("an option of the server");
        value.clone_into(&mut self.options[at + 1]);
    }

    /// Starts again after [`RedisServer::kill`], with the same options and directory.
    pub fn boot(&mut self) {
        assert!(self.running.is_none(), "the server is already running");
        let _ = std::fs::remove_file(self.socket());
        require_redis_server();
        let repaired = Command::new(format!("{SHIPPED}/repair_aof.sh")).arg(self.directory.path()).status();
        assert!(repaired.expect("the script runs").success(), "the append-only files were not repaired");
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "redis-supervisor", "redis-server"]).args(&self.file);
        if !self.options.iter().any(|option| option == "--port") {
            command.args(["--port", "0"]);
        }
        command
            // As shipped: otherwise a snapshot begins after five seconds.
            .args(["--repl-diskless-sync-delay", "0"])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.options)
            .current_dir(self.directory.path())
            .env("PID_FILE", self.pid_file())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut supervisor = command.spawn().expect("sh starts");
        let stdin = supervisor.stdin.take();
        let mut running = Running { supervisor, stdin };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(
                running.supervisor.try_wait().expect("a status").is_none(),
                "redis-server ended: {:?}",
                self.options
            );
            assert!(Instant::now() < deadline, "redis-server did not open its socket");
            std::thread::yield_now();
        }
        self.running = Some(running);
    }

    /// Runs one command on a separate connection.
    pub fn command<T: redis::FromRedisValue>(&self, parts: &[&str]) -> T {
        self.try_command(parts).unwrap_or_else(|error| panic!("{parts:?}: {error}"))
    }

    pub fn try_command<T: redis::FromRedisValue>(&self, parts: &[&str]) -> redis::RedisResult<T> {
        let mut command = redis::Cmd::new();
        for part in parts {
            command.arg(part);
        }
        command.query(&mut self.connect()?)
    }

    /// All keys in order, without the records of storage backends, which replicas write at any time.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", "*"]);
        keys.retain(|key| !key.ends_with(":{backend}"));
        keys.sort_unstable();
        keys
    }

    /// The text of a JSON document, stored as a string or as a RedisJSON value.
    pub fn document(&self, key: &str) -> String {
        let reading = if self.command::<String>(&["TYPE", key]) == MODULE_TYPE { "JSON.GET" } else { "GET" };
        self.command(&[reading, key])
    }

    /// Writes a document as another program does: with JSON.SET if the deployment stores documents in RedisJSON.
    pub fn put_document(&self, key: &str, text: &str) {
        let backend: Option<String> = self.command(&["GET", "json:{backend}"]);
        if backend.as_deref() == Some("module") {
            self.command::<()>(&["JSON.SET", key, "$", text]);
        } else {
            self.command::<()>(&["SET", key, text]);
        }
    }

    /// The commands that run after this call, in the format of MONITOR, until the server ends.
    pub fn monitor(&self) -> impl Iterator<Item = String> + Send + use<> {
        let mut connection = self.connect().expect("a connection");
        redis::cmd("MONITOR").exec(&mut connection).expect("MONITOR");
        std::iter::from_fn(move || redis::from_redis_value(connection.recv_response().ok()?).ok())
    }

    /// A new connection for the test.
    pub fn connect(&self) -> redis::RedisResult<redis::Connection> {
        self.connector()()
    }

    /// Opens connections, in other threads as well.
    pub fn connector(&self) -> impl Fn() -> redis::RedisResult<redis::Connection> + Send + use<> {
        let url = format!("unix://{}{}", self.socket().display(), self.users.test);
        move || {
            #[expect(clippy::disallowed_methods, reason = "a connection of the tests")]
            let client = redis::Client::open(url.as_str())?;
            loop {
                match client.get_connection_with_timeout(Duration::from_secs(5)) {
                    // A child process that ends interrupts the connect call.
                    Err(error) if is_interruption(&error) => {}
                    connected => return connected,
                }
            }
        }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.expect("kill runs").success(), "SIG{signal} to the server");
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.path().join("pid")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.stdin.take());
            let _ = running.supervisor.wait();
        }
    }
}

fn is_interruption(error: &redis::RedisError) -> bool {
    // The client library exposes the kind of an I/O error only as text.
    error.is_io_error() && error.to_string().starts_with("Interrupted")
}

fn temporary_directory() -> TempDir {
    tempfile::Builder::new().prefix("gtx-redis-").tempdir().expect("a temporary directory")
}

/// A TCP port that was free a moment ago, for servers that must know their port before they start.
///
/// The port is below the ephemeral range, so outgoing connections do not take it.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Every test is a separate process: each starts at a different port.
    let first = std::process::id().wrapping_mul(37);
    loop {
        let offset = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = 10_000 + u16::try_from(offset).expect("below 20,000");
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Fails, instead of skipping the test, if redis-server is not installed.
fn require_redis_server() {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
    assert!(found.is_ok_and(|status| status.success()), "redis-server is not installed: run scripts/setup_redis.sh");
}
