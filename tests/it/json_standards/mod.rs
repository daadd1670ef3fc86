//! Tests of the standards: JSON Patch (RFC 6902), merge patch (RFC 7396), `JSONPath` (RFC 9535).

mod merge;
mod patch;
mod path;

use axum::http::Method;
use serde_json::Value;

use crate::support::{Reply, TestApp};

/// Stores a document in place of any earlier one.
async fn store(app: &TestApp, document: &Value) {
    app.send(Method::PUT, "/json/a", &[("content-type", "application/json")], document.to_string())
        .await
        .expect_success();
}

async fn read(app: &TestApp) -> Value {
    app.get("/json/a").await.expect(200).json()
}

trait Success {
    fn expect_success(self);
}

impl Success for Reply {
    #[track_caller]
    fn expect_success(self) {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
    }
}
