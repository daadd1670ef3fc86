//! Content that is stored compressed, and served as it is to clients that accept its coding.

use std::io::Read;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Buf;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use futures_util::stream;

use super::compression::Uncompressed;

/// How much of the content is decompressed at a time, bytes: a fraction of a millisecond, then other requests have a turn.
const PIECE: usize = 64 << 10;

/// Content that the service stores compressed with gzip.
#[derive(Clone, Debug)]
pub struct Gzipped(Bytes);

/// Compresses `text`.
pub fn compressed(text: &str) -> Gzipped {
    let mut bytes = Vec::new();
    // Reading from memory cannot fail.
    let _ = GzEncoder::new(text.as_bytes(), Compression::default()).read_to_end(&mut bytes);
    Gzipped(Bytes::from(bytes))
}

impl Gzipped {
    /// Content that was compressed when the service was built.
    pub fn embedded(bytes: &'static [u8]) -> Self {
        Self(Bytes::from_static(bytes))
    }

    /// The content as it is for clients that accept gzip, which are most; decompressed for the others. It is not compressed
    /// again in another coding, which would take longer than sending it.
    pub fn response(&self, content_type: &str, request: &HeaderMap) -> Response {
        let described = [(header::CONTENT_TYPE, content_type), (header::VARY, "accept-encoding")];
        if accepts(request, "gzip") {
            return (described, [(header::CONTENT_ENCODING, "gzip")], self.0.clone()).into_response();
        }
        let mut response = (described, self.decompressed()).into_response();
        response.extensions_mut().insert(Uncompressed);
        response
    }

    fn decompressed(&self) -> Body {
        let decoder = GzDecoder::new(self.0.clone().reader());
        Body::from_stream(stream::unfold(decoder, async |mut decoder| {
            let mut piece = Vec::with_capacity(PIECE);
            match decoder.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
                Ok(0) => None,
                Ok(_) => Some((Ok(Bytes::from(piece)), decoder)),
                Err(error) => Some((Err(error), decoder)),
            }
        }))
    }

    /// The compressed content.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether `Accept-Encoding` names this coding, and not with a weight of zero.
pub fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().trim_start_matches(['q', 'Q', '=']).parse().unwrap_or(0.0_f32);
        name.trim().eq_ignore_ascii_case(wanted) && weight > 0.0
    })
}
