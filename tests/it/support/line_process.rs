//! Programs of other languages that read commands and print replies, both as JSON, line by line.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::build_directory;

/// Longer than any command may wait.
const TIMEOUT: Duration = Duration::from_secs(90);

/// How long a program may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program, which ends with the test.
pub struct LineProcess {
    name: String,
    process: Child,
    commands: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

impl LineProcess {
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("the program starts");
        let commands = process.stdin.take().expect("its input");
        let replies = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { name: name.to_owned(), process, commands, replies }
    }

    pub async fn request(&mut self, command: Value) -> Value {
        let name = self.name.as_str();
        let exchange = async {
            self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("sent");
            self.replies.next_line().await.expect("its output").unwrap_or_else(|| panic!("{name} ended"))
        };
        let reply = tokio::time::timeout(TIMEOUT, exchange).await;
        let reply = reply.unwrap_or_else(|_| panic!("{name} does not reply to {command}"));
        serde_json::from_str(&reply).unwrap_or_else(|_| panic!("{name} replied {reply}"))
    }
}

impl Drop for LineProcess {
    /// Lets the program stop what it has started, such as a browser. Otherwise it is killed.
    fn drop(&mut self) {
        let Some(pid) = self.process.id() else { return };
        let _ = std::process::Command::new("kill").arg(pid.to_string()).status();
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
            // Polls a process; `eventually` cannot run in a destructor.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A script for Node with the packages of the tests.
pub fn node(script: &Path) -> Command {
    let mut node = Command::new("node");
    node.env("NODE_PATH", installed("test-node/node_modules")).arg(script);
    node
}

/// A file of a package of the tests.
pub fn node_package(file: &str) -> PathBuf {
    installed("test-node/node_modules").join(file)
}

/// A script for Python with the packages of the tests.
pub fn python(script: &Path) -> Command {
    let mut python = Command::new(installed("test-venv/bin/python"));
    python.arg(script);
    python
}

/// A file that `scripts/setup_tests.sh` installs; the test fails, and is not skipped, if the file is missing.
fn installed(path: &str) -> PathBuf {
    let path = build_directory().join(path);
    assert!(path.exists(), "{} is missing: run scripts/setup_tests.sh", path.display());
    path
}
