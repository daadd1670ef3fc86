//! What becomes of keys that contain a subject's ids, by the beginning of their names.

use crate::holdings::Holding;

/// What happens to a key whose name contains an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// It is deleted.
    Erase,
    /// It is deleted once the lock is free: a held lock is not broken.
    WhenFree,
    /// It stays, for this reason.
    Keep(&'static str),
    /// The name is not that of a person.
    Ignore,
}

/// What happens to a key whose name contains no id, and whose content may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It contains no names.
    Ignore,
    /// The members, fields and entries with an id are removed. A string with an id is deleted.
    Remove,
    /// A document that says that it belongs to the subject is deleted.
    Document,
    /// It stays, for this reason.
    Keep(&'static str),
}

/// The rule of a group of keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    start: &'static str,
    /// The capability, as receipts name it.
    pub capability: &'static str,
    pub named: Named,
    pub content: Content,
}

const LAW: &str = "orders, trades and settlement are kept by law";
const LOG: &str = "event streams cannot be edited; their events leave with their retention";

const fn rule(start: &'static str, capability: &'static str, named: Named, content: Content) -> Rule {
    Rule { start, capability, named, content }
}

/// The first match counts. Keys without a rule belong to other programs, and are not touched.
const RULES: &[Rule] = &[
    rule("alerts:", "alerts", Named::Ignore, Content::Remove),
    rule("audit:", "audit", Named::Ignore, Content::Keep("the audit log names administrators and pseudonyms")),
    rule("backup:", "backup", Named::Ignore, Content::Ignore),
    rule("cache:{index}", "cache", Named::Ignore, Content::Remove),
    rule("cache:", "cache", Named::Erase, Content::Remove),
    rule("custody:", "custody", Named::Ignore, Content::Ignore),
    rule("gtx:", "redis", Named::Ignore, Content::Ignore),
    rule("idempotency:", "idempotency", Named::Erase, Content::Remove),
    rule("inspect:", "inspect", Named::Ignore, Content::Remove),
    rule("json:", "json", Named::Erase, Content::Document),
    rule("user_activity:", "json", Named::Erase, Content::Document),
    rule("user_preferences:", "json", Named::Erase, Content::Document),
    rule("trading_config:", "json", Named::Erase, Content::Document),
    rule("market_config:", "json", Named::Erase, Content::Document),
    rule("blockchain_config:", "json", Named::Erase, Content::Document),
    rule("form_data:", "json", Named::Erase, Content::Document),
    rule("erc:certificate:", "cache", Named::Erase, Content::Remove),
    rule("influx:", "timeseries", Named::Erase, Content::Ignore),
    rule("lock-turnstile:", "locks", Named::WhenFree, Content::Ignore),
    rule("lock:", "locks", Named::WhenFree, Content::Ignore),
    rule("locks:", "locks", Named::Ignore, Content::Remove),
    rule("metrics:", "hosts", Named::Ignore, Content::Ignore),
    rule("market:price:", "timeseries", Named::Erase, Content::Ignore),
    rule("market:stats:24h", "cache", Named::Erase, Content::Remove),
    rule("market:volume:", "timeseries", Named::Erase, Content::Ignore),
    rule("market:", "trades", Named::Ignore, Content::Keep(LAW)),
    rule("candles:", "trades", Named::Ignore, Content::Ignore),
    rule("streams:", "streams", Named::Erase, Content::Keep(LOG)),
    rule("tape:", "trades", Named::Ignore, Content::Keep(LAW)),
    rule("trades_window", "archive", Named::Ignore, Content::Ignore),
    rule("orderbook", "orderbook", Named::Keep(LAW), Content::Keep(LAW)),
    rule("pubsub:", "pubsub", Named::Erase, Content::Keep("messages to several receivers leave with their history")),
    rule("rate_limit:", "ratelimit", Named::Erase, Content::Remove),
    rule("replication:", "replication", Named::Erase, Content::Ignore),
    rule("energy:", "timeseries", Named::Erase, Content::Ignore),
    rule("settlement:", "timeseries", Named::Erase, Content::Ignore),
    rule("timeseries:", "timeseries", Named::Ignore, Content::Remove),
    rule("token:balance:", "cache", Named::Erase, Content::Ignore),
    rule("trading:", "timeseries", Named::Erase, Content::Ignore),
    rule("ts:", "timeseries", Named::Erase, Content::Ignore),
    rule("user:profile:", "cache", Named::Erase, Content::Remove),
    rule("user:wallet:", "cache", Named::Erase, Content::Remove),
    rule("warming:", "warming", Named::Erase, Content::Remove),
];

/// The rule of a cached value under a name of its writer's choice.
pub(super) const CACHED: Rule = rule("", "cache", Named::Erase, Content::Remove);

/// The rules of names that the configuration gives to a capability.
const CONFIGURED: &[Rule] = &[
    CACHED,
    rule("", "json", Named::Erase, Content::Document),
    rule("", "ratelimit", Named::Erase, Content::Remove),
    rule("", "timeseries", Named::Erase, Content::Ignore),
];

/// The rule of the keys that the configuration gives to the holding.
pub(super) fn rule_of_configured(holding: Holding) -> Option<&'static Rule> {
    CONFIGURED.iter().find(|rule| rule.capability == holding.name)
}

/// The rule of a key; `name` has no configured prefix.
pub(super) fn rule_of(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| name.starts_with(rule.start))
}

#[cfg(test)]
mod tests {
    use super::rule_of;
    use crate::redis::own_prefixes;

    #[test]
    fn every_prefix_of_the_service_has_a_rule() {
        let missing: Vec<&str> = own_prefixes().filter(|prefix| rule_of(prefix).is_none()).collect();
        assert!(missing.is_empty(), "an erasure would not find ids in {missing:?}");
    }
}
