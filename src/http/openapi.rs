//! The API document: its head, and its security requirements from the access table.

use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{self, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, ServerBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::access::{Access, Guard, Keys};
use super::openapi_router::{OpenApiRouter, Operation};
use super::problem::ProblemBody;

/// The groups of operations and what they are for, in the order in which a newcomer meets them.
const TAGS: &[(&str, &str)] = &[
    ("health", "Whether the service is ready. No credential is needed."),
    ("cache", "Values with a TTL: any bytes, with conditional writes, counters, tags and protection from stampedes."),
    ("warming", "Cache warming: values that are cached before they are requested, and reads through the cache."),
    ("locks", "Leases with fencing tokens: one holder per resource, for a limited time."),
    ("ratelimit", "Decisions whether a call is allowed, reservations of a cost, and exceptions for single keys."),
    ("json", "JSON documents that are read and changed by path."),
    ("timeseries", "Series of samples: ingest, ranges with aggregations, labels and rollups."),
    ("hosts", "Metrics of hosts: samples and heartbeats of agents, summaries, anomalies and forecasts."),
    ("pubsub", "Real-time channels: publish messages, read what was missed, and receive messages as they come."),
    ("streams", "Event streams: append with an expected version, read from any version, and share the work in groups."),
    ("orderbook", "Order books: place and cancel orders, report fills, read the best prices and follow their changes."),
    ("users", "Preferences and activity of the platform's users. These are JSON documents."),
    ("config", "Configurations of the platform. These are JSON documents."),
    ("forms", "Data of the platform's forms. These are JSON documents."),
    ("energy", "Readings of meters. These are time series."),
    ("market", "Epochs, trades, candles, statistics and charts of the market; its prices and volumes as time series."),
    ("settlements", "Settled amounts. These are time series."),
    ("prometheus", "The query API of Prometheus, for Grafana."),
    ("tradingview", "The data feed of TradingView's charts (UDF)."),
    ("influxdb", "The write API of InfluxDB: line protocol."),
    ("envoy", "The rate limit service of Envoy, as JSON."),
    ("metrics", "The metrics of the service and of its Redis servers."),
    ("alerts", "Alerts of the service itself: those that fire, their history, and who takes charge of them."),
    ("audit", "The log of administrative actions: who did what, and whether the log is whole."),
    ("backup", "Encrypted backups of the data in Redis, and drills and restores of them."),
    ("subjects", "Persons: export of what is stored about them, and erasure with a signed receipt."),
    ("keys", "The keys that the service encrypts and signs with, by fingerprint."),
    ("inspect", "Looks into the Redis servers, for administrators."),
    ("ui", "The live numbers of the web page at `/ui/`."),
    ("documentation", "The pages that explain problems."),
];

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
        .security(Some(["api_key", "bearer"].map(|scheme| SecurityRequirement::new(scheme, [] as [&str; 0]))))
        .tags(Some(TAGS.iter().map(|(name, text)| TagBuilder::new().name(*name).description(Some(*text)).build())))
        .build()
}

/// Checks that every operation has a row of the access table and every row an operation.
///
/// # Errors
/// The operations and rows that are left over; both are mistakes in source.
pub fn check_access(api: &OpenApiRouter, rows: &[Access]) -> Result<(), String> {
    let claims = |row: &Access, operation: &Operation| row.method == operation.method && row.path == operation.path;
    let unguarded: Vec<String> = api
        .operations()
        .filter(|operation| !rows.iter().any(|row| claims(row, operation)))
        .map(|operation| format!("{} {}", operation.method, operation.path))
        .collect();
    let unclaimed: Vec<String> = rows
        .iter()
        .filter(|row| !api.operations().any(|operation| claims(row, operation)))
        .map(|row| format!("{} {}", row.method, row.path))
        .collect();
    if unguarded.is_empty() && unclaimed.is_empty() {
        return Ok(());
    }
    Err(format!("operations without an access row: {unguarded:?}; access rows without an operation: {unclaimed:?}"))
}

/// States what a caller of each operation must present, from its row of the access table: one of the two credentials, with
/// the scope `x-scope`, or nothing.
pub fn secure(document: &mut OpenApi, rows: &[Access]) {
    for (operation, row) in with_rows(document, rows) {
        let own = operation.description.take().map(|text| text + "\n\n").unwrap_or_default();
        operation.description = Some(own + &scope_text(row));
        match row.guard {
            Guard::Public => operation.security = Some(Vec::new()),
            Guard::InBand => {
                let schemes = ["api_key", "bearer"].map(|scheme| SecurityRequirement::new(scheme, [""; 0]));
                operation.security = Some(std::iter::once(SecurityRequirement::default()).chain(schemes).collect());
            }
            Guard::Scope(scope) => {
                let extensions = [("x-scope", json!(scope))].into_iter().chain(keys_of_scope(row.keys));
                operation.extensions.get_or_insert_default().merge(extensions.collect::<Extensions>());
            }
        }
    }
}

fn scope_text(row: &Access) -> String {
    match row.guard {
        Guard::Public => "No credential is needed.".to_owned(),
        Guard::Scope(scope) => match row.read_scope {
            Some(read_scope) => format!("Requires the scope `{read_scope}` to read and `{scope}` to change values."),
            None => format!("Requires the scope `{scope}`."),
        },
        Guard::InBand => "The rules of the channel say who may call this.".to_owned(),
    }
}

/// The keys against which a scope that is limited to keys is checked; `None` for an operation that needs all keys.
fn keys_of_scope(keys: Keys) -> Option<(&'static str, Value)> {
    let keys = match keys {
        Keys::All => return None,
        Keys::InPath(templates) => json!(templates.join(", ")),
        Keys::CheckedByHandler => json!("each key of the body or of the result"),
    };
    Some(("x-scope-keys", keys))
}

/// Takes the bodies out of the answers to HEAD: a problem is told by its status alone (RFC 9110, section 9.3.2).
pub fn silence_heads(document: &mut OpenApi) {
    let heads = document.paths.paths.values_mut().filter_map(|item| item.head.as_mut());
    for response in heads.flat_map(|head| head.responses.responses.values_mut()) {
        if let RefOr::T(response) = response {
            response.content.clear();
        }
    }
}

/// The operations of a document that have a row, with it.
pub(super) fn with_rows<'a>(
    document: &'a mut OpenApi,
    rows: &'a [Access],
) -> impl Iterator<Item = (&'a mut path::Operation, &'a Access)> {
    document.paths.paths.iter_mut().flat_map(move |(path, item)| {
        operations(item).filter_map(move |(method, operation)| {
            let row = rows.iter().find(|row| (row.method, row.path) == (method, path.as_str()))?;
            Some((operation, row))
        })
    })
}

/// A path's operations by method.
pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut path::Operation)> {
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
