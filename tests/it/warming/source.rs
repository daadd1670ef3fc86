//! An HTTP source of a test.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::routing::any;

type Reply = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

pub struct HttpSource {
    address: std::net::SocketAddr,
    requests: Arc<AtomicUsize>,
    paths: Arc<Mutex<Vec<String>>>,
    server: tokio::task::JoinHandle<()>,
}

impl HttpSource {
    /// Answers each request with what `reply` returns.
    pub async fn start<F>(reply: impl Fn(usize, Request) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let paths: Arc<Mutex<Vec<String>>> = Arc::default();
        let (counter, seen) = (Arc::clone(&requests), Arc::clone(&paths));
        let handler = move |request: Request| -> Reply {
            let nth = counter.fetch_add(1, Ordering::SeqCst);
            seen.lock().expect("the paths").push(request.uri().to_string());
            Box::pin(reply(nth, request))
        };
        let router = axum::Router::new().fallback(any(handler));
        #[expect(clippy::disallowed_methods, reason = "a server of the test")]
        let server = tokio::spawn(async move { axum_serve(listener, router).await });
        Self { address, requests, paths, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub fn paths(&self) -> Vec<String> {
        self.paths.lock().expect("the paths").clone()
    }
}

impl Drop for HttpSource {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn axum_serve(listener: tokio::net::TcpListener, router: axum::Router) {
    axum::serve(listener, router).await.expect("the source serves");
}

pub fn reply(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).header("content-type", "application/json").body(body.into()).expect("a response")
}
