//! The client of the service's host metrics.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{AgentError, TIMEOUT};
use crate::root_cause;

/// A running service, and the address of this machine's samples.
pub(super) struct Service {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    api_key: Option<HeaderValue>,
}

impl Service {
    pub(super) fn new(base: &str, host: &str, api_key: Option<&str>) -> Result<Self, AgentError> {
        let address = |reason: String| AgentError::Address { url: base.to_owned(), reason };
        let host = utf8_percent_encode(host, NON_ALPHANUMERIC);
        let uri: Uri = format!("{}/hosts/{host}/metrics", base.trim_end_matches('/'))
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| address(error.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(address("it must start with http:// or https://".to_owned()));
        }
        let api_key = api_key.map(HeaderValue::try_from).transpose();
        let connector = HttpsConnectorBuilder::new().with_native_roots().map_err(|error| address(error.to_string()))?;
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector.https_or_http().enable_http1().build()),
            uri,
            api_key: api_key
                .map_err(|_| address("the API key contains characters that are not allowed in a header".to_owned()))?,
        })
    }

    /// Sends samples.
    pub(super) async fn send(&self, samples: &[Value]) -> Result<(), AgentError> {
        let mut request = Request::builder().method(Method::POST).uri(&self.uri);
        request = request.header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.api_key {
            request = request.header("x-api-key", key);
        }
        let unreachable = |reason: &dyn std::fmt::Display| AgentError::Unreachable {
            url: self.uri.to_string(),
            reason: reason.to_string(),
        };
        let body = serde_json::to_vec(samples).map_err(|error| unreachable(&error))?;
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| unreachable(&error))?;
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| unreachable(root_cause(&error)))?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| unreachable(&error))?.to_bytes();
            match status.as_u16() {
                _ if status.is_success() => Ok(()),
                status @ (408 | 429 | 500..) => Err(AgentError::Later { status }),
                status => Err(AgentError::Refused { status, body: String::from_utf8_lossy(&body).into_owned() }),
            }
        };
        tokio::time::timeout(TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(unreachable(&format!("no answer within {} s", TIMEOUT.as_secs()))))
    }
}
