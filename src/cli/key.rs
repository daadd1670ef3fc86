//! `key create`: a new API key, shown once, and the block that makes the service know it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use toml::{Table, Value};

use super::refuse;
use crate::config::auth::{Expiry, Scope, check_key_id};
use crate::http::auth::api_key;
use crate::lifecycle::exit_code;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key and print it with its configuration; the key itself is kept nowhere.
    Create(Options),
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Names the key in logs.
    #[arg(long, value_parser = key_id)]
    id: String,
    /// What the key allows, such as `cache:read`; give it several times for several.
    #[arg(long = "scope", required = true, value_parser = Scope::parse)]
    scopes: Vec<Scope>,
    /// The organisation whose data the key's holder may see.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    organisation: Option<String>,
    /// When the key ends, in RFC 3339.
    #[arg(long, value_parser = moment)]
    expires: Option<String>,
}

pub(super) fn run(command: &Command) -> ExitCode {
    let Command::Create(options) = command;
    match api_key::generate() {
        Ok(key) => {
            println!(
                "# The key; it is shown only now:\n{key}\n\n# For the configuration file:\n{}",
                block(options, &key)
            );
            ExitCode::SUCCESS
        }
        Err(error) => refuse(exit_code::FAILURE, &error),
    }
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

fn moment(text: &str) -> Result<String, String> {
    Expiry::parse(text).map(|_| text.to_owned())
}
