//! `[http]`: the listener, and the limits of every request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Deserialize;

use super::value::{ByteSize, Span};
use super::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    pub address: IpAddr,
    pub port: u16,
    /// Worker threads, each with its own runtime and Redis connection; 0 means one per core.
    pub workers: usize,
    pub max_connections: usize,
    pub max_requests: usize,
    pub header_timeout: Span,
    pub request_deadline: Span,
    pub streaming_deadline: Span,
    pub body_idle_timeout: Span,
    pub body_limit: ByteSize,
    pub shutdown_deadline: Span,
    pub slow_request: Span,
}

impl Section for HttpConfig {
    const NAME: &'static str = "http";

    fn validate(&self) -> Result<(), FieldError> {
        if self.max_connections == 0 {
            return Err(FieldError::new("max_connections", "must be at least 1"));
        }
        if self.max_requests == 0 {
            return Err(FieldError::new("max_requests", "must be at least 1"));
        }
        if self.streaming_deadline < self.request_deadline {
            return Err(FieldError::new("streaming_deadline", "must not be shorter than request_deadline"));
        }
        Ok(())
    }
}

impl HttpConfig {
    /// The URL of the service for a client on this machine: "every address" can be listened on, but not called.
    pub fn local_url(&self) -> String {
        let address = match self.address {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            named => named,
        };
        format!("http://{}", SocketAddr::new(address, self.port))
    }

    /// The number of worker threads: the configured one, or one per core.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }
}
