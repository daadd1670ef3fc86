//! `[redis]`: which Redis, by which road, and how long we wait for it.

use std::path::PathBuf;

use serde::Deserialize;

use super::value::{Secret, Span};
use super::{FieldError, Section};

/// How the servers of a role are arranged.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    #[default]
    Single,
    Sentinel,
    Cluster,
}

/// Where a role's servers are and who we are to them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoint {
    /// `redis://`, `rediss://` or `unix://`; empty means: a private server of our own.
    pub url: String,
    pub topology: Topology,
    /// Sentinels, or some nodes of the cluster, as addresses; `url` may stand in for one.
    pub nodes: Vec<String>,
    pub sentinel_master: String,
    pub username: String,
    pub password: Option<Secret<String>>,
    pub password_file: Option<PathBuf>,
    /// PEM file of the authority that signed the servers' certificates; the system's when absent.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    pub url: String,
    pub topology: Topology,
    pub nodes: Vec<String>,
    pub sentinel_master: String,
    pub username: String,
    pub password: Option<Secret<String>>,
    pub password_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    /// A server of its own for what may be evicted.
    pub cache: Option<Endpoint>,
    /// A server of its own for what must never be evicted.
    pub state: Option<Endpoint>,
    pub key_prefix: String,
    pub pool_size: usize,
    pub pool_wait: Span,
    pub connect_timeout: Span,
    pub command_timeout: Span,
    pub reconnect_min: Span,
    pub reconnect_max: Span,
    pub check_interval: Span,
    pub embedded: EmbeddedConfig,
}

/// The private server that is started when no address is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedConfig {
    pub binary: PathBuf,
    pub data_dir: PathBuf,
    pub start_timeout: Span,
}

impl Section for RedisConfig {
    const NAME: &'static str = "redis";

    fn validate(&self) -> Result<(), FieldError> {
        if self.pool_size == 0 {
            return Err(FieldError::new("pool_size", "must be at least 1"));
        }
        if self.reconnect_min > self.reconnect_max {
            return Err(FieldError::new("reconnect_min", "must not exceed reconnect_max"));
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
    /// The address for every role that has none of its own.
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
    /// Whether the configuration says where the servers are.
    pub fn is_named(&self) -> bool {
        !self.url.is_empty() || !self.nodes.is_empty()
    }

    /// Every configured address, `url` first.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.url.as_str()).filter(|url| !url.is_empty()).chain(self.nodes.iter().map(String::as_str))
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
