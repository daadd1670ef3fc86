//! Percent-encoding in request targets (RFC 3986, section 2).

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// Whether every `%` is followed by two hexadecimal digits.
pub fn is_well_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| octet(rest).is_some())
}

/// The octet that two hexadecimal digits at the start of `text` encode.
fn octet(text: &str) -> Option<u8> {
    let digits = text.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

/// Decodes the characters of the path that need no encoding, so that equivalent paths (RFC 3986, section 6.2.2) are one path
/// to routes, limits and idempotency keys.
pub fn normalize(uri: &mut Uri) {
    let Some(path) = normalized(uri.path()) else { return };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(path) = PathAndQuery::try_from(format!("{path}{query}")) else { return };
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(path);
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// The path in its normal form; `None` if it has that form already.
fn normalized(path: &str) -> Option<String> {
    let mut pieces = path.split('%');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        match (octet(piece), piece.get(2..)) {
            (Some(octet), Some(rest)) if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) => {
                text.push(octet.into());
                text.push_str(rest);
            }
            (Some(octet), Some(rest)) => text.extend([&format!("%{octet:02X}"), rest]),
            _ => text.extend(["%", piece]),
        }
    }
    (text != path).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_paths_have_one_form() {
        for (path, form) in [
            ("/cache/a", "/cache/a"),
            ("/%63ache/%61%2d%7E", "/cache/a-~"),
            ("/cache/a%2fb%C3%a9", "/cache/a%2Fb%C3%A9"),
            ("/cache/%2541", "/cache/%2541"),
            ("/cache/a?k=%61", "/cache/a?k=%61"),
            ("/cache/%61?k=%61&k", "/cache/a?k=%61&k"),
            ("/cache/%zz%4", "/cache/%zz%4"),
        ] {
            let mut uri: Uri = path.parse().expect("a URI");
            normalize(&mut uri);
            assert_eq!(uri, form, "{path}");
        }
    }

    #[test]
    fn every_percent_sign_begins_an_octet() {
        assert!(["", "a", "%41", "%e9%2F"].into_iter().all(is_well_encoded));
        assert!(!["%", "a%4", "%zz", "%+1", "%%41", "%é1"].into_iter().any(is_well_encoded));
    }
}
