//! Pages for people: the API document, Swagger UI, and one page per kind of problem.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use utoipa_swagger_ui::{Config, SwaggerFile};

use super::access::Access;
use super::conditional::{ETag, Preconditions};
use super::extract::Path;
use super::gzipped::{Gzipped, accepts};
use super::openapi_router::{OpenApiRouter, routes};
use super::problem::{INTERNAL, NOT_FOUND, Problem, ProblemKind};

/// The API document of a build with the default features: `openapi/openapi.json`, which `make openapi` writes.
pub fn checked_in() -> Gzipped {
    Gzipped::embedded(include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz")))
}

/// The rows of those pages that the API document describes.
pub static ACCESS: &[Access] = &[
    Access::public("GET", "/problems").problems(&[]),
    Access::public("GET", "/problems/{slug}").problems(&[&[&NOT_FOUND]]),
];

type Kinds = Arc<[&'static ProblemKind]>;

/// The list of `kinds`, and the page that explains each of them.
pub fn problem_pages(kinds: Vec<&'static ProblemKind>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list_problems)).routes(routes!(explain_problem)).with_state(Kinds::from(kinds))
}

/// List all kinds of problems.
#[utoipa::path(get, path = "/problems", tag = "documentation", operation_id = "list_problems",
    responses((status = 200, description = "The page of every kind of problem, by code", body = String, content_type = "text/html")))]
async fn list_problems(State(kinds): State<Kinds>) -> Html<String> {
    let mut kinds = kinds.to_vec();
    kinds.sort_by_key(|kind| kind.slug);
    let rows = kinds.iter().map(|ProblemKind { slug, status, title, .. }| {
        let status = status.as_u16();
        format!("<tr><td><a href=\"/problems/{slug}\"><code>{slug}</code></a><td>{status}<td>{title}\n")
    });
    Html(page("Problems", &format!("<h1>Problems</h1><table>\n{}</table>", rows.collect::<Vec<_>>().concat())))
}

/// Explain a kind of problem.
#[utoipa::path(get, path = "/problems/{slug}", tag = "documentation", operation_id = "explain_problem",
    params(("slug" = String, Path, description = "The `code` of a problem", example = "redis-unavailable")),
    responses((status = 200, description = "What the problem means and what to do about it", body = String, content_type = "text/html")))]
async fn explain_problem(State(kinds): State<Kinds>, Path(slug): Path<String>) -> Result<Html<String>, Problem> {
    let kind = kinds.iter().find(|kind| kind.slug == slug);
    kind.map(|kind| Html(problem_page(kind)))
        .ok_or_else(|| Problem::new(&NOT_FOUND).detail(format!("`{slug}` is not a kind of problem")))
}

fn problem_page(ProblemKind { slug, status, title, advice }: &ProblemKind) -> String {
    page(slug, &format!("<h1>{title}</h1><p><code>{slug}</code>, status {status}</p><p>{advice}</p>"))
}

fn page(title: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}\
         code{{background:#eee;padding:.1em .3em}}</style>\
         {content}</html>\n"
    )
}

/// The API document, the description of the channels in `AsyncAPI`, and Swagger UI.
pub fn pages(openapi: Gzipped, asyncapi: Gzipped) -> Router {
    let swagger_ui = Router::new()
        .route("/swagger-ui", get(|| async { Redirect::to("/swagger-ui/") }))
        .route("/swagger-ui/", get(swagger_ui_page))
        .route("/swagger-ui/{*file}", get(swagger_ui_file))
        .with_state(Arc::new(Config::from("/openapi.json")));
    Router::new()
        .route("/openapi.json", document(openapi.clone()))
        .route("/api-docs/openapi.json", document(openapi))
        .route("/asyncapi.json", document(asyncapi))
        .route("/docs", get(|| async { Redirect::to("/swagger-ui/") }))
        .merge(swagger_ui)
}

/// Serves a document with an entity tag.
fn document(document: Gzipped) -> MethodRouter {
    let hash = xxhash_rust::xxh3::xxh3_128(document.bytes());
    get(move |headers: HeaderMap| async move {
        // Each encoding has a tag of its own.
        let etag = ETag(hash ^ u128::from(accepts(&headers, "gzip")));
        let mut response = if Preconditions::of(&headers)?.already_has(Some(etag)) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            document.response("application/json", &headers)
        };
        response.headers_mut().insert(header::ETAG, etag.header());
        Ok::<_, Problem>(response)
    })
}

type SwaggerConfig = State<Arc<Config<'static>>>;

async fn swagger_ui_page(State(config): SwaggerConfig, headers: HeaderMap) -> Result<Response, Problem> {
    swagger_ui("index.html", config, &headers)
}

async fn swagger_ui_file(State(config): SwaggerConfig, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    swagger_ui(uri.path().strip_prefix("/swagger-ui/").unwrap_or_default(), config, &headers)
}

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// Swagger UI runs scripts of its own and sets styles in elements.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
     frame-ancestors 'none'",
);
/// Other content, such as a cached value, is not a page of the service: a browser that opens it runs no script.
const CONTENT_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox");

/// Adds the headers that keep a browser from treating a response as something else than it is.
pub fn protect_browsers(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    let is_json = |value: &HeaderValue| {
        let media_type = value.as_bytes();
        media_type.starts_with(b"application/json") || media_type.starts_with(b"application/problem+json")
    };
    if headers.get(header::CONTENT_TYPE).is_some_and(|value| !is_json(value)) {
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(CONTENT_POLICY);
    }
}

/// A file of Swagger UI. Only its configuration is not compressed.
fn swagger_ui(file: &str, config: Arc<Config<'static>>, headers: &HeaderMap) -> Result<Response, Problem> {
    let file = utoipa_swagger_ui::serve(file, config).map_err(|error| Problem::new(&INTERNAL).detail(error))?;
    let Some(SwaggerFile { bytes, content_type, gzpipped, .. }) = file else { return Err(Problem::new(&NOT_FOUND)) };
    let mut response = match bytes {
        Cow::Borrowed(bytes) if gzpipped => Gzipped::embedded(bytes).response(&content_type, headers),
        bytes => ([(header::CONTENT_TYPE, content_type)], bytes.into_owned()).into_response(),
    };
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    Ok(response)
}
