//! Whether the service can start with a configuration.

use std::collections::BTreeSet;

use super::{CORE_SECTIONS, access_table, authenticator};
use crate::clock::Clock;
use crate::config::auth::AuthConfig;
use crate::config::redis::RedisConfig;
use crate::config::{Config, ConfigError, FieldError, SectionCheck};
use crate::features::{FEATURES, Feature};
use crate::http::access::{Access, Guard};
use crate::http::auth::ADMIN;

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
    check_scopes(config)?;
    check_min_replicas(config)?;
    authenticator(config, Clock::System).map(|_| ())
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
    for (field, scopes) in of_keys.chain(of_roles) {
        if let Some(unknown) = scopes.iter().find(|scope| !known.contains(scope.name())) {
            let known = known.iter().copied().collect::<Vec<_>>().join(", ");
            let reason = format!("`{}` is not a scope of this service; the scopes are {known}", unknown.name());
            return Err(config.refuse::<AuthConfig>(FieldError::new(field, reason)));
        }
    }
    Ok(())
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
