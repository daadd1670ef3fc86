//! Wire types of keys.

use serde::Serialize;
use utoipa::ToSchema;

/// The configured keys, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConfiguredKeys)]
pub(super) struct KeysView {
    /// The keys of encrypted values in documents.
    pub json: Vec<NamedKey>,
    /// The fingerprints of the keys of the audit log.
    pub audit: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConfiguredKey)]
pub(super) struct NamedKey {
    #[schema(example = "2026-11")]
    pub id: String,
    /// The start of a hash of the key.
    #[schema(example = "3f1d0c9a5b7e2846")]
    pub fingerprint: String,
}
