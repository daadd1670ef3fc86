//! A real Prometheus scrapes the service with the configuration of `docs/hosts.md`.

use serde_json::json;

use super::sample;
use crate::support::{ADMIN_KEY, Prometheus, TestApp, eventually, in_repository};

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
    let config = documented_config().replace("127.0.0.1:4040", &app.serve().to_string());
    let config = format!("global: {{ scrape_interval: 100ms }}\n{config}");
    let prometheus = Prometheus::start(&config, &[("hosts.key", ADMIN_KEY)]).await;
    let has = async |host: &str, usage: &str| {
        let found = prometheus.query("host_cpu_usage_percent").await;
        found.iter().any(|(labels, value)| labels["host"] == host && labels["job"] == "hosts" && value == usage)
    };
    eventually("the first values are scraped", async || has("web-1", "37.5").await && has("db-1", "12.25").await).await;
    assert_eq!(prometheus.query("up").await.iter().map(|(_, up)| up.as_str()).collect::<Vec<_>>(), ["1"]);
    assert_eq!(prometheus.query("host_memory_used_bytes{host=\"db-1\"}").await[0].1, "400");
}
