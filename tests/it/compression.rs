//! Compressed responses and compressed request bodies.

use std::io::Write;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use axum::http::Method;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::support::{Reply, TestApp};

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

async fn decoded(reply: &Reply) -> Vec<u8> {
    let body = std::io::Cursor::new(reply.body.to_vec());
    let mut decoder: Box<dyn AsyncRead + Unpin> = match reply.header("content-encoding") {
        Some("gzip") => Box::new(GzipDecoder::new(body)),
        Some("br") => Box::new(BrotliDecoder::new(body)),
        Some("zstd") => Box::new(ZstdDecoder::new(body)),
        None => Box::new(body),
        Some(other) => panic!("{other}"),
    };
    let mut bytes = Vec::new();
    decoder.read_to_end(&mut bytes).await.expect("the coding of the header");
    bytes
}

async fn get(app: &TestApp, path: &str, accept_encoding: &str) -> Reply {
    app.send(Method::GET, path, &[("accept-encoding", accept_encoding)], "").await
}

/// Stores a text of `length` bytes as `/cache/text` and returns it.
async fn store(app: &TestApp, length: usize) -> String {
    let text: String = (0..length).map(|at| char::from(b'a' + u8::try_from(at * at % 26).expect("small"))).collect();
    app.send(Method::PUT, "/cache/text", &[("content-type", "text/plain")], text.clone()).await.expect(201);
    text
}

#[tokio::test]
async fn responses_are_compressed_with_a_coding_that_the_client_accepts() {
    let app = TestApp::spawn().await;
    let text = store(&app, 10_000).await;
    for (accepted, coding) in [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("zstd", Some("zstd")),
        ("gzip;q=0.5, zstd;q=0.9", Some("zstd")),
        ("gzip;q=0, br", Some("br")),
        ("identity", None),
        ("snappy", None),
        ("", None),
    ] {
        let reply = get(&app, "/cache/text", accepted).await.expect(200);
        assert_eq!(reply.header("content-encoding"), coding, "{accepted}");
        assert_eq!(reply.header("content-type"), Some("text/plain"), "{accepted}");
        assert_eq!(decoded(&reply).await, text.as_bytes(), "{accepted}");
        if coding.is_some() {
            assert_eq!(reply.header("vary"), Some("accept-encoding"), "{accepted}");
            assert_eq!(reply.header("content-length"), None, "{accepted}");
            assert!(reply.body.len() < text.len(), "{accepted}: {} bytes", reply.body.len());
        }
    }
    let plain = app.get("/cache/text").await.expect(200);
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, None));
}

#[tokio::test]
async fn head_has_the_headers_of_get() {
    let app = TestApp::spawn().await;
    store(&app, 5_000).await;
    for path in ["/cache/text", "/openapi.json"] {
        for accepted in ["gzip", "identity", ""] {
            let headers = [("accept-encoding", accepted)];
            let head = app.send(Method::HEAD, path, &headers, "").await.expect(200);
            let read = get(&app, path, accepted).await.expect(200);
            for name in ["content-encoding", "vary", "content-type", "etag"] {
                assert_eq!(head.header(name), read.header(name), "{path} {accepted} {name}");
            }
            let is_compressed = read.header("content-encoding").is_some();
            // The length of the page is known, since it is compressed once.
            let has_length = !is_compressed || path == "/openapi.json";
            assert_eq!(head.header("content-length").is_some(), has_length, "{path} {accepted}");
            assert!(head.body.is_empty(), "{path}");
        }
    }
}

#[tokio::test]
async fn responses_below_one_kibibyte_are_not_compressed() {
    let app = TestApp::spawn().await;
    for (length, coding) in [(1_023, None), (1_024, Some("gzip"))] {
        app.delete("/cache/text").await;
        store(&app, length).await;
        let reply = get(&app, "/cache/text", "gzip").await.expect(200);
        assert_eq!(reply.header("content-encoding"), coding, "{length}");
    }
    app.delete("/cache/text").await;
    let problem = get(&app, "/cache/text", "gzip").await;
    problem.expect_problem(404, "cache-miss");
    assert_eq!(problem.header("content-encoding"), None);
}

#[tokio::test]
async fn images_and_exports_are_not_compressed() {
    let app = TestApp::spawn().await;
    app.send(Method::PUT, "/cache/image", &[("content-type", "image/png")], vec![0; 4_096]).await.expect(201);
    assert_eq!(get(&app, "/cache/image", "gzip").await.expect(200).header("content-encoding"), None);
    let lines: Vec<String> =
        (1..=1_000).map(|at| format!("{{\"series\":\"a\",\"timestamp\":{at},\"value\":{at}}}\n")).collect();
    let lines = lines.concat();
    let ndjson = [("content-type", "application/x-ndjson")];
    app.put("/timeseries/a", serde_json::json!({})).await;
    app.send(Method::POST, "/timeseries/samples", &ndjson, lines).await.expect(200);
    let export = get(&app, "/timeseries/a/export?from=0", "gzip").await.expect(200);
    assert_eq!(export.header("content-encoding"), None);
    assert!(export.body.len() > 1_024, "{}", export.text());
}

#[tokio::test]
async fn a_client_that_accepts_no_coding_gets_an_uncompressed_response() {
    let app = TestApp::spawn().await;
    let headers = [("accept-encoding", "identity;q=0, *;q=0"), ("content-type", "text/plain")];
    app.send(Method::PUT, "/cache/a", &headers, "x").await.expect(201);
    assert_eq!(app.send(Method::GET, "/cache/a", &headers[..1], "").await.expect(200).text(), "x");
}

#[tokio::test]
async fn the_etag_of_a_compressed_response_is_valid_in_conditional_requests() {
    let app = TestApp::spawn().await;
    store(&app, 10_000).await;
    let compressed = get(&app, "/cache/text", "gzip").await.expect(200);
    let etag = compressed.header("etag").expect("an ETag").to_owned();
    assert_eq!(app.get("/cache/text").await.expect(200).header("etag"), Some(etag.as_str()));
    for coding in ["gzip", "br", "identity"] {
        let headers = [("if-none-match", etag.as_str()), ("accept-encoding", coding)];
        let unchanged = app.send(Method::GET, "/cache/text", &headers, "").await.expect(304);
        assert_eq!(unchanged.header("vary"), Some("accept-encoding"));
        assert_eq!(unchanged.header("content-encoding"), None);
        assert!(unchanged.body.is_empty());
    }
    let headers = [("if-match", etag.as_str()), ("accept-encoding", "gzip"), ("content-type", "text/plain")];
    let written = app.send(Method::PUT, "/cache/text", &headers, "new").await;
    assert!(written.status.is_success(), "{}", written.text());
    app.send(Method::PUT, "/cache/text", &headers, "newer").await.expect_problem(412, "precondition-failed");
}

#[tokio::test]
async fn a_request_body_may_be_compressed_with_gzip() {
    let app = TestApp::spawn().await;
    let text = "a value ".repeat(1_000);
    for coding in ["gzip", "GZIP"] {
        let headers = [("content-encoding", coding), ("content-type", "text/plain")];
        let written = app.send(Method::PUT, "/cache/text", &headers, gzip(text.as_bytes())).await;
        assert!(written.status.is_success(), "{}", written.text());
        assert_eq!(app.get("/cache/text").await.expect(200).text(), text);
        app.delete("/cache/text").await.expect(204);
    }
    // Consecutive gzip members form one body.
    let members = [gzip(b"one "), gzip(b"two")].concat();
    app.send(Method::PUT, "/cache/text", &[("content-encoding", "gzip")], members).await.expect(201);
    assert_eq!(app.get("/cache/text").await.expect(200).text(), "one two");
    let identity = [("content-encoding", "identity"), ("content-type", "application/json")];
    app.send(Method::PUT, "/json/a", &identity, "{}").await.expect(201);
}

#[tokio::test]
async fn a_body_with_several_codings_is_rejected_and_not_stored() {
    let app = TestApp::spawn().await;
    let json = ("content-type", "application/json");
    for codings in [&["identity", "gzip"][..], &["gzip", "gzip"], &["gzip, gzip"], &["gzip, identity"], &["br"], &[""]]
    {
        let mut headers = vec![json];
        headers.extend(codings.iter().map(|coding| ("content-encoding", *coding)));
        for (method, path) in [
            (Method::PUT, "/cache/a"),
            (Method::PUT, "/json/a"),
            (Method::POST, "/cache/batch"),
            (Method::POST, "/json/batch"),
            (Method::POST, "/timeseries/a/samples"),
        ] {
            let reply = app.send(method, path, &headers, gzip(gzip(b"{}").as_slice())).await;
            reply.expect_problem(415, "unsupported-media-type");
            assert_eq!(reply.header("accept-encoding"), Some("gzip"), "{path}");
        }
    }
    app.get("/cache/a").await.expect_problem(404, "cache-miss");
    app.send(Method::PUT, "/cache/a", &[json, ("content-encoding", "x-gzip")], gzip(b"{\"n\":1.10}")).await.expect(201);
    let stored = app.get("/cache/a").await.expect(200);
    assert_eq!((stored.text().as_str(), stored.header("content-encoding")), ("{\"n\":1.10}", None));
}

#[tokio::test]
async fn limits_apply_to_the_decompressed_body() {
    let app = TestApp::spawn().await;
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let headers = [("content-encoding", "gzip"), ("content-type", "application/json")];
    for path in ["/json/a", "/cache/a"] {
        app.send(Method::PUT, path, &headers, bomb.clone()).await.expect_problem(413, "body-too-large");
    }
    app.send(Method::POST, "/timeseries/samples", &headers, bomb).await.expect_problem(413, "body-too-large");
}

#[tokio::test]
async fn a_body_that_does_not_decompress_is_rejected() {
    let app = TestApp::spawn().await;
    let complete = gzip(br#"{"a":"some text that is long enough"}"#);
    let headers = [("content-encoding", "gzip"), ("content-type", "application/json")];
    for bad in [b"{}".to_vec(), complete[..complete.len() - 3].to_vec(), complete[..5].to_vec()] {
        app.send(Method::PUT, "/json/a", &headers, bad).await.expect_problem(400, "body-incomplete");
    }
    for coding in ["br", "zstd", "deflate", "gzip, gzip", "nonsense"] {
        let headers = [("content-encoding", coding), ("content-type", "application/json")];
        let rejected = app.send(Method::PUT, "/json/a", &headers, "{}").await;
        let problem = rejected.expect_problem(415, "unsupported-media-type");
        assert!(problem["detail"].as_str().expect("a detail").contains(coding), "{problem}");
        assert_eq!(rejected.header("accept-encoding"), Some("gzip"));
    }
    app.get("/json/a").await.expect(404);
}

#[tokio::test]
async fn a_repeated_request_may_be_compressed() {
    let app = TestApp::builder().admin_key().spawn().await;
    let key =
        [("idempotency-key", "k-1"), ("x-api-key", crate::support::ADMIN_KEY), ("content-type", "application/json")];
    let body = r#"{"by":1}"#;
    let first = app.send(Method::POST, "/cache/n/increment", &key, body).await.expect(200);
    let compressed = [key.as_slice(), &[("content-encoding", "gzip")]].concat();
    let repeat = app.send(Method::POST, "/cache/n/increment", &compressed, gzip(body.as_bytes())).await.expect(200);
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeat.json()["value"], first.json()["value"]);
}

#[tokio::test]
async fn swagger_ui_is_compressed_if_the_client_accepts_it() {
    let app = TestApp::spawn().await;
    let path = "/swagger-ui/swagger-ui-bundle.js";
    let plain = app.get(path).await.expect(200);
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    // It is stored in this coding. Another one would occupy a worker for longer than sending it as it is.
    for coding in ["gzip", "br, gzip;q=0.5"] {
        let reply = get(&app, path, coding).await.expect(200);
        assert!(
            reply.header("content-encoding") == Some("gzip") && reply.body.len() < plain.body.len() / 2,
            "{coding}"
        );
        assert_eq!(reply.header("vary"), Some("accept-encoding"), "{coding}");
        assert!(decoded(&reply).await == plain.body, "{coding}");
    }
    for path in [path, "/openapi.json", "/asyncapi.json"] {
        let plain = app.get(path).await.expect(200);
        for coding in ["br", "zstd", "gzip;q=0, br"] {
            let reply = get(&app, path, coding).await.expect(200);
            assert_eq!(
                (reply.header("content-encoding"), reply.header("vary")),
                (None, Some("accept-encoding")),
                "{coding}"
            );
            assert!(reply.body == plain.body, "{path} {coding}");
        }
    }
    app.get("/swagger-ui/none.js").await.expect_problem(404, "not-found");
}
