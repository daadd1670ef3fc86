//! One replica as a process.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::process::Process;
use crate::support::free_port;

pub struct Service {
    config: PathBuf,
    pub port: u16,
    pub process: Process,
}

impl Service {
    /// Starts the built binary with a configuration file on a free port.
    pub fn start(config: PathBuf) -> Self {
        let port = free_port();
        let process = Self::spawn(&config, port);
        Self { config, port, process }
    }

    fn spawn(config: &PathBuf, port: u16) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
        command.arg("--config").arg(config).env_clear().env("PORT", port.to_string()).env("LOG_LEVEL", "error");
        Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// SIGKILL, and a new process in its place.
    pub fn replace(&mut self) {
        self.process.kill();
        self.process = Self::spawn(&self.config, self.port);
    }
}
