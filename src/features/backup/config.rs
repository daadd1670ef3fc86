//! The keys of files, and the user that reads snapshots.

use age::x25519::{Identity, Recipient};

use super::error::BackupError;
use crate::config::backup::BackupConfig;
use crate::redis::SnapshotLogin;

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
