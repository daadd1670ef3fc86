//! Configurations in which one name would belong to two capabilities, deployments or rules are refused.

use gridtokenx_redis::app::check_config;
use gridtokenx_redis::config::Config;

/// Why a configuration is refused; `None` if it is valid.
fn refusal(overrides: &str) -> Option<String> {
    let config = Config::with_overrides(overrides).expect("TOML");
    check_config(&config).err().map(|error| error.to_string())
}

fn family(prefix: &str) -> String {
    format!("[[timeseries.families]]\nprefix = \"{prefix}\"\nretention = \"1d\"\n")
}

fn collection(prefix: &str) -> String {
    format!("[[json.collections]]\nprefix = \"{prefix}\"\n")
}

fn policy(prefix: &str, platform: bool) -> String {
    format!("[[cache.policies]]\nprefix = \"{prefix}\"\nplatform = {platform}\n")
}

fn limiter(key: &str) -> String {
    format!(
        "[[ratelimit.limiters]]\nname = \"own\"\nkey = \"{key}\"\n\
         strategy = {{ kind = \"sliding_window\", limit = 5, window = \"1m\" }}\n"
    )
}

#[test]
fn no_configured_prefix_includes_keys_of_the_service() {
    for name in [
        "metrics:",
        "lock:",
        "lock-turnstile:",
        "cache:",
        "json:",
        "streams:",
        "idempotency:",
        "tape:",
        "orderbook:",
        "pubsub:",
        "timeseries:",
        "market:current_epoch",
        "user_activity:",
    ] {
        let series = refusal(&family(&format!("{name}*"))).unwrap_or_else(|| panic!("family {name}* is valid"));
        assert!(series.contains("timeseries.families") && series.contains(name), "{series}");
        let limits = refusal(&limiter(&format!("{}:{{id}}", name.trim_end_matches(':'))))
            .unwrap_or_else(|| panic!("limiter {name} is valid"));
        assert!(limits.contains("ratelimit.limiters[0].key"), "{limits}");
    }
    for other in ["influx:", "market:volume:", "user:profile:"] {
        assert!(refusal(&limiter(&format!("{other}{{id}}"))).is_some(), "{other}");
        assert!(refusal(&collection(other)).is_some(), "{other}");
    }
    assert!(refusal(&family("rate_limit:*")).is_some() && refusal(&family("*")).is_none());
    for valid in [family("wind:*") + &family("energy:generation:*"), limiter("user_limit:{id}"), collection("kyc:")] {
        assert_eq!(refusal(&valid), None, "{valid}");
    }
}

#[test]
fn prefixes_of_different_capabilities_do_not_overlap() {
    let (outer, inner) = ("doc:", "doc:secret:");
    let of_all = |prefix: &str| {
        [collection(prefix), policy(prefix, true), family(&format!("{prefix}*")), limiter(&format!("{prefix}{{id}}"))]
    };
    for (at, one) in of_all(outer).iter().enumerate() {
        for (position, other) in of_all(inner).iter().enumerate() {
            if (at, position) == (3, 3) {
                // Not even two limiters overlap.
                continue;
            }
            let found = refusal(&format!("{one}{other}"));
            assert_eq!(found.is_some(), at != position, "{one}{other}: {found:?}");
            assert!(found.is_none_or(|reason| reason.contains("`doc:`") && reason.contains("`doc:secret:`")));
        }
    }
    // The shipped entries of the other capabilities count as well.
    for taken in [collection("user:"), family("user:profile:*"), limiter("erc:{id}")] {
        assert!(refusal(&taken).is_some(), "{taken}");
    }
    // Values without `platform` are stored below `cache:`.
    assert_eq!(refusal(&(collection("doc:") + &policy("doc:", false))), None);
}

#[test]
fn no_rule_is_repeated() {
    let families = family("a:*") + &family("b:*") + &family("a:*").replace("1d", "2d");
    assert!(refusal(&families).is_some_and(|reason| reason.contains("`a:*`")));
    let namespace = |pattern: &str, more: &str| {
        format!(
            "[[pubsub.namespaces]]\npattern = \"{pattern}\"\nkeep = \"none\"\nsubscribe = [\"public\"]\n\
             publish = [\"public\"]\n{more}"
        )
    };
    let equal = namespace("orders:{user}", "") + &namespace("orders:{id}", "");
    assert!(refusal(&equal).is_some_and(|reason| reason.contains("pubsub.namespaces[1].pattern")));
    assert_eq!(refusal(&(namespace("orders:{user}", "") + &namespace("{kind}:orders", ""))), None);
    // The target of a mirror is the most specific namespace, in any order.
    let (wide, narrow) = (namespace("a:{x}", "mirror = \"z\"\n"), namespace("a:b", ""));
    let mirrored = namespace("c", "mirror = \"a:b\"\n") + &namespace("z", "");
    assert_eq!(refusal(&[wide.clone(), narrow.clone(), mirrored.clone()].concat()), None);
    assert_eq!(refusal(&[narrow, wide, mirrored].concat()), None);
    let descriptor = "{ domain = \"d\", entries = [{ key = \"path\" }], limiter = \"api\" }";
    let twice = format!("ratelimit.envoy = [{descriptor}, {descriptor}]");
    assert!(refusal(&twice).is_some_and(|reason| reason.contains("ratelimit.envoy[1].entries")));
}

#[test]
fn a_namespace_does_not_cover_channels_of_the_service() {
    for channel in ["json:changes", "locks:wake", "pubsub:control", "pubsub:probe:{id}"] {
        let rules = format!(
            "[[pubsub.namespaces]]\npattern = \"{channel}\"\nkeep = \"none\"\nsubscribe = [\"public\"]\npublish = []\n"
        );
        let reason = refusal(&rules);
        // No channel matches a pattern with a parameter below a reserved name.
        assert_eq!(reason.is_some(), !channel.contains('{'), "{channel}: {reason:?}");
    }
}

#[test]
fn a_rule_of_a_channel_names_scopes_that_exist() {
    for (list, scope) in [("subscribe", "scope:pubsub:raed"), ("publish", "scope:cache:read:x:*")] {
        let other = if list == "publish" { "subscribe" } else { "publish" };
        let rules = format!(
            "[[pubsub.namespaces]]\npattern = \"a\"\nkeep = \"none\"\n{list} = [\"{scope}\"]\n{other} = [\"public\"]\n"
        );
        let reason = refusal(&rules).unwrap_or_else(|| panic!("{scope} is valid"));
        assert!(reason.contains(&format!("pubsub.namespaces[0].{list}")), "{reason}");
    }
}

#[test]
fn the_prefix_of_a_deployment_is_no_beginning_of_another_ones_keys() {
    for prefix in ["lock:", "lock:a:", "cache:", "iam:", "user:", ":", "::", "x{", "{x}:", "a*", "a b", "ä:"] {
        let reason =
            refusal(&format!("redis.key_prefix = \"{prefix}\"")).unwrap_or_else(|| panic!("{prefix} is valid"));
        assert!(reason.contains("redis.key_prefix"), "{reason}");
    }
    for prefix in ["", "p:", "test:", "staging:", "Deployment_2.b-c:"] {
        assert_eq!(refusal(&format!("redis.key_prefix = \"{prefix}\"")), None, "{prefix}");
    }
}
