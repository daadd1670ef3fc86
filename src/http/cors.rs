//! Cross-origin requests of browsers (the CORS protocol of the Fetch standard).

use std::time::Duration;

use axum::http::{HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

/// How long a browser may keep the answer to a preflight request. Chrome keeps none longer than two hours; an hour
/// bounds how long a browser calls with rules that have changed.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// Lets pages of `origins` call the service; `None` if there is no origin, so that requests pass no further layer.
///
/// Pages send credentials in headers, not in cookies, so `Access-Control-Allow-Credentials` is never sent.
pub fn layer(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        // The configuration has no origin that is not a valid header.
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::PATCH, Method::DELETE])
        // `*` would not allow `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
        .max_age(MAX_AGE);
    Some(layer)
}
