//! The Python tools of the tests, in an environment of their own below the build directory.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// Longer than any of them needs: a hanging browser must not hang the suite.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs a program of the environment that `scripts/setup_tests.sh` makes; a missing one is a failure, never a skip.
pub async fn run_python_tool(name: &str, arguments: &[&str]) -> Output {
    let program = build_directory().join("test-venv/bin").join(name);
    assert!(program.exists(), "{} is missing: run scripts/setup_tests.sh", program.display());
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // Read by schemathesis alone.
    command.env("SCHEMATHESIS_HOOKS", in_repository("tests/browser/schemathesis_hooks.py"));
    // Whatever a tool leaves behind stays out of the source tree.
    command.current_dir(build_directory()).env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = tokio::time::timeout(LIMIT, command.output()).await;
    ended.unwrap_or_else(|_| panic!("{name} did not end within {LIMIT:?}")).expect("the tool starts")
}

/// Cargo's target directory, where tests may leave what explains a failure.
pub fn build_directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory")
}

/// What a tool said, for a failed assertion.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// A path below the repository's root.
pub fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
