//! The dashboards: they are what the script writes, and no panel is empty on a Prometheus that scrapes a busy service.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::rules::{FullService, metric_names, unknown_metrics};
use crate::support::{Prometheus, ServiceProcess, eventually, in_repository, node, node_package, output_text, python};

/// Panels that are empty while everything is well.
const EMPTY_WHEN_WELL: &[&str] = &["Errors by route", "Expired and evicted keys"];

fn files() -> Vec<PathBuf> {
    let folder = in_repository("config/grafana/dashboards");
    std::fs::read_dir(folder).expect("the dashboards").map(|entry| entry.expect("a file").path()).collect()
}

fn boards() -> Vec<Value> {
    files().iter().map(|path| serde_json::from_slice(&std::fs::read(path).expect("a text")).expect("JSON")).collect()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[test]
fn dashboards_are_what_the_script_writes() {
    let script = in_repository("scripts/dashboards.py");
    let output = Command::new("python3").arg(script).arg("--check").env("PYTHONDONTWRITEBYTECODE", "1").output();
    let output = output.expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_library_of_grafana_knows_every_field() {
    let mut command = python(&in_repository("tests/interoperability/grafana_sdk.py"));
    let output = command.args(files()).env("PYTHONDONTWRITEBYTECODE", "1").output().await.expect("python runs");
    let changes: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", output_text(&output)));
    assert_eq!(changes, json!([]), "the library loses or changes fields");
}

/// Compiles dashboards as values of Grafana's type; returns the complaints.
async fn complaints_of_typescript(boards: &[Value]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(node_package(""), directory.path().join("node_modules")).expect("a link");
    let mut source = vec!["import type { Dashboard } from \"@grafana/schema\";".to_owned()];
    source.extend(boards.iter().enumerate().map(|(at, board)| format!("export const board{at}: Dashboard = {board};")));
    std::fs::write(directory.path().join("boards.ts"), source.join("\n")).expect("written");
    let mut command = node(&node_package("typescript/bin/tsc"));
    command.args(["--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler"]);
    let output = command.arg("boards.ts").current_dir(directory.path()).output().await.expect("node runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn the_types_of_grafana_have_every_field() {
    assert_eq!(complaints_of_typescript(&boards()).await, "");
    let mut misspelt = boards();
    misspelt[0]["panels"][0]["fieldConfig"]["defaults"]["unti"] = json!("s");
    let complaints = complaints_of_typescript(&misspelt).await;
    assert!(complaints.contains("'\"unti\"' does not exist"), "{complaints}");
}

#[test]
fn every_panel_has_a_title_a_unit_matchers_and_the_data_source() {
    let boards = boards();
    let uids: BTreeSet<&str> = boards.iter().map(|board| text(&board["uid"])).collect();
    assert_eq!(uids.len(), 5, "{uids:?}");
    for board in &boards {
        let title = text(&board["title"]);
        assert_eq!((&board["id"], &board["editable"]), (&Value::Null, &json!(false)), "{title}");
        // Exported boards refer to inputs, which provisioning does not fill in.
        assert!(board["__inputs"].is_null() && !board.to_string().contains("DS_"), "{title}");
        let panels = list(&board["panels"]);
        assert!(panels.len() <= 20, "{title} has {} panels", panels.len());
        for panel in panels {
            let name = format!("{title}: {}", text(&panel["title"]));
            assert!(
                !text(&panel["description"]).is_empty() && !text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(),
                "{name}"
            );
            let position = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
            assert!(position("x") + position("w") <= 24, "{name} is too wide");
            for target in list(&panel["targets"]) {
                let expression = text(&target["expr"]);
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}");
                let selectors = expression.matches('{').count();
                assert_eq!(expression.matches("instance=~\"$instance\"").count(), selectors, "{name}: {expression}");
                assert_eq!(expression.matches("job=").count(), selectors, "{name}: {expression}");
                if expression.contains("rate(") {
                    assert!(expression.contains("[$__rate_interval]"), "{name}: {expression}");
                }
            }
        }
    }
}

#[test]
fn provisioning_names_the_data_source_and_the_folder_of_the_boards() {
    let read = |path: &str| std::fs::read_to_string(in_repository(path)).expect("a file");
    let sources = read("config/grafana/provisioning/datasources/prometheus.yml");
    assert!(sources.contains("uid: gtx-prometheus"));
    for board in boards() {
        let variables = list(&board["templating"]["list"]);
        assert_eq!(variables[0]["current"]["value"], "gtx-prometheus", "{}", board["title"]);
    }
    let folder = read("config/grafana/provisioning/dashboards/gridtokenx.yml");
    let path = folder.lines().find_map(|line| line.trim().strip_prefix("path: ")).expect("a path").to_owned();
    assert!(read("docker-compose.yml").contains(&format!("./config/grafana/dashboards:{path}:ro")), "{path}");
}

#[test]
fn every_metric_of_the_dashboards_exists() {
    let names: BTreeSet<String> = boards()
        .iter()
        .flat_map(|board| list(&board["panels"]).clone())
        .flat_map(|panel| list(&panel["targets"]).clone())
        .flat_map(|target| metric_names(text(&target["expr"])))
        .collect();
    let mut full = FullService::start();
    load(&mut full.service, 0);
    // Some appear with the next check of Redis, or with the next round of a task.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let unknown = unknown_metrics(&names, &full.scrapes());
        if unknown.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "no metric has these names: {unknown:?}");
    }
}

/// Calls every capability, with names that differ in each round.
fn load(service: &mut ServiceProcess, round: u32) {
    let host = json!([{ "cpu": { "cores": 8, "loadAvg": [0.5, 0.5, 0.6], "usage": 37.5 },
        "disk": { "free": 1, "total": 2, "usagePercent": 50.0, "used": 1 },
        "memory": { "free": 1, "total": 2, "usagePercent": 50.0, "used": 1 },
        "network": { "bytesIn": 1, "bytesOut": 1, "packetsIn": 1, "packetsOut": 1 } }]);
    let trade = json!({ "symbol": "GRID", "trades": [
        { "price": "3.41", "quantity": "12.5", "side": "buy", "trade_id": format!("t-{round}") }] });
    let order = json!({ "order_id": format!("o-{round}"), "owner": "user-7", "price": "4.35", "quantity": "1.000", "side": "buy" });
    let price =
        json!({ "message_type": "PriceUpdate", "data": { "symbol": "E", "price": "1", "change_percent": "0" } });
    let book = json!({ "kind": "orders", "mode": "store", "price_decimals": 2, "quantity_decimals": 3 });
    let calls = [
        ("PUT", "/orderbooks/ENERGY/settings".to_owned(), book),
        ("PUT", "/cache/a".to_owned(), json!("x")),
        ("GET", "/cache/a".to_owned(), Value::Null),
        ("POST", format!("/locks/l-{round}"), json!({ "ttl_ms": 60_000 })),
        ("POST", "/locks/l-0".to_owned(), json!({ "ttl_ms": 60_000 })),
        ("POST", "/ratelimit/check".to_owned(), json!({ "limiter": "api", "key": "10.0.0.1:/orders" })),
        ("POST", "/timeseries/energy:generation:m-1/samples".to_owned(), json!({ "samples": [{ "value": 0.5 }] })),
        ("PUT", "/json/doc".to_owned(), json!({ "a": round })),
        ("POST", "/trades".to_owned(), trade),
        ("POST", "/orderbooks/ENERGY/orders".to_owned(), order),
        ("POST", "/pubsub/market:prices".to_owned(), price),
        ("POST", "/hosts/web-1/metrics".to_owned(), host),
    ];
    for (method, path, body) in calls {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut connection = service.connect();
        let length = body.len();
        write!(
            connection,
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .expect("sent");
        let mut response = String::new();
        connection.read_to_string(&mut response).expect("a response");
        let is_expected = ["HTTP/1.1 2", "HTTP/1.1 409"].iter().any(|start| response.starts_with(start));
        assert!(is_expected, "{method} {path}: {response}");
    }
}

/// An expression as Grafana sends it.
fn expression_of(target: &Value) -> String {
    text(&target["expr"])
        .replace("$__rate_interval", "20s")
        .replace("$job", "gridtokenx-redis")
        .replace("$instance", ".*")
}

#[tokio::test]
async fn no_panel_is_empty_on_a_prometheus_that_scrapes_a_busy_service() {
    let mut full = FullService::start();
    let address = full.service.address();
    let config = std::fs::read_to_string(in_repository("config/prometheus/prometheus.yml")).expect("the configuration");
    let config = config.replace("gridtokenx-redis:8080", &address.to_string()).replace("15s", "500ms");
    let prometheus = Prometheus::start(&config, &[]).await;
    full.scrapes();
    let scrapes = async || {
        let count = prometheus.query("count_over_time(up{job=\"redis\"}[1m])").await;
        count.first().and_then(|(_, count)| count.parse::<u32>().ok()).unwrap_or_default()
    };
    let mut round = 0;
    while scrapes().await < 6 {
        load(&mut full.service, round);
        round += 1;
    }
    let mut empty = Vec::new();
    for board in boards() {
        for panel in list(&board["panels"]) {
            let title = text(&panel["title"]);
            for target in list(&panel["targets"]) {
                let found = prometheus.try_query(&expression_of(target)).await;
                let found = found.unwrap_or_else(|error| panic!("{title}: {}: {error}", target["expr"]));
                if found.is_empty() && !EMPTY_WHEN_WELL.contains(&title) {
                    empty.push(format!("{}: {title}: {}", text(&board["title"]), text(&target["expr"])));
                }
                for (labels, _) in found {
                    let legend = text(&target["legendFormat"]);
                    let mut named = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
                    let resolved = named.all(|label| label == "node" || labels[label].is_string());
                    assert!(resolved, "{title}: the legend {legend} names labels that {labels} does not have");
                }
            }
        }
    }
    assert!(empty.is_empty(), "{}", empty.join("\n"));
    eventually("the process is still scraped", async || scrapes().await > 6).await;
}
