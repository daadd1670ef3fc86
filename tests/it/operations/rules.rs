//! The rules of Prometheus: their cases, their runbook, and whether the metrics that they use exist.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::{Exposition, RedisServer, ServiceProcess, free_port, in_repository};

/// Every file of `config/prometheus/rules/`, as its name and text.
fn rule_files() -> Vec<(String, String)> {
    let folder = in_repository("config/prometheus/rules");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the rules")
        .map(|entry| {
            let path = entry.expect("a file").path();
            (path.display().to_string(), std::fs::read_to_string(&path).expect("a text"))
        })
        .collect();
    files.sort();
    files
}

/// The values of a key of YAML, which may continue on the deeper lines that follow.
fn values(text: &str, key: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut depth = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let content = line.trim_start().trim_start_matches("- ");
        if let Some(value) = content.strip_prefix(key).and_then(|rest| rest.strip_prefix(": ")) {
            all.push(value.trim_start_matches(">-").trim().trim_matches('"').to_owned());
            depth = Some(indent);
        } else if depth.is_some_and(|depth| indent > depth) && !line.contains(": ") {
            let last = all.last_mut().expect("a value");
            last.push(' ');
            last.push_str(content);
        } else {
            depth = None;
        }
    }
    all
}

/// The metrics that an expression names: words that are neither functions, labels, durations nor keywords.
pub fn metric_names(expression: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let (mut rest, mut skipped) = (expression, 0_usize);
    while let Some(first) = rest.chars().next() {
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
        if first == '"' {
            rest = rest[1..].split_once('"').map_or("", |(_, after)| after);
            continue;
        }
        if !is_word(first) {
            skipped = if first == '{' || first == '[' { skipped + 1 } else { skipped };
            skipped = if first == '}' || first == ']' { skipped.saturating_sub(1) } else { skipped };
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if ["by", "on", "without", "group_right", "group_left", "ignoring"].contains(&word) {
            let list = rest.trim_start();
            rest = list.strip_prefix('(').and_then(|list| list.split_once(')')).map_or(list, |(_, after)| after);
            continue;
        }
        let is_function = rest.trim_start().starts_with('(');
        // Every metric but `up` has several words; keywords and aggregations have one.
        let is_metric = word == "up" || (word.contains(['_', ':']) && !first.is_ascii_digit());
        if skipped == 0 && is_metric && !is_function {
            names.insert(word.to_owned());
        }
    }
    names
}

#[test]
fn expressions_are_taken_apart() {
    let text = r#"sum by (le, route) (rate(a_b{x="y_z"}[5m])) / on (i) group_right () (c_d > 1e6) and gtx:e:f == 0"#;
    assert_eq!(Vec::from_iter(metric_names(text)), ["a_b", "c_d", "gtx:e:f"]);
}

/// A service that uses everything whose metrics exist only when it is used, with its metrics and those of its Redis.
pub struct FullService {
    pub service: ServiceProcess,
    _servers: [RedisServer; 2],
}

impl FullService {
    pub fn start() -> Self {
        let port = free_port().to_string();
        let options = ["--save", "900 1", "--appendonly", "yes", "--port", &port, "--maxmemory", "256mb"];
        let master = RedisServer::with_options(&options);
        let replica = RedisServer::with_options(&["--replicaof", &format!("127.0.0.1 {port}")]);
        let spool = master.directory().join("spool");
        std::fs::create_dir(&spool).expect("a directory");
        let spool = spool.to_str().expect("a path");
        let audit_keys = master.directory().join("audit.keys");
        std::fs::write(&audit_keys, format!("{}\n", "5c".repeat(32))).expect("a file");
        let audit_keys = audit_keys.to_str().expect("a path");
        let variables = [
            ("GTX__HOSTS__SPOOL_DIR", spool),
            ("GTX__AUDIT__KEY_FILE", audit_keys),
            ("GTX__REDIS__CHECK_INTERVAL", "200ms"),
        ];
        let mut service = ServiceProcess::start_on(&master, &variables);
        service.ready();
        Self { service, _servers: [master, replica] }
    }

    /// Both scrapes, once the replica is shown.
    pub fn scrapes(&mut self) -> [Exposition; 2] {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let redis = Exposition::parse(&self.service.get("/metrics/redis").1);
            if redis.kind("redis_connected_slave_offset_bytes").is_some() {
                return [Exposition::parse(&self.service.get("/metrics").1), redis];
            }
            assert!(std::time::Instant::now() < deadline, "no replica is shown");
        }
    }
}

/// The names among these that no scrape has.
pub fn unknown_metrics(names: &BTreeSet<String>, scrapes: &[Exposition]) -> Vec<String> {
    let recorded: BTreeSet<String> = rule_files().iter().flat_map(|(_, text)| values(text, "record")).collect();
    let is_known = |name: &str| {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        name == "up" || recorded.contains(name) || scrapes.iter().any(|at| at.kind(name).or(at.kind(family)).is_some())
    };
    names.iter().filter(|name| !is_known(name.as_str())).cloned().collect()
}

#[test]
fn every_metric_of_the_rules_exists() {
    let expressions: Vec<String> = rule_files().iter().flat_map(|(_, text)| values(text, "expr")).collect();
    assert!(expressions.len() > 40, "the rules are found: {expressions:?}");
    let names: BTreeSet<String> = expressions.iter().flat_map(|expression| metric_names(expression)).collect();
    let mut full = FullService::start();
    assert_eq!(unknown_metrics(&names, &full.scrapes()), Vec::<String>::new(), "a renamed metric silences its alert");
}

#[test]
fn every_alert_has_a_runbook_and_three_cases() {
    let page = std::fs::read_to_string(in_repository("docs/operations.md")).expect("the page");
    let headings: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    for (path, text) in rule_files() {
        let cases = std::fs::read_to_string(path.replace("/rules/", "/tests/")).unwrap_or_default();
        let alerts = values(&text, "alert");
        let links = values(&text, "runbook_url");
        assert_eq!(alerts.len(), links.len(), "{path}");
        for (alert, link) in alerts.iter().zip(&links) {
            assert_eq!(*link, format!("docs/operations.md#{}", alert.to_lowercase()));
            assert!(headings.contains(alert.as_str()), "docs/operations.md has no heading {alert}");
            for case in ["fires", "is silent on healthy series", "when its series disappear"] {
                assert!(cases.contains(&format!("  - name: {alert} {case}\n")), "{alert} has no case `{case}`");
            }
        }
    }
}

/// Runs promtool in the directory of the rules.
fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(in_repository("config/prometheus")).output();
    let output = output.expect("promtool, which scripts/setup_tests.sh installs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn promtool_accepts_the_configuration() {
    promtool(&["check", "config", "prometheus.yml"]);
}

// One test for each file: together they take a minute.

#[test]
fn promtool_accepts_every_case_of_the_service() {
    promtool(&["test", "rules", "tests/service.yml"]);
}

#[test]
fn promtool_accepts_every_case_of_redis() {
    promtool(&["test", "rules", "tests/redis.yml"]);
}

#[test]
fn promtool_accepts_every_case_of_the_capabilities() {
    promtool(&["test", "rules", "tests/capabilities.yml"]);
}

#[test]
fn promtool_accepts_every_case_of_backups() {
    promtool(&["test", "rules", "tests/backups.yml"]);
}
