//! `scripts/apt_install.sh`, with which all scripts install packages: it waits for a lock that another program holds.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{in_repository, output_text};

/// Programs that the script calls as root. None of them changes the machine.
const HARMLESS: [&str; 6] = ["tee", "chmod", "rm", "sleep", "systemctl", "update-rc.d"];

fn program(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a program");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
}

/// Runs the script with an `apt-get` that fails twice, and returns what `apt-get` was asked to do.
#[expect(clippy::disallowed_methods, reason = "the programs of the machine, behind those of the test")]
fn install(failure: &str) -> (Output, Vec<String>) {
    let directory = tempfile::tempdir().expect("a directory");
    let calls = directory.path().join("calls");
    let apt_get = format!(
        "for part; do :; done; echo \"$part\" >> {calls}; [ \"$(wc -l < {calls})\" -gt 2 ] || {{ echo '{failure}' >&2; exit 100; }}",
        calls = calls.display()
    );
    program(directory.path(), "apt-get", &apt_get);
    program(directory.path(), "id", "echo 0");
    for name in HARMLESS {
        program(directory.path(), name, "exit 0");
    }
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").expect("a path"));
    let output = Command::new(in_repository("scripts/apt_install.sh")).arg("some-package").env("PATH", path).output();
    let calls = std::fs::read_to_string(calls).expect("calls").lines().map(str::to_owned).collect();
    (output.expect("the script runs"), calls)
}

#[test]
fn a_lock_of_another_program_is_waited_for() {
    let (output, calls) = install("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)");
    assert!(output.status.success(), "{}", output_text(&output));
    assert!(output_text(&output).contains("waiting until another program releases"), "{}", output_text(&output));
    assert_eq!(calls, ["update", "update", "update", "some-package"]);
}

#[test]
fn another_failure_ends_the_script() {
    let (output, calls) = install("E: Unable to locate package some-package");
    assert!(!output.status.success() && output_text(&output).contains("Unable to locate"), "{}", output_text(&output));
    assert_eq!(calls, ["update"]);
}

#[test]
fn all_scripts_install_with_the_one_that_waits() {
    for file in std::fs::read_dir(in_repository("scripts")).expect("scripts") {
        let path = file.expect("a file").path();
        if path.ends_with("apt_install.sh") || path.extension().is_none_or(|ending| ending != "sh") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        let calls = |line: &&str| line.contains("apt-get") && !line.contains("command -v apt-get");
        for line in text.lines().map(str::trim_start).filter(calls) {
            let is_said = ["#", "say ", "fail "].iter().any(|start| line.starts_with(start));
            assert!(is_said, "{}: {line}", path.display());
        }
    }
}
