//! Pages for people: the API document, Swagger UI over it, and one page per kind of error.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::access::Access;
use super::extract::Path;
use super::problem::{NOT_FOUND, Problem, ProblemKind};

/// What of these pages the API document describes.
pub static ACCESS: &[Access] = &[Access::public("GET", "/problems/{slug}").problems(&[&[&NOT_FOUND]])];

type Kinds = &'static [&'static ProblemKind];

/// The explaining pages of `kinds`.
pub fn problem_pages(kinds: Vec<&'static ProblemKind>) -> OpenApiRouter {
    // The list lives as long as the process: it is part of the program's text.
    let kinds: Kinds = Vec::leak(kinds);
    OpenApiRouter::new().routes(routes!(explain_problem)).with_state(kinds)
}

/// Explain a kind of error.
#[utoipa::path(get, path = "/problems/{slug}", tag = "documentation", operation_id = "explain_problem",
    params(("slug" = String, Path, description = "The `code` of a problem", example = "redis-unavailable")),
    responses((status = 200, description = "What the error means and what to do", body = String, content_type = "text/html")))]
async fn explain_problem(State(kinds): State<Kinds>, Path(slug): Path<String>) -> Result<Html<String>, Problem> {
    let kind = kinds.iter().find(|kind| kind.slug == slug);
    kind.map(|kind| Html(problem_page(kind)))
        .ok_or_else(|| Problem::new(&NOT_FOUND).detail("there is no such kind of problem"))
}

fn problem_page(kind: &ProblemKind) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{slug}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}}\
         code{{background:#eee;padding:.1em .3em}}</style>\
         <h1>{title}</h1><p><code>{slug}</code>, status {status}</p><p>{advice}</p></html>\n",
        slug = kind.slug,
        title = kind.title,
        status = kind.status,
        advice = kind.advice,
    )
}

/// The API document and Swagger UI; `document` is served byte for byte.
pub fn pages(document: String) -> Router {
    let document: &'static str = String::leak(document);
    let serve = move || async move { json(document) };
    // Swagger UI is told the address only: the document itself is ours to serve.
    let ui = SwaggerUi::new("/swagger-ui").config(Config::from("/openapi.json").persist_authorization(true));
    Router::new()
        .route("/openapi.json", get(serve))
        .route("/api-docs/openapi.json", get(serve))
        .route("/docs", get(|| async { Redirect::to("/swagger-ui/") }))
        .merge(ui)
}

fn json(document: &'static str) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document).into_response()
}
