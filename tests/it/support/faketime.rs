//! Processes with other clocks, by libfaketime.

use std::process::Command;

/// The variables that give a process the clock of these options of `faketime`.
///
/// The `faketime` command knows the path of its library. It would run the process as a child, so only its variables are
/// used. If the command is missing, the test fails with the command that installs it.
pub fn faketime(options: &[&str]) -> Vec<(String, String)> {
    let shown = Command::new("faketime").args(options).arg("env").output();
    let shown = shown.unwrap_or_else(|_| panic!("faketime is not installed: run scripts/setup_tests.sh faketime"));
    let shown = String::from_utf8(shown.stdout).expect("text");
    let wanted = ["LD_PRELOAD", "DYLD_INSERT_LIBRARIES", "DYLD_FORCE_FLAT_NAMESPACE", "FAKETIME"];
    let variables = shown.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| wanted.contains(name));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The variables that shift the clock of a process, such as by `-10s`; its monotonic clock stays correct.
pub fn shifted_clock(by: &str) -> Vec<(String, String)> {
    let mut variables = faketime(&["-m", "-f", by]);
    variables.push(("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()));
    variables
}
