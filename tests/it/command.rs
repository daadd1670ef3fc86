//! The commands of the built binary.

use std::process::{Command, Output};

use gridtokenx_redis::app::check_config;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::http::auth::api_key;

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
    ] {
        let failed = run(&["check-config"], &[(variable, value)]);
        assert_eq!(failed.status.code(), Some(64), "{variable}={value}");
        assert!(text(&failed.stderr).contains(value), "{}", text(&failed.stderr));
    }
}

#[test]
fn a_service_on_a_public_address_without_credentials_does_not_start() {
    let failed = run(&["serve"], &[("GTX__HTTP__ADDRESS", "0.0.0.0"), ("REDIS_URL", "redis://127.0.0.1:1")]);
    assert_eq!(failed.status.code(), Some(64));
    let reason = text(&failed.stdout);
    assert!(reason.contains("auth.mode") && reason.contains("loopback"), "{reason}");
}
