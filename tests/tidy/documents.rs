//! What people read agrees with what is there: settings, links, the files that images and compose name.

use std::collections::BTreeSet;
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

/// The settings of the defaults, as `table.name`: also those in comments and in lists of tables.
fn settings() -> BTreeSet<String> {
    let mut settings = BTreeSet::new();
    let mut table = String::new();
    for line in read("config/default.toml").lines() {
        let line = line.trim_start_matches("# ");
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.trim_end().strip_suffix(']')) {
            header.trim_matches(['[', ']']).clone_into(&mut table);
            settings.insert(table.clone());
        } else if let Some((name, _)) = line.split_once(" = ").filter(|(name, _)| is_name(name)) {
            settings.insert(format!("{table}.{name}"));
        }
    }
    settings
}

fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(is_part)
}

/// The names in backticks, without the values that follow them.
fn names_in_code(text: &str) -> impl Iterator<Item = &str> {
    let code = text.split('`').skip(1).step_by(2);
    code.map(|code| code.split(" = ").next().unwrap_or_default()).filter(|name| is_name(name))
}

/// Names in documents that look like settings: files, tasks, components and actions.
const NO_SETTINGS: &[&str] =
    &["audit.loss", "backup.run", "hosts.spool", "orderbook.follower", "redis.conf", "warming.run"];

#[test]
fn documents_name_settings_that_exist() {
    let settings = settings();
    let tables: BTreeSet<&str> = settings.iter().filter_map(|setting| setting.split('.').next()).collect();
    let mut violations = Vec::new();
    for page in
        files("docs", &[".md"]).into_iter().chain([File { path: "README.md".to_owned(), text: read("README.md") }])
    {
        // Code blocks have backticks of their own.
        for line in page.text.lines().filter(|line| !line.starts_with("```")) {
            let is_of_table = |name: &&str| name.split_once('.').is_some_and(|(table, _)| tables.contains(table));
            let unknown = names_in_code(line).filter(is_of_table).filter(|name| {
                let below = format!("{name}.");
                !settings.iter().any(|known| known == name || known.starts_with(&below)) && !NO_SETTINGS.contains(name)
            });
            violations.extend(unknown.map(|name| format!("{}: `{name}`", page.path)));
        }
    }
    assert_none(&violations, "Use the name of a setting in config/default.toml.");
}

#[test]
fn the_configuration_page_names_every_setting() {
    let page = read("docs/configuration.md");
    let named: BTreeSet<&str> =
        page.lines().flat_map(names_in_code).map(|name| name.rsplit('.').next().unwrap_or_default()).collect();
    let known = settings();
    // The names of roles are not settings.
    let unnamed = known.iter().filter(|setting| !setting.starts_with("auth.roles."));
    let unnamed = unnamed.filter(|setting| !named.contains(setting.rsplit('.').next().unwrap_or_default()));
    let tables = read("config/default.toml");
    let unnamed = unnamed.filter(|setting| !tables.contains(&format!("[{setting}]")));
    assert_none(&unnamed.cloned().collect::<Vec<_>>(), "Describe it in docs/configuration.md.");
}

#[test]
fn compose_1_29_reads_the_file_of_the_deployment() {
    // The top-level keys, and the keys of a service, that Compose 1.29 knows and the file may use.
    const TOP: &[&str] = &["version", "services", "volumes", "networks", "secrets", "configs"];
    const SERVICE: &[&str] = &[
        "build",
        "image",
        "command",
        "entrypoint",
        "depends_on",
        "environment",
        "volumes",
        "ports",
        "profiles",
        "read_only",
        "cap_drop",
        "cap_add",
        "security_opt",
        "mem_limit",
        "cpus",
        "pids_limit",
        "stop_grace_period",
        "restart",
        "healthcheck",
        "user",
        "tmpfs",
        "networks",
        "secrets",
        "configs",
        "expose",
        "ulimits",
        "sysctls",
    ];
    let mut violations = Vec::new();
    let mut top = "";
    let text = read("docker-compose.yml");
    for (line, number) in text.lines().zip(1..) {
        let indentation = line.len() - line.trim_start().len();
        let key = line.trim_start().split(':').next().unwrap_or_default();
        let is_key = line.contains(':') && is_name(key);
        match indentation {
            0 if is_key => {
                top = key;
                if !TOP.contains(&key) {
                    violations.push(format!("docker-compose.yml:{number}: {line}"));
                }
            }
            4 if is_key && top == "services" && !SERVICE.contains(&key) => {
                violations.push(format!("docker-compose.yml:{number}: {line}"));
            }
            _ => {}
        }
        // Long forms and interpolation that only later versions know.
        if ["required: false", "develop:", "include:", "extends:", ":+"]
            .iter()
            .any(|new| line.trim_start().contains(new))
        {
            violations.push(format!("docker-compose.yml:{number}: {line}"));
        }
    }
    assert!(
        text.contains("\nversion: \"3"),
        "without a version, Compose 1.29 reads the file as one of its first format"
    );
    assert_none(&violations, "Compose 1.29 refuses it, or does not know it.");
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
