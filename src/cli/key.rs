//! `key create`: prints a new API key and the configuration block that registers it.

use clap::{Args, Subcommand};
use toml::{Table, Value};

use super::Failure;
use crate::config::auth::{Expiry, Scope, check_key_id};
use crate::http::auth::api_key;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a key and print it with its configuration; the key itself is not stored.
    Create(Options),
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The name of the key in logs.
    #[arg(long, value_parser = key_id)]
    id: String,
    /// A scope of the key, such as `cache:read`; repeat the option for several scopes.
    #[arg(long = "scope", required = true, value_parser = Scope::parse)]
    scopes: Vec<Scope>,
    /// The organisation whose data the key gives access to.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    organisation: Option<String>,
    /// When the key expires, in RFC 3339.
    #[arg(long, value_parser = expiry)]
    expires: Option<String>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let Command::Create(options) = command;
    let key = api_key::generate().map_err(Failure::other)?;
    println!("# The key; it is not shown again:\n{key}\n\n# For the configuration file:\n{}", block(options, &key));
    Ok(())
}

/// The `[[auth.keys]]` entry of `key`.
fn block(options: &Options, key: &str) -> String {
    let text = |text: &str| Value::String(text.to_owned());
    let mut entry = Table::new();
    entry.insert("id".to_owned(), text(&options.id));
    entry.insert("sha256".to_owned(), text(&api_key::hex(&api_key::digest(key.as_bytes()))));
    entry.insert("scopes".to_owned(), Value::Array(options.scopes.iter().map(|scope| text(scope.as_str())).collect()));
    if let Some(organisation) = &options.organisation {
        entry.insert("organisation".to_owned(), text(organisation));
    }
    if let Some(expires) = &options.expires {
        entry.insert("expires".to_owned(), text(expires));
    }
    format!("[[auth.keys]]\n{entry}")
}

fn key_id(text: &str) -> Result<String, &'static str> {
    check_key_id(text).map(|()| text.to_owned())
}

fn expiry(text: &str) -> Result<String, String> {
    Expiry::parse(text).map(|_| text.to_owned())
}
