//! What other capabilities use of documents: the names of the keys of encrypted values.

use super::config::JsonConfig;
use super::encryption::FieldEncryption;
use crate::config::{Config, ConfigError};

/// A configured key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredKey {
    pub id: String,
    /// Tells keys apart, and does not reveal them.
    pub fingerprint: String,
}

/// The keys of encrypted values, the newest first.
///
/// # Errors
/// [`ConfigError`] for a key that cannot be used.
pub fn keys(config: &Config) -> Result<Vec<ConfiguredKey>, ConfigError> {
    let json: JsonConfig = config.section()?;
    let encryption = FieldEncryption::new(&json).map_err(|error| config.refuse::<JsonConfig>(error))?;
    Ok(encryption.fingerprints().map(|(id, fingerprint)| ConfiguredKey { id, fingerprint }).collect())
}
