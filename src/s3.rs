//! Files in an S3 store: copies of the packs of the archive, and of backups.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
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
use object_store::{
    ClientOptions, Error, MultipartUpload as _, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig,
};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::lifecycle::deadline::until;

/// How long one request may take, and one file or part with its repetitions.
const REQUEST: Duration = Duration::from_secs(60);
const FILE: Duration = Duration::from_secs(150);

/// How often a request is repeated.
const RETRIES: usize = 2;

/// The size of the parts in which a large file is sent. A store takes at most 10,000 of them.
const PART: usize = 8 << 20;

/// A prefix of a bucket. The access key and the region are those of the usual environment variables.
#[derive(Clone, Debug)]
pub struct S3Store {
    store: AmazonS3,
    name: String,
    prefix: String,
}

/// Why a file was not stored or does not come back. The text has no key: the client leaves the headers of requests out.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    #[error("the store refuses: {0}")]
    Store(#[from] Error),
    #[error("the store does not answer in time")]
    Slow,
    #[error("the store has another file of this name")]
    Other,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl S3Store {
    /// The store at `s3://BUCKET/PREFIX`; `None` for any other text. An empty endpoint is that of Amazon.
    ///
    /// # Errors
    /// What is wrong with the address or the environment.
    pub fn new(url: &str, endpoint: &str) -> Result<Option<Self>, String> {
        let name = url.trim_end_matches('/');
        let Some((bucket, prefix)) = name.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        else {
            return Ok(None);
        };
        let is_plain = endpoint.starts_with("http://");
        let client = connect(is_plain).map_err(|error| error.to_string())?;
        let retry = RetryConfig { max_retries: RETRIES, retry_timeout: FILE, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_allow_http(is_plain)
            .with_retry(retry)
            .with_http_connector(client);
        if !endpoint.is_empty() {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        let store = builder.build().map_err(|error| error.to_string())?;
        Ok(Some(Self { store, name: name.to_owned(), prefix: prefix.to_owned() }))
    }

    /// The address of the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stores a file under a name that no file has, or that has this file since an earlier attempt.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), S3Error> {
        let (path, bytes) = (self.path(name)?, Bytes::from(bytes));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(&path, bytes.clone().into(), options);
        match in_time(put).await {
            Ok(_) => Ok(()),
            Err(S3Error::Store(Error::AlreadyExists { .. } | Error::Precondition { .. })) => {
                if self.get(name).await? == bytes { Ok(()) } else { Err(S3Error::Other) }
            }
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// [`S3Error`].
    pub async fn get(&self, name: &str) -> Result<Bytes, S3Error> {
        let path = self.path(name)?;
        in_time(async { self.store.get(&path).await?.bytes().await }).await
    }

    /// Whether there is a file of this name.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn has(&self, name: &str) -> Result<bool, S3Error> {
        match in_time(self.store.head(&self.path(name)?)).await {
            Ok(_) => Ok(true),
            Err(S3Error::Store(Error::NotFound { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores a file of any size, in parts, under a name that no other file has. After an error, the store has nothing of it.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn upload(&self, name: &str, mut file: impl AsyncRead + Unpin) -> Result<(), S3Error> {
        let path = self.path(name)?;
        let mut upload = in_time(self.store.put_multipart(&path)).await?;
        let sent = async {
            loop {
                let mut part = Vec::with_capacity(PART);
                (&mut file).take(PART as u64).read_to_end(&mut part).await?;
                if part.is_empty() {
                    break;
                }
                in_time(upload.put_part(part.into())).await?;
            }
            in_time(upload.complete()).await.map(|_| ())
        }
        .await;
        if sent.is_err() {
            // What cannot be removed now goes when the store removes incomplete uploads.
            let _ = in_time(upload.abort()).await;
        }
        sent
    }

    /// Reads a file of any size piece by piece.
    ///
    /// # Errors
    /// [`S3Error`], or that of the receiver.
    pub async fn download(&self, name: &str, mut receive: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), S3Error> {
        let path = self.path(name)?;
        let mut stream = in_time(self.store.get(&path)).await?.into_stream();
        while let Some(piece) = in_time(stream.try_next()).await? {
            receive(&piece)?;
        }
        Ok(())
    }

    /// The names of all files directly below the prefix.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn list(&self) -> Result<Vec<String>, S3Error> {
        let prefix = Path::parse(&self.prefix).map_err(Error::from)?;
        let listed = in_time(self.store.list_with_delimiter(Some(&prefix))).await?;
        Ok(listed.objects.iter().filter_map(|object| object.location.filename()).map(str::to_owned).collect())
    }

    /// Removes a file, if there is one.
    ///
    /// # Errors
    /// [`S3Error`].
    pub async fn delete(&self, name: &str) -> Result<(), S3Error> {
        match in_time(self.store.delete(&self.path(name)?)).await {
            Err(S3Error::Store(Error::NotFound { .. })) => Ok(()),
            deleted => deleted,
        }
    }

    fn path(&self, name: &str) -> Result<Path, S3Error> {
        let name = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Ok(Path::parse(name).map_err(Error::from)?)
    }
}

async fn in_time<T>(work: impl Future<Output = object_store::Result<T>>) -> Result<T, S3Error> {
    Ok(until(Instant::now() + FILE, work).await.ok_or(S3Error::Slow)??)
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
            return Err(HttpError::new(HttpErrorKind::Timeout, S3Error::Slow));
        };
        let response = answered.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
            HttpError::new(kind, error)
        })?;
        Ok(response
            .map(|body| HttpResponseBody::new(body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error)))))
    }
}
