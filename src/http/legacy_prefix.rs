//! Serves the routes a second time under `/api`, for older clients.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

const PREFIX: &str = "/api";

/// The one route whose own path begins with the prefix: clients of InfluxDB write to it.
const OWN_ROUTE: &str = "/api/v2/write";

/// The rest of a path that begins with the legacy prefix.
pub fn without_legacy_prefix(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX).filter(|rest| rest.starts_with('/') && path.split('?').next() != Some(OWN_ROUTE))
}

/// Takes the legacy prefix off the path of a request.
///
/// A nested router would do the same, but would cost every request, with or without the prefix.
pub fn strip(uri: &mut Uri) {
    let rest = uri.path_and_query().and_then(|whole| without_legacy_prefix(whole.as_str()));
    let Some(Ok(rest)) = rest.map(PathAndQuery::try_from) else { return };
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(rest);
    // A URI that was valid stays valid with a shorter path.
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_prefix_is_removed() {
        for (before, after) in [
            ("/api/cache/a%2Fb?ttl_ms=5", "/cache/a%2Fb?ttl_ms=5"),
            ("http://host:8080/api/health", "http://host:8080/health"),
            ("/api/api/x", "/api/x"),
            ("/api/api/v2/write?db=a", "/api/v2/write?db=a"),
        ] {
            let mut uri: Uri = before.parse().expect("a URI");
            strip(&mut uri);
            assert_eq!(uri, after, "{before}");
        }
        for other in
            ["/api", "/api/v2/write", "/api/v2/write?db=a", "/api-docs/openapi.json", "/apis/x", "/cache/api/x"]
        {
            assert_eq!(without_legacy_prefix(other), None, "{other}");
        }
    }
}
