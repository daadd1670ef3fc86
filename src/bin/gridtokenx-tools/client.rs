//! The HTTP client of the service.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::InvalidUri;
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

pub(super) type BoxError = Box<dyn Error + Send + Sync>;
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("`{url}` is not the address of a service: {reason}")]
    Address { url: String, reason: String },
    #[error("{url} cannot be reached: {reason}; is the service running (`make run`)?")]
    Unreachable { url: String, reason: String },
    #[error("{request} took longer than {seconds} s")]
    TooSlow { request: String, seconds: u64 },
    #[error("{request} was answered {status}: {body}")]
    Refused { request: String, status: u16, body: String },
}

impl RequestError {
    /// Whether the request may succeed if it is sent again.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooSlow { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Address { .. } => false,
        }
    }
}

/// A running service, and the credential to call it with.
pub(super) struct Service {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    base: String,
    api_key: Option<HeaderValue>,
}

impl Service {
    pub(super) fn new(base: &str, api_key: Option<&str>) -> Result<Self, RequestError> {
        let address = |reason: String| RequestError::Address { url: base.to_owned(), reason };
        let uri: Uri = base.parse().map_err(|error: InvalidUri| address(error.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(address("it must start with http:// or https://".to_owned()));
        }
        let api_key = api_key.map(HeaderValue::try_from).transpose();
        let connector = HttpsConnectorBuilder::new().with_native_roots().map_err(|error| address(error.to_string()))?;
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector.https_or_http().enable_http1().build()),
            base: base.trim_end_matches('/').to_owned(),
            api_key: api_key
                .map_err(|_| address("the API key contains characters that are not allowed in a header".to_owned()))?,
        })
    }

    pub(super) async fn get(&self, path: &str, limit: Duration) -> Result<Bytes, RequestError> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        self.send(Method::GET, path, None, body, limit).await
    }

    pub(super) async fn post(
        &self,
        path: &str,
        media_type: &str,
        body: Body,
        limit: Duration,
    ) -> Result<Bytes, RequestError> {
        self.send(Method::POST, path, Some(media_type), body, limit).await
    }

    /// Sends a JSON body.
    pub(super) async fn json(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        limit: Duration,
    ) -> Result<Bytes, RequestError> {
        let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync();
        self.send(method, path, Some("application/json"), body, limit).await
    }

    /// Sends a request and returns the body of a successful response, which must be complete within `limit`.
    async fn send(
        &self,
        method: Method,
        path: &str,
        media_type: Option<&str>,
        body: Body,
        limit: Duration,
    ) -> Result<Bytes, RequestError> {
        let request = format!("{method} {path}");
        let mut builder = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(media_type) = media_type {
            builder = builder.header(header::CONTENT_TYPE, media_type);
        }
        if let Some(key) = &self.api_key {
            builder = builder.header("x-api-key", key);
        }
        let url = &self.base;
        let prepared = builder
            .body(body)
            .map_err(|error| RequestError::Address { url: url.clone(), reason: error.to_string() })?;
        let unreachable = |error: &(dyn Error + 'static)| {
            let reason = root_cause(error).to_string();
            RequestError::Unreachable { url: url.clone(), reason }
        };
        let exchange = async {
            let response = self.client.request(prepared).await.map_err(|error| unreachable(&error))?;
            let status = response.status();
            let bytes = response.into_body().collect().await.map_err(|error| unreachable(&error))?.to_bytes();
            if status.is_success() {
                return Ok(bytes);
            }
            let body = String::from_utf8_lossy(&bytes).into_owned();
            Err(RequestError::Refused { request: request.clone(), status: status.as_u16(), body })
        };
        let answered = tokio::time::timeout(limit, exchange).await;
        answered.unwrap_or_else(|_| Err(RequestError::TooSlow { request: request.clone(), seconds: limit.as_secs() }))
    }
}

/// The cause at the bottom: HTTP clients wrap the system's error in their own, which say less.
fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, root_cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_a_scheme() {
        assert!(Service::new("localhost:4040", None).is_err());
        assert!(Service::new("http://localhost:4040/", Some("ak_1")).is_ok());
        assert!(Service::new("http://localhost:4040", Some("two\nlines")).is_err());
    }
}
