//! `[market]`: the days of the market, and which series its trades feed.

use serde::Deserialize;

use crate::config::Section;
use crate::config::value::Zone;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MarketConfig {
    /// The zone in which days begin.
    pub timezone: Zone,
    /// Whether trades feed the platform's series of prices and volumes.
    pub feed_series: bool,
}

impl Section for MarketConfig {
    const NAME: &'static str = "market";
}
