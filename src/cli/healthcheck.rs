//! `healthcheck`: asks the service on this machine whether it is ready, for a container's HEALTHCHECK.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Builder;

use super::refuse;
use crate::config::Config;
use crate::config::http::HttpConfig;
use crate::lifecycle::exit_code;

/// The longest that an answer may take.
const LIMIT: Duration = Duration::from_secs(2);
/// As much of the reasons as is worth printing, bytes.
const MAX_REPORT: usize = 64 << 10;

type Failure = Box<dyn Error + Send + Sync>;

pub(super) fn run(config: &Config) -> ExitCode {
    let http: HttpConfig = match config.section() {
        Ok(http) => http,
        Err(error) => return refuse(exit_code::CONFIG, &error),
    };
    let address = reachable(SocketAddr::new(http.address, http.port));
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(exit_code::FAILURE, &error),
    };
    let asked = runtime.block_on(async { tokio::time::timeout(LIMIT, ask(address)).await });
    let reason = match asked {
        Ok(Ok((StatusCode::OK, _))) => return ExitCode::SUCCESS,
        Ok(Ok((status, report))) => format!("{address} answers {status}: {report}"),
        Ok(Err(error)) => format!("{address} does not answer: {}", innermost(&*error)),
        Err(_) => format!("{address} does not answer within {} s", LIMIT.as_secs()),
    };
    refuse(exit_code::FAILURE, &reason)
}

/// "Every address" is one to listen on, not one to call.
fn reachable(mut listening: SocketAddr) -> SocketAddr {
    match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listening.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listening.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listening
}

/// The status of `/health/ready`, and its text.
async fn ask(address: SocketAddr) -> Result<(StatusCode, String), Failure> {
    let uri: Uri = format!("http://{address}/health/ready").parse()?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let response = client.get(uri).await?;
    let status = response.status();
    let report = Limited::new(response.into_body(), MAX_REPORT).collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&report).into_owned()))
}

/// The client wraps the system's words in its own, which say less.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, innermost)
}
