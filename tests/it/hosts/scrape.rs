//! A real Prometheus scrapes the service with the configuration of `docs/hosts.md`.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use axum::body::Body;
use axum::http::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::sample;
use crate::support::{ADMIN_KEY, Reply, TestApp, eventually, free_port, in_repository};

/// A Prometheus process, which is stopped at the end of the test.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes `service` with a credential from a file. The test fails if Prometheus is not
    /// installed.
    async fn scraping(service: SocketAddr) -> Self {
        let directory = tempfile::Builder::new().prefix("gtx-prometheus-").tempdir().expect("a temporary directory");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = documented_config().replace("127.0.0.1:4040", &service.to_string());
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, format!("global: {{ scrape_interval: 100ms }}\n{config}")).expect("a file");
        std::fs::write(directory.path().join("hosts.key"), ADMIN_KEY).expect("a file");
        let mut command = Command::new("prometheus");
        command.current_dir(directory.path()).arg(format!("--config.file={}", file.display()));
        command.arg(format!("--web.listen-address={address}"));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process =
            process.unwrap_or_else(|_| panic!("prometheus is not installed: run scripts/setup_tests.sh prometheus"));
        let prometheus = Self { process, address, _directory: directory };
        eventually("prometheus listens", async || TcpStream::connect(address).is_ok()).await;
        prometheus
    }

    /// The results of an instant query: labels, and the value as text.
    async fn query(&self, query: &str) -> Vec<(Value, String)> {
        let url = format!("http://{}/api/v1/query?query={query}", self.address);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::get(&url).body(Body::empty()).expect("a request");
        let Ok(response) = client.request(request).await else { return Vec::new() };
        let reply = Reply::read(format!("GET {url}"), response.map(Body::new)).await;
        // It answers 503 until it has read its own log of samples.
        if !reply.is(200) {
            return Vec::new();
        }
        let answer = reply.json();
        let results = answer["data"]["result"].as_array().expect("results");
        results
            .iter()
            .map(|found| (found["metric"].clone(), found["value"][1].as_str().expect("a number").to_owned()))
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The configuration in the documentation.
fn documented_config() -> String {
    let page = std::fs::read_to_string(in_repository("docs/hosts.md")).expect("the page");
    let (_, rest) = page.split_once("```yaml\n").expect("a configuration");
    rest.split_once("```").expect("the end of the block").0.to_owned()
}

#[tokio::test]
async fn prometheus_scrapes_the_newest_value_of_every_host() {
    let mut app = TestApp::builder().admin_key().spawn().await;
    let send = async |host: &str, usage: f64| {
        let mut sample = sample(0);
        sample["cpu"]["usage"] = json!(usage);
        let headers = [("x-api-key", ADMIN_KEY), ("content-type", "application/json")];
        let path = format!("/hosts/{host}/metrics");
        app.send(axum::http::Method::POST, &path, &headers, sample.to_string()).await.expect(202);
    };
    send("web-1", 37.5).await;
    send("db-1", 12.25).await;
    let prometheus = Prometheus::scraping(app.serve()).await;
    let has = async |host: &str, usage: &str| {
        let found = prometheus.query("host_cpu_usage_percent").await;
        found.iter().any(|(labels, value)| labels["host"] == host && labels["job"] == "hosts" && value == usage)
    };
    eventually("the first values are scraped", async || has("web-1", "37.5").await && has("db-1", "12.25").await).await;
    assert_eq!(prometheus.query("up").await.iter().map(|(_, up)| up.as_str()).collect::<Vec<_>>(), ["1"]);
    assert_eq!(prometheus.query("host_memory_used_bytes%7Bhost=%22db-1%22%7D").await[0].1, "400");
}
