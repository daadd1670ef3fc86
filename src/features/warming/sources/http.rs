//! HTTP sources. The address that was checked is the one that is dialled; redirects are failures.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::TcpStream;
use tower::Service;

use super::guard::{Network, choose};
use super::{Answer, SourceError, SourceValue, Wanted};
use crate::features::warming::template::{Template, fill};

/// The largest head of a response, bytes.
const MAX_HEAD: usize = 32 << 10;
/// The longest `Retry-After` that is honoured.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// What a part of a key may contain unchanged in a URL: the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

type HttpClient = Client<HttpsConnector<GuardedConnector>, Empty<Bytes>>;

/// A source of JSON over HTTP or HTTPS.
#[derive(Clone, Debug)]
pub(in crate::features::warming) struct HttpSource {
    pub url: String,
    pub client: HttpSources,
}

/// What all HTTP sources share.
#[derive(Clone, Debug)]
pub(in crate::features::warming) struct HttpSources {
    client: HttpClient,
    timeout: Duration,
    body_limit: usize,
}

impl HttpSources {
    /// # Errors
    /// The certificate authorities of the system cannot be read.
    pub(in crate::features::warming) fn new(
        private: Vec<Network>,
        timeout: Duration,
        body_limit: usize,
        needs_tls: bool,
    ) -> io::Result<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let builder = HttpsConnectorBuilder::new();
        let builder = if needs_tls {
            builder.with_provider_and_native_roots(provider)?
        } else {
            // Plain HTTP verifies nothing, and an image may contain no certificate authorities.
            let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(config)
        };
        let connector =
            builder.https_or_http().enable_http1().wrap_connector(GuardedConnector { private: private.into() });
        let client = Client::builder(TokioExecutor::new()).http1_max_buf_size(MAX_HEAD).build(connector);
        Ok(Self { client, timeout, body_limit })
    }
}

impl HttpSource {
    /// Fetches the value of a key.
    ///
    /// # Errors
    /// [`SourceError`]: a refused address, a timeout, a redirect, a status that is no success, a body that is too large
    /// or no JSON.
    pub(super) async fn fetch(&self, template: &Template, wanted: &Wanted) -> Result<Answer, SourceError> {
        let request = self.request(template, wanted)?;
        let exchange = async {
            let response = self.client.client.request(request).await.map_err(|error| failed(&error))?;
            let (head, body) = response.into_parts();
            if head.status == StatusCode::NOT_MODIFIED {
                return if wanted.etag.is_some() {
                    Ok(Answer::NotModified)
                } else {
                    Err(SourceError::permanent("the source says 304 without being asked"))
                };
            }
            if head.status == StatusCode::NOT_FOUND || head.status == StatusCode::GONE {
                return Ok(Answer::Absent);
            }
            if head.status != StatusCode::OK {
                return Err(refused(head.status, &head.headers));
            }
            let body = Limited::new(body, self.client.body_limit).collect().await;
            let body = body.map_err(|_| SourceError::temporary("the body is too large or incomplete"))?.to_bytes();
            answer(&head.headers, body)
        };
        match tokio::time::timeout(self.client.timeout, exchange).await {
            Ok(answered) => answered,
            Err(_) => Err(SourceError::temporary("the source did not answer in time")),
        }
    }

    fn request(&self, template: &Template, wanted: &Wanted) -> Result<Request<Empty<Bytes>>, SourceError> {
        let parts = template.read(&wanted.key).unwrap_or_default();
        // Servers resolve these segments even if they are encoded.
        if parts.values().any(|part| part == "." || part == "..") {
            return Err(SourceError::permanent("a part of the key is a relative path"));
        }
        let url = fill(&self.url, &parts, |part| utf8_percent_encode(part, SEGMENT).to_string());
        let uri: Option<Uri> = url.and_then(|url| url.parse().ok());
        let uri = uri.ok_or_else(|| SourceError::permanent("the key makes no URL"))?;
        let mut request = Request::get(uri).header(header::ACCEPT, "application/json");
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(etag) = &wanted.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        request.body(Empty::new()).map_err(|_| SourceError::permanent("the key makes no request"))
    }
}

fn answer(headers: &HeaderMap, body: Bytes) -> Result<Answer, SourceError> {
    if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
        return Err(SourceError::permanent("the source did not send JSON"));
    }
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let control = text(&header::CACHE_CONTROL).unwrap_or_default().to_ascii_lowercase();
    let directives: Vec<&str> = control.split(',').map(str::trim).collect();
    if directives.contains(&"no-store") {
        return Err(SourceError::permanent("the source forbids that its value is stored"));
    }
    let max_age = directives.iter().find_map(|directive| directive.strip_prefix("max-age=")?.parse::<u64>().ok());
    let max_ttl_ms = max_age.filter(|seconds| *seconds > 0).map(|seconds| seconds.saturating_mul(1_000));
    // A long entity tag would fill the hash of the validators.
    let etag = text(&header::ETAG).filter(|etag| etag.len() <= 256);
    Ok(Answer::Value(SourceValue { body, updated: None, etag, max_ttl_ms }))
}

/// The failure that a status means.
fn refused(status: StatusCode, headers: &HeaderMap) -> SourceError {
    let reason = if status.is_redirection() {
        format!("the source redirects ({}), which is not followed", status.as_u16())
    } else {
        format!("the source answered {}", status.as_u16())
    };
    let is_temporary = status.is_server_error() || [408, 429].contains(&status.as_u16());
    let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    SourceError {
        reason,
        is_temporary,
        retry_after: after.map(|seconds| Duration::from_secs(seconds).min(LONGEST_RETRY)),
    }
}

/// The failure of an exchange. Its text could contain an address, so only that of the guard is shown.
fn failed(error: &hyper_util::client::legacy::Error) -> SourceError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(NotAllowed(reason)) = error.downcast_ref() {
            return SourceError::permanent(reason.clone());
        }
        if let Some(io) = error.downcast_ref::<io::Error>()
            && let Some(NotAllowed(reason)) = io.get_ref().and_then(|inner| inner.downcast_ref())
        {
            return SourceError::permanent(reason.clone());
        }
        cause = error.source();
    }
    let reason = if error.is_connect() { "the source cannot be reached" } else { "the exchange with the source broke" };
    SourceError::temporary(reason)
}

/// The guard refuses the address of a host.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotAllowed(String);

/// Connects to the address that the guard has checked.
#[derive(Clone, Debug)]
struct GuardedConnector {
    private: Arc<[Network]>,
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let private = Arc::clone(&self.private);
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
            let address = choose(&addresses, &private).map_err(|reason| io::Error::other(NotAllowed(reason)))?;
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        })
    }
}
