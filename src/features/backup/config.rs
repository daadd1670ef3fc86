//! Which names belong to capabilities by their configuration, and the keys of files.

use age::x25519::{Identity, Recipient};
use serde::Deserialize;

use super::collector::Owners;
use super::error::BackupError;
use crate::config::backup::BackupConfig;
use crate::config::{Config, ConfigError, Section};
use crate::holdings::{Class, Holding};
use crate::redis::SnapshotLogin;

/// An entry of a list that has a prefix, whatever else it has.
#[derive(Debug, Deserialize)]
struct Named {
    prefix: String,
}

#[derive(Debug, Deserialize)]
struct Documents {
    collections: Vec<Named>,
}

impl Section for Documents {
    const NAME: &'static str = "json";
}

#[derive(Debug, Deserialize)]
struct Series {
    families: Vec<Named>,
}

impl Section for Series {
    const NAME: &'static str = "timeseries";
}

#[derive(Debug, Deserialize)]
struct Values {
    policies: Vec<Named>,
}

impl Section for Values {
    const NAME: &'static str = "cache";
}

/// To which capabilities the keys of a deployment belong.
///
/// # Errors
/// If the configuration is invalid.
pub(super) fn owners(config: &Config, prefix: &str) -> Result<Owners, ConfigError> {
    let (documents, series, values) =
        (config.section::<Documents>()?, config.section::<Series>()?, config.section::<Values>()?);
    let holding = |name, class| Holding { name, class, expires: false };
    let lists = [
        (documents.collections, holding("json", Class::Durable)),
        (series.families, holding("timeseries", Class::Durable)),
        (values.policies, holding("cache", Class::Cache)),
    ];
    let named = |Named { prefix }: Named| prefix.trim_end_matches('*').to_owned();
    let configured =
        lists.into_iter().flat_map(|(list, holding)| list.into_iter().map(move |entry| (named(entry), holding)));
    // The family of all other series names no keys: those are below `ts:`.
    let configured = configured.filter(|(beginning, _)| !beginning.is_empty()).collect();
    Ok(Owners { prefix: prefix.to_owned(), configured })
}

/// The public keys of the configuration.
///
/// # Errors
/// [`BackupError::Recipients`], naming the key that is none.
pub(super) fn recipients(config: &BackupConfig) -> Result<Vec<Recipient>, BackupError> {
    let parse = |text: &String| {
        text.parse().map_err(|reason| BackupError::Recipients(format!("{text} is no public key of age: {reason}")))
    };
    config.recipients.iter().map(parse).collect()
}

/// The user that reads snapshots.
///
/// # Errors
/// [`BackupError::Io`] if the file of the password cannot be read.
pub(super) fn login(config: &BackupConfig) -> Result<SnapshotLogin, BackupError> {
    if config.username.is_empty() {
        return Ok(SnapshotLogin::default());
    }
    let password = std::fs::read_to_string(&config.password_file)?.trim_end_matches(['\r', '\n']).to_owned();
    Ok(SnapshotLogin { username: config.username.clone(), password })
}

/// The secret keys in the text of an identity file: one a line, `AGE-SECRET-KEY-1...`; lines with `#` are comments.
///
/// # Errors
/// [`BackupError::Identity`].
pub(super) fn identities(text: &str) -> Result<Vec<Identity>, BackupError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line: &str| {
        line.parse().map_err(|reason: &str| BackupError::Identity(format!("not a secret key of age: {reason}")))
    };
    let found: Vec<Identity> = lines.map(parse).collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Err(BackupError::Identity("the identity file has no secret key".to_owned()));
    }
    Ok(found)
}
