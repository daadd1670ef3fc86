//! Encryption of selected values: which values of a collection are stored encrypted, with which keys, and in what form.
//!
//! A collection names paths. The service stores the value at such a path as the string `sealed:<key id>:<base64>`: the
//! nonce and ciphertext of the value's JSON text, bound to the document's key, so that a copy in another document does
//! not decrypt. The first configured key encrypts and every key decrypts. To rotate, put a new key first: each document
//! moves to it with its next change.
//!
//! Callers without the scope `json:secrets` see the encrypted string. They may send it back unchanged, or replace it.
//!
//! Source: RFC 8452 (AES-256-GCM-SIV, which tolerates a repeated nonce).

use std::cell::RefCell;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::config::JsonConfig;
use super::document::Node;
use super::encryption_key::{EncodedKey, cipher};
use super::model::DocumentKey;
use super::path::{Path, TooManyVisits};
use super::work::WorkBudget;
use crate::config::FieldError;

/// The start of every encrypted string.
const MARK: &str = "sealed:";
const NONCE: usize = 12;

/// The ciphers and the encrypted paths of every collection.
pub(super) struct FieldEncryption {
    /// By key id; the first one encrypts.
    ciphers: Vec<(String, Aes256GcmSiv)>,
    /// Of each key, in the same order.
    fingerprints: Vec<String>,
    /// By prefix of the document keys.
    collections: Vec<(String, Vec<Path>)>,
}

/// Why a value cannot be encrypted or decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EncryptionError {
    #[error("{what} holds an encrypted value that was altered, or that belongs to another document")]
    Forged { what: String },
    #[error("{what} was encrypted with the key `{id}`, which is not configured")]
    UnknownKey { what: String, id: String },
    #[error("the random number generator failed")]
    NoEntropy,
    #[error(transparent)]
    TooComplex(#[from] TooManyVisits),
}

impl std::fmt::Debug for FieldEncryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&str> = self.ciphers.iter().map(|(id, _)| id.as_str()).collect();
        f.debug_struct("FieldEncryption")
            .field("keys", &ids)
            .field("collections", &self.collections)
            .finish_non_exhaustive()
    }
}

impl FieldEncryption {
    /// # Errors
    /// [`FieldError`] for a key or path that cannot be used.
    pub(super) fn new(config: &JsonConfig) -> Result<Self, FieldError> {
        let ciphers = config.encryption.keys.iter().map(cipher).collect::<Result<_, String>>();
        let collections = config.collections.iter();
        let collections = collections
            .map(|collection| {
                let paths = collection.encrypted.iter().map(|text| encrypted_path(text)).collect::<Result<_, _>>()?;
                Ok((collection.prefix.clone(), paths))
            })
            .collect::<Result<_, String>>();
        let ciphers: Vec<(EncodedKey, Aes256GcmSiv)> =
            ciphers.map_err(|reason| FieldError::new("encryption.keys", reason))?;
        Ok(Self {
            fingerprints: ciphers.iter().map(|(key, _)| key.fingerprint.clone()).collect(),
            ciphers: ciphers.into_iter().map(|(key, cipher)| (key.id, cipher)).collect(),
            collections: collections.map_err(|reason| FieldError::new("collections", reason))?,
        })
    }

    /// The ids and fingerprints of the keys, the newest first.
    pub(super) fn fingerprints(&self) -> impl Iterator<Item = (String, String)> {
        self.ciphers.iter().map(|(id, _)| id.clone()).zip(self.fingerprints.iter().cloned())
    }

    /// The ids of the keys of the encrypted values in a document, one for each value.
    ///
    /// # Errors
    /// [`EncryptionError::TooComplex`].
    pub(super) fn key_ids(&self, key: &DocumentKey, document: &mut Node) -> Result<Vec<String>, EncryptionError> {
        let ids = RefCell::new(Vec::new());
        for_each_value(self.paths(key), document, |_, node| {
            let id = encrypted_text(node).and_then(|text| text.strip_prefix(MARK)?.split(':').next());
            ids.borrow_mut().extend(id.map(str::to_owned));
            Ok(())
        })?;
        Ok(ids.into_inner())
    }

    /// Whether some values of the document are stored encrypted.
    pub(super) fn encrypts(&self, key: &DocumentKey) -> bool {
        self.paths(key).next().is_some()
    }

    /// The paths of every collection that contains the document: a collection inside another one adds to the other's
    /// paths, so it never exposes what that one protects.
    fn paths(&self, key: &DocumentKey) -> impl DoubleEndedIterator<Item = &Path> {
        let collections = self.collections.iter().filter(|(prefix, _)| key.as_str().starts_with(prefix));
        collections.flat_map(|(_, paths)| paths)
    }

    /// Turns a stored document into what its reader may see: decrypted, or with every encrypted path encrypted, even if
    /// another program stored the value in plain text.
    pub(super) fn present(
        &self,
        key: &DocumentKey,
        document: &mut Node,
        can_decrypt: bool,
    ) -> Result<(), EncryptionError> {
        if can_decrypt {
            self.decrypt(key, document)
        } else {
            for_each_value(self.paths(key), document, |_, node| self.encrypt_value(key, node))
        }
    }

    /// Decrypts the encrypted values of a document.
    pub(super) fn decrypt(&self, key: &DocumentKey, document: &mut Node) -> Result<(), EncryptionError> {
        // From the last path to the first: a value that was encrypted inside another one appears after that one.
        for_each_value(self.paths(key).rev(), document, |path, node| {
            if let Some(text) = encrypted_text(node) {
                *node = self.decrypt_value(key, path, text)?.0;
            }
            Ok(())
        })
    }

    /// Encrypts the plain values at the document's encrypted paths, and encrypts again, with the newest key, the values
    /// that an older key encrypted.
    ///
    /// # Errors
    /// [`EncryptionError::Forged`] for a value that looks encrypted and does not decrypt: it would be encrypted twice.
    pub(super) fn encrypt(&self, key: &DocumentKey, document: &mut Node) -> Result<(), EncryptionError> {
        for_each_value(self.paths(key), document, |path, node| {
            if let Some(text) = encrypted_text(node) {
                let (value, with_newest_key) = self.decrypt_value(key, path, text)?;
                if with_newest_key {
                    return Ok(());
                }
                *node = value;
            }
            self.encrypt_value(key, node)
        })
    }

    /// Encrypts the answer that is stored for a repeated request, if values of the document are encrypted.
    pub(super) fn encrypt_answer(&self, key: &DocumentKey, answer: Vec<u8>) -> Result<Vec<u8>, EncryptionError> {
        if !self.encrypts(key) {
            return Ok(answer);
        }
        self.encrypt_bytes(&answers_of(key), &answer).map(String::into_bytes)
    }

    /// # Errors
    /// [`EncryptionError`] if the service did not encrypt the answer, or its key is no longer configured.
    pub(super) fn decrypt_answer(&self, key: &DocumentKey, stored: Vec<u8>) -> Result<Vec<u8>, EncryptionError> {
        if !self.encrypts(key) {
            return Ok(stored);
        }
        let text = String::from_utf8_lossy(&stored);
        self.decrypt_bytes(&answers_of(key), &text, || "the stored answer".to_owned()).map(|(answer, _)| answer)
    }

    /// Encrypts a value unless it is encrypted already.
    fn encrypt_value(&self, key: &DocumentKey, node: &mut Node) -> Result<(), EncryptionError> {
        if encrypted_text(node).is_none() {
            *node = Node::String(self.encrypt_bytes(key.as_str().as_bytes(), &node.to_bytes())?.into());
        }
        Ok(())
    }

    /// The value of an encrypted string, and whether the newest key encrypted it.
    fn decrypt_value(&self, key: &DocumentKey, path: &Path, text: &str) -> Result<(Node, bool), EncryptionError> {
        let what = || format!("`{}`", path.as_str());
        let (plaintext, with_newest_key) = self.decrypt_bytes(key.as_str().as_bytes(), text, what)?;
        let value = Node::parse(&plaintext).map_err(|_| EncryptionError::Forged { what: what() })?;
        Ok((value, with_newest_key))
    }

    /// `sealed:<id>:<base64>` of nonce and ciphertext.
    fn encrypt_bytes(&self, bound_to: &[u8], plaintext: &[u8]) -> Result<String, EncryptionError> {
        let Some((id, cipher)) = self.ciphers.first() else { return Err(EncryptionError::NoEntropy) };
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| EncryptionError::NoEntropy)?;
        let payload = Payload { msg: plaintext, aad: bound_to };
        // Encryption fails only for texts beyond 64 GiB.
        let ciphertext = cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| EncryptionError::NoEntropy)?;
        Ok(format!("{MARK}{id}:{}", BASE64.encode([&nonce[..], &ciphertext].concat())))
    }

    /// The content of an encrypted string, and whether the newest key encrypted it.
    fn decrypt_bytes(
        &self,
        bound_to: &[u8],
        text: &str,
        what: impl Fn() -> String,
    ) -> Result<(Vec<u8>, bool), EncryptionError> {
        let forged = || EncryptionError::Forged { what: what() };
        let (id, encoded) = text.strip_prefix(MARK).and_then(|rest| rest.split_once(':')).ok_or_else(forged)?;
        let Some(at) = self.ciphers.iter().position(|(known, _)| known == id) else {
            return Err(EncryptionError::UnknownKey { what: what(), id: id.to_owned() });
        };
        let plaintext = || {
            let (_, cipher) = self.ciphers.get(at)?;
            let bytes = BASE64.decode(encoded).ok()?;
            let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE>()?;
            cipher.decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad: bound_to }).ok()
        };
        plaintext().map(|plaintext| (plaintext, at == 0)).ok_or_else(forged)
    }
}

fn for_each_value<'p>(
    paths: impl Iterator<Item = &'p Path>,
    document: &mut Node,
    act: impl Fn(&Path, &mut Node) -> Result<(), EncryptionError>,
) -> Result<(), EncryptionError> {
    for path in paths {
        // The paths are the configuration's own, so they do not share the visits of the request's paths.
        for location in path.locate(document, &WorkBudget::default())? {
            // A location inside a value that has just been encrypted no longer exists.
            if let Some(node) = document.at_mut(&location) {
                act(path, node)?;
            }
        }
    }
    Ok(())
}

fn encrypted_text(node: &Node) -> Option<&str> {
    if let Node::String(text) = node { Some(text.as_str()).filter(|text| text.starts_with(MARK)) } else { None }
}

/// The data that stored answers are bound to. No document key contains a zero byte.
fn answers_of(key: &DocumentKey) -> Vec<u8> {
    [key.as_str().as_bytes(), b"\0answer"].concat()
}

fn encrypted_path(text: &str) -> Result<Path, String> {
    match Path::parse(text) {
        // The values that a filter selects change with their neighbours, and would then stay encrypted.
        Ok(path) if path.has_filter() => Err(format!("the encrypted path `{text}` must not have a filter")),
        Ok(path) => Ok(path),
        Err(error) => Err(format!("the encrypted path `{text}` {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const ONE: &str = "{ id = \"one\", key = \"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\" }";
    const TWO: &str = "{ id = \"two\", key = \"ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\" }";

    /// Encryption with `keys` of collections, each with a prefix and its encrypted paths.
    fn encryption_of(keys: &[&str], collections: &[(&str, &str)]) -> FieldEncryption {
        let collections = collections
            .iter()
            .map(|(prefix, paths)| format!("[[json.collections]]\nprefix = \"{prefix}\"\nencrypted = [{paths}]\n"));
        let overrides = format!("json.encryption.keys = [{}]\n{}", keys.join(", "), collections.collect::<String>());
        let config: JsonConfig = Config::with_overrides(&overrides).and_then(|config| config.section()).expect("valid");
        FieldEncryption::new(&config).expect("usable keys")
    }

    fn encryption_with(keys: &[&str]) -> FieldEncryption {
        encryption_of(keys, &[("a:", "\"$.email\", \"$.cards[*].number\"")])
    }

    /// The document of the key `id` in its encrypted form.
    fn encrypted(encryption: &FieldEncryption, id: &str, text: &str) -> Node {
        let mut document = node(text);
        encryption.encrypt(&key(id), &mut document).expect("encrypted");
        document
    }

    fn key(text: &str) -> DocumentKey {
        DocumentKey::try_from(text.to_owned()).expect("a key")
    }

    fn node(text: &str) -> Node {
        Node::parse(text.as_bytes()).expect("JSON")
    }

    const PLAIN: &str = r#"{"name":"Ada","email":"a@example.org","cards":[{"number":1.50},{"number":null}]}"#;

    #[test]
    fn only_the_values_at_encrypted_paths_are_encrypted_and_they_decrypt_unchanged() {
        let encryption = encryption_with(&[ONE]);
        let mut document = encrypted(&encryption, "a:1", PLAIN);
        let stored = document.to_text();
        assert!(stored.starts_with(r#"{"name":"Ada","email":"sealed:one:"#), "{stored}");
        assert!(!stored.contains("example.org") && !stored.contains("1.50") && !stored.contains("null"), "{stored}");
        let again = document.clone();
        encryption.encrypt(&key("a:1"), &mut document).expect("encrypted already");
        assert_eq!(document, again);
        encryption.decrypt(&key("a:1"), &mut document).expect("decrypted");
        assert_eq!(document.to_text(), PLAIN);
        assert!(encryption.encrypts(&key("a:1")) && !encryption.encrypts(&key("b:1")));
    }

    #[test]
    fn an_encrypted_value_is_bound_to_its_document_and_cannot_be_altered() {
        let encryption = encryption_with(&[ONE]);
        let document = encrypted(&encryption, "a:1", PLAIN);
        let forged = EncryptionError::Forged { what: "`$.email`".to_owned() };
        assert!(matches!(encryption.decrypt(&key("a:2"), &mut document.clone()), Err(EncryptionError::Forged { .. })));
        assert_eq!(encryption.encrypt(&key("a:2"), &mut document.clone()), Err(forged.clone()));
        for text in ["sealed:", "sealed:one:", "sealed:one:AAAA", "sealed:one:!"] {
            let mut document = node(&format!("{{\"email\":\"{text}\"}}"));
            assert_eq!(encryption.encrypt(&key("a:1"), &mut document), Err(forged.clone()), "{text}");
        }
    }

    #[test]
    fn the_first_key_encrypts_and_older_keys_still_decrypt() {
        let mut document = encrypted(&encryption_with(&[ONE]), "a:1", PLAIN);
        let rotated = encryption_with(&[TWO, ONE]);
        rotated.decrypt(&key("a:1"), &mut document.clone()).expect("decrypted with the old key");
        rotated.encrypt(&key("a:1"), &mut document).expect("encrypted");
        let stored = document.to_text();
        assert!(stored.contains("sealed:two:") && !stored.contains("sealed:one:"), "{stored}");
        let error = encryption_with(&[ONE]).decrypt(&key("a:1"), &mut document).expect_err("the key is missing");
        assert_eq!(error, EncryptionError::UnknownKey { what: "`$.cards[*].number`".to_owned(), id: "two".to_owned() });
    }

    #[test]
    fn plain_values_stored_by_other_programs_are_hidden() {
        let encryption = encryption_with(&[ONE]);
        let mut document = node(PLAIN);
        encryption.present(&key("a:1"), &mut document, false).expect("encrypted");
        assert!(!document.to_text().contains("example.org"), "{document:?}");
        let encrypted = document.clone();
        encryption.present(&key("a:1"), &mut document, false).expect("encrypted");
        assert_eq!(document, encrypted);
        encryption.present(&key("a:1"), &mut document, true).expect("decrypted");
        assert_eq!(document.to_text(), PLAIN);
    }

    #[test]
    fn a_collection_inside_another_one_adds_to_its_encrypted_paths() {
        let (outer, inner) = (("a:", "\"$.email\""), ("a:b:", "\"$.name\""));
        for collections in [[outer, inner], [inner, outer]] {
            let encryption = encryption_of(&[ONE], &collections);
            let mut document = encrypted(&encryption, "a:b:1", PLAIN);
            assert!(!document.to_text().contains("example.org") && !document.to_text().contains("Ada"), "{document:?}");
            encryption.decrypt(&key("a:b:1"), &mut document).expect("decrypted");
            assert_eq!(document.to_text(), PLAIN);
            encryption.encrypt(&key("a:1"), &mut document).expect("encrypted");
            assert!(!document.to_text().contains("example.org") && document.to_text().contains("Ada"), "{document:?}");
        }
    }

    #[test]
    fn an_encrypted_value_may_contain_another_one() {
        for paths in ["\"$.a\", \"$.a.b\"", "\"$.a.b\", \"$.a\"", "\"$..b\", \"$\""] {
            let encryption = encryption_of(&[ONE], &[("a:", paths)]);
            let mut document = encrypted(&encryption, "a:1", r#"{"a":{"b":{"b":1},"c":2}}"#);
            encryption.decrypt(&key("a:1"), &mut document).expect("decrypted");
            assert_eq!(document.to_text(), r#"{"a":{"b":{"b":1},"c":2}}"#, "{paths}");
        }
    }

    #[test]
    fn a_stored_answer_does_not_decrypt_as_a_value() {
        let encryption = encryption_with(&[ONE]);
        let encrypted = encryption.encrypt_answer(&key("a:1"), b"[1]".to_vec()).expect("encrypted");
        assert_eq!(encryption.decrypt_answer(&key("a:1"), encrypted.clone()).as_deref(), Ok(&b"[1]"[..]));
        let mut document = node(&format!("{{\"email\":\"{}\"}}", String::from_utf8_lossy(&encrypted)));
        let forged = EncryptionError::Forged { what: "`$.email`".to_owned() };
        assert_eq!(encryption.decrypt(&key("a:1"), &mut document), Err(forged));
    }
}
