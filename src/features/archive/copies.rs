//! The S3 store that has copies of packs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::TokioExecutor;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::path::Path;
use object_store::{ClientOptions, Error, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig};

use super::files::sha256;
use crate::config::FieldError;
use crate::config::archive::ArchiveConfig;
use crate::lifecycle::deadline::until;

/// How long one request may take, and one file with its repetitions.
const REQUEST: Duration = Duration::from_secs(60);
const FILE: Duration = Duration::from_secs(150);

/// How often a request is repeated.
const RETRIES: usize = 2;

#[derive(Debug)]
pub(super) struct Copies {
    store: AmazonS3,
    /// `archive.copy_to`, by which manifests name the store.
    name: String,
    prefix: String,
}

/// Why a file was not copied or does not come back. The text has no key: the client leaves the headers of requests out.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error("the store refuses: {0}")]
    Store(#[from] Error),
    #[error("the store does not answer in time")]
    Slow,
    #[error("the store has another file of this name")]
    Other,
}

impl Copies {
    /// The store that is configured.
    ///
    /// # Errors
    /// [`FieldError`].
    pub(super) fn new(config: &ArchiveConfig) -> Result<Option<Self>, FieldError> {
        let refuse = |rule: String| FieldError::new("archive.copy_to", rule);
        let name = config.copy_to.trim_end_matches('/');
        let Some((bucket, prefix)) = name.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        else {
            return Ok(None);
        };
        let is_plain = config.copy_endpoint.starts_with("http://");
        let client = connect(is_plain).map_err(|error| refuse(error.to_string()))?;
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: FILE, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_allow_http(is_plain)
            .with_retry(retry)
            .with_http_connector(client);
        if !config.copy_endpoint.is_empty() {
            builder = builder.with_endpoint(config.copy_endpoint.trim_end_matches('/'));
        }
        let store = builder.build().map_err(|error| refuse(error.to_string()))?;
        Ok(Some(Self { store, name: name.to_owned(), prefix: prefix.to_owned() }))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Stores a file under a name that no file has, or that has this file since an earlier attempt.
    ///
    /// # Errors
    /// [`CopyError`].
    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), CopyError> {
        let hash = sha256(&bytes);
        let path = self.path(name)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = until(Instant::now() + FILE, self.store.put_opts(&path, bytes.into(), options)).await;
        match put.ok_or(CopyError::Slow)? {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                if sha256(&self.get(name).await?) == hash {
                    Ok(())
                } else {
                    Err(CopyError::Other)
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// # Errors
    /// [`CopyError`].
    pub(super) async fn get(&self, name: &str) -> Result<Bytes, CopyError> {
        let path = self.path(name)?;
        let read = async { self.store.get(&path).await?.bytes().await };
        Ok(until(Instant::now() + FILE, read).await.ok_or(CopyError::Slow)??)
    }

    fn path(&self, name: &str) -> Result<Path, CopyError> {
        let name = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Ok(Path::parse(name).map_err(Error::from)?)
    }
}

/// The HTTP client of this service, for the library.
#[derive(Clone, Debug)]
struct Transport(Client<HttpsConnector<TcpConnector>, HttpRequestBody>);

fn connect(is_plain: bool) -> std::io::Result<Transport> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = HttpsConnectorBuilder::new();
    let builder = if is_plain {
        // Plain HTTP verifies nothing, and an image may contain no certificate authorities.
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        builder.with_tls_config(config)
    } else {
        builder.with_provider_and_native_roots(provider)?
    };
    // Roles of a machine are asked for over plain HTTP.
    let connector = builder.https_or_http().enable_http1().build();
    Ok(Transport(Client::builder(TokioExecutor::new()).build(connector)))
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Some(answered) = until(Instant::now() + REQUEST, self.0.request(request)).await else {
            return Err(HttpError::new(HttpErrorKind::Timeout, CopyError::Slow));
        };
        let response = answered.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
            HttpError::new(kind, error)
        })?;
        Ok(response
            .map(|body| HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)))))
    }
}
