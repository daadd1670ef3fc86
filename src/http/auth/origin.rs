//! Which pages may open a `WebSocket`.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::http::problem::{FORBIDDEN, Problem};

/// Checks the origin of a WebSocket handshake, to which browsers do not apply the CORS protocol: `origins` and the
/// service's own pages may open sockets. Programs other than browsers send no origin.
///
/// # Errors
/// `forbidden` (403).
pub fn check_origin(headers: &HeaderMap, origins: &[String]) -> Result<(), Problem> {
    let mut values = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = values.next() else { return Ok(()) };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    // The scheme may differ behind a proxy that ends TLS.
    let is_own =
        authority.is_some_and(|authority| host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes())));
    let is_listed = origins.iter().any(|known| known == "*" || known.as_bytes() == origin.as_bytes());
    if (is_own || is_listed) && values.next().is_none() {
        return Ok(());
    }
    Err(Problem::new(&FORBIDDEN).detail("pages of this origin may not open a WebSocket: see http.cors_origins"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(origins: &[&str], listed: &[&str]) -> bool {
        let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("redis.example:4040"))]);
        for origin in origins {
            headers.append(header::ORIGIN, HeaderValue::from_str(origin).expect("a header"));
        }
        let listed: Vec<String> = listed.iter().map(|&origin| origin.to_owned()).collect();
        check_origin(&headers, &listed).is_ok()
    }

    #[test]
    fn only_known_origins_may_open_a_socket() {
        let listed = ["https://app.example"];
        for good in ["https://app.example", "http://redis.example:4040", "https://Redis.example:4040"] {
            assert!(is_allowed(&[good], &listed), "{good}");
        }
        for bad in
            ["https://evil.example", "null", "", "redis.example:4040", "http://redis.example", "http://app.example"]
        {
            assert!(!is_allowed(&[bad], &listed), "{bad}");
        }
        assert!(is_allowed(&[], &[]) && is_allowed(&["https://evil.example"], &["*"]));
        assert!(!is_allowed(&["https://app.example", "https://evil.example"], &listed));
    }
}
