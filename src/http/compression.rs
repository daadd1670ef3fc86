//! Content codings (RFC 9110, section 8.4): compressed responses and compressed request bodies.
//!
//! Only responses that are worth compressing, for clients that accept a coding, enter tower-http's layer, so that all
//! others cost neither an allocation nor a boxed body.
//!
//! Responses keep their `ETag` when they are compressed. It identifies the content before compression, and no response
//! is served in ranges, so a client may send it back in `If-Match` and `If-None-Match` whatever coding it received.

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tower::{Service, service_fn};
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use super::gzip_body;
use super::problem::{self, Problem};

/// Smaller responses are sent as they are, bytes: they fit into one packet, so compressing them saves nothing.
const MIN_SIZE: u64 = 1_024;

/// A response extension: the response is sent as it is, even if the client accepts a coding. For streams whose parts must
/// arrive as they are written, and for content that takes longer to compress than to send.
#[derive(Clone, Copy, Debug)]
pub struct Uncompressed;

/// The value of `Accept-Encoding`; a list in several headers is one list (RFC 9110, section 5.3).
pub fn accepted_codings(headers: &HeaderMap) -> Option<HeaderValue> {
    let first = headers.get(header::ACCEPT_ENCODING)?;
    let mut others = headers.get_all(header::ACCEPT_ENCODING).iter().skip(1).peekable();
    if others.peek().is_none() {
        return Some(first.clone());
    }
    let list = others.fold(first.as_bytes().to_vec(), |list, other| [list.as_slice(), other.as_bytes()].join(&b','));
    HeaderValue::from_bytes(&list).ok()
}

/// Compresses a response for a client that accepts gzip, Brotli or Zstandard.
pub fn compress(mut response: Response, accepted: HeaderValue) -> Response {
    let is_worthwhile =
        SizeAbove::new(MIN_SIZE).and(NotForContentType::IMAGES).and(NotForContentType::SSE).and(is_compressible);
    if !is_worthwhile.should_compress(&response) {
        // A 304 has the `Vary` of the 200 that it replaces (RFC 9110, section 15.4.5).
        if response.status() == StatusCode::NOT_MODIFIED {
            response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        return response;
    }
    let status = response.status();
    let mut request = axum::http::Request::new(());
    request.headers_mut().insert(header::ACCEPT_ENCODING, accepted);
    let mut response = Some(response);
    let mut layer = Compression::new(service_fn(|_| ready(Ok::<_, Infallible>(response.take().unwrap_or_default()))))
        // Workers have one thread each, and every millisecond of compression delays their other requests.
        .quality(CompressionLevel::Fastest)
        .compress_when(is_worthwhile);
    // The inner service is ready, so the layer is.
    let Some(Ok(response)) = layer.call(request).now_or_never() else {
        return Problem::new(&problem::INTERNAL).into_response();
    };
    let mut response = response.map(Body::new);
    // tower-http answers 406 if the client accepts none of the codings, not even `identity`. The handler has done its
    // work by then, so the client receives its answer (RFC 9110, section 12.5.3, permits both).
    *response.status_mut() = status;
    response
}

fn is_compressible(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<Uncompressed>().is_none()
}

/// Decompresses the body of a request, except that of GET, which no handler reads. Extractors read the decompressed bytes,
/// so the limits of body sizes apply to those.
///
/// Only gzip is read. It needs 32 KiB of memory, while Brotli and Zstandard let the client choose up to many megabytes.
///
/// # Errors
/// `unsupported-media-type` (415), with the codings that the service reads (RFC 9110, section 12.5.3).
pub fn decompress(request: &mut Request) -> Result<(), Problem> {
    if *request.method() == Method::GET {
        return Ok(());
    }
    // A list in several headers is one list (RFC 9110, section 5.3), and a body with several codings is not read.
    let codings: Vec<&[u8]> =
        request.headers().get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    match codings.as_slice() {
        [] => Ok(()),
        // The names of codings are case-insensitive (RFC 9110, section 8.4.1).
        [coding] if coding.eq_ignore_ascii_case(b"identity") => Ok(()),
        [coding] if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") => {
            request.headers_mut().remove(header::CONTENT_ENCODING);
            request.headers_mut().remove(header::CONTENT_LENGTH);
            let body = std::mem::take(request.body_mut());
            *request.body_mut() = gzip_body::decompress(body);
            Ok(())
        }
        others => {
            let given = others.join(&b", "[..]);
            let given = String::from_utf8_lossy(&given);
            Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE)
                .detail(format!("Content-Encoding must be gzip or identity, got `{given}`"))
                .header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip")))
        }
    }
}
