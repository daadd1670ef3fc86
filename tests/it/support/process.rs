//! The real binary as a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct ServiceProcess {
    child: Child,
    output: Arc<Mutex<String>>,
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
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .arg("serve")
            .env_clear()
            .env("PATH", path)
            .env("GTX__HTTP__PORT", "0")
            .env("GTX__HTTP__WORKERS", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("standard output"), Arc::clone(&output));
        collect(child.stderr.take().expect("standard error"), Arc::clone(&output));
        Self { child, output }
    }

    /// On a private Redis whose data is in `directory`.
    pub fn start_private(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let directory = directory.display().to_string();
        let mut all = vec![("GTX__REDIS__EMBEDDED__DATA_DIR", directory.as_str())];
        all.extend(variables);
        Self::start(&all)
    }

    /// Everything that was printed and logged so far.
    pub fn output(&self) -> String {
        self.output.lock().expect("the output").clone()
    }

    /// The address that it announced.
    pub fn address(&mut self) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.output();
            let announced = output.lines().find_map(|line| line.strip_prefix("API")?.trim().strip_prefix("http://"));
            // The last line that is announced is Redis's.
            if let Some(address) = announced.filter(|_| output.contains("\nRedis ")) {
                return address.parse().expect("an address");
            }
            let ended = self.child.try_wait().expect("a status");
            assert!(ended.is_none() && Instant::now() < deadline, "no address ({ended:?}): {output}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The status and the body of the answer to a GET.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address()).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).expect("a status line").parse().expect("a status");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
        (status, body.to_owned())
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
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl Read + Send + 'static, output: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut output = output.lock().expect("the output");
            output.push_str(&line);
            output.push('\n');
        }
    });
}
