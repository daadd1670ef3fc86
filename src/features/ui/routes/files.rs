//! The files of the page, which `build.rs` compresses.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::http::gzipped::{Gzipped, accepts};
use crate::http::negotiation::preferred;
use crate::http::problem::{NOT_FOUND, Problem};

/// A file of the page in both codings.
struct Asset {
    path: &'static str,
    gzip: &'static [u8],
    brotli: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/ui_assets.rs"));

/// Scripts and styles come from the service only, and no script turns text into elements. A plot sets styles through the
/// object model, which the policy permits.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);
/// The name of a version's folder changes with its files.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// The page, its files, and the way from `/` to it.
pub fn pages() -> Router {
    Router::new()
        .route("/", get(home))
        .route("/ui", get(|| async { Redirect::to("/ui/") }))
        .route("/ui/", get(page))
        .route("/ui/{version}/{*file}", get(file))
}

/// Leads a browser to the page. For other clients there is nothing here.
async fn home(headers: HeaderMap) -> Response {
    if preferred(&headers, &["application/json", "text/html"]) == "text/html" {
        return ([(header::VARY, "accept")], Redirect::to("/ui/")).into_response();
    }
    let problem =
        Problem::new(&NOT_FOUND).detail("the operations are listed in /openapi.json; browsers find a page at /ui/");
    problem.header(header::VARY, HeaderValue::from_static("accept")).into_response()
}

async fn page(headers: HeaderMap) -> Result<Response, Problem> {
    respond("index.html", REVALIDATE, &headers)
}

async fn file(uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    let (version, file) = uri.path().trim_start_matches("/ui/").split_once('/').unwrap_or_default();
    if version != VERSION {
        let problem = Problem::new(&NOT_FOUND);
        return Err(problem.detail(format!("`{}` belongs to another version of the page; load /ui/ again", uri.path())));
    }
    respond(file, FOREVER, &headers)
}

fn respond(path: &str, caching: HeaderValue, request: &HeaderMap) -> Result<Response, Problem> {
    let asset = FILES.iter().find(|asset| asset.path == path).ok_or_else(|| Problem::new(&NOT_FOUND))?;
    let content_type = content_type(path);
    let mut response = if accepts(request, "br") {
        let described = [(header::CONTENT_TYPE, content_type), (header::VARY, "accept-encoding")];
        (described, [(header::CONTENT_ENCODING, "br")], asset.brotli).into_response()
    } else {
        Gzipped::embedded(asset.gzip).response(content_type, request)
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::CACHE_CONTROL, caching);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}
