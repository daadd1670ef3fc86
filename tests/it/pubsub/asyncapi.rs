//! npm's parser of `AsyncAPI` documents.

use serde_json::{Value, json};

use crate::support::{TestApp, in_repository, node};

#[tokio::test]
async fn the_document_of_the_channels_is_valid() {
    let app = TestApp::spawn().await;
    let document = app.get("/asyncapi.json").await.expect(200);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &document.body).expect("written");
    let mut command = node(&in_repository("tests/interoperability/asyncapi.js"));
    let output = command.arg(file.path()).output().await.expect("node runs");
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(found["complaints"], json!([]));
    let channels = app.get("/pubsub/namespaces").await.json()["items"].as_array().map(Vec::len);
    let count = |name: &str| found[name].as_u64().map(|count| usize::try_from(count).expect("few"));
    assert_eq!((count("channels"), &found["version"]), (channels, &json!("3.0.0")), "{found}");
    assert_eq!(count("operations"), channels.map(|count| 2 * count), "{found}");
}
