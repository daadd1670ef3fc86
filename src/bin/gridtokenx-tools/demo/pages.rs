//! The addresses to open after the demo.

use super::activity::{MARKET_DOCUMENT, TRADERS};
use super::simulation::SYMBOL;

/// A list of pages of the service at `base`; each address can be opened as it is.
pub(super) fn list(base: &str) -> String {
    let base = base.trim_end_matches('/');
    let pages = [
        ("the web page", "/ui/".to_owned()),
        ("the API, to try out", "/swagger-ui/".to_owned()),
        ("a meter, by hour", "/energy/meters/MTR-001/readings?from=-24h&to=now&agg=sum&bucket=1h".to_owned()),
        ("prices, by hour", format!("/market/prices/{SYMBOL}?from=-24h&to=now&agg=ohlcv&bucket=1h")),
        ("series", "/timeseries?limit=10".to_owned()),
        ("hosts", "/hosts/metrics/latest".to_owned()),
        ("locks, for a minute", "/locks".to_owned()),
        ("a limit", format!("/ratelimit/trading/{}", TRADERS[2])),
        ("a document", format!("/json/{MARKET_DOCUMENT}")),
        ("readiness", "/health/ready".to_owned()),
        ("metrics", "/metrics".to_owned()),
    ];
    let lines = pages.map(|(name, path)| format!("  {name:<20}  {base}{path}\n"));
    format!("Open next:\n{}", lines.concat())
}
