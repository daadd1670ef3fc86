//! API keys: `ak_` and 32 hexadecimal digits. The service knows only their digests.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::principal::{Principal, Scopes};
use crate::clock::UnixMillis;
use crate::config::auth::KeyConfig;
use crate::random;
pub use crate::random::hex;

/// `ak_` and 32 digits; longer text is not a key and is not hashed.
const LENGTH: usize = 35;

/// The SHA-256 of a key's text.
pub fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Generates a random key.
///
/// # Errors
/// If the operating system has no randomness.
pub fn generate() -> Result<String, getrandom::Error> {
    Ok(format!("ak_{}", random::token()?))
}

/// The configured keys.
#[derive(Debug)]
pub(super) struct ApiKeys(Box<[KnownKey]>);

#[derive(Debug)]
struct KnownKey {
    digest: [u8; 32],
    expires: UnixMillis,
    principal: Arc<Principal>,
}

impl ApiKeys {
    pub(super) fn new(keys: &[KeyConfig]) -> Self {
        let known = keys.iter().map(|key| {
            let principal =
                Principal::new(format!("key:{}", key.id), key.organisation.clone(), Scopes::from(&key.scopes));
            let expires = key.expires.map_or(UnixMillis::MAX, |moment| moment.0);
            KnownKey {
                digest: key.sha256.0,
                expires,
                principal: Arc::new(if key.expires.is_some() { principal.until(expires) } else { principal }),
            }
        });
        Self(known.collect())
    }

    /// The caller with this key, unless the key is unknown or has expired.
    ///
    /// Compares the digest with all configured ones, so that the time taken reveals nothing. At 32 bytes each, the
    /// dozens of keys of a deployment cost little compared with the hash.
    pub(super) fn find(&self, presented: &[u8], now: UnixMillis) -> Option<Arc<Principal>> {
        if presented.len() != LENGTH {
            return None;
        }
        let digest = digest(presented);
        let mut found = None;
        for key in &self.0 {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(key);
            }
        }
        found.filter(|key| now < key.expires).map(|key| Arc::clone(&key.principal))
    }
}
