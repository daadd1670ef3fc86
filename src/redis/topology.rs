//! From configuration to connections: a single server, a master found by Sentinels, or a cluster.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleResult};
use deadpool_redis::redis::cluster::{ClusterClient, ClusterClientBuilder};
use deadpool_redis::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::aio::PubSub;
use redis::{
    AsyncConnectionConfig, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisError,
    TlsCertificates,
};
use tokio::sync::{Mutex, Notify};

use super::connection::{Channel, Established};
use super::key::Key;
use crate::config::redis::{Endpoint, Topology};

/// Why an endpoint's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("redis password file {file}: {reason}")]
    PasswordFile { file: String, reason: String },
    #[error("redis certificate file {file}: {reason}")]
    CertificateFile { file: String, reason: String },
    #[error("the connection pool has no async runtime")]
    NoRuntime,
    #[error("redis address is not usable: {0}")]
    Address(RedisError),
}

/// The pool's manager: makes connections that carry no timeout of their own (the facade has it) and tell when they end.
pub struct Connector {
    target: Target,
    /// Of a cluster, the nodes that are configured.
    addresses: Vec<ConnectionInfo>,
    connect_timeout: Duration,
}

enum Target {
    Server(Box<ConnectionInfo>),
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.target {
            Target::Server(_) => "Connector(single)",
            Target::Sentinel(_) => "Connector(sentinel)",
            Target::Cluster(_) => "Connector(cluster)",
        })
    }
}

impl Connector {
    /// Checks addresses, credentials and certificates; connects to nothing yet.
    ///
    /// # Errors
    /// [`EndpointError`] naming the file or address.
    pub fn new(
        endpoint: &Endpoint,
        connect_timeout: Duration,
        command_timeout: Duration,
    ) -> Result<Self, EndpointError> {
        let password = password(endpoint)?;
        let certificates = certificates(endpoint)?;
        let addresses = endpoint
            .addresses()
            .map(|address| connection_info(address, endpoint, password.as_deref(), certificates.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let target = match endpoint.topology {
            Topology::Single => {
                let Some(info) = addresses.first().cloned() else {
                    return Err(EndpointError::Address(missing_address()));
                };
                Target::Server(Box::new(info))
            }
            Topology::Sentinel => {
                Target::Sentinel(Box::new(Mutex::new(sentinel(endpoint, &addresses, password, certificates)?)))
            }
            Topology::Cluster => {
                let mut builder = ClusterClientBuilder::new(addresses.clone())
                    .connection_timeout(connect_timeout)
                    .response_timeout(command_timeout)
                    .overall_response_timeout(Some(command_timeout))
                    .use_protocol(ProtocolVersion::RESP3)
                    .retries(CLUSTER_REDIRECTS);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Target::Cluster(Box::new(builder.build().map_err(EndpointError::Address)?))
            }
        };
        Ok(Self { target, addresses, connect_timeout })
    }
}

impl Connector {
    /// Subscribes to `channel` over a connection of its own.
    pub(super) async fn subscribe(&self, channel: &Key) -> Result<PubSub, RedisError> {
        let subscribe = async {
            let mut connection = self.subscriber().await?;
            connection.subscribe(channel).await?;
            Ok(connection)
        };
        match tokio::time::timeout(self.connect_timeout, subscribe).await {
            Ok(subscribed) => subscribed,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// In a cluster any node will do, since the nodes pass messages on to each other.
    async fn subscriber(&self) -> Result<PubSub, RedisError> {
        match &self.target {
            Target::Server(info) => subscriber_at(info.as_ref().clone()).await,
            Target::Sentinel(client) => {
                let master = client.lock().await.async_get_client().await?;
                master.get_async_pubsub().await
            }
            Target::Cluster(_) => {
                let mut failure = missing_address();
                for info in &self.addresses {
                    match subscriber_at(info.clone()).await {
                        Ok(connection) => return Ok(connection),
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that opens addresses")]
async fn subscriber_at(info: ConnectionInfo) -> Result<PubSub, RedisError> {
    redis::Client::open(info)?.get_async_pubsub().await
}

/// How often a command may follow MOVED or ASK, or wait out TRYAGAIN, before its caller is told.
const CLUSTER_REDIRECTS: u32 = 3;

impl Manager for Connector {
    type Type = Established;
    type Error = RedisError;

    async fn create(&self) -> Result<Established, RedisError> {
        let lost = Arc::new(Notify::new());
        let announce = Arc::clone(&lost);
        let on_push = move |push: PushInfo| -> Result<(), RedisError> {
            if push.kind == PushKind::Disconnection {
                announce.notify_one();
            }
            Ok(())
        };
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(self.connect_timeout)).set_response_timeout(None);
        let channel = match &self.target {
            Target::Server(info) => {
                let manager =
                    deadpool_redis::Manager::new_with_config(info.as_ref().clone(), config.set_push_sender(on_push))?;
                Channel::Server(manager.create().await?)
            }
            Target::Sentinel(client) => {
                let config = config.set_push_sender(on_push);
                Channel::Server(client.lock().await.get_async_connection_with_config(&config).await?)
            }
            // A cluster connection mends its nodes' connections itself, so it is never announced as lost.
            Target::Cluster(client) => Channel::Cluster(client.get_async_connection().await?),
        };
        Ok(Established { channel, lost })
    }

    /// No question to the server: whoever saw a connection fail has not given it back.
    async fn recycle(&self, _: &mut Established, _: &Metrics) -> RecycleResult<RedisError> {
        Ok(())
    }
}

fn password(endpoint: &Endpoint) -> Result<Option<String>, EndpointError> {
    if let Some(file) = &endpoint.password_file {
        let text = std::fs::read_to_string(file).map_err(|error| EndpointError::PasswordFile {
            file: file.display().to_string(),
            reason: error.to_string(),
        })?;
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    Ok(endpoint.password.as_ref().map(|secret| secret.expose().clone()))
}

fn certificates(endpoint: &Endpoint) -> Result<Option<TlsCertificates>, EndpointError> {
    let Some(file) = &endpoint.ca_file else { return Ok(None) };
    let pem = std::fs::read(file).map_err(|error| EndpointError::CertificateFile {
        file: file.display().to_string(),
        reason: error.to_string(),
    })?;
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }))
}

#[expect(clippy::disallowed_methods, reason = "the one place that opens addresses")]
fn connection_info(
    address: &str,
    endpoint: &Endpoint,
    password: Option<&str>,
    certificates: Option<&TlsCertificates>,
) -> Result<ConnectionInfo, EndpointError> {
    let mut info = address.into_connection_info().map_err(EndpointError::Address)?;
    let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    if !endpoint.username.is_empty() {
        settings = settings.set_username(&endpoint.username);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    info = info.set_redis_settings(settings).set_tcp_settings(tcp);
    match certificates {
        None => Ok(info),
        Some(certificates) => redis::Client::build_with_tls(info, certificates.clone())
            .map(|client| client.get_connection_info().clone())
            .map_err(EndpointError::Address),
    }
}

/// Sentinels are asked as they are addressed; the master is reached with the endpoint's own credentials.
fn sentinel(
    endpoint: &Endpoint,
    addresses: &[ConnectionInfo],
    password: Option<String>,
    certificates: Option<TlsCertificates>,
) -> Result<SentinelClient, EndpointError> {
    let mut builder = SentinelClientBuilder::new(
        addresses.iter().map(|info| info.addr().clone()),
        endpoint.sentinel_master.clone(),
        SentinelServerType::Master,
    )
    .map_err(EndpointError::Address)?
    .set_client_to_redis_protocol(ProtocolVersion::RESP3);
    if !endpoint.username.is_empty() {
        builder = builder.set_client_to_redis_username(&endpoint.username);
    }
    if let Some(password) = password {
        builder = builder.set_client_to_redis_password(password);
    }
    let first = addresses.first();
    if let Some(database) = first.map(|info| info.redis_settings().db()) {
        builder = builder.set_client_to_redis_db(database);
    }
    if let Some(certificates) = certificates {
        builder = builder.set_client_to_redis_certificates(certificates);
    }
    builder.build().map_err(EndpointError::Address)
}

fn missing_address() -> RedisError {
    RedisError::from((redis::ErrorKind::InvalidClientConfig, "no address is configured"))
}
