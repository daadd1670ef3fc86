//! Settings from environment variables: `GTX__REDIS__URL` for `redis.url`, and the platform's own names.

use toml::Value;

use super::error::ConfigError;
use super::ineffective;

/// An environment variable and the field that it sets.
#[derive(Debug)]
pub struct Setting {
    pub path: Vec<String>,
    pub value: Given,
    pub variable: String,
}

/// What a variable gives to its field.
#[derive(Debug, PartialEq)]
pub enum Given {
    /// A value whose type the variable's name fixes.
    Value(Value),
    /// Text, whose type follows from the field's default.
    Text(String),
}

impl Given {
    /// The value for a field with this default.
    ///
    /// Text stays text for a text field, so that `12345` is a valid password. A list may be written `a,b,c` or as TOML. A
    /// field without a default is text, unless the variable holds a TOML array or table.
    pub fn typed_like(self, default: Option<&Value>) -> Value {
        let text = match self {
            Self::Value(value) => return value,
            Self::Text(text) => text,
        };
        match default {
            Some(Value::String(_)) => Value::String(text),
            Some(Value::Array(_)) if !text.starts_with('[') => {
                Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
            }
            None if !text.starts_with(['[', '{']) => Value::String(text),
            _ => parsed(text),
        }
    }
}

const PREFIX: &str = "GTX__";

/// How the text of a platform variable becomes a value.
enum Unit {
    Text,
    Number,
    Seconds,
    Milliseconds,
    Days,
}

/// The variables that the platform's deployments already set, with their field and their fixed unit.
const PLATFORM: &[(&str, &str, Unit)] = &[
    ("REDIS_URL", "redis.url", Unit::Text),
    ("REDIS_PASSWORD", "redis.password", Unit::Text),
    ("REDIS_POOL_SIZE", "redis.pool_size", Unit::Number),
    ("REDIS_CONNECTION_TIMEOUT", "redis.connect_timeout", Unit::Seconds),
    ("REDIS_CONNECT_TIMEOUT", "redis.connect_timeout", Unit::Milliseconds),
    ("REDIS_COMMAND_TIMEOUT", "redis.command_timeout", Unit::Seconds),
    ("REDIS_METRICS_RETENTION_DAYS", "hosts.retention", Unit::Days),
    ("REDIS_BATCH_WRITE_INTERVAL_MS", "hosts.batch_interval", Unit::Milliseconds),
    ("JWT_SECRET", "auth.jwt_secret", Unit::Text),
    ("LOG_LEVEL", "log.level", Unit::Text),
    ("LOG_FORMAT", "log.format", Unit::Text),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint", Unit::Text),
    ("OTEL_SERVICE_NAME", "telemetry.service_name", Unit::Text),
    ("PORT", "http.port", Unit::Number),
];

/// The process's variables. Names and values that are not UTF-8 are skipped: no setting needs them.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// What the environment says about the configuration.
#[derive(Debug, Default)]
pub struct Environment {
    /// Weakest first: the platform's names, then `GTX__` names.
    pub settings: Vec<Setting>,
    /// Variables without effect that an operator may have meant, as sentences.
    pub warnings: Vec<String>,
}

/// Reads the settings in `variables`.
///
/// An empty variable counts as unset, because compose files pass `${NAME:-}` through.
///
/// # Errors
/// [`ConfigError::Field`] if a numeric platform variable is not a number, [`ConfigError::Variable`] if a variable that was
/// meant for the service would have no effect.
pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Environment, ConfigError> {
    let variables: Vec<(String, String)> = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let lookup = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let mut settings = Vec::new();
    let mut warnings = Vec::new();
    settings.extend(url_from_parts(&lookup, &mut warnings)?);
    let known: Vec<&str> = PARTS.into_iter().chain(PLATFORM.iter().map(|(name, ..)| *name)).collect();
    for (name, value) in &variables {
        if !name.starts_with(PREFIX) && !known.contains(&name.as_str()) {
            warnings.extend(ineffective::judge(name, value, &known)?);
        }
    }
    for (name, field, unit) in PLATFORM {
        if let Some(text) = lookup(name) {
            settings.push(Setting {
                path: field.split('.').map(str::to_owned).collect(),
                value: Given::Value(unit.value(name, field, text)?),
                variable: (*name).to_owned(),
            });
        }
    }
    for (name, text) in &variables {
        if let Some(path) = name.strip_prefix(PREFIX) {
            settings.push(Setting {
                path: path.split("__").map(str::to_lowercase).collect(),
                value: Given::Text(text.clone()),
                variable: name.clone(),
            });
        }
    }
    Ok(Environment { settings, warnings })
}

/// The variables that together are an address.
const PARTS: [&str; 3] = ["REDIS_HOST", "REDIS_PORT", "REDIS_DB"];

/// Combines `REDIS_HOST`, `REDIS_PORT` and `REDIS_DB` into one address.
fn url_from_parts<'a>(
    lookup: &impl Fn(&str) -> Option<&'a str>,
    warnings: &mut Vec<String>,
) -> Result<Option<Setting>, ConfigError> {
    let ignores = |name: &str| lookup(name).is_some_and(ineffective::is_address_of_kubernetes);
    if ignores("REDIS_PORT") {
        let reason = "REDIS_PORT has no effect: Kubernetes sets it to the address of a Service named `redis`";
        warnings.push(reason.to_owned());
    }
    let given = |name: &str| lookup(name).filter(|_| !ignores(name));
    let names: Vec<&str> = PARTS.into_iter().filter(|name| given(name).is_some()).collect();
    if let Some(whole) = ["REDIS_URL", "GTX__REDIS__URL"].into_iter().find(|name| lookup(name).is_some()) {
        warnings.extend(names.iter().map(|name| format!("{name} has no effect: {whole} sets the address")));
        return Ok(None);
    }
    let Some(host) = given("REDIS_HOST") else {
        return match names.first() {
            None => Ok(None),
            Some(name) => Err(ConfigError::variable(name, "has no effect without REDIS_HOST; set REDIS_URL or both")),
        };
    };
    let number = |name: &str, default: u16| match given(name).map(str::parse) {
        None => Ok(default),
        Some(Ok(number)) => Ok(number),
        Some(Err(_)) => Err(ConfigError::variable(name, "must be a whole number between 0 and 65535")),
    };
    let (port, database) = (number("REDIS_PORT", 6379)?, number("REDIS_DB", 0)?);
    Ok(Some(Setting {
        path: vec!["redis".to_owned(), "url".to_owned()],
        value: Given::Value(Value::String(format!("redis://{host}:{port}/{database}"))),
        variable: names.join(", "),
    }))
}

impl Unit {
    fn value(&self, variable: &str, field: &str, text: &str) -> Result<Value, ConfigError> {
        if matches!(self, Self::Text) {
            return Ok(Value::String(text.to_owned()));
        }
        let number: i64 = text.parse().map_err(|_| ConfigError::Field {
            origin: variable.to_owned(),
            field: field.to_owned(),
            reason: format!("`{text}` is not a whole number"),
        })?;
        Ok(match self {
            Self::Number | Self::Text => Value::Integer(number),
            Self::Seconds => Value::String(format!("{number}s")),
            Self::Milliseconds => Value::String(format!("{number}ms")),
            Self::Days => Value::String(format!("{number}d")),
        })
    }
}

/// A value in TOML notation; anything else is text, which the field rejects with its own message.
fn parsed(text: String) -> Value {
    let table = format!("value = {text}").parse::<toml::Table>();
    table.ok().and_then(|mut table| table.remove("value")).unwrap_or(Value::String(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Option<(String, Value)> {
        let settings = read([(name.to_owned(), value.to_owned())]).expect("valid").settings;
        let typed = |given: Given| match given {
            Given::Value(value) => value,
            Given::Text(text) => parsed(text),
        };
        settings.into_iter().next().map(|setting| (setting.path.join("."), typed(setting.value)))
    }

    #[test]
    fn platform_names_carry_their_fixed_unit() {
        assert_eq!(
            one("REDIS_CONNECT_TIMEOUT", "250"),
            Some(("redis.connect_timeout".into(), Value::String("250ms".into())))
        );
        assert_eq!(
            one("REDIS_COMMAND_TIMEOUT", "2"),
            Some(("redis.command_timeout".into(), Value::String("2s".into())))
        );
        assert_eq!(
            one("REDIS_METRICS_RETENTION_DAYS", "7"),
            Some(("hosts.retention".into(), Value::String("7d".into())))
        );
        assert_eq!(one("PORT", "8080"), Some(("http.port".into(), Value::Integer(8080))));
        assert!(read([("PORT".to_owned(), "web".to_owned())]).is_err());
    }

    #[test]
    fn double_underscores_separate_tables() {
        assert_eq!(
            one("GTX__REDIS__CACHE__URL", "\"redis://c/0\""),
            Some(("redis.cache.url".into(), Value::String("redis://c/0".into())))
        );
        assert_eq!(one("GTX__HTTP__PORT", "1"), Some(("http.port".into(), Value::Integer(1))));
        assert_eq!(
            one("GTX__TELEMETRY__SAMPLE_RATIO", "0.5"),
            Some(("telemetry.sample_ratio".into(), Value::Float(0.5)))
        );
    }

    #[test]
    fn the_default_decides_what_text_means() {
        let typed = |text: &str, default: &str| {
            let default = (!default.is_empty()).then(|| parsed(default.to_owned()));
            Given::Text(text.to_owned()).typed_like(default.as_ref()).to_string()
        };
        assert_eq!(typed("12345", "\"\""), "\"12345\"");
        assert_eq!(typed("12345", ""), "\"12345\"", "a password without a default");
        assert_eq!(typed("12345", "1"), "12345");
        assert_eq!(typed("true", "false"), "true");
        assert_eq!(typed("a, b,c", "[]"), "[\"a\", \"b\", \"c\"]");
        assert_eq!(typed("[\"a\"]", "[]"), "[\"a\"]");
        assert_eq!(typed("[{ id = \"a\" }]", ""), "[{ id = \"a\" }]");
    }

    #[test]
    fn an_empty_variable_is_unset() {
        assert_eq!(one("REDIS_URL", ""), None);
    }

    #[test]
    fn host_port_and_database_make_an_address() {
        assert_eq!(one("REDIS_HOST", "r1"), Some(("redis.url".into(), Value::String("redis://r1:6379/0".into()))));
    }

    /// The outcome for variables written `A=1 B=2`: the address, or the message of the error, and the warnings.
    fn outcome(text: &str) -> (String, Vec<String>) {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        match read(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))) {
            Err(error) => (error.to_string(), Vec::new()),
            Ok(Environment { settings, warnings }) => {
                let url = settings.into_iter().rev().find(|setting| setting.path == ["redis", "url"]);
                (url.map(|url| format!("{:?}", url.value)).unwrap_or_default(), warnings)
            }
        }
    }

    #[test]
    fn a_part_of_an_address_is_never_ignored_silently() {
        for (text, message) in [
            ("REDIS_PORT=7000", "REDIS_PORT has no effect without REDIS_HOST"),
            ("REDIS_DB=2", "REDIS_DB has no effect without REDIS_HOST"),
            ("REDIS_HOST=r REDIS_PORT=web", "REDIS_PORT must be a whole number"),
            ("REDIS_HOST=r REDIS_DB=-1", "REDIS_DB must be a whole number"),
            ("REDIS_HOST=r REDIS_PORT=7000 REDIS_DB=2", "redis://r:7000/2"),
        ] {
            assert!(outcome(text).0.contains(message), "{text}: {:?}", outcome(text));
        }
        let (_, warnings) = outcome("REDIS_URL=redis://a REDIS_DB=2");
        assert_eq!(warnings, ["REDIS_DB has no effect: REDIS_URL sets the address"]);
    }

    #[test]
    fn variables_of_kubernetes_are_skipped() {
        let family = "REDIS_PORT=tcp://10.0.0.1:6379 REDIS_SERVICE_HOST=10.0.0.1 REDIS_SERVICE_PORT=6379 \
                      REDIS_SERVICE_PORT_REDIS=6379 REDIS_PORT_6379_TCP=tcp://10.0.0.1:6379 REDIS_PORT_6379_TCP_PROTO=tcp \
                      REDIS_PORT_6379_TCP_PORT=6379 REDIS_PORT_6379_TCP_ADDR=10.0.0.1 REDIS_MASTER_SERVICE_HOST=10.0.0.2 \
                      REDIS_MASTER_PORT=tcp://10.0.0.2:6379";
        let (address, warnings) = outcome(family);
        assert!(
            address.is_empty() && matches!(warnings.as_slice(), [one] if one.contains("Kubernetes")),
            "{warnings:?}"
        );
        assert!(outcome(&format!("REDIS_HOST=redis {family}")).0.contains("redis://redis:6379/0"));
    }

    #[test]
    fn the_name_of_the_service_in_traces_has_its_standard_variable() {
        let name = Some(("telemetry.service_name".into(), Value::String("prices".into())));
        assert_eq!(one("OTEL_SERVICE_NAME", "prices"), name);
    }
}
