//! The keys of the audit log: the hashes of its entries, the names of subjects, and signatures.
//!
//! A line of the key file is a key of 256 bits. Three keys are derived from it, so that operators keep one secret: one of
//! the hashes, one that turns names into pseudonyms, and an Ed25519 pair. A key is named by its fingerprint. To rotate, put a
//! new key first: older lines still verify.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use crate::random::hex;

/// The length of a hash, of a pseudonym and of a derived key.
pub const HASH: usize = 32;

/// Why the key file cannot be used. The content of the file is never quoted.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{file} cannot be read")]
    Unreadable { file: String, source: std::io::Error },
    #[error("line {line} of {file} is not a key of 64 hexadecimal digits")]
    NotAKey { file: String, line: usize },
    #[error("{file} contains no key")]
    Empty { file: String },
}

/// One key and what is derived from it.
struct AuditKey {
    id: String,
    hashes: hmac::Key,
    names: hmac::Key,
    signer: Ed25519KeyPair,
}

/// Every configured key; the first one is used for what is new.
#[derive(Clone)]
pub struct KeyRing(Arc<[AuditKey]>);

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl KeyRing {
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(file: &Path) -> Result<Self, KeyFileError> {
        let name = file.display().to_string();
        let text =
            std::fs::read_to_string(file).map_err(|source| KeyFileError::Unreadable { file: name.clone(), source })?;
        let lines =
            text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).filter(|(_, line)| !line.is_empty());
        let keys: Result<Vec<AuditKey>, KeyFileError> = lines
            .map(|(line, digits)| {
                AuditKey::parse(digits).ok_or_else(|| KeyFileError::NotAKey { file: name.clone(), line })
            })
            .collect();
        match keys? {
            keys if keys.is_empty() => Err(KeyFileError::Empty { file: name }),
            keys => Ok(Self(keys.into())),
        }
    }

    /// The fingerprints, newest key first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.id.as_str())
    }

    /// The fingerprint of the first key.
    pub fn id(&self) -> &str {
        self.ids().next().unwrap_or_default()
    }

    /// The hash of an entry after the one with the hash `previous`, in hexadecimal digits; `None` for an unknown key.
    pub fn hash(&self, id: &str, previous: &str, text: &str) -> Option<String> {
        let key = self.find(id)?;
        let mut context = hmac::Context::with_key(&key.hashes);
        context.update(previous.as_bytes());
        context.update(b"\n");
        context.update(text.as_bytes());
        Some(hex(context.sign().as_ref()))
    }

    /// The pseudonym of a name under the first key.
    pub fn pseudonym(&self, name: &str) -> String {
        self.pseudonyms(name).next().unwrap_or_default()
    }

    /// The pseudonyms of a name under every key, newest first.
    pub fn pseudonyms(&self, name: &str) -> impl Iterator<Item = String> {
        self.0.iter().map(move |key| hex(hmac::sign(&key.names, name.as_bytes()).as_ref()))
    }

    /// Signs a text with the first key.
    pub fn sign(&self, text: &str) -> Signed {
        let Some(key) = self.0.first() else { return Signed::default() };
        Signed {
            key: key.id.clone(),
            public_key: BASE64.encode(key.signer.public_key().as_ref()),
            signature: BASE64.encode(key.signer.sign(text.as_bytes()).as_ref()),
        }
    }

    /// Whether a configured key has signed the text.
    pub fn verify(&self, text: &str, signed: &Signed) -> bool {
        let Some(key) = self.find(&signed.key) else { return false };
        let Ok(signature) = BASE64.decode(&signed.signature) else { return false };
        UnparsedPublicKey::new(&ED25519, key.signer.public_key().as_ref()).verify(text.as_bytes(), &signature).is_ok()
    }

    fn find(&self, id: &str) -> Option<&AuditKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

/// A signature: Ed25519 (RFC 8032), in base64 without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Signed {
    /// The fingerprint of the key.
    #[schema(example = "3f1d0c9a5b7e2846")]
    pub key: String,
    pub public_key: String,
    pub signature: String,
}

impl AuditKey {
    fn parse(digits: &str) -> Option<Self> {
        let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        if digits.len() != 2 * HASH || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let secret: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect::<Option<_>>()?;
        let root = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let derive = |purpose: &str| hmac::sign(&root, format!("gridtokenx audit {purpose}").as_bytes());
        let fingerprint = hex(derive("fingerprint").as_ref());
        Some(Self {
            id: fingerprint.get(..16)?.to_owned(),
            hashes: hmac::Key::new(hmac::HMAC_SHA256, derive("hashes").as_ref()),
            names: hmac::Key::new(hmac::HMAC_SHA256, derive("names").as_ref()),
            signer: Ed25519KeyPair::from_seed_unchecked(derive("signatures").as_ref()).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(lines: &[&str]) -> Result<KeyRing, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), lines.join("\n")).expect("written");
        KeyRing::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_key_signs_and_every_key_verifies() {
        let (one, two) = ("11".repeat(32), "22".repeat(32));
        let old = ring(&[&one]).expect("a key");
        let rotated = ring(&[&two, "", &one]).expect("two keys");
        assert_ne!(old.id(), rotated.id());
        assert!(rotated.verify("text", &old.sign("text")) && !rotated.verify("other", &old.sign("text")));
        assert!(!old.verify("text", &rotated.sign("text")), "the key is not configured");
        assert_eq!(rotated.hash(old.id(), "p", "text"), old.hash(old.id(), "p", "text"));
        assert_eq!(rotated.pseudonyms("ann").nth(1), Some(old.pseudonym("ann")));
    }

    #[test]
    fn a_wrong_file_is_named_and_its_content_is_not() {
        let secret = format!("{}x", "5e".repeat(31));
        let error = ring(&[&"11".repeat(32), &secret]).expect_err("not a key");
        assert!(error.contains("line 2") && !error.contains("5e5e"), "{error}");
        assert!(ring(&["", " "]).expect_err("empty").contains("no key"));
    }
}
