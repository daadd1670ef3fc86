//! The typed events of the platform's channels. Channels with a schema accept only the events of its family.
//!
//! Decimal numbers are strings, since clients must not read money as binary floating point. A time that is absent is that of
//! the publication. A new optional member is a new
//! minor version; a changed meaning is a new message type.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::error::PubSubError;
use crate::clock::UnixMillis;
use crate::http::extract::parse_json;

/// A decimal number as text, such as `-3.42`: at most 38 digits, without an exponent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelEventDecimal, value_type = String, pattern = r"^-?[0-9]{1,38}(\.[0-9]{1,38})?$", example = "3.42")]
pub(super) struct Decimal(String);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let is_number = |part: &str| (1..=38).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        if is_number(whole) && is_number(fraction) {
            return Ok(Self(text));
        }
        Err(D::Error::custom(format!("must be a decimal number as a string, such as \"3.42\", got `{text}`")))
    }
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident as $schema:ident { $($body:tt)* })+) => {
        $($(#[$doc])*
        #[derive(Debug, Serialize, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = $schema)]
        pub(super) struct $name { $($body)* })+
    };
}

events! {
    /// `OrderBookUpdate`: the best prices of an order book.
    OrderBookUpdate as ChannelEventOrderBookUpdate {
        symbol: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<i64>)]
        timestamp: Option<UnixMillis>,
        #[serde(skip_serializing_if = "Option::is_none")]
        best_bid: Option<Decimal>,
        #[serde(skip_serializing_if = "Option::is_none")]
        best_ask: Option<Decimal>,
        #[serde(skip_serializing_if = "Option::is_none")]
        spread: Option<Decimal>,
        volume: Decimal,
    }
    /// `PriceUpdate`: a new price.
    PriceUpdate as ChannelEventPriceUpdate {
        symbol: String,
        price: Decimal,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<i64>)]
        timestamp: Option<UnixMillis>,
        change_percent: Decimal,
    }
    /// `TradeExecuted`: a trade.
    TradeExecuted as ChannelEventTradeExecuted {
        trade_id: String,
        symbol: String,
        price: Decimal,
        quantity: Decimal,
        buyer: String,
        seller: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<i64>)]
        timestamp: Option<UnixMillis>,
    }
    /// `Created`, `Updated`, `Cancelled` and `Matched`: the state of an order.
    OrderEvent as ChannelEventOrder {
        order_id: String,
        user_id: String,
        symbol: String,
        side: String,
        price: Decimal,
        quantity: Decimal,
        filled_quantity: Decimal,
        status: String,
        timestamp: UnixMillis,
        #[serde(skip_serializing_if = "Option::is_none")]
        trade_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }
    /// `HighMemoryUsage`, `RedisConnectionLost` and the other conditions: an alert, and since version 1.1 its end.
    AlertEvent as ChannelEventAlert {
        severity: String,
        summary: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<Decimal>,
        #[serde(skip_serializing_if = "Option::is_none")]
        threshold: Option<Decimal>,
        since: UnixMillis,
        instance: String,
        /// Equal for all messages about one episode.
        #[serde(skip_serializing_if = "Option::is_none")]
        alert_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        /// `firing` or `resolved`.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<String>,
    }
    /// `OrderUpdate`, `TradeConfirmation`, `SettlementComplete` and `TokenMinted`: what concerns one user.
    UserEvent as ChannelEventUser {
        amount: Decimal,
        timestamp: UnixMillis,
        #[serde(skip_serializing_if = "Option::is_none")]
        order_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        trade_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        symbol: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        tx_signature: Option<String>,
    }
}

/// Schemas of the API document by name.
type Schemas = Vec<(String, RefOr<Schema>)>;

/// One type of event: its name, the check of its data, and the schema of its data.
struct EventType {
    name: &'static str,
    check: fn(&RawValue) -> Result<(), PubSubError>,
    schema: fn() -> RefOr<Schema>,
    /// The name of its schema in the API document, and the schemas to which it refers.
    component: fn(&mut Schemas) -> String,
}

const fn event<T: DeserializeOwned + ToSchema>(name: &'static str) -> EventType {
    EventType { name, check: is_a::<T>, schema: T::schema, component: component::<T> }
}

fn component<T: ToSchema>(referred: &mut Schemas) -> String {
    T::schemas(referred);
    T::name().into_owned()
}

/// The data of a message in the API document: that of an event, or any JSON.
pub(super) struct EventData;

impl PartialSchema for EventData {
    fn schema() -> RefOr<Schema> {
        let known = FAMILIES.iter().flat_map(|(_, types)| types.iter());
        let names: BTreeSet<String> = known.map(|known| (known.component)(&mut Vec::new())).collect();
        let any = AnyOfBuilder::new().description(Some("The data of a typed event, or any JSON."));
        let any = names.into_iter().fold(any, |any, name| any.item(Ref::from_schema_name(name)));
        Schema::AnyOf(any.item(serde_json::Value::schema()).build()).into()
    }
}

impl ToSchema for EventData {
    fn name() -> Cow<'static, str> {
        "ChannelEventData".into()
    }

    fn schemas(schemas: &mut Schemas) {
        for known in FAMILIES.iter().flat_map(|(_, types)| types.iter()) {
            let name = (known.component)(schemas);
            schemas.push((name, (known.schema)()));
        }
    }
}

/// The families of events.
const FAMILIES: &[(&str, &[EventType])] = &[
    (
        "market",
        &[
            event::<OrderBookUpdate>("OrderBookUpdate"),
            event::<PriceUpdate>("PriceUpdate"),
            event::<TradeExecuted>("TradeExecuted"),
        ],
    ),
    (
        "order",
        &[
            event::<OrderEvent>("Created"),
            event::<OrderEvent>("Updated"),
            event::<OrderEvent>("Cancelled"),
            event::<OrderEvent>("Matched"),
        ],
    ),
    (
        "alert",
        &[
            event::<AlertEvent>("HighMemoryUsage"),
            event::<AlertEvent>("RedisConnectionLost"),
            event::<AlertEvent>("MarketDataDelay"),
            event::<AlertEvent>("SecurityEvent"),
            event::<AlertEvent>("EvictionOfState"),
            event::<AlertEvent>("SnapshotFailed"),
            event::<AlertEvent>("PersistenceFailed"),
            event::<AlertEvent>("RewriteFailed"),
            event::<AlertEvent>("ReplicaLost"),
            event::<AlertEvent>("ReplicaLags"),
            event::<AlertEvent>("Failover"),
            event::<AlertEvent>("RedisClientsHigh"),
            event::<AlertEvent>("RedisRejectsConnections"),
            event::<AlertEvent>("ClockJump"),
            event::<AlertEvent>("LeaseOverlong"),
            event::<AlertEvent>("LocksLost"),
            event::<AlertEvent>("RequestsFailing"),
            event::<AlertEvent>("TaskFailing"),
            event::<AlertEvent>("PartDown"),
            event::<AlertEvent>("LimitsDegraded"),
            event::<AlertEvent>("DiskLow"),
            event::<AlertEvent>("Panic"),
            event::<AlertEvent>("FilesHigh"),
            event::<AlertEvent>("LogLinesLost"),
            event::<AlertEvent>("ReloadRefused"),
            event::<AlertEvent>("HostsWaiting"),
            event::<AlertEvent>("HostSamplesLost"),
            event::<AlertEvent>("SpoolFull"),
            event::<AlertEvent>("MessagesLost"),
            event::<AlertEvent>("ArchiveLag"),
            event::<AlertEvent>("ArchiveDamaged"),
        ],
    ),
    (
        "user",
        &[
            event::<UserEvent>("OrderUpdate"),
            event::<UserEvent>("TradeConfirmation"),
            event::<UserEvent>("SettlementComplete"),
            event::<UserEvent>("TokenMinted"),
        ],
    ),
];

/// The names of the families.
pub(super) fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

/// The message types of a family.
pub(super) fn message_types(family: &str) -> impl Iterator<Item = &'static str> {
    types_of(family).iter().map(|known| known.name)
}

/// The JSON Schema of the data of every type of event.
pub(super) fn schemas() -> impl Iterator<Item = (&'static str, Value)> {
    FAMILIES.iter().flat_map(|(_, types)| types.iter()).map(|known| {
        let mut schema = serde_json::to_value((known.schema)()).unwrap_or_default();
        replace_references(&mut schema);
        (known.name, schema)
    })
}

/// Replaces references to [`Decimal`], the only type that events refer to, by its schema: the document has no schemas beside
/// those of the messages.
fn replace_references(schema: &mut Value) {
    match schema {
        Value::Object(members) if members.contains_key("$ref") => {
            *schema = serde_json::to_value(Decimal::schema()).unwrap_or_default();
        }
        Value::Object(members) => members.values_mut().for_each(replace_references),
        Value::Array(items) => items.iter_mut().for_each(replace_references),
        _ => {}
    }
}

fn types_of(family: &str) -> &'static [EventType] {
    FAMILIES.iter().find(|(name, _)| *name == family).map_or(&[], |(_, types)| types)
}

/// Checks data against a family of events.
///
/// # Errors
/// [`PubSubError::EventInvalid`] with a JSON pointer.
pub(super) fn check(family: &str, message_type: &str, data: &RawValue) -> Result<(), PubSubError> {
    let Some(known) = types_of(family).iter().find(|known| known.name == message_type) else {
        let known = message_types(family).collect::<Vec<_>>().join(", ");
        let rule = format!("must be one of {known} on this channel, got `{message_type}`");
        return Err(PubSubError::EventInvalid { violations: vec![("/message_type".to_owned(), rule)] });
    };
    (known.check)(data)
}

fn is_a<T: DeserializeOwned>(data: &RawValue) -> Result<(), PubSubError> {
    parse_json::<T>(data.get().as_bytes()).map(|_| ()).map_err(|problem| {
        let of_data = |violation: &crate::http::problem::Violation| {
            (format!("/data{}", violation.pointer), violation.detail.clone())
        };
        let mut violations: Vec<_> = problem.violations().iter().map(of_data).collect();
        if violations.is_empty() {
            violations.push(("/data".to_owned(), problem.text().to_owned()));
        }
        PubSubError::EventInvalid { violations }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(family: &str, message_type: &str, data: &str) -> Vec<String> {
        let data = RawValue::from_string(data.to_owned()).expect("JSON");
        match check(family, message_type, &data) {
            Ok(()) => Vec::new(),
            Err(PubSubError::EventInvalid { violations }) => violations.into_iter().map(|(at, _)| at).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_violation_names_its_field() {
        let price = r#"{"symbol":"E","price":"3.42","timestamp":1,"change_percent":"-0.5"}"#;
        assert!(pointers("market", "PriceUpdate", price).is_empty());
        let number = r#"{"symbol":"E","price":3.42,"timestamp":1,"change_percent":"0"}"#;
        assert_eq!(pointers("market", "PriceUpdate", number), ["/data/price"]);
        let unknown = r#"{"symbol":"E","price":"1","timestamp":1,"change_percent":"0","x":1}"#;
        assert_eq!(pointers("market", "PriceUpdate", unknown), ["/data/x"]);
        assert_eq!(pointers("market", "Created", price), ["/message_type"]);
    }

    #[test]
    fn decimals_are_plain() {
        for good in ["0", "-3.42", "12345678901234567890.5"] {
            assert!(serde_json::from_value::<Decimal>(good.into()).is_ok(), "{good}");
        }
        for bad in ["", "-", ".5", "5.", "1e5", "+1", "1,5", "0x1", "NaN"] {
            assert!(serde_json::from_value::<Decimal>(bad.into()).is_err(), "{bad}");
        }
    }
}
