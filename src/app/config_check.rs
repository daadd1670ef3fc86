//! Whether the service can start with a configuration.

use std::collections::BTreeSet;

use super::{CORE_SECTIONS, access_table, authenticator};
use crate::clock::Clock;
use crate::config::auth::AuthConfig;
use crate::config::http::HttpConfig;
use crate::config::redis::RedisConfig;
use crate::config::{Config, ConfigError, FieldError, Section, SectionCheck};
use crate::events::{Permission, PubSubConfig};
use crate::features::{FEATURES, Feature};
use crate::holdings::Owners;
use crate::http::access::{Access, Guard};
use crate::http::auth::ADMIN;
use crate::redis::owned_elsewhere;

/// Reads every section, so that a mistake is reported before a port is bound.
///
/// # Errors
/// The first [`ConfigError`], naming source and field.
pub fn check_config(config: &Config) -> Result<(), ConfigError> {
    let sections: Vec<SectionCheck> =
        CORE_SECTIONS.iter().copied().chain(FEATURES.iter().filter_map(|feature| feature.section)).collect();
    let names: Vec<&str> = sections.iter().map(|section| section.name).collect();
    config.refuse_unknown_tables(&names)?;
    sections.iter().try_for_each(|section| (section.check)(config))?;
    check_names(config)?;
    check_scopes(config)?;
    check_min_replicas(config)?;
    check_limits(config)?;
    authenticator(config, Clock::System).map(|_| ())
}

/// Rejects names under which capabilities or deployments would overwrite each other's keys.
fn check_names(config: &Config) -> Result<(), ConfigError> {
    let redis: RedisConfig = config.section()?;
    let prefix = redis.key_prefix.as_str();
    if let Some(taken) = owned_elsewhere(prefix, "").filter(|_| !prefix.is_empty()) {
        let reason = format!("must not overlap `{taken}`, where deployments without a prefix store keys");
        return Err(config.refuse::<RedisConfig>(FieldError::new("key_prefix", reason)));
    }
    let owners = Owners::new(config, "")?;
    owners.overlap().map_or(Ok(()), |[(taken, owner), (name, section)]| {
        let reason = format!("keys that begin with `{name}` overlap those of `{taken}` in [{owner}]");
        Err(config.field_error(section, ".", reason))
    })
}

/// The scopes that handlers require, in addition to those of the access rows.
const MORE_SCOPES: &[&str] = &[ADMIN, "json:secrets", "ratelimit:inline"];

/// Rejects scopes that permit nothing, such as a misspelt one.
fn check_scopes(config: &Config) -> Result<(), ConfigError> {
    let auth: AuthConfig = config.section()?;
    let rows = access_table();
    let scopes = rows.iter().filter_map(|row| if let Guard::Scope(scope) = row.guard { Some(scope) } else { None });
    let known: BTreeSet<&str> = scopes.chain(MORE_SCOPES.iter().copied()).collect();
    let of_keys = auth.keys.iter().enumerate().map(|(at, key)| (format!("keys[{at}].scopes"), &key.scopes));
    let of_roles = auth.roles.iter().map(|(role, scopes)| (format!("roles.{role}"), scopes));
    let of_auth = of_keys
        .chain(of_roles)
        .flat_map(|(field, scopes)| scopes.iter().map(move |scope| (AuthConfig::NAME, field.clone(), scope.name())));
    let pubsub: PubSubConfig = config.section()?;
    let of_channels = pubsub.namespaces.iter().enumerate().flat_map(|(at, namespace)| {
        let lists = [("subscribe", &namespace.subscribe), ("publish", &namespace.publish)];
        lists.into_iter().flat_map(move |(list, rules)| {
            let scopes =
                rules.iter().filter_map(|rule| if let Permission::Scope(scope) = rule { Some(scope) } else { None });
            scopes.map(move |scope| (PubSubConfig::NAME, format!("namespaces[{at}].{list}"), scope.as_str()))
        })
    });
    let unknown = of_auth.chain(of_channels).find(|(_, _, scope)| !known.contains(scope));
    unknown.map_or(Ok(()), |(section, field, scope)| {
        let known = known.iter().copied().collect::<Vec<_>>().join(", ");
        let reason = format!("`{scope}` is not a scope of this service; the scopes are {known}");
        Err(config.field_error(section, &field, reason))
    })
}

/// Rejects demands on the writes of a capability that does not exist.
fn check_min_replicas(config: &Config) -> Result<(), ConfigError> {
    let redis: RedisConfig = config.section()?;
    let writes = |feature: &&&Feature| feature.access.iter().any(Access::writes);
    let known: Vec<&str> = FEATURES.iter().filter(writes).map(|feature| feature.name).collect();
    let unknown = redis.min_replicas.keys().find(|name| !known.contains(&name.as_str()));
    unknown.map_or(Ok(()), |name| {
        let reason = format!("is not a capability that writes; those are {}", known.join(", "));
        Err(config.refuse::<RedisConfig>(FieldError::new(format!("min_replicas.{name}"), reason)))
    })
}

/// Rejects limits that those of another table make unreachable.
fn check_limits(config: &Config) -> Result<(), ConfigError> {
    let (http, redis): (HttpConfig, RedisConfig) = (config.section()?, config.section()?);
    let pubsub: PubSubConfig = config.section()?;
    let limits = [
        (redis.command_timeout > http.request_deadline, "redis", "command_timeout", "http.request_deadline"),
        (pubsub.drain_spread > http.shutdown_deadline, "pubsub", "drain_spread", "http.shutdown_deadline"),
    ];
    let excessive = limits.into_iter().find(|(is_excessive, ..)| *is_excessive);
    excessive.map_or(Ok(()), |(_, section, field, limit)| {
        Err(config.field_error(section, field, format!("must not be greater than {limit}")))
    })
}

#[cfg(test)]
mod tests {
    use crate::holdings::beginnings;
    use crate::redis::own_prefixes;

    #[test]
    fn every_key_of_the_service_is_in_the_table_of_owners() {
        let missing: Vec<&str> =
            beginnings().filter(|name| !own_prefixes().any(|owned| name.starts_with(owned))).collect();
        assert!(missing.is_empty(), "configured prefixes could include {missing:?}");
    }
}
