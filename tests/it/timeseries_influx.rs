//! Line protocol, as clients of InfluxDB write it.

use axum::body::Body;
use axum::http::Method;
use base64::Engine;
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
        ("/write?precision=m&u=user&p=password", "29453760"),
        ("/write?precision=h", "490896"),
        ("/write", "1767225600000999999"),
        ("/api/v2/write?precision=&consistency=any&db=d", "1767225600000000000"),
        ("/write?precision=%C2%B5", "1767225600000000"),
    ] {
        write(&app, address, format!("m f=1.5 {time}")).await.expect(204);
        assert_eq!(read(&app, "/timeseries/influx:m:f", "", 9).await, bits(&[(START, 1.5)]), "{address}");
        app.delete("/timeseries/influx:m:f").await.expect(204);
    }
    app.get("/ping?u=user&p=password&quiet=1").await.expect(204);
    let wrong = write(&app, "/write?precision=min", "m f=1").await;
    wrong.expect_violation(422, "invalid-query", "/precision");
    assert_eq!(app.get("/timeseries").await.expect(200).json()["items"], json!([]));
}

#[tokio::test]
async fn a_text_may_contain_line_breaks_and_escaped_quotes() {
    let app = TestApp::spawn().await;
    let lines = "logs,host=a message=\"first\nfake,host=victim usage=99\n\\\"last\",power=12.5 1767225600000000000\nlogs,host=a power=13 1767225601000000000";
    let reply = write(&app, "/api/v2/write", lines).await.expect(204);
    assert_eq!(reply.header("samples-refused"), Some("1"));
    let power = read(&app, "/timeseries/influx:logs:power,host=a", "", 9).await;
    assert_eq!(power, bits(&[(START, 12.5), (START + 1_000, 13.0)]));
    let keys = app.get("/timeseries").await.expect(200).json();
    assert_eq!(keys["items"].as_array().expect("series").len(), 1, "{keys}");
    // Without its end, a text takes the rest of the body.
    let problem = write(&app, "/write", "m f=1,s=\"open\nm f=2").await.expect_problem(400, "lines-refused");
    assert_eq!(problem["errors"].as_array().expect("errors").len(), 1, "{problem}");
}

#[tokio::test]
async fn a_time_in_another_unit_than_the_precision_is_refused_by_that_name() {
    let limits = "timeseries.max_ahead = \"1d\"\ntimeseries.allow_before_2000 = false";
    let app = TestApp::builder().config(limits).spawn().await;
    for (precision, time, part) in [
        ("ns", "1767225600000", "the unit of the timestamps is ns"),
        ("s", "1767225600000", "the unit of the timestamps is s"),
        ("ms", "1767225600000000000", "the unit of the timestamps is ms"),
        ("h", "99999999999999999999", "the unit of the timestamps is h"),
    ] {
        let reply = write(&app, &format!("/write?precision={precision}"), format!("m f=1 {time}\nm f=2")).await;
        let problem = reply.expect_problem(400, "lines-refused");
        let detail = problem["errors"][0]["detail"].as_str().expect("a detail");
        assert!(detail.contains(part), "{precision}: {detail}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("1 samples are stored")), "{problem}");
    }
}

#[tokio::test]
async fn a_key_with_its_tags_in_another_order_is_no_second_series_of_these_labels() {
    let app = TestApp::spawn().await;
    let sample = json!({ "samples": [{ "value": 10 }] });
    app.post("/timeseries/influx:m:v,b=1,a=2/samples", sample).await.expect(200);
    write(&app, "/write", "m,b=1,a=2 v=32").await.expect(204);
    let found = app.get("/timeseries?filter=__name__=m_v").await.expect(200).json();
    let keys: Vec<_> = found["items"].as_array().expect("series").iter().map(|item| &item["key"]).collect();
    assert_eq!(keys, ["influx:m:v,a=2,b=1"]);
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
        problem["detail"].as_str().is_some_and(|detail| detail.contains("3 samples are stored; line 2: ")),
        "{problem}"
    );
    assert_eq!(reply.header("x-influxdb-error"), problem["detail"].as_str());
    assert_eq!(read(&app, "/timeseries/influx:m:f", "", 9).await, bits(&[(0, 1.0), (6, 3.0)]));
    // The field with text does not discard the other field of its line.
    assert_eq!(read(&app, "/timeseries/influx:m:g", "", 9).await, bits(&[(0, 1.0)]));
    let none = write(&app, "/write", "nonsense").await.expect_problem(400, "lines-refused");
    assert_eq!(none["outcome"], "not_applied");
}

#[tokio::test]
async fn a_text_field_does_not_discard_the_numbers_of_its_line() {
    let app = TestApp::spawn().await;
    let lines = "plant power=12.5,state=\"on, since 1 o'clock\",note=\"a=\\\"b\\\"\" 5\nplant version=\"7\" 6\n";
    for address in ["/write?precision=ms", "/api/v2/write?precision=ms"] {
        let reply = write(&app, address, lines).await.expect(204);
        assert_eq!(reply.header("samples-refused"), Some("3"));
        let first = "line 1: field `state` has text; only numbers and booleans are stored";
        assert_eq!(reply.header("samples-refused-first"), Some(first));
        assert_eq!(read(&app, "/timeseries/influx:plant:power", "", 9).await, bits(&[(5, 12.5)]));
    }
    let text = [("content-type", "text/plain")];
    let load = async |body: String| app.send(Method::POST, "/timeseries/samples?precision=ms", &text, body).await;
    let reply = load(lines.to_owned()).await.expect(200);
    let answer = reply.json();
    assert_eq!((&answer["accepted"], &answer["refused_total"]), (&json!(1), &json!(3)), "{answer}");
    let refused = &answer["refused"][0];
    assert_eq!((&refused["line"], &refused["code"]), (&json!(1), &json!("text-field")), "{answer}");
    assert_eq!(reply.header("samples-refused"), Some("3"));
    // Nothing hides that nothing was stored.
    let only_text = "plant state=\"on\" 7\n";
    load(only_text.to_owned()).await.expect_violation(422, "samples-refused", "/1");
    write(&app, "/write", only_text).await.expect_violation(400, "lines-refused", "/1");
    // Text is valid in line protocol, so it never ends a load.
    let many: Vec<String> = (0..1_500).map(|n| format!("many f={n},state=\"on\" {n}\n")).collect();
    assert_eq!(
        write(&app, "/write?precision=ms", many.concat()).await.expect(204).header("samples-refused"),
        Some("1500")
    );
    assert_eq!(app.get("/timeseries/influx:many:f").await.expect(200).json()["count"], 1_500);
    // A number that is lost is an error, but the others of its line are stored.
    let lost = write(&app, "/write?precision=ms", "big n=9007199254740993i,f=1 5").await;
    lost.expect_violation(400, "lines-refused", "/1");
    assert_eq!(read(&app, "/timeseries/influx:big:f", "", 9).await, bits(&[(5, 1.0)]));
}

#[tokio::test]
async fn clients_of_version_1_send_their_credential_as_they_know_it() {
    let app = TestApp::builder().admin_key().spawn().await;
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let basic = format!("Basic {}", encoded(&format!("user:{ADMIN_KEY}")));
    let token = format!("Token user:{ADMIN_KEY}");
    let send =
        async |address: &str, headers: &[(&str, &str)]| app.send(Method::POST, address, headers, "m f=1 5").await;
    send(&format!("/write?db=d&u=user&p={ADMIN_KEY}"), &[]).await.expect(204);
    send("/write?db=d", &[("authorization", &basic)]).await.expect(204);
    send("/api/v2/write", &[("authorization", &token)]).await.expect(204);
    let wrong = format!("Basic {}", encoded("user:ak_00000000000000000000000000000000"));
    for (address, headers) in [
        ("/write?u=user&p=ak_00000000000000000000000000000000", &[][..]),
        ("/write?u=user", &[]),
        ("/write?p=", &[]),
        ("/write", &[("authorization", wrong.as_str())]),
        ("/write", &[("authorization", "Basic !")]),
        ("/write", &[("authorization", "Basic")]),
        // The header counts, even if it is wrong.
        (&format!("/write?u=user&p={ADMIN_KEY}"), &[("authorization", &wrong)]),
        // Only this route takes the key from the address.
        (&format!("/api/v2/write?p={ADMIN_KEY}"), &[]),
    ] {
        send(address, headers).await.expect_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn clients_of_influxdb_see_the_health_in_their_own_words() {
    let app = TestApp::spawn().await;
    let agent = [("user-agent", "influxdb-client-python/1.50.0")];
    let health = app.send(Method::GET, "/health", &agent, Body::empty()).await.expect(200).json();
    assert_eq!((&health["status"], &health["message"]), (&json!("pass"), &json!("ready")), "{health}");
    assert!(health["name"].is_string() && health["version"].is_string(), "{health}");
    assert_eq!(app.get("/health").await.expect(200).json()["status"], "ok");
    let ping = app.get("/ping?verbose=true&wait_for_leader=1s").await.expect(200);
    assert_eq!((ping.json(), ping.header("x-influxdb-version")), (json!({ "version": "v2.7.0" }), Some("v2.7.0")));
    app.get("/ping?verbose=false").await.expect(204);
    assert_eq!(app.get("/ready").await.expect(200).json(), json!({ "status": "ready" }));
}

#[tokio::test]
async fn clients_of_influxdb_1_may_create_their_database_first() {
    let app = TestApp::builder().admin_key().spawn().await;
    let address = |statement: &str| {
        let query = [("q", statement), ("db", "d"), ("u", "user"), ("p", ADMIN_KEY)];
        format!("/query?{}", serde_urlencoded::to_string(query).expect("a query"))
    };
    let created = json!({ "results": [{ "statement_id": 0 }] });
    for statement in ["CREATE DATABASE \"telegraf\"", "create database a WITH DURATION 1d;"] {
        for method in [Method::GET, Method::POST] {
            let reply = app.send(method, &address(statement), &[], Body::empty()).await.expect(200);
            assert_eq!((reply.json(), reply.header("x-influxdb-version")), (created.clone(), Some("v2.7.0")));
        }
        let form = serde_urlencoded::to_string([("q", statement)]).expect("a form");
        let headers = [("x-api-key", ADMIN_KEY), ("content-type", "application/x-www-form-urlencoded")];
        assert_eq!(app.send(Method::POST, "/query", &headers, form).await.expect(200).json(), created);
    }
    let shown = app.get(&address("SHOW DATABASES")).await.expect(200).json();
    assert_eq!(shown["results"][0]["series"][0]["values"], json!([["gridtokenx"]]), "{shown}");
    for statement in ["", "SELECT * FROM m", "CREATE DATABASE", "CREATE DATABASE a; DROP DATABASE a", "DROP DATABASE a"]
    {
        let reply = app.get(&address(statement)).await.expect(400);
        assert_eq!(reply.json()["error"].as_str(), reply.header("x-influxdb-error"), "{statement}");
    }
    app.get("/query?q=SHOW+DATABASES").await.expect_problem(401, "unauthenticated");
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
    let expected =
        json!({ "ping": true, "health": "pass", "version": "v2.7.0", "refused": [400, ["/2", "/3"]], "stranger": 401 });
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
