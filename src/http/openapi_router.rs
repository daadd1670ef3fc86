//! A router that knows how to describe its operations, and describes them only on request.
//!
//! The service serves the checked-in API document, so building the descriptions of all operations at start would be
//! wasted time and memory. A route therefore carries a function that describes it; the `openapi` command calls it.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter};
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::{Components, OpenApi};
// The traits that `#[utoipa::path]` implements; utoipa's own routers use them in the same way.
use utoipa::__dev::{SchemaReferences, Tags};

/// The routes of a feature and their operations.
#[derive(Clone, Debug)]
pub struct OpenApiRouter<S = ()> {
    router: Router<S>,
    operations: Vec<Operation>,
}

/// One operation of the API.
#[derive(Clone, Debug)]
pub struct Operation {
    pub method: &'static str,
    pub path: String,
    describe: fn(&mut OpenApi),
}

impl Operation {
    /// Adds the operation and the schemas that it refers to.
    pub fn describe(&self, document: &mut OpenApi) {
        (self.describe)(document);
    }
}

/// The handlers of one path, by method; `routes!` creates it.
#[derive(Clone, Debug)]
pub struct PathRoutes<S> {
    handlers: MethodRouter<S>,
    operations: Vec<Operation>,
}

impl<S: Clone + Send + Sync + 'static> OpenApiRouter<S> {
    pub fn new() -> Self {
        Self { router: Router::new(), operations: Vec::new() }
    }

    /// Adds the handlers of one path.
    #[must_use]
    pub fn routes(mut self, routes: PathRoutes<S>) -> Self {
        if let Some(Operation { path, .. }) = routes.operations.first() {
            self.router = self.router.route(path, routes.handlers);
        }
        self.operations.extend(routes.operations);
        self
    }

    /// Adds the routes of `other`.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.operations.extend(other.operations);
        Self { router: self.router.merge(other.router), operations: self.operations }
    }

    /// Gives the handlers their state.
    pub fn with_state<S2>(self, state: S) -> OpenApiRouter<S2> {
        OpenApiRouter { router: self.router.with_state(state), operations: self.operations }
    }

    /// The router that serves, and the operations to describe.
    pub fn into_parts(self) -> (Router<S>, Vec<Operation>) {
        (self.router, self.operations)
    }
}

impl<S: Clone + Send + Sync + 'static> Default for OpenApiRouter<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> PathRoutes<S> {
    pub fn new() -> Self {
        Self { handlers: MethodRouter::new(), operations: Vec::new() }
    }

    /// Adds the handler that `P` describes.
    #[must_use]
    pub fn on<P, H, T>(mut self, handler: &H) -> Self
    where
        P: utoipa::Path + Tags<'static> + SchemaReferences,
        H: Handler<T, S>,
        T: 'static,
    {
        for method in P::methods() {
            let (filter, method) = filter(&method);
            self.handlers = self.handlers.on(filter, handler.clone());
            self.operations.push(Operation { method, path: P::path(), describe: describe::<P> });
        }
        self
    }
}

impl<S: Clone + Send + Sync + 'static> Default for PathRoutes<S> {
    fn default() -> Self {
        Self::new()
    }
}

fn describe<P: utoipa::Path + Tags<'static> + SchemaReferences>(document: &mut OpenApi) {
    let mut operation = P::operation();
    let tags = P::tags();
    if !tags.is_empty() {
        operation.tags.get_or_insert_default().extend(tags.into_iter().map(str::to_owned));
    }
    document.paths.add_path_operation(P::path(), P::methods(), operation);
    let mut schemas = Vec::new();
    P::schemas(&mut schemas);
    let known = &mut document.components.get_or_insert_with(Components::new).schemas;
    for (name, schema) in schemas {
        known.entry(name).or_insert(schema);
    }
}

fn filter(method: &HttpMethod) -> (MethodFilter, &'static str) {
    match method {
        HttpMethod::Get => (MethodFilter::GET, "GET"),
        HttpMethod::Post => (MethodFilter::POST, "POST"),
        HttpMethod::Put => (MethodFilter::PUT, "PUT"),
        HttpMethod::Delete => (MethodFilter::DELETE, "DELETE"),
        HttpMethod::Options => (MethodFilter::OPTIONS, "OPTIONS"),
        HttpMethod::Head => (MethodFilter::HEAD, "HEAD"),
        HttpMethod::Patch => (MethodFilter::PATCH, "PATCH"),
        HttpMethod::Trace => (MethodFilter::TRACE, "TRACE"),
    }
}

/// The [`PathRoutes`] of handlers with a `#[utoipa::path]`; all of them have the same path.
macro_rules! routes {
    ($($($part:ident)::+),+ $(,)?) => {{
        let routes = $crate::http::openapi_router::PathRoutes::new();
        $(let routes = $crate::http::openapi_router::routes!(@add routes, $($part)::+);)+
        routes
    }};
    // `#[utoipa::path]` puts what it knows of `handler` into a type named `__path_handler` beside it.
    (@add $routes:ident, $handler:ident) => {
        pastey::paste! { $routes.on::<[<__path_ $handler>], _, _>(&$handler) }
    };
    (@add $routes:ident, $module:ident::$handler:ident) => {
        pastey::paste! { $routes.on::<$module::[<__path_ $handler>], _, _>(&$module::$handler) }
    };
    (@add $routes:ident, $folder:ident::$module:ident::$handler:ident) => {
        pastey::paste! { $routes.on::<$folder::$module::[<__path_ $handler>], _, _>(&$folder::$module::$handler) }
    };
}
pub(crate) use routes;
