//! The service as users run it: the binary, with its environment, its output and its signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::RedisServer;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct ServiceProcess {
    child: Child,
    output: Arc<Output>,
    /// How much of the output [`ServiceProcess::line_with`] has gone through, bytes.
    heard: usize,
}

/// What the process prints and logs, read as it comes.
#[derive(Default)]
struct Output {
    state: Mutex<Reading>,
    changed: Condvar,
}

#[derive(Default)]
struct Reading {
    text: String,
    /// Standard output and standard error, as long as they are open.
    open: usize,
    is_stalled: bool,
}

impl ServiceProcess {
    /// `serve` on a free port with these variables, and none of the surrounding ones that are settings.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::launch(Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis")), variables)
    }

    /// The same with a configuration file.
    pub fn start_with(file: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
        command.arg("--config").arg(file);
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
        Self { child, output, heard: 0 }
    }

    /// The same on a Redis of the test's, listening.
    pub fn start_on(redis: &RedisServer, variables: &[(&str, &str)]) -> Self {
        let url = redis.url();
        let mut service = Self::start(&[&[("REDIS_URL", url.as_str())], variables].concat());
        service.address();
        service
    }

    /// On a private Redis whose data is in `directory`.
    pub fn start_private(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let directory = directory.display().to_string();
        Self::start(&[&[("GTX__REDIS__EMBEDDED__DATA_DIR", directory.as_str())], variables].concat())
    }

    /// Everything that was printed and logged so far.
    pub fn output(&self) -> String {
        self.output.state().text.clone()
    }

    /// The next line of the output that contains `text`.
    pub fn line_with(&mut self, text: &str) -> String {
        let found = self.output.wait_for(|reading| {
            let rest = &reading.text[self.heard..];
            let at = rest.find(text)?;
            let begin = rest[..at].rfind('\n').map_or(0, |before| before + 1);
            let end = at + rest[at..].find('\n')? + 1;
            Some((rest[begin..end].to_owned(), end))
        });
        let (line, end) = found.unwrap_or_else(|| panic!("the service does not say {text:?}: {}", self.output()));
        self.heard += end;
        line
    }

    /// From now on nobody reads what the service prints.
    pub fn stall_output(&self) {
        self.output.state().is_stalled = true;
    }

    /// The address that it announced.
    pub fn address(&mut self) -> SocketAddr {
        let announced = self.output.wait_for(|Reading { text, .. }| {
            let address = text.lines().find_map(|line| line.strip_prefix("API")?.trim().strip_prefix("http://"));
            // The last line that is announced is Redis's.
            address.filter(|_| text.contains("\nRedis ")).map(str::to_owned)
        });
        let address = announced.unwrap_or_else(|| panic!("no address: {}", self.output()));
        address.parse().expect("an address")
    }

    /// Waits until every worker has its Redis.
    pub fn ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.get("/health/ready").0 != 200 {
            assert!(Instant::now() < deadline, "never ready: {}", self.output());
            // Polls a process; `eventually` needs a runtime.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn connect(&mut self) -> TcpStream {
        let connection = TcpStream::connect(self.address()).expect("a connection");
        connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        connection
    }

    /// The status and the body of the answer to a GET.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        self.send("GET", path, "")
    }

    /// The same for any request without a body; each of its headers has its line end.
    pub fn send(&mut self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let mut connection = self.connect();
        write!(connection, "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n")
            .expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).expect("a status line").parse().expect("a status");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        (status, body.to_owned())
    }

    /// Its resident memory, KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "SIG{signal} to the service");
    }

    /// How it ended, within `limit`, and how long that took.
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

    /// SIGTERM; how it ended, and everything that it has said by then.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let (status, _) = self.ended_within(PATIENCE);
        let complete = self.output.wait_for(|reading| (reading.open == 0).then(|| reading.text.clone()));
        (status, complete.expect("its output ends with it"))
    }
}

impl Output {
    fn state(&self) -> MutexGuard<'_, Reading> {
        self.state.lock().expect("the output")
    }

    /// Takes in a stream to its end from a thread of its own.
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

    /// The first answer of `look`, which is asked after every line.
    fn wait_for<T>(&self, look: impl Fn(&Reading) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
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
        // Whoever was stalled sees the end.
        self.output.state().is_stalled = false;
        self.output.changed.notify_all();
    }
}
