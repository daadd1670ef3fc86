//! The handlers of the API and their descriptions.
//!
//! The service serves the checked-in API document, so building the descriptions of all operations at start would be
//! wasted time and memory. An operation therefore carries a function that describes it; the `openapi` command calls it.

use std::fmt;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::Response;
use futures_util::future::BoxFuture;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::{Components, OpenApi};
// The traits that `#[utoipa::path]` implements; utoipa's own routers use them in the same way.
use utoipa::__dev::{SchemaReferences, Tags};

/// A handler with its state.
pub type BoundHandler = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;

/// The operations of a feature, whose handlers need a state `S`.
pub struct OpenApiRouter<S = ()> {
    operations: Vec<(Operation, Bind<S>)>,
}

/// Gives a handler its state.
type Bind<S> = Box<dyn FnOnce(S) -> BoundHandler>;

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

impl<S: Clone + Send + Sync + 'static> OpenApiRouter<S> {
    pub fn new() -> Self {
        Self { operations: Vec::new() }
    }

    /// Adds an operation without a description.
    #[must_use]
    pub fn on<H, T>(self, method: &'static str, path: &str, handler: H) -> Self
    where
        H: Handler<T, S, Future = BoxFuture<'static, Response>> + Sync,
        T: 'static,
    {
        self.add(Operation { method, path: path.to_owned(), describe: |_| {} }, handler)
    }

    /// Adds the operation that `P` describes.
    #[must_use]
    pub fn described<P, H, T>(mut self, handler: &H) -> Self
    where
        P: utoipa::Path + Tags<'static> + SchemaReferences,
        H: Handler<T, S, Future = BoxFuture<'static, Response>> + Sync,
        T: 'static,
    {
        for method in P::methods() {
            let operation = Operation { method: name(&method), path: P::path(), describe: describe::<P> };
            self = self.add(operation, handler.clone());
        }
        self
    }

    fn add<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, S, Future = BoxFuture<'static, Response>> + Sync,
        T: 'static,
    {
        let bind = move |state: S| -> BoundHandler {
            // The handler's future is boxed as it is; a router of axum would box and wrap it again.
            Arc::new(move |request| handler.clone().call(request, state.clone()))
        };
        self.operations.push((operation, Box::new(bind)));
        self
    }

    /// Adds the operations of `other`.
    #[must_use]
    pub fn routes(mut self, other: Self) -> Self {
        self.operations.extend(other.operations);
        self
    }

    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.iter().map(|(operation, _)| operation)
    }

    /// Gives the handlers their state.
    pub fn with_state<S2>(self, state: S) -> OpenApiRouter<S2> {
        let bound = self.operations.into_iter().map(|(operation, bind)| {
            let handler = bind(state.clone());
            let bound: Bind<S2> = Box::new(move |_| handler);
            (operation, bound)
        });
        OpenApiRouter { operations: bound.collect() }
    }
}

impl OpenApiRouter {
    /// The operations with their handlers.
    pub fn into_operations(self) -> Vec<(Operation, BoundHandler)> {
        self.operations.into_iter().map(|(operation, bind)| (operation, bind(()))).collect()
    }
}

impl<S: Clone + Send + Sync + 'static> Default for OpenApiRouter<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for OpenApiRouter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.operations.iter().map(|(operation, _)| operation)).finish()
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

const fn name(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
        HttpMethod::Put => "PUT",
        HttpMethod::Delete => "DELETE",
        HttpMethod::Options => "OPTIONS",
        HttpMethod::Head => "HEAD",
        HttpMethod::Patch => "PATCH",
        HttpMethod::Trace => "TRACE",
    }
}

/// The [`OpenApiRouter`] of handlers with a `#[utoipa::path]`.
macro_rules! routes {
    ($($($part:ident)::+),+ $(,)?) => {{
        let routes = $crate::http::openapi_router::OpenApiRouter::new();
        $(let routes = $crate::http::openapi_router::routes!(@add routes, $($part)::+);)+
        routes
    }};
    // `#[utoipa::path]` puts what it knows of `handler` into a type named `__path_handler` beside it.
    (@add $routes:ident, $handler:ident) => {
        pastey::paste! { $routes.described::<[<__path_ $handler>], _, _>(&$handler) }
    };
    (@add $routes:ident, $module:ident::$handler:ident) => {
        pastey::paste! { $routes.described::<$module::[<__path_ $handler>], _, _>(&$module::$handler) }
    };
    (@add $routes:ident, $folder:ident::$module:ident::$handler:ident) => {
        pastey::paste! { $routes.described::<$folder::$module::[<__path_ $handler>], _, _>(&$folder::$module::$handler) }
    };
}
pub(crate) use routes;
