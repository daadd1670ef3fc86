//! What people read agrees with what is there: settings, links, the files that images and compose name.

use std::path::Path;

use crate::assert_none;
use crate::tree::{File, files, read, root};

/// Settings that one comment may cover, such as an address and its port.
const SETTINGS_PER_COMMENT: u32 = 2;

#[test]
fn every_setting_is_explained_above_it() {
    let mut violations = Vec::new();
    let mut covered = 0;
    let text = read("config/default.toml");
    let mut last_table = "";
    for (number, line) in text.lines().enumerate() {
        match line {
            "" => covered = 0,
            comment if comment.starts_with('#') => covered = SETTINGS_PER_COMMENT,
            // A comment above a table explains all of it, as for a list of names.
            // So does one above the first entry of a list of tables.
            table if table.starts_with('[') => {
                covered = if covered > 0 || table == last_table { u32::MAX } else { 0 };
                last_table = table;
            }
            setting if setting.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '"') => {
                if covered == 0 {
                    violations.push(format!("config/default.toml:{}: {setting}", number + 1));
                }
                covered = covered.saturating_sub(1);
            }
            _inside_a_list => {}
        }
    }
    assert_none(&violations, "Put a comment above the setting: its purpose, its unit, and the reason for the default.");
}

#[test]
fn the_configuration_page_names_every_table_and_variable() {
    let page = read("docs/configuration.md");
    let defaults = read("config/default.toml");
    let tables = defaults.lines().filter(|line| line.starts_with('[')).map(|line| format!("`{}`", line.trim()));
    let source = read("src/config/env.rs");
    let platform = source.split_once("const PLATFORM").and_then(|(_, rest)| rest.split_once("];")).expect("the list");
    let variables =
        platform.0.split("(\"").skip(1).filter_map(|row| row.split('"').next()).map(|name| format!("`{name}`"));
    let violations: Vec<String> = tables.chain(variables).filter(|name| !page.contains(name)).collect();
    assert_none(&violations, "Describe it in docs/configuration.md.");
}

#[test]
fn links_in_documents_work() {
    let mut violations = Vec::new();
    for document in files("", &[".md"]) {
        for target in links(&document.text) {
            let is_elsewhere =
                target.contains("://") || target.starts_with(['#', '/']) || target.starts_with("mailto:");
            let path = target.split('#').next().unwrap_or_default();
            let folder = Path::new(&document.path).parent().unwrap_or(Path::new(""));
            if !is_elsewhere && !root().join(folder).join(path).exists() {
                violations.push(format!("{}: {target}", document.path));
            }
        }
    }
    assert_none(&violations, "Fix the link; it is relative to its document.");
}

#[test]
fn files_named_by_the_image_and_by_compose_exist() {
    let mut violations = Vec::new();
    let mut require = |by: &str, path: &str| {
        if !root().join(path).exists() {
            violations.push(format!("{by}: {path}"));
        }
    };
    for line in read("Dockerfile").lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from=")) {
        let mut words: Vec<&str> = line.split_whitespace().skip(1).filter(|word| !word.starts_with("--")).collect();
        words.pop();
        for path in words {
            require("Dockerfile", path);
        }
    }
    for line in read("docker-compose.yml").lines() {
        let value = line.trim().trim_start_matches("- ").trim_start_matches("file: ").trim_start_matches("source: ");
        if let Some(path) = value.strip_prefix("./") {
            require("docker-compose.yml", path.split(':').next().unwrap_or_default());
        }
    }
    assert_none(&violations, "Use the current name of the file.");
}

#[test]
fn the_image_is_built_from_all_files_that_the_source_includes() {
    let build = read("Dockerfile");
    let copied: Vec<&str> =
        build.lines().filter_map(|line| line.strip_prefix("COPY ")).flat_map(str::split_whitespace).collect();
    let ignored = read(".dockerignore");
    let sent: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut violations = Vec::new();
    for file in files("src", &[".rs"]) {
        for path in file.text.split("include_str!(\"").skip(1) {
            // From the root; a file next to the source is not found there.
            let path = path.split('"').next().unwrap_or_default().trim_start_matches("../");
            let is_in = |folders: &[&str]| folders.iter().any(|folder| Path::new(path).starts_with(folder));
            if root().join(path).exists() && !(is_in(&copied) && is_in(&sent)) {
                violations.push(format!("{}: {path}", file.path));
            }
        }
    }
    assert_none(&violations, "Name the file, or its folder, in Dockerfile (COPY) and in .dockerignore (!).");
}

/// The targets of `[text](target)`, outside code blocks.
fn links(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut targets = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if !in_code {
            targets.extend(line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned));
        }
    }
    targets
}

#[test]
fn links_are_found_outside_code() {
    let page = File { path: String::new(), text: "a [b](c.md#d) and [e](f)\n```\n[g](h)\n```".to_owned() };
    assert_eq!(links(&page.text), ["c.md#d", "f"]);
}
