//! Environment variables that set nothing, although they look like settings.
//!
//! A variable that was clearly meant for this service is an error, as an unknown key in a file is. Other programs use names
//! that begin with `REDIS_` as well, so any other such name is a warning.

use toml::Table;

use super::DEFAULTS;
use super::error::ConfigError;
use crate::close_matches::close_matches;

/// Settings of `[redis]` without a default.
const WITHOUT_DEFAULT: [&str; 2] = ["ca_file", "password_file"];

/// Judges a variable that no setting reads: `None` if it belongs to another program, otherwise a warning. `known` are the
/// platform's variables.
///
/// # Errors
/// [`ConfigError::Variable`] if it was meant as a setting of this service.
pub(super) fn judge(name: &str, value: &str, known: &[&str]) -> Result<Option<String>, ConfigError> {
    if name.strip_prefix("GTX_").is_some_and(is_like_setting) {
        let rule = "is not a setting: the names of settings are GTX__<TABLE>__<NAME>, such as GTX__HTTP__PORT";
        return Err(ConfigError::variable(name, rule));
    }
    let Some(rest) = name.strip_prefix("REDIS_") else { return Ok(None) };
    if is_of_kubernetes(rest, value) {
        return Ok(None);
    }
    let field = rest.to_lowercase();
    if fields_of_redis().any(|known| known == field) {
        return Err(ConfigError::variable(
            name,
            &format!("is not a setting: set GTX__{}", name.replacen('_', "__", 1)),
        ));
    }
    if let [closest, ..] = close_matches(rest, known.iter().filter_map(|known| known.strip_prefix("REDIS_")))[..] {
        return Err(ConfigError::variable(name, &format!("is not a setting: did you mean REDIS_{closest}?")));
    }
    Ok(Some(format!("{name} has no effect: it is not a setting of this service")))
}

fn defaults() -> Table {
    // The text is a constant that a test parses.
    DEFAULTS.parse().unwrap_or_default()
}

/// Whether the name, without its prefix, was meant as table and field. `gridtokenx-tools` reads other names, such as
/// `GTX_API_KEY`.
fn is_like_setting(rest: &str) -> bool {
    let name = rest.to_lowercase();
    let begins_with = |table: &str| name.strip_prefix(table).is_some_and(|field| field.starts_with('_'));
    name.contains("__") || defaults().keys().any(|table| begins_with(table))
}

/// The settings of `[redis]` that are not tables.
fn fields_of_redis() -> impl Iterator<Item = String> {
    let redis = defaults().get("redis").and_then(|redis| redis.as_table()).cloned().unwrap_or_default();
    let fields = redis.into_iter().filter(|(_, value)| !value.is_table()).map(|(name, _)| name);
    fields.chain(WITHOUT_DEFAULT.map(str::to_owned))
}

/// Whether Kubernetes sets the variable for a Service whose name begins with `redis`; `rest` follows `REDIS_`.
fn is_of_kubernetes(rest: &str, value: &str) -> bool {
    let is_service = rest.ends_with("SERVICE_HOST") || rest.contains("SERVICE_PORT");
    let is_port = ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
        let names = ["", "_PROTO", "_PORT", "_ADDR"];
        names.iter().any(|name| rest.strip_suffix(name).is_some_and(|rest| rest.ends_with(protocol)))
    });
    is_service || is_port && rest.contains("PORT_") || rest.ends_with("PORT") && is_address_of_kubernetes(value)
}

/// Whether the value is an address that Kubernetes gives to a container, such as `tcp://10.0.0.1:6379`.
pub(super) fn is_address_of_kubernetes(value: &str) -> bool {
    ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["REDIS_DB", "REDIS_PASSWORD", "REDIS_POOL_SIZE", "REDIS_URL"];

    #[test]
    fn a_variable_that_was_meant_for_the_service_is_an_error() {
        for (name, hint) in [
            ("GTX_HTTP__PORT", "GTX__<TABLE>__<NAME>"),
            ("GTX_HTTP_PORT", "GTX__<TABLE>__<NAME>"),
            ("REDIS_PASWORD", "did you mean REDIS_PASSWORD?"),
            ("REDIS_URI", "did you mean REDIS_URL?"),
            ("REDIS_POOLSIZE", "did you mean REDIS_POOL_SIZE?"),
            ("REDIS_KEY_PREFIX", "set GTX__REDIS__KEY_PREFIX"),
            ("REDIS_PASSWORD_FILE", "set GTX__REDIS__PASSWORD_FILE"),
        ] {
            let error = judge(name, "hunter2", KNOWN).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains(hint) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_variable_of_another_program_is_no_error() {
        for name in ["REDIS_VERSION", "REDIS_EXPORTER_LOG_FORMAT", "REDIS_DSN"] {
            let warning = judge(name, "1", KNOWN).expect(name).expect("a warning");
            assert!(warning.contains(name) && warning.contains("no effect"), "{warning}");
        }
        for name in ["GTX_API_KEY", "GTX_TEST_RECORD", "HOME", "GTXNAME", "REDIS"] {
            assert!(judge(name, "1", KNOWN).expect(name).is_none(), "{name}");
        }
    }
}
