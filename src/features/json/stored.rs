//! A document as Redis holds it.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::document::Node;
use super::error::JsonError;
use super::path::Path;
use super::scripts::Version;
use crate::http::conditional::ETag;

/// A document's text with what is known about it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub text: Bytes,
    /// 0 when somebody else wrote it.
    pub version: Version,
    /// Milliseconds left; `None`: no expiry.
    pub ttl: Option<u64>,
}

impl Stored {
    pub(super) fn etag(&self) -> ETag {
        etag(&self.text, self.version)
    }

    /// # Errors
    /// [`JsonError::NotJson`]: others may have stored anything under the platform's names.
    pub(super) fn parse(&self) -> Result<Node, JsonError> {
        self.parse_for(None)
    }

    /// What a path looks at of the document; all of it without a path.
    ///
    /// # Errors
    /// As [`Stored::parse`].
    pub(super) fn parse_for(&self, path: Option<&Path>) -> Result<Node, JsonError> {
        let names = path.map_or_else(Vec::new, Path::leading_names);
        Node::parse_along(&self.text, &names).map_err(|_| JsonError::NotJson)
    }
}

/// Follows from version and text (XXH3, 128 bits): the version makes it one that never comes again, the text notices
/// what others wrote under a version of ours.
pub(super) fn etag(text: &[u8], version: Version) -> ETag {
    ETag(xxh3_128_with_seed(text, version))
}
