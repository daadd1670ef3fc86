//! Content that is stored compressed, and served as it is to clients that accept its coding.

use std::io::Read;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};

use super::problem::{INTERNAL, Problem};

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

    /// The content as it is for clients that accept gzip, which are most; decompressed for the others.
    ///
    /// # Errors
    /// `internal` if the content is not valid gzip.
    pub fn response(&self, content_type: &str, request: &HeaderMap) -> Result<Response, Problem> {
        let described = [(header::CONTENT_TYPE, content_type), (header::VARY, "accept-encoding")];
        if accepts(request, "gzip") {
            return Ok((described, [(header::CONTENT_ENCODING, "gzip")], self.0.clone()).into_response());
        }
        let mut plain = Vec::new();
        GzDecoder::new(&*self.0).read_to_end(&mut plain).map_err(|error| Problem::new(&INTERNAL).caused_by(error))?;
        Ok((described, plain).into_response())
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
