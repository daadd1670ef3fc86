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
    /// Per second.
    pub min_body_rate: ByteSize,
    pub body_limit: ByteSize,
    pub shutdown_deadline: Span,
    /// The origins whose pages may call the service from a browser, such as `https://app.example.com`, or `*`.
    pub cors_origins: Vec<String>,
}

/// More threads than any machine has cores; each has a connection to Redis.
const MAX_WORKERS: usize = 1_024;

impl Section for HttpConfig {
    const NAME: &'static str = "http";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("max_connections", self.max_connections == 0),
            ("max_requests", self.max_requests == 0),
            ("min_body_rate", self.min_body_rate.bytes() == 0),
            ("body_limit", self.body_limit.bytes() == 0),
            ("header_timeout", self.header_timeout.as_millis() == 0),
            ("request_deadline", self.request_deadline.as_millis() == 0),
            ("body_idle_timeout", self.body_idle_timeout.as_millis() == 0),
            ("shutdown_deadline", self.shutdown_deadline.as_millis() == 0),
        ])?;
        if self.workers > MAX_WORKERS {
            return Err(FieldError::new("workers", format!("must be at most {MAX_WORKERS}, got {}", self.workers)));
        }
        if self.streaming_deadline < self.request_deadline {
            return Err(FieldError::new("streaming_deadline", "must not be shorter than request_deadline"));
        }
        match self.cors_origins.iter().find(|origin| !is_origin(origin)) {
            None => Ok(()),
            Some(origin) => Err(FieldError::new(
                "cors_origins",
                format!(
                    "must be origins as browsers send them, such as `https://app.example.com`, without the port of the scheme, or `*`, got `{origin}`"
                ),
            )),
        }
    }
}

/// Whether `text` is an origin as browsers send it: a scheme, a host in lower case, and the port unless it is the
/// scheme's own.
fn is_origin(text: &str) -> bool {
    let Some(host) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return text == "*" };
    let is_allowed = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || b"-.:[]_".contains(&byte);
    let own_port = if text.starts_with("https:") { ":443" } else { ":80" };
    !host.is_empty() && host.bytes().all(is_allowed) && !host.ends_with(own_port)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        for good in ["*", "https://app.example.com", "http://localhost:3000", "http://[::1]:8080", "https://a:80"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "app.example.com",
            "https://",
            "https://a/",
            "https://A",
            "https://a b",
            "ftp://a",
            "https://*.a",
            "https://a:443",
            "http://a:80",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
