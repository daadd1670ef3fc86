//! Line protocol, as clients of InfluxDB write it.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Reply, START, TestApp, in_repository, output_text, run_python_tool};
use crate::timeseries::{bits, read};

async fn write(app: &TestApp, address: &str, lines: impl Into<Body>) -> Reply {
    app.send(Method::POST, address, &[], lines).await
}

#[tokio::test]
async fn each_field_is_a_series_with_its_tags_as_labels() {
    let app = TestApp::spawn().await;
    let lines = "# two samples, and one of the service's time\n\
                 power,zone=1,meter=MTR-001 import=0.39799999999999996,export=2i 1767225600000000000\n\n\
                 power,meter=MTR-001,zone=1 import=t";
    for _ in 0..2 {
        write(&app, "/api/v2/write?org=o&bucket=b", lines).await.expect(204);
    }
    let import = "/timeseries/influx:power:import,meter=MTR-001,zone=1";
    // The clock of the test is at the first sample's time; the later sample counts.
    assert_eq!(read(&app, import, "", 9).await, bits(&[(START, 1.0)]));
    let series = app.get(import).await.expect(200).json();
    assert_eq!(series["labels"], json!({ "__name__": "power_import", "meter": "MTR-001", "zone": "1" }));
    assert_eq!(series["retention_ms"], 31_536_000_000_i64);
    let found = app.get("/timeseries?filter=__name__=power_export").await.expect(200).json();
    assert_eq!(found["items"][0]["key"], "influx:power:export,meter=MTR-001,zone=1");
}

#[tokio::test]
async fn the_precisions_and_paths_of_both_versions_are_accepted() {
    let app = TestApp::spawn().await;
    for (address, time) in [
        ("/api/v2/write?precision=ns", "1767225600000000000"),
        ("/api/v2/write?precision=us&orgID=1", "1767225600000000"),
        ("/write?precision=ms&db=d&rp=r&consistency=all", "1767225600000"),
        ("/write?precision=s", "1767225600"),
        ("/write?precision=u", "1767225600000000"),
        ("/write?precision=n", "1767225600000000000"),
        ("/write", "1767225600000999999"),
    ] {
        write(&app, address, format!("m f=1.5 {time}")).await.expect(204);
        assert_eq!(read(&app, "/timeseries/influx:m:f", "", 9).await, bits(&[(START, 1.5)]), "{address}");
        app.delete("/timeseries/influx:m:f").await.expect(204);
    }
    for (address, parameter) in
        [("/write?precision=min", "/precision"), ("/api/v2/write?db=d", "/db"), ("/ping?verbose=1", "/verbose")]
    {
        let method = if address.starts_with("/ping") { Method::GET } else { Method::POST };
        app.send(method, address, &[], "m f=1").await.expect_violation(422, "invalid-query", parameter);
    }
    assert_eq!(app.get("/timeseries").await.expect(200).json()["items"], json!([]));
}

#[tokio::test]
async fn an_invalid_line_is_reported_and_the_others_are_stored() {
    let app = TestApp::spawn().await;
    app.redis().command::<()>(&["SET", "influx:taken:f", "somebody's"]);
    let lines = "m f=1 5\nno field\nm f=\"text\",g=1 6\nm f=nan 7\nm f=2 -8\ntaken f=1 5\nm f=9 9223372036854775808\nm,t=a,t=b f=1\nm f=3 6000000";
    let reply = write(&app, "/write?precision=ns", lines).await;
    let problem = reply.expect_problem(400, "lines-refused");
    let named: Vec<&str> = problem["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| error["pointer"].as_str().expect("a line"))
        .collect();
    assert_eq!(named, ["/2", "/3", "/4", "/5", "/6", "/7", "/8"]);
    assert!(
        problem["detail"].as_str().is_some_and(|detail| detail.contains("2 samples are stored; line 2: ")),
        "{problem}"
    );
    assert_eq!(reply.header("x-influxdb-error"), problem["detail"].as_str());
    assert_eq!(read(&app, "/timeseries/influx:m:f", "", 9).await, bits(&[(0, 1.0), (6, 3.0)]));
    // A line is stored completely or not at all.
    app.get("/timeseries/influx:m:g").await.expect_problem(404, "series-not-found");
    let none = write(&app, "/write", "nonsense").await.expect_problem(400, "lines-refused");
    assert_eq!(none["outcome"], "not_applied");
}

#[tokio::test]
async fn loads_accept_line_protocol() {
    let app = TestApp::spawn().await;
    let text = [("content-type", "text/plain; charset=utf-8")];
    let load = async |query: &str, body: &'static str| {
        app.send(Method::POST, &format!("/timeseries/samples{query}"), &text, body).await
    };
    let answer = load("?precision=ms", "m f=1,g=2 5\nm f=x 6\n").await.expect(200).json();
    assert_eq!((&answer["accepted"], &answer["refused"][0]["line"]), (&json!(2), &json!(2)));
    load("?unit=ms", "").await.expect_violation(422, "invalid-query", "/unit");
    let csv = [("content-type", "text/csv")];
    let wrong = app.send(Method::POST, "/timeseries/samples?precision=ms", &csv, "series,value\n").await;
    wrong.expect_violation(422, "invalid-query", "/precision");
}

#[tokio::test]
async fn a_compressed_body_is_decompressed() {
    let app = TestApp::spawn().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let lines = (0..5_000).map(|n| format!("m,t={} f={n} {n}", n % 3)).collect::<Vec<_>>().join("\n");
    std::io::Write::write_all(&mut encoder, lines.as_bytes()).expect("memory");
    let packed = encoder.finish().expect("memory");
    let send = async |encoding: &str, body: Vec<u8>| {
        app.send(Method::POST, "/api/v2/write?precision=ms", &[("content-encoding", encoding)], body).await
    };
    send("GZIP", packed.clone()).await.expect(204);
    assert_eq!(app.get("/timeseries/influx:m:f,t=1").await.expect(200).json()["count"], 1_667);
    send("gzip", packed[..packed.len() / 2].to_vec()).await.expect_problem(400, "body-incomplete");
    send("gzip", lines.into_bytes()).await.expect_problem(400, "body-incomplete");
    send("zstd", packed).await.expect_problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn ping_succeeds_without_redis() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.proxy().cut();
    assert_eq!(app.get("/ping").await.expect(204).header("x-influxdb-version"), Some("v2.7.0"));
    write(&app, "/write", "m f=1 5").await.expect_problem(503, "redis-unavailable");
}

#[tokio::test]
async fn the_influxdb_client_can_write() {
    let mut app = TestApp::builder().admin_key().system_clock().spawn().await;
    let url = format!("http://{}", app.serve());
    let script = in_repository("tests/interoperability/influx_client.py").display().to_string();
    let output = run_python_tool("python", &[&script, &url, ADMIN_KEY]).await;
    assert!(output.status.success(), "{}", output_text(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", output_text(&output)));
    let expected = json!({ "ping": true, "version": "v2.7.0", "refused": [400, ["/2", "/3"]], "stranger": 401 });
    assert_eq!(told, expected, "{}", output_text(&output));

    let key = [("x-api-key", ADMIN_KEY)];
    let samples = async |series: &str| {
        let path = format!("/timeseries/influx:{series}/range?limit=5000");
        let page = app.send(Method::GET, &path, &key, Body::empty()).await.expect(200).json();
        page["samples"].as_array().expect("samples").clone()
    };
    let one = |value: f64| vec![json!({ "timestamp": START, "value": value })];
    for (field, value) in [("import", 0.392), ("runs", 7.0), ("on", 1.0)] {
        let series = format!("power%20plant:{field},meter=MTR-001,place=a%20=%20b");
        assert_eq!(samples(&series).await, one(value), "{field}: written twice, stored once");
    }
    assert_eq!(samples("by_dict:f,t=1").await, one(1.5));
    assert_eq!(samples("by_line:f").await, one(2.5));
    assert_eq!(samples("good:f").await, [json!({ "timestamp": 5, "value": 1.0 })]);
    for meter in 0..4 {
        let batch = samples(&format!("batch:f,meter={meter}")).await;
        assert_eq!(batch.len(), 500, "{meter}");
        assert!(batch.iter().zip(0..).all(|(sample, n)| sample["value"].as_f64() == Some(f64::from(4 * n + meter))));
    }
}
