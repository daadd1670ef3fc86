//! The HTTP operations of order books: `books.rs` for books as a whole and their views, `orders.rs` for orders, `changes.rs`
//! for amendments and batches, `matching.rs` for the matching engine and those that follow a book.

mod books;
mod changes;
mod matching;
mod orders;

pub(super) use books::*;
pub(super) use changes::*;
pub(super) use matching::*;
pub(super) use orders::*;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::http::conditional::{ETag, Preconditions};
use crate::http::extract::Json;

/// A body with its entity tag, or 304 if the client has it.
fn conditional<T: Serialize>(conditions: &Preconditions, version: u128, body: T) -> Response {
    let tag = ETag(version).header();
    let mut response = if conditions.already_has(Some(ETag(version))) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(body).into_response()
    };
    response.headers_mut().insert(header::ETAG, tag);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
