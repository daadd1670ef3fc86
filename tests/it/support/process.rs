//! The binary as users run it, with its environment, output and signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::RedisServer;

const TIMEOUT: Duration = Duration::from_secs(20);

pub struct ServiceProcess {
    child: Child,
    output: Arc<Output>,
    /// The number of output bytes that [`ServiceProcess::line_with`] has consumed.
    consumed: usize,
}

/// The output and logs of the process.
#[derive(Default)]
struct Output {
    state: Mutex<Reading>,
    changed: Condvar,
}

#[derive(Default)]
struct Reading {
    text: String,
    /// The number of open streams, of standard output and standard error.
    open: usize,
    is_stalled: bool,
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

impl ServiceProcess {
    /// Runs `serve` on a free port with these variables only, apart from PATH.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::launch(Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis")), variables)
    }

    /// Runs `serve` with a configuration file.
    pub fn start_with(file: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
        command.arg("--config").arg(file);
        Self::launch(command, variables)
    }

    /// Runs `serve` by a command that ends with the path of the binary.
    pub fn start_by(command: Command, variables: &[(&str, &str)]) -> Self {
        Self::launch(command, variables)
    }

    fn launch(mut command: Command, variables: &[(&str, &str)]) -> Self {
        let mut child = command
            .arg("serve")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PORT", "0")
            .env("GTX__HTTP__WORKERS", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output =
            Arc::new(Output { state: Mutex::new(Reading { open: 2, ..Reading::default() }), ..Output::default() });
        Output::collect(&output, child.stdout.take().expect("standard output"));
        Output::collect(&output, child.stderr.take().expect("standard error"));
        Self { child, output, consumed: 0 }
    }

    /// Runs `serve` on a Redis of the test and waits until it listens.
    pub fn start_on(redis: &RedisServer, variables: &[(&str, &str)]) -> Self {
        let url = redis.url();
        let mut service = Self::start(&[&[("REDIS_URL", url.as_str())], variables].concat());
        service.address();
        service
    }

    /// Runs `serve` with a private Redis whose data is in `directory`.
    pub fn start_private(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let directory = directory.display().to_string();
        Self::start(&[&[("GTX__REDIS__EMBEDDED__DATA_DIR", directory.as_str())], variables].concat())
    }

    /// All output and logs so far.
    pub fn output(&self) -> String {
        self.output.state().text.clone()
    }

    /// The next line of the output that contains `text`.
    pub fn line_with(&mut self, text: &str) -> String {
        let found = self.output.wait_for(|reading| {
            let rest = &reading.text[self.consumed..];
            let at = rest.find(text)?;
            let begin = rest[..at].rfind('\n').map_or(0, |before| before + 1);
            let end = at + rest[at..].find('\n')? + 1;
            Some((rest[begin..end].to_owned(), end))
        });
        let (line, end) = found.unwrap_or_else(|| panic!("no output line contains {text:?}: {}", self.output()));
        self.consumed += end;
        line
    }

    /// Stops reading the output of the service.
    pub fn stall_output(&self) {
        self.output.state().is_stalled = true;
    }

    /// The address that the service has printed.
    pub fn address(&mut self) -> SocketAddr {
        let printed = self.output.wait_for(|Reading { text, .. }| {
            let in_json = || text.split_once("\"api\":\"http://")?.1.split('"').next();
            let address = text.lines().find_map(|line| line.strip_prefix("API")?.trim().strip_prefix("http://"));
            // In text, the Redis line is the last one that is printed at the start.
            address.filter(|_| text.contains("\nRedis ")).or_else(in_json).map(str::to_owned)
        });
        let address = printed.unwrap_or_else(|| panic!("no address: {}", self.output()));
        address.parse().expect("an address")
    }

    /// Waits until every worker is connected to Redis.
    pub fn ready(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        while self.get("/health/ready").0 != 200 {
            assert!(Instant::now() < deadline, "never ready: {}", self.output());
            // Polls a process; `eventually` needs a runtime.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn connect(&mut self) -> TcpStream {
        let connection = TcpStream::connect(self.address()).expect("a connection");
        connection.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        connection
    }

    /// Sends a GET request; returns the status and the body of the response.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        self.send("GET", path, "")
    }

    /// Sends a request without a body; each header ends with CRLF. Returns the status and the body of the response.
    pub fn send(&mut self, method: &str, path: &str, headers: &str) -> (u16, String) {
        self.exchange(&format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n"))
    }

    /// Sends a POST request with a JSON body; returns the status and the body of the response.
    pub fn post(&mut self, path: &str, body: &str) -> (u16, String) {
        let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        self.exchange(&format!("POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n{body}"))
    }

    fn exchange(&mut self, request: &str) -> (u16, String) {
        let mut connection = self.connect();
        connection.write_all(request.as_bytes()).expect("sent");
        let mut response = String::new();
        connection.read_to_string(&mut response).expect("a response");
        let status = response.split(' ').nth(1).expect("a status line").parse().expect("a status");
        let (_, body) = response.split_once("\r\n\r\n").expect("a head");
        (status, body.to_owned())
    }

    /// Its resident memory, KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_of()()
    }

    /// Reads its resident memory from another thread, KiB.
    pub fn memory_of(&self) -> impl Fn() -> u64 + Send + use<> {
        let pid = self.child.id();
        move || status_kib(pid, "VmRSS:")
    }

    /// The highest resident memory that it ever had, KiB.
    pub fn peak_kib(&self) -> u64 {
        status_kib(self.child.id(), "VmHWM:")
    }

    /// Lets the process open at most `files` files.
    pub fn limit_files(&self, files: u64) {
        let limit = [format!("--pid={}", self.child.id()), format!("--nofile={files}:")];
        let status = Command::new("prlimit").args(limit).status();
        assert!(status.expect("prlimit of util-linux").success());
    }

    /// Sends a request without a body so many times over one connection, and waits for the responses.
    pub fn repeat(&mut self, request: &str, times: usize) {
        let mut connection = self.connect();
        let mut chunk = vec![0; 64 << 10];
        for _ in 0..times / 50 {
            connection.write_all(request.repeat(50).as_bytes()).expect("sent");
            let mut responses = String::new();
            while responses.matches("HTTP/1.1 ").count() < 50 {
                let length = connection.read(&mut chunk).expect("a response in time");
                assert!(length > 0, "the service closed the connection");
                responses.push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "SIG{signal} to the service");
    }

    /// Waits for the process to exit within `limit`; returns its exit status and how long that took.
    pub fn ended_within(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return (status, started.elapsed());
            }
            assert!(started.elapsed() < limit, "still running after {limit:?}: {}", self.output());
            // Polls a process; `eventually` needs a runtime.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM; returns the exit status and the complete output.
    pub fn terminate(self) -> (ExitStatus, String) {
        self.signal("TERM");
        self.ended()
    }

    /// Waits for the process to exit; returns the exit status and the complete output.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let (status, _) = self.ended_within(TIMEOUT);
        let complete = self.output.wait_for(|reading| (reading.open == 0).then(|| reading.text.clone()));
        (status, complete.expect("the output is closed"))
    }
}

impl Output {
    fn state(&self) -> MutexGuard<'_, Reading> {
        self.state.lock().expect("the output")
    }

    /// Reads a stream to its end in a separate thread.
    fn collect(this: &Arc<Self>, stream: impl Read + Send + 'static) {
        let this = Arc::clone(this);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut reading = this.state();
                reading.text.push_str(&line);
                reading.text.push('\n');
                this.changed.notify_all();
                let stalled = this.changed.wait_while(reading, |reading| reading.is_stalled);
                drop(stalled.expect("the output"));
            }
            this.state().open -= 1;
            this.changed.notify_all();
        });
    }

    /// Calls `look` after every line until it returns a value.
    fn wait_for<T>(&self, look: impl Fn(&Reading) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + TIMEOUT;
        let mut reading = self.state();
        loop {
            if let Some(found) = look(&reading) {
                return Some(found);
            }
            let rest = deadline.checked_duration_since(Instant::now()).filter(|_| reading.open > 0)?;
            reading = self.changed.wait_timeout(reading, rest).expect("the output").0;
        }
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Stalled reader threads must end.
        self.output.state().is_stalled = false;
        self.output.changed.notify_all();
    }
}
