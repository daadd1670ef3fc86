//! A private `PostgreSQL` for a test, on a unix socket in a temporary directory, and a `PgBouncer` before it.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::redis_server::SUPERVISOR;

const MISSING: &str = "is not installed: run scripts/setup_tests.sh postgres";

/// A server that trusts every local user.
pub struct Postgres {
    directory: TempDir,
    _server: Server,
}

/// A pooler that hands out connections by transaction.
pub struct PgBouncer {
    directory: TempDir,
    _server: Server,
}

struct Server {
    supervisor: Child,
    stdin: Option<ChildStdin>,
}

impl Postgres {
    pub fn start() -> Self {
        let directory = temporary_directory();
        let data = directory.path().join("data");
        let data_text = data.display().to_string();
        let options = ["-D", &data_text, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync", "--locale=C"];
        let made =
            unprivileged(&program("initdb")).args(options).stdout(Stdio::null()).stderr(Stdio::inherit()).status();
        assert!(made.expect("initdb runs").success(), "initdb");
        let socket = format!("unix_socket_directories={}", directory.path().display());
        let mut command = supervised(&program("postgres"), directory.path(), "QUIT");
        command.args(["-D", &data_text]);
        for setting in [
            socket.as_str(),
            "listen_addresses=",
            "fsync=off",
            "max_connections=20",
            "shared_buffers=8MB",
            "dynamic_shared_memory_type=mmap",
            "autovacuum=off",
        ] {
            command.args(["-c", setting]);
        }
        let server = Server::start(command, &directory.path().join(".s.PGSQL.5432"));
        let postgres = Self { directory, _server: server };
        let deadline = Instant::now() + Duration::from_secs(20);
        while !postgres.psql("SELECT 1").status().expect("psql runs").success() {
            assert!(Instant::now() < deadline, "PostgreSQL does not accept connections");
        }
        postgres
    }

    /// Runs SQL and returns its rows as text, one a line.
    pub fn sql(&self, sql: &str) -> String {
        let output = self.psql(sql).output().expect("psql runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The URL of the database for a user.
    pub fn url(&self, user: &str) -> String {
        format!("host={} user={user} dbname=postgres", self.directory.path().display())
    }

    /// A file with the URL, for the configuration.
    pub fn url_file(&self, user: &str) -> PathBuf {
        write(&self.directory, "url", &self.url(user))
    }

    fn psql(&self, sql: &str) -> Command {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url("postgres"), "-c", sql]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl PgBouncer {
    pub fn before(postgres: &Postgres) -> Self {
        let directory = temporary_directory();
        let path = directory.path().display();
        let text = format!(
            "[databases]\npostgres = host={} dbname=postgres\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {path}\n\
             listen_port = 6432\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n\
             ignore_startup_parameters = extra_float_digits\n",
            postgres.directory.path().display()
        );
        // With `any`, the user of the server comes from here.
        let text = text.replace("dbname=postgres\n[pg", "dbname=postgres user=postgres\n[pg");
        let file = write(&directory, "pgbouncer.ini", &text);
        let found = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists());
        let program = PathBuf::from(found.unwrap_or_else(|| panic!("pgbouncer {MISSING}")));
        let mut command = supervised(&program, directory.path(), "KILL");
        command.arg("-q").arg(file);
        let server = Server::start(command, &directory.path().join(".s.PGSQL.6432"));
        Self { directory, _server: server }
    }

    /// A file with the URL, for the configuration.
    pub fn url_file(&self, user: &str) -> PathBuf {
        let url = format!("host={} port=6432 user={user} dbname=postgres", self.directory.path().display());
        write(&self.directory, "url", &url)
    }
}

impl Server {
    fn start(mut command: Command, socket: &Path) -> Self {
        let mut supervisor = command.spawn().expect("sh starts");
        let stdin = supervisor.stdin.take();
        let mut server = Self { supervisor, stdin };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !socket.exists() {
            assert!(
                server.supervisor.try_wait().expect("a status").is_none(),
                "the server of {} ended",
                socket.display()
            );
            assert!(Instant::now() < deadline, "{} did not appear", socket.display());
            std::thread::yield_now();
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// `PostgreSQL` refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn supervised(program: &Path, directory: &Path, signal: &str) -> Command {
    let inner = unprivileged(program);
    let mut command = Command::new("sh");
    command.args(["-c", SUPERVISOR, "postgres-supervisor"]).arg(inner.get_program()).args(inner.get_args());
    command.env("PID_FILE", directory.join("pid")).env("END_SIGNAL", signal).current_dir(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A server program of `PostgreSQL`, which Debian keeps in a directory of its version.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.extend(["/usr/local/bin", "/usr/bin"].map(|directory| Path::new(directory).join(name)));
    found.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{name} {MISSING}"))
}

/// A directory that the user of `PostgreSQL` may write to.
fn temporary_directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("gtx-pg-").tempdir().expect("a temporary directory");
    if rustix::process::geteuid().is_root() {
        let owned = Command::new("chown").arg("postgres").arg(directory.path()).status();
        assert!(owned.is_ok_and(|status| status.success()), "the user postgres {MISSING}");
    }
    directory
}

fn write(directory: &TempDir, name: &str, text: &str) -> PathBuf {
    let file = directory.path().join(name);
    std::fs::write(&file, text).expect("a file");
    file
}
