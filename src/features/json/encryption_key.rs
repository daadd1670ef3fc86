//! A key of encrypted values, as the configuration or a file states it.

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::KeyInit;
use sha2::{Digest, Sha256};

use super::config::EncryptionKey;
use crate::random::hex;

/// What is known about a key beside itself.
pub(super) struct EncodedKey {
    pub id: String,
    /// Tells keys apart, and does not reveal them.
    pub fingerprint: String,
}

/// Reads a key.
///
/// # Errors
/// Why it cannot be used; the key is not quoted.
pub(super) fn cipher(key: &EncryptionKey) -> Result<(EncodedKey, Aes256GcmSiv), String> {
    let refuse = |reason: &str| format!("key `{}`: {reason}", key.id);
    let text = match (&key.key, &key.key_file) {
        (Some(secret), None) => secret.expose().clone(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| refuse(&error.to_string()))?,
        _ => return Err(refuse("must have either key or key_file")),
    };
    let digits = text.trim();
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = if is_hex { (0..digits.len()).step_by(2).map(byte).collect() } else { None };
    let named = |bytes: Vec<u8>| {
        let digest = Sha256::new().chain_update(b"gridtokenx json fingerprint").chain_update(&bytes).finalize();
        let fingerprint = hex(&digest).chars().take(16).collect();
        Some((EncodedKey { id: key.id.clone(), fingerprint }, Aes256GcmSiv::new_from_slice(&bytes).ok()?))
    };
    bytes.and_then(named).ok_or_else(|| refuse("must be 64 hexadecimal digits"))
}
