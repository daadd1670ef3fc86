//! The form of a response that is a list: negotiated by the header `Accept`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The cursor of the next page, for forms that cannot contain it.
pub const NEXT_CURSOR: HeaderName = HeaderName::from_static("next-cursor");

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One object with all items, and the cursor of the next page.
    Json,
    /// One line of JSON for each item.
    Ndjson,
    /// One line for each item below a header line. A number is empty where JSON has null.
    Csv,
}

/// The media type of a form.
pub fn media_type(form: Form) -> HeaderValue {
    HeaderValue::from_static(match form {
        Form::Json => "application/json",
        Form::Ndjson => "application/x-ndjson",
        Form::Csv => "text/csv; charset=utf-8",
    })
}

/// Chooses the offered form that the Accept header prefers: by weight, then by how specific the matching media range
/// is. The first offer wins a tie, and is the default if none is acceptable.
pub fn accepted(headers: &HeaderMap, offers: &[Form]) -> Form {
    let mut best = (Form::Json, (0.0, 0));
    for &offer in offers {
        let liking = liking(headers, offer);
        if liking > best.1 {
            best = (offer, liking);
        }
    }
    best.0
}

/// The weight of the most specific media range that matches a form, and how specific it is.
fn liking(headers: &HeaderMap, form: Form) -> (f32, u8) {
    let (own, family) = match form {
        Form::Json => ("application/json", "application/*"),
        Form::Ndjson => ("application/x-ndjson", "application/*"),
        Form::Csv => ("text/csv", "text/*"),
    };
    let mut found = (0.0, 0);
    let ranges = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let exactness = match media.as_str() {
            media if media == own => 3,
            media if media == family => 2,
            "*/*" => 1,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        if exactness >= found.1 {
            found = (weight, exactness);
        }
    }
    found
}
