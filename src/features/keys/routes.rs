//! The HTTP operation of keys.

use std::sync::Arc;

use axum::extract::State;

use super::model::KeysView;
use crate::http::extract::{Json, NoQuery};

/// List the keys that the service encrypts and signs with, by fingerprint.
///
/// All replicas must show the same keys. Those of documents and of the audit log are read at the start.
#[utoipa::path(get, path = "/admin/keys", tag = "keys", operation_id = "list_keys",
    responses((status = 200, description = "The keys", body = KeysView)))]
pub(super) async fn list_keys(State(view): State<Arc<KeysView>>, NoQuery: NoQuery) -> Json<Arc<KeysView>> {
    Json(view)
}
