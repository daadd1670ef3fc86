//! The API document: its head, its security requirements from the access table, and its text.

use std::collections::BTreeMap;

use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::access::{Access, Guard};
use super::problem::ProblemBody;

/// The document before any feature adds to it.
pub fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("GridTokenX Redis service")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(include_str!("openapi.md")))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()));
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        "X-API-Key",
        "A service's key: `ak_` and 32 hexadecimal digits.",
    )));
    let token = SecurityScheme::Http(
        Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("A user's token, issued by the identity service."))
            .build(),
    );
    // Every operation refers to these schemas by name; see `openapi_responses`.
    let mut schemas = Vec::new();
    ProblemBody::schemas(&mut schemas);
    let components = ComponentsBuilder::new()
        .schema("Problem", ProblemBody::schema())
        .schemas_from_iter(schemas)
        .security_scheme("api_key", key)
        .security_scheme("bearer", token)
        .build();
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .components(Some(components))
        .build()
}

/// Documents every row of the access table as the operation's `security`.
///
/// # Errors
/// The operations without a row and the rows without an operation; both are mistakes in the source.
pub fn secure(document: &mut OpenApi, rows: &[Access]) -> Result<(), String> {
    let mut unclaimed: Vec<(&str, &str)> = rows.iter().map(|row| (row.method, row.path)).collect();
    let mut unguarded = Vec::new();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            unclaimed.retain(|row| *row != (method, path.as_str()));
            match rows.iter().find(|row| (row.method, row.path) == (method, path.as_str())) {
                None => unguarded.push(format!("{method} {path}")),
                Some(Access { guard: Guard::Public, .. }) => operation.security = Some(Vec::new()),
                Some(Access { guard: Guard::Scope(scope), .. }) => {
                    let scopes = [(*scope).to_owned()];
                    operation.security = Some(vec![
                        SecurityRequirement::new("api_key", scopes.clone()),
                        SecurityRequirement::new("bearer", scopes),
                    ]);
                }
            }
        }
    }
    if unguarded.is_empty() && unclaimed.is_empty() {
        return Ok(());
    }
    Err(format!("operations without an access row: {unguarded:?}; access rows without an operation: {unclaimed:?}"))
}

/// Removes the bodies from the responses to HEAD: their status alone reports a problem (RFC 9110, section 9.3.2).
pub fn silence_heads(document: &mut OpenApi) {
    let heads = document.paths.paths.values_mut().filter_map(|item| item.head.as_mut());
    for response in heads.flat_map(|head| head.responses.responses.values_mut()) {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
}

/// The operations of a path with their methods.
pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", item.get.as_mut()),
        ("PUT", item.put.as_mut()),
        ("POST", item.post.as_mut()),
        ("DELETE", item.delete.as_mut()),
        ("HEAD", item.head.as_mut()),
        ("PATCH", item.patch.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

/// The text of the document as it is checked in and served: sorted keys, two spaces, a final newline.
///
/// # Errors
/// If a part of the document cannot be serialised.
pub fn text(document: &OpenApi) -> Result<String, serde_json::Error> {
    // Serialised through sorted maps, so that the order of declarations does not matter.
    let sorted: BTreeMap<String, serde_json::Value> = serde_json::from_value(serde_json::to_value(document)?)?;
    let mut text = serde_json::to_string_pretty(&sorted)?;
    text.push('\n');
    Ok(text)
}
