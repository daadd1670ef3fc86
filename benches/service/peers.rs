//! The measured processes: on loopback, in a temporary directory, ended by process id.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::bare;
use crate::client::Client;
use crate::hosts::peer::COMMAND as HOSTS_PEER;
use crate::process::start_ticks;

/// The credential of every measured request: authentication is one of the layers.
const KEY: &str = "ak_0123456789abcdef0123456789abcdef";
pub const KEY_HEADER: &str = "x-api-key: ak_0123456789abcdef0123456789abcdef";

/// The directories and the Redis of all peers.
pub struct Bench {
    pub redis: Redis,
    directory: TempDir,
    /// `target/bench`.
    pub output: PathBuf,
}

pub struct Redis {
    process: Process,
    pub address: SocketAddr,
    pub socket: PathBuf,
}

/// How the service reaches Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Unix,
}

pub struct Service {
    process: Process,
    pub address: SocketAddr,
}

/// A child process that is killed when it goes out of scope.
pub struct Process(Child);

impl Bench {
    pub fn prepare() -> Self {
        let output = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory").join("bench");
        fs::create_dir_all(&output).expect("the report's directory");
        note(std::process::id(), &output);
        let directory = tempfile::Builder::new().prefix("gtx-bench-").tempdir().expect("a temporary directory");
        let redis = Redis::start(directory.path(), &output);
        Self { redis, directory, output }
    }

    /// Starts the service with an API key and default settings otherwise.
    pub fn service(&self, transport: Transport) -> Service {
        self.service_with(transport, "")
    }

    /// Starts the service with additional configuration in TOML.
    pub fn service_with(&self, transport: Transport, more: &str) -> Service {
        let digest: String = Sha256::digest(KEY).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let scopes =
            ["cache", "timeseries", "locks", "json", "users", "hosts", "pubsub", "orders", "streams", "warming"]
                .map(|of| format!(r#""{of}:read", "{of}:write""#))
                .join(", ");
        let scopes = format!(
            r#"{scopes}, "ratelimit:check", "metrics:read", "market:read", "orders:match", "trades:read", "admin""#
        );
        let config = format!("[[auth.keys]]\nid = \"bench\"\nsha256 = \"{digest}\"\nscopes = [{scopes}]\n{more}");
        let port = free_port();
        let file = self.directory.path().join(format!("service-{port}.toml"));
        fs::write(&file, config).expect("a configuration file");
        let url = match transport {
            Transport::Tcp => format!("redis://{}", self.redis.address),
            Transport::Unix => format!("unix://{}", self.redis.socket.display()),
        };
        let mut command = Command::new(binary());
        command.arg("--config").arg(file).env("REDIS_URL", url).env("PORT", port.to_string());
        // One credential sends all requests. They are counted, as in production, and never refused.
        command.env("GTX__RATELIMIT__CALLER_RATE", "1000000000");
        let service = Service { process: Process::start(command, &self.output), address: loopback(port) };
        wait_for("the service to be ready", || {
            TcpStream::connect(service.address).is_ok()
                && Client::connect(service.address, "").get("/health/ready").status == 200
        });
        service
    }

    /// Starts webdis on the same Redis, with one thread per core.
    pub fn webdis(&self) -> Service {
        let port = free_port();
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let file = self.directory.path().join("webdis.json");
        let config = serde_json::json!({
            "redis_host": "127.0.0.1", "redis_port": self.redis.address.port(), "redis_auth": null, "database": 0,
            "http_host": "127.0.0.1", "http_port": port, "threads": threads, "daemonize": false,
            "verbosity": 0, "logfile": self.directory.path().join("webdis.log"),
        });
        fs::write(&file, config.to_string()).expect("a configuration file");
        let mut command = Command::new("webdis");
        // webdis logs every connection that the load generator closes.
        command.arg(file).stderr(Stdio::null());
        Service::start(command, port, &self.output)
    }

    /// Starts nchan on the same Redis, with one worker and history.
    pub fn nchan(&self) -> Service {
        let port = free_port();
        let file = self.directory.path().join("nchan.conf");
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_nchan_module.so; daemon off; master_process off; pid {directory}/nchan.pid;
             error_log {directory}/nchan.log; worker_rlimit_nofile 20000; events {{ worker_connections 19000; }}
             http {{ access_log off; nchan_redis_url redis://{redis}; keepalive_requests 1000000;
               server {{ listen 127.0.0.1:{port} backlog=4096;
                 location ~ /sub/(.+)$ {{ nchan_subscriber websocket; nchan_subscriber_first_message newest;
                   nchan_channel_id $1; nchan_use_redis on; }}
                 location ~ /pub/(.+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_use_redis on;
                   nchan_message_buffer_length 1000; nchan_message_timeout 10m; }} }} }}",
            directory = self.directory.path().display(),
            redis = self.redis.address,
        );
        fs::write(&file, config).expect("a configuration file");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).arg("-p").arg(self.directory.path()).stderr(Stdio::null());
        Service::start(command, port, &self.output)
    }

    /// Starts a Node service that checks the same limit with `script`, in one process.
    pub fn fastify(&self, script: &Path) -> Service {
        let port = free_port();
        let mut command = Command::new("node");
        command.env("NODE_PATH", self.output.join("fastify/node_modules"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/fastify/server.js"));
        command.arg(port.to_string()).arg(format!("redis://{}", self.redis.address)).arg(script);
        Service::start(command, port, &self.output)
    }

    /// Starts a bare route that responds with `body`.
    pub fn bare(&self, body: &str) -> Service {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args([bare::COMMAND, &port.to_string(), body]);
        Service::start(command, port, &self.output)
    }

    /// Starts a bare route that parses a host sample.
    pub fn samples_peer(&self) -> Service {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args([HOSTS_PEER, &port.to_string()]);
        Service::start(command, port, &self.output)
    }
}

impl Redis {
    fn start(directory: &Path, output: &Path) -> Self {
        let (port, socket) = (free_port(), directory.join("redis.sock"));
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--unixsocket"]).arg(&socket);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(directory);
        let redis = Self { process: Process::start(command, output), address: loopback(port), socket };
        wait_for("redis-server to listen", || TcpStream::connect(redis.address).is_ok());
        redis
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Service {
    fn start(command: Command, port: u16, output: &Path) -> Self {
        let service = Self { process: Process::start(command, output), address: loopback(port) };
        wait_for("a peer to listen", || TcpStream::connect(service.address).is_ok());
        service
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Stops the process without ending it, so that it takes no CPU.
    pub fn stall(&self) {
        self.signal("-STOP");
    }

    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// For [`crate::wrk::run`].
    pub fn peer(&self) -> (u32, SocketAddr) {
        (self.pid(), self.address)
    }

    /// A connection that sends the credential.
    pub fn client(&self) -> Client {
        Client::connect(self.address, &format!("{KEY_HEADER}\r\n"))
    }
}

impl Process {
    fn start(mut command: Command, output: &Path) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        note(child.id(), output);
        Self(child)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lists a process in `pids`, so that the calling script can end it if this one is killed. The list includes the start
/// time, since the process id may belong to another process later.
fn note(pid: u32, output: &Path) {
    let started = start_ticks(pid);
    let list = OpenOptions::new().create(true).append(true).open(output.join("pids"));
    writeln!(list.expect("the list of processes"), "{pid} {started}").expect("the list of processes");
}

/// The release binary of this build.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gridtokenx-redis"))
}

/// A port that was free a moment ago: the peers do not report the port that they use.
pub fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").port()
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Polls every millisecond for at most 30 seconds.
pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not start in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}
