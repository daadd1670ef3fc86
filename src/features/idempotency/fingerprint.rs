//! Which requests with one key count as the same request.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Uri, header};
use http_body::{Frame, SizeHint};
use sha2::{Digest, Sha256};

pub(super) type Hash = [u8; 32];

/// Adds one part after its length, so that neighbouring parts cannot be confused.
pub(super) fn framed(hash: Sha256, part: &[u8]) -> Sha256 {
    hash.chain_update(part.len().to_be_bytes()).chain_update(part)
}

/// Headers that say what a request does or on which condition, besides its content type. A `Fencing-Token` is not one of
/// them: the next holder of a lock may ask for the result of the former one.
const MEANINGFUL: [&str; 7] = [
    "x-ratelimit-limiter",
    "x-ratelimit-key",
    "x-ratelimit-cost",
    "x-organization-id",
    "if-match",
    "if-none-match",
    "durability",
];

/// Hashes the query, the content type, the [`MEANINGFUL`] headers and the [limits](crate::http::auth::Principal::limits) of the
/// caller, whose keys no handler checks when a response is repeated; method, path and caller are part of the record's name. What is absent adds
/// nothing, as in the records of earlier versions.
pub(super) fn request_hash(uri: &Uri, headers: &HeaderMap, limits: impl Iterator<Item = String>) -> Hash {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let query = uri.query().unwrap_or_default().as_bytes();
    let hash = framed(framed(Sha256::new(), query), content_type);
    let meaningful = MEANINGFUL.iter().flat_map(|name| headers.get_all(*name).iter().map(move |value| (name, value)));
    let hash = meaningful.fold(hash, |hash, (name, value)| framed(framed(hash, name.as_bytes()), value.as_bytes()));
    limits.fold(hash, |hash, scope| framed(hash, scope.as_bytes())).finalize().into()
}

/// A body that is hashed while it is read.
#[derive(Debug)]
pub(super) struct HashedBody {
    inner: Body,
    hash: Sha256,
    /// Set once the body was read to its end.
    result: Arc<OnceLock<Hash>>,
}

impl HashedBody {
    /// Returns the body, and its hash once it was read to its end.
    pub(super) fn new(inner: Body) -> (Self, Arc<OnceLock<Hash>>) {
        let result = Arc::default();
        let body = Self { inner, hash: Sha256::new(), result: Arc::clone(&result) };
        // A route without a body does not read this one either.
        if http_body::Body::is_end_stream(&body) {
            body.finish();
        }
        (body, result)
    }

    fn finish(&self) {
        // A second end changes nothing.
        let _ = self.result.set(self.hash.clone().finalize().into());
    }
}

impl http_body::Body for HashedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.hash.update(data);
                }
                // Readers that know the length do not poll for the end.
                if self.inner.is_end_stream() {
                    self.finish();
                }
            }
            Some(Err(_)) => {}
            None => self.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_has_a_hash_once_it_was_read() {
        let (body, hash) = HashedBody::new(Body::from("meter"));
        assert_eq!(hash.get(), None);
        assert_eq!(body.collect().await.expect("a body").to_bytes(), "meter");
        assert_eq!(hash.get(), Some(&Sha256::digest("meter").into()));
        assert!(HashedBody::new(Body::empty()).1.get().is_some());
    }

    #[test]
    fn a_header_that_is_absent_does_not_change_the_hash() {
        let uri = Uri::from_static("/a?b=1");
        let mut headers = HeaderMap::new();
        headers.insert("fencing-token", "1".parse().expect("a header"));
        let plain: Hash = framed(framed(Sha256::new(), b"b=1"), b"").finalize().into();
        assert_eq!(request_hash(&uri, &headers, std::iter::empty()), plain);
        headers.insert("x-ratelimit-key", "a".parse().expect("a header"));
        let of_key = request_hash(&uri, &headers, std::iter::empty());
        headers.append("x-ratelimit-key", "b".parse().expect("a header"));
        let of_keys = request_hash(&uri, &headers, std::iter::empty());
        assert!(of_key != plain && of_keys != plain && of_key != of_keys);
    }

    #[test]
    fn parts_with_the_same_concatenation_have_different_hashes() {
        let hash = |parts: [&str; 2]| -> Hash {
            parts.iter().fold(Sha256::new(), |hash, part| framed(hash, part.as_bytes())).finalize().into()
        };
        assert_ne!(hash(["ab", "c"]), hash(["a", "bc"]));
    }
}
