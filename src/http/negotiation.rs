//! The media type of a response, which its client chooses with `Accept` (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// JSON, one value per line.
pub const NDJSON: &str = "application/x-ndjson";

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
        Form::Ndjson => NDJSON,
        Form::Csv => "text/csv; charset=utf-8",
    })
}

/// The offered form that the header prefers; see [`preferred`].
pub fn accepted(headers: &HeaderMap, offers: &[Form]) -> Form {
    let name = |form: &Form| match form {
        Form::Json => "application/json",
        Form::Ndjson => NDJSON,
        Form::Csv => "text/csv",
    };
    let names: Vec<&'static str> = offers.iter().map(name).collect();
    let preferred = preferred(headers, &names);
    offers.iter().copied().find(|form| name(form) == preferred).unwrap_or(Form::Json)
}

/// The offered media type that the header prefers: by weight, then by how specific the matching media range is. The first
/// offer wins a tie, and is the default if none is acceptable.
pub fn preferred(headers: &HeaderMap, offers: &[&'static str]) -> &'static str {
    let mut best = (offers.first().copied().unwrap_or_default(), (0.0, 0));
    for &offer in offers {
        let preference = preference(headers, offer);
        if preference.0 > 0.0 && preference > best.1 {
            best = (offer, preference);
        }
    }
    best.0
}

/// The weight of the most specific media range that matches a media type, and how specific it is.
fn preference(headers: &HeaderMap, offer: &str) -> (f32, u8) {
    let family = offer.split('/').next().unwrap_or_default();
    let mut found = (0.0, 0);
    let ranges = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let exactness = match media.as_str() {
            media if media == offer => 3,
            media if media.strip_suffix("/*") == Some(family) => 2,
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
