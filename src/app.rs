//! The composition root: builds the service from its configuration.

mod config_check;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Uri};
use axum::response::Response;
pub use config_check::check_config;
use tokio::sync::watch;
use tower::util::{Either, option_layer};
use tower::{Layer, ServiceExt};
use tower_http::cors::Cors;
use utoipa::openapi::OpenApi;

use crate::cached::Cached;
use crate::clock::Clock;
use crate::computed::Computed;
use crate::config::auth::AuthConfig;
use crate::config::backup::BackupConfig;
use crate::config::fencing::FencingConfig;
use crate::config::http::HttpConfig;
use crate::config::log::{LogConfig, TelemetryConfig};
use crate::config::redis::{RedisConfig, ServerUrl};
use crate::config::{Config, ConfigError, SectionCheck};
use crate::deps::{Deps, Fold, SeriesFeed, Shared};
use crate::events::Events;
use crate::features::{FEATURES, StartError, audit, idempotency, pubsub, ratelimit, ui};
use crate::http::access::{Access, Guard, Keys};
use crate::http::auth::Authenticator;
use crate::http::gzipped::{self, Gzipped};
use crate::http::middleware::{Middleware, MiddlewareService};
use crate::http::openapi_router::OpenApiRouter;
use crate::http::problem::{self, Problem, ProblemKind};
use crate::http::route_table::RouteTable;
use crate::http::{
    audited, cors, documentation, durability, fencing, idempotent_operation, legacy_prefix, openapi, openapi_responses,
    openapi_text,
};
use crate::lifecycle::offload::Offload;
use crate::lifecycle::{ComponentHealth, Phase, Tasks};
use crate::redis::{LuaScript, RedisRoles};
use crate::tape::Listing;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;
use crate::tls;

/// The sections that belong to no feature.
const CORE_SECTIONS: &[SectionCheck] = &[
    SectionCheck::of::<HttpConfig>(),
    SectionCheck::of::<AuthConfig>(),
    SectionCheck::of::<RedisConfig>(),
    SectionCheck::of::<FencingConfig>(),
    SectionCheck::of::<LogConfig>(),
    SectionCheck::of::<TelemetryConfig>(),
    // A build without backups ignores it.
    SectionCheck::of::<BackupConfig>(),
];

/// The service, ready to answer requests.
#[derive(Debug)]
pub struct App {
    pub deps: Deps,
    pub http: HttpConfig,
    pub router: HttpService,
}

/// The authenticator, unless the service must not listen on its address with the configured credentials.
fn authenticator(config: &Config, clock: Clock) -> Result<Authenticator, ConfigError> {
    let auth: AuthConfig = config.section()?;
    let http: HttpConfig = config.section()?;
    auth.check_address(http.address)
        .and_then(|()| Authenticator::new(&auth, clock))
        .map_err(|error| config.refuse::<AuthConfig>(error))
}

/// Every script of every feature.
pub fn scripts() -> Vec<&'static LuaScript> {
    FEATURES.iter().flat_map(|feature| feature.scripts.iter().copied()).collect()
}

/// Every kind of error.
pub fn problem_kinds() -> Vec<&'static ProblemKind> {
    let own = FEATURES.iter().flat_map(|feature| feature.problems.iter().copied());
    problem::COMMON.iter().chain(problem::WEBSOCKET).copied().chain(own).collect()
}

/// The access rows of every operation that the document describes.
pub fn access_table() -> Vec<Access> {
    let own = FEATURES.iter().flat_map(|feature| feature.access.iter().copied());
    documentation::ACCESS.iter().copied().chain(own).map(|row| row.keys(keys(row.path))).collect()
}

/// The keys that the paths of operations name, for scopes that are limited to keys. An operation that is not listed needs a
/// scope for all keys.
const KEYS: &[(&str, Keys)] = &[
    ("/batch", Keys::CheckedByHandler),
    ("/broadcast", Keys::CheckedByHandler),
    ("/cache", Keys::CheckedByHandler),
    ("/cache/batch", Keys::CheckedByHandler),
    ("/cache/{key}", Keys::InPath(&["{key}"])),
    ("/config/{kind}/{id}", Keys::InPath(&["{kind}:{id}"])),
    ("/energy/meters/{id}/readings", Keys::InPath(&["energy:generation:{id}", "energy:consumption:{id}"])),
    ("/forms/{id}", Keys::InPath(&["{id}"])),
    ("/history", Keys::CheckedByHandler),
    ("/hosts/{id}", Keys::InPath(&["{id}"])),
    ("/json/batch", Keys::CheckedByHandler),
    ("/json/{key}", Keys::InPath(&["{key}"])),
    ("/locks", Keys::CheckedByHandler),
    ("/locks/acquire-all", Keys::CheckedByHandler),
    ("/locks/{resource}", Keys::InPath(&["{resource}"])),
    ("/market/candles/{symbol}", Keys::InPath(&["{symbol}"])),
    ("/market/prices/{symbol}", Keys::InPath(&["market:price:{symbol}", "market:volume:{symbol}"])),
    ("/market/stats/{symbol}", Keys::InPath(&["{symbol}"])),
    ("/market/trades/{symbol}", Keys::InPath(&["{symbol}"])),
    ("/market/volume", Keys::InPath(&["trading:volume:daily"])),
    ("/presence", Keys::CheckedByHandler),
    ("/presence_stats", Keys::CheckedByHandler),
    ("/orderbooks/{symbol}", Keys::InPath(&["{symbol}"])),
    ("/publish", Keys::CheckedByHandler),
    ("/pubsub", Keys::CheckedByHandler),
    ("/pubsub/channels", Keys::CheckedByHandler),
    ("/pubsub/tokens", Keys::CheckedByHandler),
    ("/pubsub/{channel}", Keys::InPath(&["{channel}"])),
    ("/ratelimit/check", Keys::CheckedByHandler),
    ("/ratelimit/check-all", Keys::CheckedByHandler),
    ("/ratelimit/enforce", Keys::CheckedByHandler),
    ("/ratelimit/reservations/{id}/settle", Keys::CheckedByHandler),
    ("/ratelimit/reserve", Keys::CheckedByHandler),
    ("/ratelimit/{limiter}/{key}", Keys::InPath(&["{limiter}:{key}"])),
    ("/settlements/{type}", Keys::InPath(&["settlement:{type}"])),
    ("/streams", Keys::CheckedByHandler),
    ("/streams/{stream}", Keys::InPath(&["{stream}"])),
    ("/timeseries", Keys::CheckedByHandler),
    ("/timeseries/samples", Keys::CheckedByHandler),
    ("/timeseries/{key}", Keys::InPath(&["{key}"])),
    ("/trades", Keys::CheckedByHandler),
    ("/trades/footprint", Keys::CheckedByHandler),
    ("/trades/profile", Keys::CheckedByHandler),
    ("/trades/windows", Keys::CheckedByHandler),
    ("/trades/windows/{symbol}", Keys::InPath(&["{symbol}"])),
    ("/users/{id}", Keys::InPath(&["{id}"])),
    ("/warming/values/{key}", Keys::InPath(&["{key}"])),
];

/// The keys of an operation by its path, or by the path to a key that it continues.
fn keys(path: &str) -> Keys {
    let continues = |known: &str, rest: &str| rest.is_empty() || (known.ends_with('}') && rest.starts_with('/'));
    let row = KEYS.iter().find(|(known, _)| path.strip_prefix(known).is_some_and(|rest| continues(known, rest)));
    row.map_or(Keys::All, |(_, keys)| *keys)
}

impl App {
    /// Builds the service; connects to nothing yet.
    ///
    /// `lanes` is the number of threads with a Redis connection of their own, lane 0 included.
    ///
    /// # Errors
    /// A wrong configuration, an unusable Redis endpoint, or a feature that cannot be built.
    pub fn build(config: Config, clock: Clock, lanes: usize) -> Result<Self, StartError> {
        check_config(&config)?;
        tls::install_provider();
        let http: HttpConfig = config.section()?;
        let metrics = Metrics::new();
        let redis = RedisRoles::new(&config.section()?, config.section()?, &scripts(), lanes, &metrics)?;
        let traces = Traces::start(&config.section()?, &metrics)?;
        let tasks = Tasks::new(clock.clone());
        let (component_health, phase, offload) = (ComponentHealth::default(), Phase::default(), Offload::default());
        let configs = watch::Sender::new(config.clone());
        let shared = Shared::default();
        let events = Events::new(redis.state.clone(), clock.clone(), config.section()?);
        let tapes = Listing::new(&redis.state, &clock);
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let deps = Deps {
            config,
            replica: format!("{node}:{}", http.port).into(),
            configs,
            redis,
            events,
            clock,
            tasks,
            offload,
            component_health,
            metrics,
            traces,
            phase,
            shared,
            series: SeriesFeed::default(),
            fold: Fold::default(),
            tapes,
            cached: Cached::default(),
            computed: Computed::default(),
        };
        let api = api(&deps)?;
        let channels = gzipped::compressed(&pubsub::describe_channels(&deps.events));
        let pages = documentation::pages(document_text(&api)?, channels).merge(ui::pages());
        Ok(Self { router: behind_middleware(&deps, &access_table(), api, pages)?, deps, http })
    }

    /// Connects lane 0 and starts the features' background work, on the current runtime.
    pub fn attach(&self) {
        self.deps.redis.attach(0, &self.deps.tasks);
        self.deps.tasks.start_planned();
    }

    /// Applies configurations that are read while the service runs.
    pub fn reloader(&self) -> Reloader {
        Reloader { configs: self.deps.configs.clone(), started: self.deps.config.clone() }
    }

    /// Answers one request without a socket.
    pub async fn answer(&self, request: Request<Body>) -> Response {
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// The address that the configuration names.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.http.address, self.http.port)
    }
}

/// Every route behind the layers and the middleware.
pub type HttpService = Either<Cors<MiddlewareService>, MiddlewareService>;

/// Puts the operations of `api`, which are also served under `/api`, and `pages` behind the middleware; `rows` state who
/// may call what.
///
/// # Errors
/// A wrong configuration.
pub fn behind_middleware(
    deps: &Deps,
    rows: &[Access],
    api: OpenApiRouter,
    pages: Router,
) -> Result<HttpService, StartError> {
    let http: HttpConfig = deps.config.section()?;
    let redis: RedisConfig = deps.config.section()?;
    let demanded = |row: &Access| {
        let is_same = |own: &Access| (own.method, own.path) == (row.method, row.path);
        let owner = FEATURES.iter().find(|feature| feature.access.iter().any(is_same));
        owner.and_then(|feature| redis.min_replicas.get(feature.name)).copied().unwrap_or_default()
    };
    let rows: Vec<Access> = rows.iter().map(|row| row.min_replicas(demanded(row))).collect();
    let table = RouteTable::new(&rows, api.into_operations(), &deps.metrics.http);
    let layers = [ratelimit::layer(deps)?, audit::layer(deps)?, idempotency::layer(deps)?];
    let pages = pages.fallback(no_such_route);
    let authenticator = authenticator(&deps.config, deps.clock.clone())?;
    let (metrics, traces) = (deps.metrics.http.clone(), deps.traces.requests());
    let middleware = Middleware::new(&http, table, layers.into(), pages, authenticator, metrics, traces);
    Ok(option_layer(cors::layer(&http.cors_origins)).layer(MiddlewareService::new(middleware)))
}

/// The API document, without anything running.
///
/// # Errors
/// A feature that cannot be built, or an operation without an access row.
pub fn document(config: Config) -> Result<OpenApi, StartError> {
    let metrics = Metrics::new();
    let redis = RedisRoles::new(&unconnected(config.section()?), config.section()?, &scripts(), 1, &metrics)?;
    let deps = Deps {
        events: Events::new(redis.state.clone(), Clock::System, config.section()?),
        tapes: Listing::new(&redis.state, &Clock::System),
        redis,
        tasks: Tasks::new(Clock::System),
        offload: Offload::default(),
        component_health: ComponentHealth::default(),
        clock: Clock::System,
        metrics,
        traces: Traces::default(),
        phase: Phase::default(),
        shared: Shared::default(),
        series: SeriesFeed::default(),
        fold: Fold::default(),
        cached: Cached::default(),
        computed: Computed::default(),
        configs: watch::Sender::new(config.clone()),
        config,
        replica: "".into(),
    };
    api(&deps).map(|api| describe(&api))
}

/// Passes a new configuration to the features that follow it; the others keep the one that they started with.
#[derive(Clone, Debug)]
pub struct Reloader {
    configs: watch::Sender<Config>,
    /// The configuration of the settings that need a restart.
    started: Config,
}

/// The names of the settings that a new configuration changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Those that take effect now, compared with the former configuration.
    pub applied: Vec<String>,
    /// Those that differ from what is in effect, and need a restart.
    pub waiting: Vec<String>,
}

impl Reloader {
    /// # Errors
    /// The first [`ConfigError`]; the former configuration stays in force.
    pub fn reload(&self, config: Config) -> Result<Reloaded, ConfigError> {
        check_config(&config)?;
        let follows = |name: &String| [ratelimit::RELOADED, pubsub::RELOADED].concat().contains(&name.as_str());
        let mut applied = config.changed_since(&self.configs.borrow());
        applied.retain(follows);
        let mut waiting = config.changed_since(&self.started);
        waiting.retain(|name| !follows(name));
        self.configs.send_replace(config);
        Ok(Reloaded { applied, waiting })
    }
}

/// A configuration with an address of Redis: the document needs no Redis, but building the services does.
fn unconnected(mut config: RedisConfig) -> RedisConfig {
    if !config.base().is_named() {
        config.url = ServerUrl::from("redis://127.0.0.1");
    }
    config
}

/// The operations of every feature.
///
/// # Errors
/// A feature that cannot be built, or an operation without an access row.
fn api(deps: &Deps) -> Result<OpenApiRouter, StartError> {
    let mut api = documentation::problem_pages(problem_kinds());
    for feature in FEATURES {
        api = api.routes((feature.mount)(deps)?);
    }
    openapi::check_access(&api, &access_table())?;
    Ok(api)
}

/// The API document of the operations.
fn describe(api: &OpenApiRouter) -> OpenApi {
    let mut document = openapi::base();
    for operation in api.operations() {
        operation.describe(&mut document);
    }
    let rows = access_table();
    openapi::secure(&mut document, &rows);
    openapi_responses::describe(&mut document, &rows);
    fencing::describe(&mut document, &rows);
    durability::describe(&mut document, &rows);
    audited::describe(&mut document, &rows);
    idempotent_operation::describe(&mut document, &rows);
    openapi_responses::share_common(&mut document);
    openapi_responses::exemplify(&mut document, &problem_kinds());
    openapi::silence_heads(&mut document);
    document
}

/// The API document that the service serves: the checked-in one, which describes a build with the default features.
/// A build without one of them describes itself.
fn document_text(api: &OpenApiRouter) -> Result<Gzipped, serde_json::Error> {
    if cfg!(all(feature = "promql", feature = "forecast", feature = "json-schema", feature = "backup")) {
        return Ok(documentation::checked_in());
    }
    openapi_text::text(&describe(api)).map(|text| gzipped::compressed(&text))
}

async fn no_such_route(uri: Uri) -> Problem {
    let problem = Problem::new(&problem::NOT_FOUND);
    match uri.path() {
        // The path looks like a route whose last part was left out.
        path if path.len() > 1 && path.ends_with('/') => problem.detail("the last part of the path must not be empty"),
        path => match route_to_key(path) {
            Some(route) => problem.detail(format!("no route has this path; in a key of {route}, write `/` as `%2F`")),
            None => problem,
        },
    }
}

/// The longest route that ends with a key and that the path continues.
fn route_to_key(path: &str) -> Option<&'static str> {
    let path = legacy_prefix::without_legacy_prefix(path).unwrap_or(path);
    let matches = |route: &str| {
        let mut parts = path.split('/');
        let is_start =
            route.split('/').all(|part| parts.next().is_some_and(|sent| part == sent || part.starts_with('{')));
        is_start && parts.next().is_some() && route.ends_with('}')
    };
    let routes = access_table().into_iter().filter(|row| row.guard != Guard::Public).map(|row| row.path);
    routes.filter(|route| matches(route)).max_by_key(|route| route.len())
}
