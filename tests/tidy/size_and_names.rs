//! Small files with names that say something, and no loose ends in them.

use crate::assert_none;
use crate::tree::files;

/// The size from which a file is split by noun, in lines.
const MAX_LINES: usize = 400;

/// Files that are longer, with the reason.
const LONGER: &[(&str, &str)] = &[];

const SOURCE: &[&str] = &[".rs", ".lua", ".sh", ".py", ".js"];

#[test]
fn files_are_small() {
    let mut violations = Vec::new();
    for folder in ["src", "tests", "migrations-lua", "scripts"] {
        for file in files(folder, SOURCE) {
            let lines = file.text.lines().count();
            if lines > MAX_LINES && !LONGER.iter().any(|(path, _)| *path == file.path) {
                violations.push(format!("{}: {lines} lines", file.path));
            }
        }
    }
    assert_none(
        &violations,
        "Split the file by its content, and name the parts after it. A file has at most 400 lines.",
    );
}

#[test]
fn file_names_state_their_content() {
    let vague = ["util", "utils", "helper", "helpers", "common", "misc", "shared", "tools"];
    let mut violations = Vec::new();
    for folder in ["src", "tests", "migrations-lua"] {
        for file in files(folder, SOURCE) {
            let has_vague_part = file.path.split(['/', '.']).any(|part| vague.contains(&part));
            if has_vague_part {
                violations.push(file.path);
            }
        }
    }
    assert_none(&violations, "Name the file after its content.");
}

#[test]
fn no_loose_ends_are_left() {
    // Spelt in two halves, so that this file is not its own violation.
    let forbidden = [
        (concat!("TO", "DO"), "do it, or leave it out"),
        (concat!("FIX", "ME"), "mend it"),
        (concat!("unimple", "mented!"), "write it, or leave it out"),
        (
            concat!("#[al", "low("),
            "mend the cause, or use #[expect(.., reason = \"..\")], which complains once it is not needed",
        ),
        (concat!("#![al", "low("), "mend the cause, or use #[expect(.., reason = \"..\")] where it is needed"),
    ];
    let mut violations = Vec::new();
    for folder in ["src", "tests", "migrations-lua", "scripts", "config"] {
        for file in files(folder, &[".rs", ".lua", ".sh", ".py", ".js", ".toml"]) {
            for (number, line) in file.text.lines().enumerate() {
                for (word, what_to_do) in forbidden {
                    if line.contains(word) {
                        violations.push(format!("{}:{}: {word} - {what_to_do}", file.path, number + 1));
                    }
                }
            }
        }
    }
    assert_none(&violations, "Finish the work, or remove the mark: every commit is complete.");
}

#[test]
fn every_expectation_of_a_lint_has_a_reason() {
    let mut violations = Vec::new();
    for folder in ["src", "tests"] {
        for file in files(folder, &[".rs"]) {
            let mut rest = file.text.as_str();
            while let Some(at) = rest.find("#[expect(") {
                let attribute = rest[at..].split(']').next().unwrap_or_default();
                if !attribute.contains("reason") && file.path != "tests/tidy/size_and_names.rs" {
                    violations.push(format!("{}: {attribute}]", file.path));
                }
                rest = &rest[at + 1..];
            }
        }
    }
    assert_none(&violations, "Give the reason why the lint is wrong here: #[expect(lint, reason = \"...\")].");
}

#[test]
fn tests_wait_for_conditions_and_not_for_time() {
    let mut violations = Vec::new();
    for file in files("tests", &[".rs"]).into_iter().filter(|file| !file.path.starts_with("tests/tidy/")) {
        let mut before = "";
        for (number, line) in file.text.lines().enumerate() {
            if line.contains("sleep(") && !before.trim_start().starts_with("//") {
                violations.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
            before = line;
        }
    }
    assert_none(
        &violations,
        "Wait for a condition with `eventually`. Where a test is about time itself, say why in a comment above the line.",
    );
}
