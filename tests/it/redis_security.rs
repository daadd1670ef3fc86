//! TLS, users and passwords for Redis, and that secrets are never shown.

use std::io::Write;
use std::sync::{Arc, Mutex};

use gridtokenx_redis::app::App;
use gridtokenx_redis::clock::Clock;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::redis::{FaultKind, Outcome};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::facade::{get, set};
use crate::support::{Exposition, TestApp, TlsServer, eventually};

const USER: &[&str] = &["--user", "service", "on", ">hunter2", "~*", "&*", "+@all"];

#[tokio::test]
async fn the_service_connects_over_tls_with_a_user_and_a_password_file() {
    let tls = TlsServer::start(USER);
    let mut secret = tempfile::NamedTempFile::new().expect("a file");
    writeln!(secret, "hunter2").expect("written");
    let config = format!(
        "[redis]\nurl = \"rediss://localhost:{}\"\nca_file = {:?}\nusername = \"service\"\npassword_file = {:?}\n",
        tls.port,
        tls.authority(),
        secret.path(),
    );
    let app = TestApp::builder().config(&config).spawn().await;
    set(app.state(), "a", "b").await.expect("a write");
    let me: String = app
        .state()
        .query(redis::cmd("ACL").arg("WHOAMI"), gridtokenx_redis::redis::Effect::Read)
        .await
        .expect("a name");
    assert_eq!(me, "service");
    assert_eq!(tls.server.command::<String>(&["GET", "a"]), "b");
    let end: jiff::Timestamp = "2041-02-03T00:00:00Z".parse().expect("a time");
    eventually("the end of the server's certificate is a metric", async || {
        let metrics = Exposition::parse(&app.get("/metrics").await.expect(200).text());
        let role = [("role", "cache,state")];
        metrics.count("tls_certificate_expiry_timestamp_seconds", &role)
            == u64::try_from(end.as_second()).expect("later")
    })
    .await;
}

/// Keeps the log.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<u8>>>);

impl Journal {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("the journal")).into_owned()
    }
}

impl Write for Journal {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the journal").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_rejected_and_logged_without_secrets() {
    let journal = Journal::default();
    let subscriber =
        tracing_subscriber::fmt().with_writer(journal.clone()).with_max_level(tracing::Level::TRACE).finish();
    let _log = tracing::subscriber::set_default(subscriber);
    let tls = TlsServer::start(USER);
    let config = format!(
        "[redis]\nurl = \"rediss://service:hunter2@localhost:{}\"\nca_file = {:?}\n",
        tls.port,
        tls.unrelated_authority(),
    );
    let app = TestApp::builder().config(&config).unready().spawn().await;
    eventually("the certificate is rejected", async || journal.text().contains("invalid peer certificate")).await;
    let fault = get(app.state(), "a").await.expect_err("no connection");
    assert_eq!((fault.kind, fault.outcome), (FaultKind::Unavailable, Outcome::NotApplied));
    app.get("/health/ready").await.expect(503);
    let shown = format!("{:?} {:?} {}", app.app(), fault, journal.text());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_wrong_host_name_and_a_wrong_password_are_rejected() {
    let tls = TlsServer::start(&["--requirepass", "hunter2"]);
    let ca = tls.authority();
    for (address, reason) in [
        (format!("rediss://:hunter2@127.0.0.1:{}", tls.port), "cannot be reached"),
        (format!("rediss://:hunter3@localhost:{}", tls.port), "denied the service access"),
    ] {
        let config = format!("[redis]\nurl = \"{address}\"\nca_file = {ca:?}\n");
        let app = TestApp::builder().config(&config).unready().spawn().await;
        eventually(reason, async || app.get("/health/ready").await.text().contains(reason)).await;
        app.get("/health/ready").await.expect(503);
    }
}

/// The error of a service that does not build.
fn refusal(overrides: &str) -> String {
    let config = Config::with_overrides(overrides).expect("TOML");
    App::build(config, Clock::System, 1).expect_err("rejected").to_string()
}

#[tokio::test]
async fn an_invalid_address_or_file_is_reported_without_secrets() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let empty = empty.path().display().to_string();
    for (overrides, part) in [
        ("[redis]\nurl = \"redis://:hunter2@[broken\"".to_owned(), "redis://***@[broken"),
        ("[redis]\nurl = \"http://user:hunter2@host\"".to_owned(), "http://***@host"),
        ("[redis]\nurl = \"redis://a\"\npassword_file = \"/nowhere/secret\"".to_owned(), "/nowhere/secret"),
        ("[redis]\nurl = \"rediss://a\"\nca_file = \"/nowhere/ca.pem\"".to_owned(), "/nowhere/ca.pem"),
        (format!("[redis]\nurl = \"rediss://a\"\nca_file = \"{empty}\""), "holds no certificate"),
        ("[redis]\nurl = \"redis://a\"\npassword = \"hunter2\"\npassword_file = \"/x\"".to_owned(), "not both"),
        ("[redis]\nurl = \"redis://a\"\npassword = 2".to_owned(), "redis.password"),
    ] {
        let reason = refusal(&overrides);
        assert!(reason.contains(part), "{overrides}: {reason}");
        assert!(!reason.contains("hunter2"), "{reason}");
    }
}
