//! The commands of the built binary.

use std::process::{Command, Output};

use gridtokenx_redis::app::check_config;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::http::auth::api_key;

use crate::auth::SECRET;
use crate::support::TestApp;

/// Runs the binary with only `variables` in its environment.
fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridtokenx-redis"));
    command.args(arguments).env_clear().envs(variables.iter().copied());
    command.output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_created_key_is_printed_with_its_configuration() {
    let created = run(
        &["key", "create", "--id", "bridge", "--scope", "timeseries:write", "--scope", "cache:read"]
            .into_iter()
            .chain(["--organisation", "the \"first\"", "--expires", "2027-01-31T00:00:00Z"])
            .collect::<Vec<_>>(),
        &[],
    );
    let printed = text(&created.stdout);
    assert!(created.status.success(), "{}", text(&created.stderr));
    let key = printed.lines().find(|line| line.starts_with("ak_")).expect("a key");
    assert!(key.len() == 35 && key[3..].bytes().all(|digit| digit.is_ascii_hexdigit()), "{key}");
    assert_eq!(printed.matches(key).count(), 1, "the key is printed once: {printed}");

    let block = &printed[printed.find("[[auth.keys]]").expect("a block")..];
    let config = Config::with_overrides(block).expect("TOML");
    check_config(&config).expect("the printed block is valid");
    let auth: gridtokenx_redis::config::auth::AuthConfig = config.section().expect("valid");
    assert_eq!(auth.keys[0].sha256.0, api_key::digest(key.as_bytes()));
    assert_eq!(auth.keys[0].organisation.as_deref(), Some("the \"first\""));
}

#[test]
fn a_key_is_not_created_from_invalid_arguments() {
    for bad in [
        vec!["--id", "a b", "--scope", "cache:read"],
        vec!["--id", "a", "--scope", "everything"],
        vec!["--id", "a"],
        vec!["--id", "a", "--scope", "cache:read", "--expires", "soon"],
        vec!["--id", "a", "--scope", "cache:read", "--organisation", ""],
    ] {
        let arguments: Vec<&str> = ["key", "create"].into_iter().chain(bad).collect();
        let failed = run(&arguments, &[]);
        assert!(!failed.status.success() && failed.stdout.is_empty(), "{arguments:?}: {}", text(&failed.stdout));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_healthcheck_reports_readiness() {
    let mut app = TestApp::builder().behind_proxy().spawn().await;
    let port = app.serve().port().to_string();
    let check = || run(&["healthcheck"], &[("PORT", &port), ("GTX__HTTP__ADDRESS", "0.0.0.0")]);
    let ready = check();
    assert!(ready.status.success(), "{}", text(&ready.stderr));
    app.proxy().cut();
    crate::support::eventually("readiness turns 503", async || app.get("/health/ready").await.is(503)).await;
    let unready = check();
    assert_eq!(unready.status.code(), Some(1));
    assert!(text(&unready.stderr).contains("503") && text(&unready.stderr).contains("reasons"), "{:?}", unready.stderr);
}

#[test]
fn the_healthcheck_fails_with_a_reason_if_the_service_does_not_respond() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = unused.local_addr().expect("an address").port().to_string();
    let silent = run(&["healthcheck"], &[("PORT", &port)]);
    assert_eq!(silent.status.code(), Some(1));
    assert!(text(&silent.stderr).contains("did not answer within 2 s"), "{}", text(&silent.stderr));
    drop(unused);
    let failed = run(&["healthcheck"], &[("PORT", &port)]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(text(&failed.stderr).contains("refused"), "{}", text(&failed.stderr));
}

#[test]
fn an_invalid_secret_is_rejected_and_not_printed() {
    let failed = run(&["check-config"], &[("JWT_SECRET", "hunter2")]);
    assert_eq!(failed.status.code(), Some(64));
    let reason = text(&failed.stderr);
    assert!(reason.contains("auth.jwt_secret") && reason.contains("JWT_SECRET"), "{reason}");
    assert!(!reason.contains("hunter2"), "{reason}");
}

#[test]
fn a_configuration_is_checked_as_for_a_start() {
    let valid = run(&["check-config"], &[]);
    assert_eq!(valid.status.code(), Some(0), "{}", text(&valid.stderr));
    for (variable, value) in [
        ("REDIS_URL", "nonsense"),
        ("REDIS_URL", "http://127.0.0.1"),
        ("GTX__REDIS__PASSWORD_FILE", "/nowhere/password"),
        ("GTX__REDIS__CA_FILE", "/nowhere/ca.pem"),
        ("REDIS_URL", "redis://"),
        ("GTX__LOCKS__NODES", "redis://"),
        ("LOG_LEVEL", "info,a[b=debug"),
        ("LOG_LEVEL", "info,a::b=debug,=info"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("GTX__REDIS__EMBEDDED__BINARY", "/nowhere/redis-server"),
    ] {
        let checked = run(&["check-config"], &[(variable, value)]);
        // A service that starts in spite of the value would run forever.
        let served = run(&["serve"], &[(variable, value), ("GTX__HTTP__ADDRESS", "192.0.2.1"), ("JWT_SECRET", SECRET)]);
        let code = if value.ends_with("redis-server") { 69 } else { 64 };
        assert_eq!((checked.status.code(), served.status.code()), (Some(code), Some(code)), "{variable}={value}");
        let reason = text(&checked.stderr);
        let reason = reason.strip_prefix("gridtokenx-redis: ").expect("a reason").trim_end();
        assert!(reason.contains(value) || variable.starts_with("OTEL"), "{reason}");
        assert!(reason.contains("redis.url (REDIS_URL)") || variable != "REDIS_URL", "{reason}");
        let logged = serde_json::to_string(reason).expect("text");
        assert!(text(&served.stdout).contains(&logged), "{reason}: {}", text(&served.stdout));
    }
}

#[test]
fn a_wrong_argument_of_serve_is_a_log_line_without_a_terminal() {
    for arguments in [&["serve", "--bogus"][..], &["--bogus"]] {
        let failed = run(arguments, &[]);
        assert_eq!((failed.status.code(), text(&failed.stderr).as_str()), (Some(2), ""));
        let line: serde_json::Value = serde_json::from_slice(&failed.stdout).expect("one line of JSON");
        assert!(line["level"] == "ERROR" && line["reason"].to_string().contains("--bogus"), "{line}");
    }
    for (arguments, variables) in
        [(&["check-config", "--bogus"], &[][..]), (&["serve", "--bogus"], &[("LOG_FORMAT", "pretty")][..])]
    {
        let failed = run(arguments, variables);
        assert_eq!((failed.status.code(), text(&failed.stdout).as_str()), (Some(2), ""));
        assert!(text(&failed.stderr).contains("unexpected argument '--bogus'"), "{}", text(&failed.stderr));
    }
    assert!(text(&run(&["serve", "--help"], &[]).stdout).contains("Usage:"));
}

#[test]
fn a_variable_that_was_meant_for_the_service_is_rejected() {
    for (variable, value) in [
        ("REDIS_PORT", "7000"),
        ("REDIS_DB", "1"),
        ("HOST", "0.0.0.0"),
        ("REDIS_PASWORD", "hunter2"),
        ("GTX__HTTP__PROT", "1"),
        ("GTX__HTPP__PORT", "1"),
        ("GTX_HTTP__PORT", "1"),
    ] {
        let failed = run(&["check-config"], &[(variable, value)]);
        assert_eq!(failed.status.code(), Some(64), "{variable}={value}");
        let reason = text(&failed.stderr);
        assert!(reason.contains(variable) && !reason.contains("hunter2"), "{reason}");
    }
    for (variable, value) in [("HOST", "web-1"), ("HOST", "127.0.0.1"), ("GTX_API_KEY", "a")] {
        let valid = run(&["check-config"], &[(variable, value)]);
        assert!(valid.status.success() && valid.stderr.is_empty(), "{variable}: {}", text(&valid.stderr));
    }
    for (variable, value) in [("REDIS_VERSION", "7"), ("REDIS_PORT", "tcp://10.0.0.1:6379")] {
        let valid = run(&["check-config"], &[(variable, value)]);
        assert!(valid.status.success() && text(&valid.stderr).contains(variable), "{}", text(&valid.stderr));
    }
}

#[test]
fn the_printed_configuration_names_its_sources_and_is_a_valid_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("service.toml");
    let hexadecimal = "00112233445566778899aabbccddeeff".repeat(2);
    let secrets = format!(
        "[http]\nworkers = 3\n[auth.roles]\n\"night shift\" = [\"cache:read\"]\n\
         [[auth.jwt]]\nissuer = \"a\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n\
         [json.encryption]\nkeys = [{{ id = \"a\", key = \"{hexadecimal}\" }}]\n\
         [locks]\nnodes = [\"redis://:hunter2@n1\"]\n"
    );
    std::fs::write(&file, secrets).expect("a file");
    let variables = [
        ("REDIS_URL", "redis://user:hunter2@r1:6379/0"),
        ("REDIS_PASSWORD", "hunter2"),
        ("JWT_SECRET", SECRET),
        ("PORT", "4444"),
        ("GTX__CACHE__DEFAULT_TTL", "2h"),
    ];
    let path = file.display().to_string();
    let printed = run(&["--config", &path, "config", "print"], &variables);
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let printed = text(&printed.stdout);
    for line in [
        "port = 4444  # PORT".to_owned(),
        format!("workers = 3  # {path}"),
        "default_ttl = \"2h\"  # GTX__CACHE__DEFAULT_TTL".to_owned(),
        "max_ttl = \"365d\"  # default".to_owned(),
        "# url = \"redis://***@r1:6379/0\"  # REDIS_URL".to_owned(),
        "# password = \"***\"  # REDIS_PASSWORD".to_owned(),
        "# jwt_secret = \"***\"  # JWT_SECRET".to_owned(),
        format!("# nodes = [\"redis://***@n1\"]  # {path}"),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
    }
    for secret in ["hunter2", SECRET, &hexadecimal] {
        assert!(!printed.contains(secret), "{secret}: {printed}");
    }
    let copy = directory.path().join("copy.toml");
    std::fs::write(&copy, &printed).expect("a file");
    let copy = copy.display().to_string();
    let checked = run(&["--config", &copy, "check-config"], &[]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let again = text(&run(&["--config", &copy, "config", "print"], &[]).stdout);
    let values = |text: &str| {
        let settings = text.lines().filter(|line| !line.starts_with("# ")).map(|line| line.split("  # ").next());
        settings.map(|setting| setting.unwrap_or_default().to_owned()).collect::<Vec<_>>().join("\n")
    };
    // Settings with a secret are comments, so the copy has their defaults.
    let known = values(&printed);
    for (line, number) in values(&again).lines().zip(1..) {
        let has_default = ["url = \"\"", "nodes = []", "keys = []"].contains(&line);
        assert!(has_default || known.lines().any(|known| known == line), "line {number}: {line}");
    }
}

#[test]
fn a_service_on_a_public_address_without_credentials_does_not_start() {
    let failed = run(&["serve"], &[("GTX__HTTP__ADDRESS", "0.0.0.0"), ("REDIS_URL", "redis://127.0.0.1:1")]);
    assert_eq!(failed.status.code(), Some(64));
    let reason = text(&failed.stdout);
    assert!(reason.contains("auth.mode") && reason.contains("loopback"), "{reason}");
}
