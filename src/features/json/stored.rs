//! A document as Redis holds it: its text, version and TTL, and the entity tag that follows from them.

use bytes::Bytes;
use serde::de::IgnoredAny;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::document::Node;
use super::error::JsonError;
use super::path::Path;
use crate::http::conditional::ETag;
use crate::http::portable_json::is_portable;

/// The text of a stored document and its metadata.
#[derive(Clone, Debug)]
pub(super) struct StoredDocument {
    pub text: Bytes,
    /// The version grows with every write and is never used twice. 0 if another program wrote the document.
    pub version: u64,
    /// Milliseconds until the document expires; `None` if it does not expire.
    pub ttl: Option<u64>,
}

/// The reply to one read.
#[derive(Debug)]
pub(super) struct ReadReply {
    pub document: Option<StoredDocument>,
    /// The answer that an earlier attempt of the same operation stored.
    pub answer: Option<Vec<u8>>,
}

/// A parsed document as this process last read or wrote it.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// `None` if no document exists.
    pub document: Option<Node>,
    pub etag: Option<ETag>,
    pub version: u64,
    pub ttl: Option<u64>,
    /// The length of the stored text, bytes; 0 without a document.
    pub length: usize,
}

impl StoredDocument {
    pub(super) fn etag(&self) -> ETag {
        etag(&self.text, self.version)
    }

    /// Checks that the text is JSON, without building the document.
    ///
    /// # Errors
    /// [`JsonError::NotJson`]: other programs can store any text under the platform's keys.
    pub(super) fn check(&self) -> Result<(), JsonError> {
        // What the service wrote was checked before.
        let is_json = match self.version {
            0 => is_portable(&self.text),
            _ => serde_json::from_slice::<IgnoredAny>(&self.text).is_ok(),
        };
        if is_json { Ok(()) } else { Err(JsonError::NotJson) }
    }

    /// Parses the part of the document that `path` needs, or the whole document without a path.
    ///
    /// # Errors
    /// Those of [`StoredDocument::check`].
    pub(super) fn parse(&self, path: Option<&Path>) -> Result<Node, JsonError> {
        if self.version == 0 {
            self.check()?;
        }
        let names = path.map_or_else(Vec::new, Path::leading_names);
        Node::parse_along(&self.text, &names).map_err(|_| JsonError::NotJson)
    }
}

impl Snapshot {
    pub(super) const ABSENT: Self = Self { document: None, etag: None, version: 0, ttl: None, length: 0 };

    pub(super) fn of(stored: Option<&StoredDocument>) -> Result<Self, JsonError> {
        let Some(stored) = stored else { return Ok(Self::ABSENT) };
        let (document, etag) = (Some(stored.parse(None)?), Some(stored.etag()));
        Ok(Self { document, etag, version: stored.version, ttl: stored.ttl, length: stored.text.len() })
    }
}

/// The entity tag of a text under a version (XXH3, 128 bits).
///
/// The version makes the tag unique; the text makes it change if another program writes under the service's version.
pub(super) fn etag(text: &[u8], version: u64) -> ETag {
    ETag(xxh3_128_with_seed(text, version))
}
