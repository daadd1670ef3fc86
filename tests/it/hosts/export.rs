//! Samples in the formats of other tools.

use axum::http::Method;

use super::{WEB, send};
use crate::support::{Exposition, TestApp};

#[tokio::test]
async fn ranges_are_exported_page_by_page_as_csv_and_line_protocol() {
    let app = TestApp::spawn().await;
    send(&app, WEB, [0, 1_000, 2_000]).await;
    let csv = app.get("/hosts/web-1/metrics/range?format=csv&limit=2").await.expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let lines: Vec<String> = csv.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("host,timestamp,seq,cpu.usage,"), "{}", lines[0]);
    assert!(lines[1].starts_with("web-1,1767225600000,0,12.5,4,0.5,0.25,0.125,1000,400,600,40.0,"), "{}", lines[1]);
    let cursor = csv.header("next-cursor").expect("a cursor");
    let rest = app.get(&format!("/hosts/web-1/metrics/range?format=influx&cursor={cursor}")).await.expect(200);
    assert_eq!(rest.header("next-cursor"), None);
    assert!(rest.text().starts_with("host_metrics,host=web-1 cpu.usage=12.5,"), "{}", rest.text());
    assert!(rest.text().ends_with(" 1767225602000000000\n"), "{}", rest.text());
    let accepted =
        app.send(Method::GET, "/hosts/web-1/metrics/recent", &[("accept", "text/csv")], "").await.expect(200);
    assert_eq!(accepted.text().lines().count(), 4);
    for path in ["range", "recent"] {
        let path = format!("/hosts/web-1/metrics/{path}?format=prometheus");
        app.get(&path).await.expect_violation(422, "invalid-query", "/format");
    }
    app.get("/hosts/metrics/latest?format=xml").await.expect_violation(422, "invalid-query", "/format");
}

#[tokio::test]
async fn the_newest_samples_of_all_hosts_are_a_scrape_target() {
    let app = TestApp::spawn().await;
    for n in 0..150 {
        send(&app, &format!("/hosts/web-{n}/metrics"), [n]).await;
    }
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    let text = app.send(Method::GET, "/hosts/metrics/latest", &[("accept", accept)], "").await.expect(200);
    assert_eq!(text.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let lines = text.text();
    assert_eq!(lines.lines().filter(|line| line.starts_with("host_cpu_usage_percent{")).count(), 150);
    assert!(lines.contains("host_network_receive_bytes_total{host=\"web-149\"} 249\n"), "{lines}");
    Exposition::parse(&lines);
    let csv = app.get("/hosts/metrics/latest?format=csv&limit=10").await.expect(200);
    assert_eq!((csv.text().lines().count(), csv.header("next-cursor")), (11, Some("web-106")));
}
