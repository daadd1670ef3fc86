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

/// Gives the path its one form: octets that a segment may contain as they are (RFC 3986, section 3.3) are decoded, all others
/// encoded. Paths with the same segments are therefore one path to routes, limits and idempotency keys.
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
    if path.bytes().all(|byte| byte == b'/' || is_plain(byte)) {
        return None;
    }
    let mut text = String::with_capacity(path.len());
    for (at, piece) in path.split('%').enumerate() {
        let encoded = octet(piece).filter(|_| at > 0);
        match encoded {
            Some(octet) => push(&mut text, octet),
            None if at > 0 => text.push('%'),
            None => {}
        }
        for byte in piece.bytes().skip(if encoded.is_some() { 2 } else { 0 }) {
            if byte == b'/' { text.push('/') } else { push(&mut text, byte) }
        }
    }
    (text != path).then_some(text)
}

/// Whether a segment may contain the octet as it is: `pchar` without its encoded form.
const fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
        || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'@')
}

fn push(text: &mut String, octet: u8) {
    if is_plain(octet) {
        text.push(octet.into());
    } else {
        text.extend([format!("%{octet:02X}")]);
    }
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
            ("/cache/id%3Ak%40%21%2C%24%26%27%28%29%2A%2B%3B%3D", "/cache/id:k@!,$&'()*+;="),
            ("/cache/%7b%7C%5e%5B%5D%22%5C%60%3c%20%00", "/cache/%7B%7C%5E%5B%5D%22%5C%60%3C%20%00"),
            ("/cache/{|^[]\"\\", "/cache/%7B%7C%5E%5B%5D%22%5C"),
            ("/cache/é", "/cache/%C3%A9"),
            ("/cache/a%3Fb%23c%25", "/cache/a%3Fb%23c%25"),
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
