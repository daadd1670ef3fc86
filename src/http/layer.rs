//! Layers between the middleware and the handlers that act on some requests only.

use std::fmt::Debug;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::BoxFuture;

use super::audited::Denied;
use super::openapi_router::BoundHandler;

/// A layer. Unlike a layer of `tower`, it costs the requests on which it does not act neither a move nor a future.
pub trait RequestLayer: Debug + Send + Sync {
    /// Whether the layer acts on the request.
    fn acts_on(&self, request: &Request) -> bool;

    /// Notes that a request was answered 401 or 403, wherever that was decided.
    fn denied(&self, _: &Denied<'_>) {}

    /// Responds to the request, with or without calling `next`.
    fn respond(self: Arc<Self>, request: Request, next: Next) -> BoxFuture<'static, Response>;
}

/// Every layer; the first one is the outermost.
pub type Layers = Arc<[Arc<dyn RequestLayer>]>;

/// A handler behind the layers that the request has not passed yet.
pub struct Next {
    layers: Layers,
    passed: usize,
    handler: BoundHandler,
}

impl Next {
    /// Passes the request to the next layer that acts on it, or to the handler.
    pub fn call(self, request: Request) -> BoxFuture<'static, Response> {
        call(&self.layers, self.passed, &self.handler, request)
    }
}

/// Passes a request through the layers that act on it, from the one at `passed`, to its handler.
pub fn call(layers: &Layers, passed: usize, handler: &BoundHandler, request: Request) -> BoxFuture<'static, Response> {
    match layers.iter().enumerate().skip(passed).find(|(_, layer)| layer.acts_on(&request)) {
        None => handler(request),
        Some((at, layer)) => {
            let next = Next { layers: Arc::clone(layers), passed: at + 1, handler: Arc::clone(handler) };
            Arc::clone(layer).respond(request, next)
        }
    }
}
