//! One replica as a process, to be stopped, continued and killed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::RedisServer;

pub struct Service {
    child: Child,
    pub port: u16,
}

impl Service {
    /// Starts the built binary with `config` on a free port.
    pub fn start(config: &Path, redis: &RedisServer) -> Self {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("an address").port()
        };
        Self { child: Self::spawn(config, redis, port), port }
    }

    fn spawn(config: &Path, redis: &RedisServer, port: u16) -> Child {
        Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"))
            .arg("--config")
            .arg(config)
            .env_clear()
            .env("REDIS_URL", redis.url())
            .env("PORT", port.to_string())
            .env("LOG_LEVEL", "error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts")
    }

    /// SIGKILL, and a new process in its place.
    pub fn replace(&mut self, config: &Path, redis: &RedisServer) {
        self.end();
        self.child = Self::spawn(config, redis, self.port);
    }

    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success(), "SIG{signal}");
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}
