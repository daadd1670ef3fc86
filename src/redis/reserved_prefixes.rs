//! Who owns a key name in Redis that does not start with its capability's own prefix.

/// Names that a capability builds itself: no configured prefix may include them.
const INTERNAL: &str = "internal";
/// Names of other services in the same Redis.
const OTHERS: &str = "others";

/// Name prefixes and their owners: the capability that stores the platform's names there, or one of the constants
/// above.
const OWNERS: &[(&str, &str)] = &[
    ("alerts:", INTERNAL),
    ("audit:", INTERNAL),
    ("backup:", INTERNAL),
    ("blockchain_config:", "json"),
    ("cache:", INTERNAL),
    ("candles:", INTERNAL),
    ("custody:", INTERNAL),
    ("energy:", "timeseries"),
    ("erc:certificate:", "cache"),
    ("form_data:", "json"),
    ("gridtokenx:", OTHERS),
    ("gtx:", INTERNAL),
    ("iam:", OTHERS),
    ("idempotency:", INTERNAL),
    ("influx:", "timeseries"),
    ("inspect:", INTERNAL),
    ("json:", INTERNAL),
    ("lock-turnstile:", INTERNAL),
    ("lock:", "locks"),
    ("locks:", INTERNAL),
    ("market:current_epoch", "epoch"),
    ("market:epoch_log", INTERNAL),
    ("market:fence", INTERNAL),
    ("market:fold_turn", INTERNAL),
    ("market:price:", "timeseries"),
    ("market:stats:24h", "cache"),
    ("market:symbols", INTERNAL),
    ("market:volume:", "timeseries"),
    ("market_config:", "json"),
    ("metrics:", "hosts"),
    ("noti:", OTHERS),
    ("orderbook", "orderbook"),
    ("pubsub:", INTERNAL),
    ("rate_limit:", "ratelimit"),
    ("replication:", INTERNAL),
    ("settlement:", "timeseries"),
    ("streams:", INTERNAL),
    ("tape:", INTERNAL),
    ("timeseries:", INTERNAL),
    ("token:balance:", "cache"),
    ("trades_window", "trades"),
    ("trading:", "timeseries"),
    ("trading_config:", "json"),
    ("ts:", INTERNAL),
    ("user:profile:", "cache"),
    ("user:wallet:", "cache"),
    ("user_activity:", "json"),
    ("user_preferences:", "json"),
    ("warming:", INTERNAL),
];

/// A name prefix of another owner that keys under `prefix` could collide with, if there is one. A `capability` of `""` owns
/// none of them.
pub fn owned_elsewhere(prefix: &str, capability: &str) -> Option<&'static str> {
    let overlaps = |owned: &str| owned.starts_with(prefix) || prefix.starts_with(owned);
    OWNERS.iter().find(|(owned, owner)| *owner != capability && overlaps(owned)).map(|(owned, _)| *owned)
}

/// The prefixes of this service's capabilities.
#[cfg(test)]
pub fn own_prefixes() -> impl Iterator<Item = &'static str> {
    OWNERS.iter().filter(|(_, owner)| *owner != OTHERS).map(|(prefix, _)| *prefix)
}

#[cfg(test)]
mod tests {
    use super::owned_elsewhere;

    #[test]
    fn a_name_belongs_to_one_owner_only() {
        assert_eq!(owned_elsewhere("user_preferences:", "json"), None);
        assert_eq!(owned_elsewhere("user_preferences:", "cache"), Some("user_preferences:"));
        assert_eq!(owned_elsewhere("user_", "cache"), Some("user_activity:"));
        assert_eq!(owned_elsewhere("json:version:", "json"), Some("json:"));
        assert_eq!(owned_elsewhere("", "json"), Some("alerts:"));
    }
}
