//! Wire types of epochs. [`Epoch`] is also the stored record.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::UnixMillis;
use crate::http::{integer, times};
use crate::tape::{Decimal, Symbol};

/// The state of an epoch. It moves forward: `pending`, `active`, `clearing`, `cleared`, `settled`. A `pending` or `active`
/// epoch can be `cancelled`. A failed clearing returns to `active` under a newer fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MarketEpochStatus)]
pub(super) enum EpochStatus {
    Pending,
    Active,
    Clearing,
    Cleared,
    Settled,
    Cancelled,
}

impl EpochStatus {
    /// Whether the market waits for this epoch: no other one can begin.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Active | Self::Clearing)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Clearing => "clearing",
            Self::Cleared => "cleared",
            Self::Settled => "settled",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The clearing of one book.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MarketClearing)]
pub(super) struct Clearing {
    pub symbol: Symbol,
    /// The uniform price; null if nothing was traded.
    #[schema(required = true)]
    pub price: Option<Decimal>,
    pub volume: Decimal,
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub matched_orders: u64,
}

/// An epoch of the market.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = MarketEpoch)]
#[expect(clippy::struct_field_names, reason = "the platform's names")]
pub(super) struct Epoch {
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    pub epoch_number: u64,
    /// A UUID, unless the caller that created the epoch chose another id.
    pub epoch_id: String,
    /// The beginning, Unix milliseconds.
    pub start: UnixMillis,
    /// The end, Unix milliseconds; not part of the epoch.
    pub end: UnixMillis,
    pub status: EpochStatus,
    /// Whether `end` has passed on Redis's clock. It passes by itself and does not change `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = true)]
    pub ended: Option<bool>,
    /// The uniform price of the epoch; null if it is unknown, or differs by symbol.
    #[schema(required = true)]
    pub clearing_price: Option<Decimal>,
    pub total_volume: Decimal,
    pub total_orders: u64,
    pub matched_orders: u64,
    pub clearings: Vec<Clearing>,
    /// 1 for a new epoch; every change adds 1.
    #[schema(minimum = 1)]
    pub version: u64,
    /// The fencing token of the last change that had one; only in the stored record.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub fence: Option<u64>,
}

/// The most clearings of an epoch: one for each zone or segment.
pub(super) const MAX_CLEARINGS: usize = 100;

/// What a change says about an epoch. Fields that are absent or null keep their stored values.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MarketEpochChange)]
#[schema(example = json!({ "epoch_number": 1, "status": "active", "total_orders": 12 }))]
pub(super) struct EpochChange {
    /// A number above that of the current epoch creates an epoch.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64, example = 1)]
    pub epoch_number: u64,
    pub status: EpochStatus,
    /// For a new epoch; without it, the service chooses a UUID.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._:-]{1,64}$")]
    pub epoch_id: Option<String>,
    /// Unix milliseconds, or RFC 3339; required for a new epoch.
    #[serde(default, deserialize_with = "times::millis_or_rfc3339_if_given")]
    pub start: Option<UnixMillis>,
    /// Unix milliseconds, or RFC 3339; 1 s to 24 h after `start`. Required for a new epoch.
    #[serde(default, deserialize_with = "times::millis_or_rfc3339_if_given")]
    pub end: Option<UnixMillis>,
    #[serde(default)]
    pub clearing_price: Option<Decimal>,
    #[serde(default)]
    pub total_volume: Option<Decimal>,
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(maximum = 9_007_199_254_740_991_u64, example = 12)]
    pub total_orders: Option<u64>,
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    pub matched_orders: Option<u64>,
    /// One entry for each symbol.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub clearings: Option<Vec<Clearing>>,
}

/// The length of an epoch that [`AdvanceRequest`] does not state: the platform's, milliseconds.
pub(super) const USUAL_LENGTH: u64 = 15 * 60_000;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MarketEpochAdvance)]
#[schema(example = json!({ "length_ms": 900_000 }))]
pub(super) struct AdvanceRequest {
    /// The length of the epoch if this call creates it, milliseconds.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 1_000, maximum = 86_400_000, default = 900_000, example = 900_000)]
    pub length_ms: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EpochQuery {
    /// The number of an epoch; without it, the current one.
    #[param(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    pub number: Option<u64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The most epochs of the page.
    #[serde(default = "usual_page")]
    #[param(value_type = u64, required = false, minimum = 1, maximum = 1_000, default = 100)]
    pub limit: usize,
    /// `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^[1-9][0-9]{0,15}$")]
    pub cursor: Option<u64>,
}

/// The longest page.
pub(super) const MAX_PAGE: usize = 1_000;

fn usual_page() -> usize {
    100
}
