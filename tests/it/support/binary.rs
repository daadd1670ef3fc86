//! The service as users run it: the binary, with its environment, its standard output and its signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::RedisServer;

pub struct Binary {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
}

impl Binary {
    /// Starts the service on a free port; it has nothing of this process's environment but `PATH`.
    pub fn start(redis: &RedisServer, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").expect("a PATH"))
            .env("REDIS_URL", redis.url())
            .env("PORT", "0")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut binary = Self { child, output, address: String::new() };
        let line = binary.line_with("API ");
        let url = line.split_whitespace().last().expect("an address");
        url.strip_prefix("http://").expect("an HTTP address").clone_into(&mut binary.address);
        binary
    }

    /// The next line of standard output that contains `text`.
    pub fn line_with(&mut self, text: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).expect("its output") > 0 {
            if line.contains(text) {
                return line;
            }
            line.clear();
        }
        panic!("the service ended before it said {text:?}");
    }

    /// One request on a connection of its own; the whole answer.
    pub fn get(&self, path: &str, headers: &str) -> String {
        let mut connection = self.connect();
        write!(connection, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n").expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        answer
    }

    pub fn connect(&self) -> TcpStream {
        let connection = TcpStream::connect(&self.address).expect("a connection");
        connection.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        connection
    }

    /// SIGTERM, and what the service still says until it has ended.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("its output");
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                return (status, rest);
            }
            assert!(Instant::now() < deadline, "the service does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
