//! Copies of packs in an S3 store, and packs that come back from there.

use std::path::Path;

use axum::http::Method;
use serde_json::json;

use super::packed_day;
use crate::support::{RedisServer, S3Server, ServiceProcess, eventually};

const PACK: &str = "GRID/2025-12-31/trades_20251231.ndjson.gz";

/// The service with the store. The copies are made by its first round of maintenance.
fn start(redis: &RedisServer, dir: &Path, store: &S3Server) -> ServiceProcess {
    let (dir, endpoint) = (dir.display().to_string(), store.endpoint());
    // The replica that packed has ended, its turn has not.
    let _: i64 = redis.command(&["DEL", "trades_window:{GRID}:archiver"]);
    ServiceProcess::start_on(
        redis,
        &[
            ("GTX__ARCHIVE__DIR", &dir),
            ("GTX__ARCHIVE__COPY_TO", "s3://minutes/archive"),
            ("GTX__ARCHIVE__COPY_ENDPOINT", &endpoint),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ],
    )
}

fn manifest(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("GRID/2025-12-31/manifest_20251231.ndjson")).expect("the manifest")
}

async fn object(store: &S3Server, path: &str) -> Option<Vec<u8>> {
    let (status, bytes) = store.request(Method::GET, &format!("minutes/archive/{path}"), "").await;
    (status == 200).then_some(bytes)
}

#[tokio::test]
async fn packs_are_copied_once_and_come_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (app, first) = packed_day(dir.path(), "", 5).await;
    let store = S3Server::start("minutes").await;
    let pack = std::fs::read(dir.path().join(PACK)).expect("the pack");
    // An earlier attempt got this far: the store says 412, which is no failure.
    assert_eq!(store.request(Method::PUT, &format!("minutes/archive/{PACK}.manifest"), "earlier").await.0, 200);
    let service = start(&app.redis(), dir.path(), &store);
    eventually("the pack is copied", async || manifest(dir.path()).contains("copied_at")).await;
    assert_eq!(object(&store, PACK).await.as_ref(), Some(&pack));
    assert_eq!(object(&store, &format!("{PACK}.manifest")).await.as_deref(), Some(b"earlier".as_slice()));
    drop(service);
    // The pack is lost: it comes back.
    std::fs::remove_file(dir.path().join(PACK)).expect("removed");
    let service = start(&app.redis(), dir.path(), &store);
    eventually("the pack is back", async || std::fs::read(dir.path().join(PACK)).is_ok_and(|found| found == pack))
        .await;
    drop(service);
    app.get(&format!("/trades/windows/GRID/{first}")).await.expect(200);
    assert_eq!(manifest(dir.path()).matches("copied_at").count(), 1);
    let verified = app.post("/trades/archive/verify", json!({ "symbol": "GRID" })).await.expect(200).json();
    assert_eq!(verified["findings"], json!([]));
}

#[tokio::test]
async fn a_wrong_copy_is_neither_noted_nor_restored() {
    let dir = tempfile::tempdir().expect("a directory");
    let (app, _) = packed_day(dir.path(), "", 5).await;
    let store = S3Server::start("minutes").await;
    let pack = std::fs::read(dir.path().join(PACK)).expect("the pack");
    let wrong = store.request(Method::PUT, &format!("minutes/archive/{PACK}"), "another file").await;
    assert_eq!(wrong.0, 200);
    let mut service = start(&app.redis(), dir.path(), &store);
    service.line_with("not copied");
    drop(service);
    assert!(!manifest(dir.path()).contains("copied_at"));
    assert_eq!(object(&store, PACK).await.as_deref(), Some(b"another file".as_slice()), "nothing is overwritten");
    // The right copy is noted; later, the store has other bytes.
    assert_eq!(store.request(Method::DELETE, &format!("minutes/archive/{PACK}"), "").await.0, 204);
    let service = start(&app.redis(), dir.path(), &store);
    eventually("the pack is copied", async || manifest(dir.path()).contains("copied_at")).await;
    drop(service);
    assert_eq!(store.request(Method::PUT, &format!("minutes/archive/{PACK}"), "another file").await.0, 200);
    std::fs::rename(dir.path().join(PACK), dir.path().join("kept")).expect("renamed");
    let mut service = start(&app.redis(), dir.path(), &store);
    service.line_with("not restored");
    drop(service);
    assert!(!dir.path().join(PACK).exists(), "wrong bytes get no name");
    std::fs::rename(dir.path().join("kept"), dir.path().join(PACK)).expect("renamed");
    assert_eq!(std::fs::read(dir.path().join(PACK)).expect("the pack"), pack);
    // A store that is away delays nothing else.
    drop(store);
}
