//! The HTTP client that sends spans to the collector, on the exporting thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Builder;

/// The largest answer that is read, bytes. Collectors send short ones.
const MAX_ANSWER: usize = 64 << 10;

/// Posts batches of spans to a collector over HTTP or HTTPS.
#[derive(Debug)]
pub(super) struct CollectorClient {
    connector: HttpsConnector<HttpConnector>,
    timeout: Duration,
    failing: AtomicBool,
}

impl CollectorClient {
    /// `timeout` limits one attempt, from connecting to the last byte of the answer.
    ///
    /// # Errors
    /// `endpoint` needs TLS and the system's certificate authorities cannot be read.
    pub(super) fn new(endpoint: &str, timeout: Duration) -> std::io::Result<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let builder = if endpoint.starts_with("https://") {
            builder.with_provider_and_native_roots(provider)?
        } else {
            // Plain HTTP verifies nothing, and an image may contain no certificate authorities.
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()
                .map_err(std::io::Error::other)?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(config)
        };
        let connector = builder.https_or_http().enable_http1().build();
        Ok(Self { connector, timeout, failing: AtomicBool::new(false) })
    }

    /// Sends one request on a new runtime: the SDK's thread has none, and at one batch every few seconds a kept
    /// connection would save nothing.
    fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = Client::builder(TokioExecutor::new()).build(self.connector.clone());
        let post = async {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        // The timer needs a runtime, so it is created inside.
        let answered = runtime.block_on(async { tokio::time::timeout(self.timeout, post).await });
        // Does not wait for a slow name resolution.
        runtime.shutdown_background();
        answered?
    }

    /// Logs once when the collector starts to fail, and once when it recovers.
    fn note(&self, answered: &Result<Response<Bytes>, HttpError>) {
        let failure = match answered {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("the collector answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(reason) if !was_failing => tracing::warn!(reason, "the collector does not accept spans"),
            None if was_failing => tracing::info!("the collector accepts spans again"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answered = self.exchange(request);
        self.note(&answered);
        answered
    }
}
