//! Python tools for the tests, in a virtual environment in the build directory.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;

/// Longer than any tool needs on a busy machine: a hanging browser must not block the test suite.
const LIMIT: Duration = Duration::from_secs(1_140);

/// Runs a program from the virtual environment that `scripts/setup_tests.sh` creates.
///
/// The test fails, and is not skipped, if the program is missing.
pub async fn run_python_tool(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(venv_program(name));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // Only schemathesis reads this variable.
    command.env("SCHEMATHESIS_HOOKS", in_repository("tests/browser/schemathesis_hooks.py"));
    // Tools must not leave files in the source tree.
    command.current_dir(build_directory()).env("PYTHONDONTWRITEBYTECODE", "1");
    let ended = tokio::time::timeout(LIMIT, command.output()).await;
    ended.unwrap_or_else(|_| panic!("{name} did not end within {LIMIT:?}")).expect("the tool starts")
}

/// A program in the virtual environment that `scripts/setup_tests.sh` creates.
pub fn venv_program(name: &str) -> PathBuf {
    let program = build_directory().join("test-venv/bin").join(name);
    assert!(program.exists(), "{} is missing: run scripts/setup_tests.sh", program.display());
    program
}

/// Cargo's target directory, where tests may leave diagnostics of a failure.
pub fn build_directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory")
}

/// The status and the output of a tool, for assertion messages.
pub fn output_text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// A path relative to the root of the repository.
pub fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
