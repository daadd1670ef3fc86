//! `healthcheck`: checks whether the service on this machine is ready, for a container's HEALTHCHECK.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::{Failure, runtime};
use crate::config::Config;
use crate::config::http::HttpConfig;

/// The time within which the service must answer.
const LIMIT: Duration = Duration::from_secs(2);
/// The most that is printed of the answer, bytes.
const MAX_REPORT: usize = 64 << 10;

pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let http: HttpConfig = config.section().map_err(Failure::config)?;
    let address = reachable(SocketAddr::new(http.address, http.port));
    let result = runtime()?.block_on(async { tokio::time::timeout(LIMIT, readiness(address)).await });
    Err(Failure::other(match result {
        Ok(Ok((StatusCode::OK, _))) => return Ok(()),
        Ok(Ok((status, report))) => format!("{address} answered {status}: {report}"),
        Ok(Err(error)) => format!("{address} did not answer: {}", root_cause(&*error)),
        Err(_) => format!("{address} did not answer within {} s", LIMIT.as_secs()),
    }))
}

/// The address to call: a service that listens on all addresses is called on loopback.
fn reachable(mut listening: SocketAddr) -> SocketAddr {
    match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listening.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listening.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listening
}

/// Status and body of `/health/ready`.
async fn readiness(address: SocketAddr) -> Result<(StatusCode, String), Box<dyn Error + Send + Sync>> {
    let uri: Uri = format!("http://{address}/health/ready").parse()?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.get(uri).await?;
    let status = response.status();
    let report = Limited::new(response.into_body(), MAX_REPORT).collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&report).into_owned()))
}

/// The cause at the bottom: the HTTP client wraps the system's error in its own, which says less.
fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, root_cause)
}
