//! Configuration: `config/default.toml` < `--config FILE` < environment.
//!
//! Every section is a typed struct that rejects unknown keys. A feature owns its section; the sections that belong to
//! no feature (`http`, `redis`, `fencing`, `auth`, `log`, `telemetry`) are defined here. All sections are read before a
//! port is bound. An error names the file or variable, and the field.

pub mod archive;
pub mod auth;
pub mod backup;
pub mod env;
mod error;
pub mod fencing;
pub mod http;
mod ineffective;
pub mod log;
mod longest_prefix;
pub mod messages;
mod print;
pub mod redis;
mod store;
pub mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use env::{Environment, Setting};
pub use error::{ConfigError, FieldError};
pub use longest_prefix::longest_prefix;

/// The shipped defaults, which document every setting with its unit and its purpose.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// A table of the configuration.
pub trait Section: DeserializeOwned {
    /// The table's name, such as `cache` for `[cache]`.
    const NAME: &'static str;

    /// Checks rules that types cannot express, such as a minimum below a maximum.
    ///
    /// # Errors
    /// The field, relative to the section, and the rule that it violates.
    fn validate(&self) -> Result<(), FieldError> {
        Ok(())
    }
}

/// A section's name and check, as a row of a table.
#[derive(Clone, Copy)]
pub struct SectionCheck {
    pub name: &'static str,
    pub check: fn(&Config) -> Result<(), ConfigError>,
}

impl SectionCheck {
    pub const fn of<T: Section>() -> Self {
        Self { name: T::NAME, check: |config| config.section::<T>().map(|_| ()) }
    }
}

/// The source of the values that no file and no variable sets.
const SHIPPED: &str = "default";
/// The source of the address of the private server.
const PRIVATE: &str = "the private redis-server";

/// The merged configuration and the source of each value.
#[derive(Clone)]
pub struct Config {
    tree: Table,
    origins: BTreeMap<String, String>,
    sources: Sources,
}

/// Where a configuration comes from, besides the defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The files that were read.
    pub files: Vec<String>,
    /// The names of the environment variables that set something.
    pub variables: Vec<String>,
    /// Variables without effect that an operator may have meant, as sentences.
    pub warnings: Vec<String>,
}

/// Shows which fields are set, and by which source, but not their values: these may be secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.origins).finish()
    }
}

impl Config {
    /// Merges the defaults, an optional file and the environment variables.
    ///
    /// # Errors
    /// [`ConfigError`] if a file cannot be read or parsed, or a variable is malformed or was meant for the service and has no
    /// effect.
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self { tree: Table::new(), origins: BTreeMap::new(), sources: Sources::default() };
        config.overlay_text(DEFAULTS, SHIPPED)?;
        if let Some(path) = file {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError::Unreadable { file: name.clone(), reason: error.to_string() })?;
            config.overlay_text(&text, &name)?;
            config.sources.files.push(name);
        }
        let variables: Vec<(String, String)> = variables.into_iter().collect();
        let host = variables.iter().find(|(name, _)| name == "HOST").map(|(_, value)| value.clone());
        let Environment { settings, warnings } = env::read(variables)?;
        config.sources.warnings = warnings;
        for Setting { path, value, variable } in settings {
            let value = value.typed_like(config.value_at(&path));
            config.overlay(&path, value, &variable);
            config.sources.variables.push(variable);
        }
        config.check_host(host.as_deref())?;
        Ok(config)
    }

    /// Other services listen on the address in `HOST`; on many machines it is the machine's name.
    fn check_host(&self, host: Option<&str>) -> Result<(), ConfigError> {
        let address = self.setting("http.address").and_then(Value::as_str);
        let Some(wanted) = host.and_then(|host| host.parse::<IpAddr>().ok()) else { return Ok(()) };
        let is_default = self.origins.get("http.address").is_some_and(|origin| origin == SHIPPED);
        if is_default && address.and_then(|address| address.parse().ok()) != Some(wanted) {
            let rule = format!("is not a setting: set GTX__HTTP__ADDRESS={wanted} to listen on that address");
            return Err(ConfigError::variable("HOST", &rule));
        }
        Ok(())
    }

    /// Where the configuration comes from.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The settings whose values differ from those of `earlier`. The address of a private server is not compared: it is
    /// known only while the server runs.
    pub fn changed_since(&self, earlier: &Self) -> Vec<String> {
        let both = [self, earlier];
        let is_private = |name: &str| both.iter().any(|config| config.origin_of(name) == PRIVATE);
        let [new, old] = both.map(|config| move |name: &str| config.setting(name));
        let names: BTreeSet<&String> = both.iter().flat_map(|config| config.origins.keys()).collect();
        names.into_iter().filter(|name| new(name) != old(name) && !is_private(name)).cloned().collect()
    }

    /// The value of a setting, by its complete name.
    fn setting(&self, name: &str) -> Option<&Value> {
        self.value_at(&name.split('.').map(str::to_owned).collect::<Vec<_>>())
    }

    /// The defaults with `overrides` (TOML text) on top; tests start from this.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`] if the text is not TOML.
    pub fn with_overrides(overrides: &str) -> Result<Self, ConfigError> {
        let mut config = Self::load(None, [])?;
        config.overlay_text(overrides, "overrides")?;
        Ok(config)
    }

    /// Sets `redis.url`: the private server's address is known only once the server runs.
    #[must_use]
    pub fn with_redis_url(mut self, url: String) -> Self {
        self.overlay(&["redis".to_owned(), "url".to_owned()], Value::String(url), PRIVATE);
        self
    }

    /// Reads and checks one section.
    ///
    /// # Errors
    /// [`ConfigError::Field`], naming the source and the field.
    pub fn section<T: Section>(&self) -> Result<T, ConfigError> {
        let table = self.tree.get(T::NAME).cloned().unwrap_or_else(|| Value::Table(Table::new()));
        if let Some(field) = excessive_number(&table) {
            return Err(self.field_error(T::NAME, &field, format!("must be at most {MAX_NUMBER}")));
        }
        let section: T = serde_path_to_error::deserialize(table).map_err(|error| {
            let path = error.path().to_string();
            self.field_error(T::NAME, &path, messages::in_terms_of_toml(error.inner().message()))
        })?;
        section.validate().map_err(|error| self.refuse::<T>(error))?;
        Ok(section)
    }

    /// Rejects tables that no section owns, so that a misspelt `[chache]` is not ignored.
    ///
    /// # Errors
    /// [`ConfigError::Field`], naming the first unknown table.
    pub fn refuse_unknown_tables(&self, known: &[&str]) -> Result<(), ConfigError> {
        match self.tree.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(ConfigError::Field {
                origin: self.origin_of(name),
                field: name.clone(),
                reason: format!("unknown table; the tables are {}", known.join(", ")),
            }),
        }
    }

    fn overlay_text(&mut self, text: &str, origin: &str) -> Result<(), ConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            // The library's message quotes the line, which may contain a secret.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ConfigError::Syntax { file: origin.to_owned(), reason: format!("line {line}: {}", error.message()) }
        })?;
        for (name, value) in table {
            self.overlay(&[name], value, origin);
        }
        Ok(())
    }

    /// Merges tables key by key; any other value, including an array, replaces the previous one.
    fn overlay(&mut self, path: &[String], value: Value, origin: &str) {
        if let Value::Table(entries) = value {
            // An empty table is created as well, so that an unknown one is rejected.
            if entries.is_empty() {
                self.table_at(path);
            }
            for (name, entry) in entries {
                let mut longer = path.to_vec();
                longer.push(name);
                self.overlay(&longer, entry, origin);
            }
            return;
        }
        let Some((last, parents)) = path.split_last() else { return };
        if let Some(table) = self.table_at(parents) {
            table.insert(last.clone(), value);
        }
        self.origins.insert(path.join("."), origin.to_owned());
    }

    /// The table at `path`, created if it does not exist; it replaces a value of another type.
    fn table_at(&mut self, path: &[String]) -> Option<&mut Table> {
        path.iter().try_fold(&mut self.tree, |table, name| {
            let entry = table.entry(name.clone()).or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            entry.as_table_mut()
        })
    }

    fn value_at(&self, path: &[String]) -> Option<&Value> {
        let (last, parents) = path.split_last()?;
        let table = parents.iter().try_fold(&self.tree, |table, name| table.get(name)?.as_table())?;
        table.get(last)
    }

    /// The error of a violated rule, with the source of the value.
    pub fn refuse<T: Section>(&self, error: FieldError) -> ConfigError {
        self.field_error(T::NAME, &error.field, error.reason)
    }

    /// The error of a violated rule in a section that is known by its name.
    pub fn field_error(&self, section: &str, field: &str, reason: String) -> ConfigError {
        let field = if field == "." { section.to_owned() } else { format!("{section}.{field}") };
        ConfigError::Field { origin: self.origin_of(&field), field, reason }
    }

    /// The source of a field, or of the nearest enclosing value.
    fn origin_of(&self, field: &str) -> String {
        let bare = field.split('[').next().unwrap_or(field);
        let below = format!("{bare}.");
        self.origins
            .get(bare)
            .or_else(|| self.origins.iter().find(|(path, _)| path.starts_with(&below)).map(|(_, origin)| origin))
            .cloned()
            .unwrap_or_else(|| "configuration".to_owned())
    }
}

/// The largest count of a setting: what is counted takes memory, so a larger one means no limit, or overflows.
const MAX_NUMBER: i64 = 1_000_000_000;

/// The path of a number that is too large, in a section or a table of it. Lists have rules of their own.
fn excessive_number(section: &Value) -> Option<String> {
    section.as_table()?.iter().find_map(|(name, value)| match value {
        Value::Integer(number) if *number > MAX_NUMBER => Some(name.clone()),
        table => excessive_number(table).map(|rest| format!("{name}.{rest}")),
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::value::Span;
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Kettle {
        boil: Span,
        cups: u8,
    }

    impl Section for Kettle {
        const NAME: &'static str = "kettle";

        fn validate(&self) -> Result<(), FieldError> {
            if self.cups == 0 {
                return Err(FieldError::new("cups", "must be at least 1"));
            }
            Ok(())
        }
    }

    fn kettle(text: &str) -> Result<Kettle, String> {
        Config::with_overrides(text).and_then(|config| config.section::<Kettle>()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_section_is_read_with_its_units() {
        let kettle = kettle("kettle = { boil = \"3m\", cups = 2 }").expect("valid");
        assert_eq!(kettle.boil.as_millis(), 180_000);
    }

    #[test]
    fn an_error_names_its_source_and_its_field() {
        for (text, field) in [
            ("kettle = { boil = 3, cups = 2 }", "kettle.boil"),
            ("kettle = { boil = \"3m\", cups = 0 }", "kettle.cups"),
            ("kettle = { boil = \"3m\", cups = 2, colour = \"red\" }", "colour"),
            ("kettle = { boil = \"3m\", cups = \"2\" }", "invalid type: string \"2\", expected a whole number"),
            ("kettle = { boil = \"3m\" }", "`cups` is missing"),
            ("kettle = 5", "invalid type: integer `5`, expected a table"),
        ] {
            let error = kettle(text).expect_err("invalid");
            assert!(error.contains(field) && error.contains("overrides"), "{error}");
        }
    }

    #[test]
    fn an_error_does_not_quote_what_may_be_secret() {
        let error = Config::with_overrides("[redis]\npassword = \"hunter2").expect_err("unterminated").to_string();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
        let config = Config::with_overrides("redis.password = 271828").expect("TOML");
        let error = config.section::<redis::RedisConfig>().expect_err("a number").to_string();
        assert!(error.contains("redis.password") && !error.contains("271828"), "{error}");
    }

    #[test]
    fn the_environment_wins_and_is_named() {
        let variables = [("GTX__KETTLE__CUPS".to_owned(), "300".to_owned())];
        let config = Config::load(None, variables).expect("loads");
        let error = config.section::<Kettle>().expect_err("300 does not fit in u8").to_string();
        assert!(error.contains("GTX__KETTLE__CUPS"), "{error}");
    }

    #[test]
    fn a_password_of_digits_is_text_and_an_empty_unknown_table_is_rejected() {
        let variables = [("GTX__REDIS__PASSWORD".to_owned(), "12345".to_owned())];
        let config = Config::load(None, variables).expect("loads");
        assert!(config.section::<redis::RedisConfig>().is_ok());
        let config = Config::with_overrides("[kettle]").expect("TOML");
        let error = config.refuse_unknown_tables(&["redis"]).expect_err("unknown").to_string();
        assert!(error.contains("unknown table"), "{error}");
    }
}
