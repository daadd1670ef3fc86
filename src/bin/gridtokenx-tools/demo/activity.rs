//! What a platform does besides storing readings: hosts report, orders take locks and limits, documents change.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use super::DemoError;
use super::simulation::{SYMBOL, Simulation};
use crate::client::{RequestError, Service};
use gridtokenx_redis::clock::UnixMillis;

/// Longer than the service takes to answer.
const LIMIT: Duration = Duration::from_secs(10);
const HOSTS: [&str; 3] = ["gateway-1", "gateway-2", "matching-1"];
/// The minutes of samples that each host sends first.
const HISTORY: u32 = 60;
const MINUTE_MS: UnixMillis = 60_000;
const GIB: u64 = 1 << 30;
/// The customers whose orders count against the limiter `trading`.
pub(super) const TRADERS: [&str; 3] = ["demo-anong", "demo-boonsri", "demo-chai"];
/// The document with the current price.
pub(super) const MARKET_DOCUMENT: &str = "demo:market";

/// Everything that the demo creates besides readings, once.
pub(super) async fn begin(service: &Service, simulation: &Simulation) -> Result<(), DemoError> {
    for (host, machine) in HOSTS.into_iter().zip(1..) {
        let samples = (0..HISTORY).rev().map(|minute| simulation.now - UnixMillis::from(minute) * MINUTE_MS);
        let samples: Vec<Value> = samples.map(|moment| sample(simulation, machine, moment)).collect();
        send_samples(service, host, &Value::Array(samples)).await?;
    }
    for (trader, meter) in TRADERS.into_iter().zip(1..) {
        let household = json!({ "name": trader, "meter": format!("MTR-{meter:03}"), "zone": "Asia/Bangkok" });
        service.json(Method::PUT, &format!("/json/demo:households:{meter}"), &household, LIMIT).await?;
    }
    let settlement = json!({ "ttl_ms": 60_000, "owner": "demo", "metadata": { "step": "transfer" } });
    lock(service, "settlement:demo", &settlement).await
}

/// One round of activity: a sample of every host, an order, and the new price in a document.
pub(super) async fn round(
    service: &Service,
    simulation: &Simulation,
    at: UnixMillis,
    price: f64,
) -> Result<(), DemoError> {
    for (host, machine) in HOSTS.into_iter().zip(1..) {
        send_samples(service, host, &sample(simulation, machine, at)).await?;
    }
    let order = json!({ "ttl_ms": 10_000, "owner": "demo", "metadata": { "symbol": SYMBOL } });
    lock(service, &format!("order_matching:{SYMBOL}"), &order).await?;
    // Another trader in every round; the traders with later names are busier.
    for trader in TRADERS.iter().skip(usize::try_from(at / 1_000 % 3).unwrap_or_default()) {
        let order = json!({ "limiter": "trading", "key": trader, "cost": 5 });
        service.json(Method::POST, "/ratelimit/check", &order, LIMIT).await?;
    }
    let market = json!({ "symbol": SYMBOL, "price_thb": price, "at": at });
    service.json(Method::PUT, &format!("/json/{MARKET_DOCUMENT}"), &market, LIMIT).await?;
    Ok(())
}

async fn send_samples(service: &Service, host: &str, samples: &Value) -> Result<(), DemoError> {
    service.json(Method::POST, &format!("/hosts/{host}/metrics"), samples, LIMIT).await?;
    Ok(())
}

/// Takes a lock, unless an earlier round still holds it.
async fn lock(service: &Service, resource: &str, request: &Value) -> Result<(), DemoError> {
    match service.json(Method::POST, &format!("/locks/{resource}"), request, LIMIT).await {
        Ok(_) | Err(RequestError::Refused { status: 409, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A sample of a machine with 8 processors.
fn sample(simulation: &Simulation, machine: u32, moment: UnixMillis) -> Value {
    let load = simulation.load_percent(machine, moment);
    let runnable = load / 100.0 * 8.0;
    let seconds = moment / 1_000;
    json!({
        "timestamp": moment,
        "cpu": { "usage": load, "cores": 8, "loadAvg": [runnable, runnable, runnable] },
        "memory": { "total": 16 * GIB, "used": 8 * GIB, "free": 8 * GIB, "usagePercent": 50.0 },
        "disk": { "total": 200 * GIB, "used": 50 * GIB, "free": 150 * GIB, "usagePercent": 25.0 },
        // Counters, which only rise.
        "network": { "bytesIn": seconds * 1_000, "bytesOut": seconds * 600, "packetsIn": seconds * 8, "packetsOut": seconds * 5 },
    })
}
