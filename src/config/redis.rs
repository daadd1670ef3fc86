//! `[redis]`: the servers, the credentials for them, and the limits of every command.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::value::{Secret, Span};
use super::{FieldError, Section};

/// The most replicas that may be demanded of a write; a deployment with more is not known.
pub const MAX_REPLICAS: u8 = 9;

/// How the servers of a role are arranged.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    #[default]
    Single,
    Sentinel,
    Cluster,
}

/// The address of a server. `Debug` and `Display` omit a password in it.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct ServerUrl(String);

impl ServerUrl {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The complete address, password included; review every call.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ServerUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        // A password may contain separators: the last @ counts, and the first ? after it.
        let (credentials, host) = rest.rsplit_once('@').map_or(("", rest), |(_, host)| ("***@", host));
        let host = host.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{credentials}{host}")
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A role's servers and the credentials for them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// `redis://`, `rediss://` or `unix://`; if empty, the service starts a private server.
    pub url: ServerUrl,
    pub topology: Topology,
    /// The addresses of the Sentinels or of some cluster nodes; `url` may replace one of them.
    pub nodes: Vec<ServerUrl>,
    pub sentinel_master: String,
    pub username: String,
    pub password: Option<Secret<String>>,
    pub password_file: Option<PathBuf>,
    /// PEM file of the authority that signed the servers' certificates; without it the system's authorities count.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    pub url: ServerUrl,
    pub topology: Topology,
    pub nodes: Vec<ServerUrl>,
    pub sentinel_master: String,
    pub username: String,
    pub password: Option<Secret<String>>,
    pub password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    /// A separate server for data that may be evicted.
    pub cache: Option<Endpoint>,
    /// A separate server for data that must never be evicted.
    pub state: Option<Endpoint>,
    pub key_prefix: String,
    /// How many replicas must have every write of a capability, by its name.
    pub min_replicas: BTreeMap<String, u8>,
    pub pool_size: usize,
    pub connect_timeout: Span,
    pub command_timeout: Span,
    pub check_interval: Span,
    pub embedded: EmbeddedConfig,
}

/// The private server that the service starts if no address is configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedConfig {
    pub binary: PathBuf,
    pub data_dir: PathBuf,
}

impl Section for RedisConfig {
    const NAME: &'static str = "redis";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("pool_size", self.pool_size == 0),
            ("connect_timeout", self.connect_timeout.as_millis() == 0),
            ("command_timeout", self.command_timeout.as_millis() == 0),
        ])?;
        FieldError::reject_short([("check_interval", self.check_interval)])?;
        for (field, path) in
            [("embedded.binary", &self.embedded.binary), ("embedded.data_dir", &self.embedded.data_dir)]
        {
            if path.as_os_str().is_empty() {
                return Err(FieldError::new(field, "must not be empty"));
            }
        }
        if let Some((name, _)) = self.min_replicas.iter().find(|(_, replicas)| **replicas > MAX_REPLICAS) {
            return Err(FieldError::new(format!("min_replicas.{name}"), format!("must be at most {MAX_REPLICAS}")));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':');
        let is_only_colons = !self.key_prefix.is_empty() && self.key_prefix.bytes().all(|byte| byte == b':');
        if is_only_colons || !self.key_prefix.bytes().all(is_plain) {
            let rule = "must have only letters, digits, `_`, `-`, `.` and `:`, and not only colons";
            return Err(FieldError::new("key_prefix", format!("{rule}, got `{}`", self.key_prefix)));
        }
        self.base().validate("url")?;
        for (field, endpoint) in [("cache", &self.cache), ("state", &self.state)] {
            if let Some(endpoint) = endpoint {
                endpoint.validate(field)?;
                if !endpoint.is_named() {
                    return Err(FieldError::new(field, "needs a url or nodes"));
                }
            }
        }
        Ok(())
    }
}

impl RedisConfig {
    /// Whether a role has no server, so that the service starts a private one.
    pub fn needs_private_server(&self) -> bool {
        !self.base().is_named() && (self.cache.is_none() || self.state.is_none())
    }

    /// The address of every role without a server of its own.
    pub fn base(&self) -> Endpoint {
        Endpoint {
            url: self.url.clone(),
            topology: self.topology,
            nodes: self.nodes.clone(),
            sentinel_master: self.sentinel_master.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            password_file: self.password_file.clone(),
            ca_file: self.ca_file.clone(),
        }
    }
}

impl Endpoint {
    /// Whether the configuration names a server.
    pub fn is_named(&self) -> bool {
        !self.url.is_empty() || !self.nodes.is_empty()
    }

    /// Every configured address, `url` first.
    pub fn addresses(&self) -> impl Iterator<Item = &ServerUrl> {
        std::iter::once(&self.url).filter(|url| !url.is_empty()).chain(&self.nodes)
    }

    fn validate(&self, field: &'static str) -> Result<(), FieldError> {
        if self.topology == Topology::Sentinel && self.sentinel_master.is_empty() {
            return Err(FieldError::new(field, "topology \"sentinel\" needs sentinel_master"));
        }
        if self.topology != Topology::Single && !self.is_named() {
            return Err(FieldError::new(field, "topology \"sentinel\" or \"cluster\" needs nodes"));
        }
        if self.topology == Topology::Single && !self.nodes.is_empty() {
            return Err(FieldError::new(field, "nodes need topology \"sentinel\" or \"cluster\""));
        }
        if self.password.is_some() && self.password_file.is_some() {
            return Err(FieldError::new(field, "give password or password_file, not both"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_without_its_password() {
        for (url, printed) in [
            ("redis://cache:6379/0", "redis://cache:6379/0"),
            ("rediss://user:hunter2@cache:6379/0", "rediss://***@cache:6379/0"),
            ("redis://:hun@ter2@cache", "redis://***@cache"),
            ("redis://:hun?ter2@cache", "redis://***@cache"),
            ("unix:///run/redis.sock?user=u&pass=hunter2", "unix:///run/redis.sock"),
        ] {
            assert_eq!(format!("{:?}", ServerUrl::from(url)), printed);
        }
    }
}
