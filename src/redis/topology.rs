//! Makes connections from the configuration: to a single server, a master found by Sentinels, or a cluster.

use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_redis::redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::aio::PubSub;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo, RedisError, TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_util::sync::CancellationToken;

use super::connection::{Channel, Established};
use super::present_master::Present;
use super::sentinels::{Sentinels, at};
use crate::config::redis::{Endpoint, ServerUrl, Topology};

/// Why the configuration of an endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("redis password file {file}: {reason}")]
    PasswordFile { file: String, reason: String },
    #[error("redis certificate file {file}: {reason}")]
    CertificateFile { file: String, reason: String },
    #[error("the connection pool has no async runtime")]
    NoRuntime,
    #[error(
        "the address {address} in redis.url (REDIS_URL) or another url or nodes of [redis] or [locks] is not usable: it \
         must begin with redis://, rediss:// or unix:// and name a server"
    )]
    Address { address: String, source: RedisError },
}

/// The manager of the pools. Its connections have no timeouts, which are the task of the facade, and announce their end.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    target: Target,
    /// The configured servers, Sentinels, or nodes of a cluster.
    addresses: Vec<ConnectionInfo>,
    connect_timeout: Duration,
    present: SyncMutex<Present>,
}

enum Target {
    Server(Box<ConnectionInfo>),
    Sentinel(Box<Sentinels>),
    Cluster(Box<ClusterClient>),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0.target {
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
        let names: Vec<String> = endpoint.addresses().map(ToString::to_string).collect();
        let unusable = |source: RedisError| EndpointError::Address { address: names.join(", "), source };
        let target = match endpoint.topology {
            Topology::Single => {
                let info = addresses.first().cloned().ok_or_else(|| unusable(missing_address()))?;
                Target::Server(Box::new(info))
            }
            Topology::Sentinel => {
                let master = master(endpoint, &addresses, password.as_deref()).map_err(unusable)?;
                let sentinels = addresses.iter().cloned().map(without_database).collect();
                Target::Sentinel(Box::new(Sentinels::new(&endpoint.sentinel_master, sentinels, master)))
            }
            Topology::Cluster => {
                let mut builder = ClusterClientBuilder::new(addresses.clone())
                    .connection_timeout(connect_timeout)
                    .response_timeout(command_timeout)
                    .overall_response_timeout(Some(command_timeout))
                    .use_protocol(ProtocolVersion::RESP3)
                    // The library would repeat a write whose reply was lost. The facade decides what may be repeated,
                    // and follows MOVED and ASK as well.
                    .retries(0);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                Target::Cluster(Box::new(builder.build().map_err(unusable)?))
            }
        };
        Ok(Self(Arc::new(Inner { target, addresses, connect_timeout, present: SyncMutex::default() })))
    }

    /// The total time that making one connection may take.
    pub(super) fn limit(&self) -> Duration {
        match self.0.target {
            Target::Server(_) => self.0.connect_timeout,
            // Several servers are contacted, and one may hang for as long as the client library allows.
            Target::Sentinel(_) | Target::Cluster(_) => self.0.connect_timeout + DISCOVERY,
        }
    }

    /// The Sentinels, if there are any.
    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        if let Target::Sentinel(sentinels) = &self.0.target { Some(sentinels) } else { None }
    }

    /// The configured addresses that are contacted over TLS, as host and port.
    pub(super) fn tls_addresses(&self) -> Vec<(String, u16)> {
        let over_tls = |info: &ConnectionInfo| match info.addr() {
            ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
            _ => None,
        };
        self.0.addresses.iter().filter_map(over_tls).collect()
    }

    /// Announces the end of all connections, and of those that are being made: their server may be a former master.
    pub(super) fn leave(&self) {
        std::mem::take(&mut *self.present()).end.cancel();
    }

    /// Leaves for the master that a Sentinel names, unless all connections lead there already: each Sentinel names it.
    pub(super) fn leave_for(&self, host: &str, port: u16) {
        self.present().leave_for(host, port);
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.0.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers that hold the data: one, or the masters of a cluster.
    pub(super) async fn masters(&self) -> Result<Vec<ConnectionInfo>, RedisError> {
        match &self.0.target {
            Target::Server(info) => Ok(vec![info.as_ref().clone()]),
            Target::Sentinel(sentinels) => Ok(vec![sentinels.master().await?]),
            Target::Cluster(client) => {
                let base = self.0.addresses.first().ok_or_else(missing_address)?;
                let mut connection = client.get_async_connection().await?;
                let slots: Vec<Vec<redis::Value>> =
                    redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
                // Of each range of slots: first slot, last slot, master, replicas.
                let master = |range: &Vec<redis::Value>| -> Option<(String, u16)> {
                    let node: Vec<redis::Value> = redis::from_redis_value_ref(range.get(2)?).ok()?;
                    Some((
                        redis::from_redis_value_ref(node.first()?).ok()?,
                        redis::from_redis_value_ref(node.get(1)?).ok()?,
                    ))
                };
                let mut masters: Vec<(String, u16)> = slots.iter().filter_map(master).collect();
                masters.sort();
                masters.dedup();
                let info = |(host, port)| base.clone().set_addr(at(base.addr(), host, port));
                Ok(masters.into_iter().map(info).collect())
            }
        }
    }

    /// Connects to a server. The end of the connection cancels `lost`.
    async fn connect(&self, info: ConnectionInfo, lost: CancellationToken) -> Result<Channel, RedisError> {
        let on_push = move |push: PushInfo| -> Result<(), RedisError> {
            if push.kind == PushKind::Disconnection {
                lost.cancel();
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.0.connect_timeout))
            .set_response_timeout(None)
            .set_push_sender(on_push);
        Ok(Channel::Server(deadpool_redis::Manager::new_with_config(info, config)?.create().await?))
    }

    /// Opens a separate connection for subscriptions.
    pub(super) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        match tokio::time::timeout(self.limit(), self.open_subscriber()).await {
            Ok(opened) => opened,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    /// In a cluster any node serves, because the nodes forward messages to each other.
    async fn open_subscriber(&self) -> Result<PubSub, RedisError> {
        match &self.0.target {
            Target::Server(info) => subscriber_at(info.as_ref().clone()).await,
            Target::Sentinel(sentinels) => subscriber_at(sentinels.master().await?).await,
            Target::Cluster(_) => {
                let mut failure = missing_address();
                for info in &self.0.addresses {
                    // A node that hangs must not use up the time of the next.
                    match tokio::time::timeout(self.0.connect_timeout, subscriber_at(info.clone())).await {
                        Ok(Ok(connection)) => return Ok(connection),
                        Ok(Err(error)) => failure = error,
                        Err(_) => failure = std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
                    }
                }
                Err(failure)
            }
        }
    }
}

/// A second for the Sentinels, and one to ask the master whether it is one.
const DISCOVERY: Duration = Duration::from_secs(2);

impl Manager for Connector {
    type Type = Established;
    type Error = RedisError;

    async fn create(&self) -> Result<Established, RedisError> {
        // Before the address is asked for, which may be that of a former master when the connection exists.
        let (lost, confirmations) = {
            let present = self.present();
            (present.end.child_token(), present.confirmations)
        };
        let channel = match &self.0.target {
            Target::Server(info) => self.connect(info.as_ref().clone(), lost.clone()).await?,
            Target::Sentinel(sentinels) => {
                let master = sentinels.master().await?;
                self.present().settle(master.addr(), &lost, confirmations);
                self.connect(master, lost.clone()).await?
            }
            // A cluster connection reconnects to its nodes itself, so it is never announced as lost.
            Target::Cluster(client) => Channel::Cluster(client.get_async_connection().await?),
        };
        if lost.is_cancelled() {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into());
        }
        Ok(Established { channel, lost })
    }

    /// Sends no command to the server: a connection that failed is not returned to the pool, and one that the server closed
    /// while idle has been announced.
    async fn recycle(&self, connection: &mut Established, _: &Metrics) -> RecycleResult<RedisError> {
        if connection.lost.is_cancelled() {
            return Err(RecycleError::message("the server has closed it"));
        }
        Ok(())
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that opens addresses")]
pub(super) async fn subscriber_at(info: ConnectionInfo) -> Result<PubSub, RedisError> {
    redis::Client::open(info)?.get_async_pubsub().await
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
    let unusable = |reason: String| EndpointError::CertificateFile { file: file.display().to_string(), reason };
    let pem = std::fs::read(file).map_err(|error| unusable(error.to_string()))?;
    match CertificateDer::pem_slice_iter(&pem).next() {
        Some(Ok(_)) => {}
        Some(Err(error)) => return Err(unusable(error.to_string())),
        None => return Err(unusable("it holds no certificate in PEM form".to_owned())),
    }
    Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(pem) }))
}

#[expect(clippy::disallowed_methods, reason = "the one place that opens addresses")]
fn connection_info(
    address: &ServerUrl,
    endpoint: &Endpoint,
    password: Option<&str>,
    certificates: Option<&TlsCertificates>,
) -> Result<ConnectionInfo, EndpointError> {
    let unusable = |source| EndpointError::Address { address: address.to_string(), source };
    let mut info = address.expose().into_connection_info().map_err(unusable)?;
    let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    // Sentinels have separate users, which only their addresses can name.
    if endpoint.topology != Topology::Sentinel {
        settings = with_credentials(settings, endpoint, password);
    }
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    info = info.set_redis_settings(settings).set_tcp_settings(tcp);
    match certificates {
        None => Ok(info),
        Some(certificates) => redis::Client::build_with_tls(info, certificates.clone())
            .map(|client| client.get_connection_info().clone())
            .map_err(unusable),
    }
}

fn with_credentials(
    mut settings: RedisConnectionInfo,
    endpoint: &Endpoint,
    password: Option<&str>,
) -> RedisConnectionInfo {
    if !endpoint.username.is_empty() {
        settings = settings.set_username(&endpoint.username);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    settings
}

/// Sentinels are contacted with the credentials of their addresses. The master is contacted with those of the endpoint, and over
/// TLS if the Sentinels are, but then its certificate is always verified.
fn master(
    endpoint: &Endpoint,
    sentinels: &[ConnectionInfo],
    password: Option<&str>,
) -> Result<ConnectionInfo, RedisError> {
    let first = sentinels.first().ok_or_else(missing_address)?;
    let settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
    let settings = with_credentials(settings.set_db(first.redis_settings().db()), endpoint, password);
    let mut address = first.addr().clone();
    if let ConnectionAddr::TcpTls { insecure, .. } = &mut address {
        *insecure = false;
    }
    Ok(first.clone().set_addr(address).set_redis_settings(settings))
}

/// The address of a Sentinel may name the database of the master; a Sentinel has none.
fn without_database(sentinel: ConnectionInfo) -> ConnectionInfo {
    let settings = sentinel.redis_settings().clone().set_db(0);
    sentinel.set_redis_settings(settings)
}

fn missing_address() -> RedisError {
    RedisError::from((redis::ErrorKind::InvalidClientConfig, "no address is configured"))
}
