//! A real Prometheus, which is stopped at the end of the test.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use axum::body::Body;
use axum::http::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use super::{Reply, eventually, free_port};

pub struct Prometheus {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts a Prometheus with this configuration; `files` are the names and texts of files beside it. The test fails if
    /// Prometheus is not installed.
    pub async fn start(config: &str, files: &[(&str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("gtx-prometheus-").tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a file");
        write("prometheus.yml", config);
        for (name, text) in files {
            write(name, text);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let process = Self::command(directory.path(), address).spawn();
        let process =
            process.unwrap_or_else(|_| panic!("prometheus is not installed: run scripts/setup_tests.sh prometheus"));
        let prometheus = Self { process, address, _directory: directory };
        eventually("prometheus listens", async || TcpStream::connect(address).is_ok()).await;
        prometheus
    }

    fn command(directory: &Path, address: SocketAddr) -> Command {
        let mut command = Command::new("prometheus");
        command.current_dir(directory).arg("--config.file=prometheus.yml");
        command.arg(format!("--web.listen-address={address}"));
        command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The results of an instant query: labels, and the value as text. None as long as it starts.
    ///
    /// # Errors
    /// The reply to a query that is not valid.
    pub async fn try_query(&self, query: &str) -> Result<Vec<(Value, String)>, String> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let url = format!("http://{}/api/v1/query?query={query}", self.address);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::get(&url).body(Body::empty()).expect("a request");
        let Ok(response) = client.request(request).await else { return Ok(Vec::new()) };
        let reply = Reply::read(format!("GET {url}"), response.map(Body::new)).await;
        // It answers 503 until it has read its own log of samples.
        if reply.is(503) {
            return Ok(Vec::new());
        }
        if !reply.is(200) {
            return Err(reply.text());
        }
        let answer = reply.json();
        let results = answer["data"]["result"].as_array().expect("results");
        let found =
            |result: &Value| (result["metric"].clone(), result["value"][1].as_str().expect("a number").to_owned());
        Ok(results.iter().map(found).collect())
    }

    /// The results of a valid query.
    pub async fn query(&self, query: &str) -> Vec<(Value, String)> {
        self.try_query(query).await.expect("a valid query")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
