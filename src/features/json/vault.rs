//! Values that are stored encrypted: which ones, by what keys, and how they look.
//!
//! A collection names paths; what stands there is stored as the string `sealed:<key id>:<base64>`, nonce and ciphertext
//! of the value's JSON text, bound to the document's key: copied into another document it does not open. The first
//! configured key seals, every key opens, so a key is rotated by putting a new one in front; changed documents follow.
//!
//! Callers without the scope see and may pass on the sealed form, which stays what it is; they may also replace it.
//!
//! Source: RFC 8452 (AES-256-GCM-SIV, which forgives a nonce that is drawn twice).

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::config::{JsonConfig, SealingKey};
use super::document::Node;
use super::model::DocumentKey;
use super::path::{Path, TooManyVisits};

const MARK: &str = "sealed:";
const NONCE: usize = 12;

/// Everything that is needed to seal and open.
pub(super) struct Vault {
    /// The first one seals.
    keys: Vec<(String, Aes256GcmSiv)>,
    /// By the start of document keys.
    collections: Vec<(String, Vec<Path>)>,
    visits: usize,
}

/// What goes wrong with a sealed value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    #[error("{what} holds a sealed value of another document, or one that was tampered with")]
    Forged { what: String },
    #[error("{what} was sealed with the key `{id}`, which is not configured")]
    UnknownKey { what: String, id: String },
    #[error("there is no randomness to seal with")]
    NoEntropy,
    #[error(transparent)]
    TooComplex(#[from] TooManyVisits),
}

/// What a sealed text holds, and whether the newest key sealed it.
struct Opened {
    clear: Vec<u8>,
    is_newest: bool,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|(id, _)| id.as_str()).collect();
        f.debug_struct("Vault").field("keys", &ids).field("collections", &self.collections).finish_non_exhaustive()
    }
}

impl Vault {
    /// # Errors
    /// A key or a path that cannot be used.
    pub(super) fn new(config: &JsonConfig) -> Result<Self, String> {
        let keys = config.encryption.keys.iter().map(cipher).collect::<Result<_, String>>()?;
        let limit = config.path_limit.as_usize();
        let read = |text: &String| match Path::parse(text, limit) {
            // What it selects would change with values beside it, and leave sealed what it selected before.
            Ok(path) if path.has_filter() => Err(format!("encrypted: `{text}` has a filter")),
            Ok(path) => Ok(path),
            Err(error) => Err(format!("encrypted: `{text}` {error}")),
        };
        let collections = config.collections.iter().filter(|collection| !collection.encrypted.is_empty());
        let collections = collections
            .map(|collection| {
                let paths = collection.encrypted.iter().map(read).collect::<Result<_, _>>()?;
                Ok((collection.prefix.clone(), paths))
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { keys, collections, visits: config.path_visits })
    }

    /// Whether some values of the document are stored sealed.
    pub(super) fn guards(&self, key: &DocumentKey) -> bool {
        !self.paths(key).is_empty()
    }

    fn paths(&self, key: &DocumentKey) -> &[Path] {
        let mut collections = self.collections.iter();
        collections.find(|(prefix, _)| key.as_str().starts_with(prefix)).map_or(&[], |(_, paths)| paths)
    }

    /// Shows a stored document as its reader may see it: with values in the place of their sealed form, or, to others,
    /// with nothing in clear that ought to be sealed, whoever stored it.
    ///
    /// # Errors
    /// [`SealError`] for the first value that cannot be opened.
    pub(super) fn show(&self, key: &DocumentKey, document: &mut Node, in_clear: bool) -> Result<(), SealError> {
        if in_clear { self.open(key, document) } else { self.each(key, document, |_, node| self.cover(key, node)) }
    }

    /// Puts values in the place of their sealed form.
    ///
    /// # Errors
    /// [`SealError`] for the first value that cannot be opened.
    pub(super) fn open(&self, key: &DocumentKey, document: &mut Node) -> Result<(), SealError> {
        // From the last path to the first: what was sealed inside of a sealed value shows up after it.
        for path in self.paths(key).iter().rev() {
            self.at(path, document, |node| match node {
                Node::String(text) if text.starts_with(MARK) => {
                    *node = self.value(key, path, text)?.0;
                    Ok(())
                }
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Seals what stands in clear at the document's sealed paths, and with the newest key what an older one sealed.
    ///
    /// # Errors
    /// [`SealError::Forged`] for what looks sealed and does not open; it would be sealed twice.
    pub(super) fn seal(&self, key: &DocumentKey, document: &mut Node) -> Result<(), SealError> {
        self.each(key, document, |path, node| match node {
            Node::String(text) if text.starts_with(MARK) => {
                let (mut value, is_newest) = self.value(key, path, text)?;
                if is_newest {
                    return Ok(());
                }
                self.cover(key, &mut value)?;
                *node = value;
                Ok(())
            }
            node => self.cover(key, node),
        })
    }

    /// Seals the answer that is kept for a change's repetition.
    ///
    /// # Errors
    /// [`SealError::NoEntropy`].
    pub(super) fn seal_answer(&self, key: &DocumentKey, answer: &[u8]) -> Result<Vec<u8>, SealError> {
        self.sealed(&answers_of(key), answer).map(String::into_bytes)
    }

    /// # Errors
    /// [`SealError`] when it is none of ours, or its key is gone.
    pub(super) fn open_answer(&self, key: &DocumentKey, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let text = String::from_utf8_lossy(sealed);
        self.opened(&answers_of(key), &text, || "the kept answer".to_owned()).map(|opened| opened.clear)
    }

    /// Seals what is not sealed.
    fn cover(&self, key: &DocumentKey, node: &mut Node) -> Result<(), SealError> {
        if !matches!(node, Node::String(text) if text.starts_with(MARK)) {
            *node = Node::String(self.sealed(key.as_str().as_bytes(), &node.to_bytes())?.into());
        }
        Ok(())
    }

    fn each(
        &self,
        key: &DocumentKey,
        document: &mut Node,
        act: impl Fn(&Path, &mut Node) -> Result<(), SealError>,
    ) -> Result<(), SealError> {
        self.paths(key).iter().try_for_each(|path| self.at(path, document, |node| act(path, node)))
    }

    fn at(
        &self,
        path: &Path,
        document: &mut Node,
        act: impl Fn(&mut Node) -> Result<(), SealError>,
    ) -> Result<(), SealError> {
        for place in path.locate(document, self.visits)? {
            // Nothing is there any more when it was inside of a value that has just been sealed.
            if let Some(node) = document.at_mut(&place) {
                act(node)?;
            }
        }
        Ok(())
    }

    /// The value that was sealed, and whether the newest key sealed it.
    fn value(&self, key: &DocumentKey, path: &Path, text: &str) -> Result<(Node, bool), SealError> {
        let what = || format!("`{}`", path.as_str());
        let Opened { clear, is_newest } = self.opened(key.as_str().as_bytes(), text, what)?;
        let value = Node::parse(&clear).map_err(|_| SealError::Forged { what: what() })?;
        Ok((value, is_newest))
    }

    /// `sealed:<id>:<base64>` of nonce and ciphertext.
    fn sealed(&self, bound_to: &[u8], clear: &[u8]) -> Result<String, SealError> {
        let Some((id, cipher)) = self.keys.first() else { return Err(SealError::NoEntropy) };
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoEntropy)?;
        let payload = Payload { msg: clear, aad: bound_to };
        // It fails beyond 64 GiB only.
        let ciphertext = cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| SealError::NoEntropy)?;
        Ok(format!("{MARK}{id}:{}", BASE64.encode([&nonce[..], &ciphertext].concat())))
    }

    fn opened(&self, bound_to: &[u8], text: &str, what: impl Fn() -> String) -> Result<Opened, SealError> {
        let forged = || SealError::Forged { what: what() };
        let (id, sealed) = text.strip_prefix(MARK).and_then(|rest| rest.split_once(':')).ok_or_else(forged)?;
        let Some(at) = self.keys.iter().position(|(known, _)| known == id) else {
            return Err(SealError::UnknownKey { what: what(), id: id.to_owned() });
        };
        let opened = || {
            let (_, cipher) = self.keys.get(at)?;
            let bytes = BASE64.decode(sealed).ok()?;
            let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE>()?;
            cipher.decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad: bound_to }).ok()
        };
        opened().map(|clear| Opened { clear, is_newest: at == 0 }).ok_or_else(forged)
    }
}

/// What answers are bound to: no document's key has a zero byte.
fn answers_of(key: &DocumentKey) -> Vec<u8> {
    [key.as_str().as_bytes(), b"\0answer"].concat()
}

fn cipher(key: &SealingKey) -> Result<(String, Aes256GcmSiv), String> {
    let refuse = |reason: &str| format!("encryption key `{}`: {reason}", key.id);
    let text = match (&key.key, &key.key_file) {
        (Some(secret), None) => secret.expose().clone(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| refuse(&error.to_string()))?,
        _ => return Err(refuse("give key or key_file")),
    };
    let digits = text.trim().as_bytes();
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let cipher = bytes.and_then(|bytes| Aes256GcmSiv::new_from_slice(&bytes).ok());
    cipher.map(|cipher| (key.id.clone(), cipher)).ok_or_else(|| refuse("must be 64 hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const ONE: &str = "{ id = \"one\", key = \"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\" }";
    const TWO: &str = "{ id = \"two\", key = \"ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\" }";

    fn vault(keys: &[&str]) -> Vault {
        let overrides = format!(
            "json.encryption.keys = [{}]\n[[json.collections]]\nprefix = \"a:\"\nencrypted = [\"$.email\", \"$.cards[*].number\"]",
            keys.join(", "),
        );
        let config: JsonConfig = Config::with_overrides(&overrides).and_then(|config| config.section()).expect("valid");
        Vault::new(&config).expect("a vault")
    }

    fn key(text: &str) -> DocumentKey {
        DocumentKey::try_from(text.to_owned()).expect("a key")
    }

    fn node(text: &str) -> Node {
        Node::parse(text.as_bytes()).expect("JSON")
    }

    const CLEAR: &str = r#"{"name":"Ada","email":"a@example.org","cards":[{"number":1.50},{"number":null}]}"#;

    #[test]
    fn values_come_back_as_they_were_and_only_they_are_hidden() {
        let vault = vault(&[ONE]);
        let mut document = node(CLEAR);
        vault.seal(&key("a:1"), &mut document).expect("sealed");
        let stored = document.to_text();
        assert!(stored.starts_with(r#"{"name":"Ada","email":"sealed:one:"#), "{stored}");
        assert!(!stored.contains("example.org") && !stored.contains("1.50") && !stored.contains("null"), "{stored}");
        let again = document.clone();
        vault.seal(&key("a:1"), &mut document).expect("sealed already");
        assert_eq!(document, again);
        vault.open(&key("a:1"), &mut document).expect("opened");
        assert_eq!(document.to_text(), CLEAR);
        assert!(vault.guards(&key("a:1")) && !vault.guards(&key("b:1")));
    }

    #[test]
    fn a_sealed_value_belongs_to_its_document_and_cannot_be_changed() {
        let vault = vault(&[ONE]);
        let mut document = node(CLEAR);
        vault.seal(&key("a:1"), &mut document).expect("sealed");
        let forged = SealError::Forged { what: "`$.email`".to_owned() };
        assert!(matches!(vault.open(&key("a:2"), &mut document.clone()), Err(SealError::Forged { .. })));
        assert_eq!(vault.seal(&key("a:2"), &mut document.clone()), Err(forged.clone()));
        for text in ["sealed:", "sealed:one:", "sealed:one:AAAA", "sealed:one:!"] {
            let mut document = node(&format!("{{\"email\":\"{text}\"}}"));
            assert_eq!(vault.seal(&key("a:1"), &mut document), Err(forged.clone()), "{text}");
        }
    }

    #[test]
    fn a_new_key_in_front_seals_and_old_ones_still_open() {
        let mut document = node(CLEAR);
        vault(&[ONE]).seal(&key("a:1"), &mut document).expect("sealed");
        let rotated = vault(&[TWO, ONE]);
        rotated.open(&key("a:1"), &mut document.clone()).expect("opened with the old key");
        rotated.seal(&key("a:1"), &mut document).expect("sealed");
        let stored = document.to_text();
        assert!(stored.contains("sealed:two:") && !stored.contains("sealed:one:"), "{stored}");
        let error = vault(&[ONE]).open(&key("a:1"), &mut document).expect_err("the key is missing");
        assert_eq!(error, SealError::UnknownKey { what: "`$.cards[*].number`".to_owned(), id: "two".to_owned() });
    }

    #[test]
    fn what_others_stored_in_clear_is_not_shown() {
        let vault = vault(&[ONE]);
        let mut document = node(CLEAR);
        vault.show(&key("a:1"), &mut document, false).expect("covered");
        assert!(!document.to_text().contains("example.org"), "{document:?}");
        let covered = document.clone();
        vault.show(&key("a:1"), &mut document, false).expect("covered");
        assert_eq!(document, covered);
        vault.show(&key("a:1"), &mut document, true).expect("opened");
        assert_eq!(document.to_text(), CLEAR);
    }

    #[test]
    fn a_sealed_value_may_hold_another_one() {
        for paths in ["\"$.a\", \"$.a.b\"", "\"$.a.b\", \"$.a\"", "\"$..b\", \"$\""] {
            let overrides =
                format!("json.encryption.keys = [{ONE}]\n[[json.collections]]\nprefix = \"a:\"\nencrypted = [{paths}]");
            let config = Config::with_overrides(&overrides).and_then(|config| config.section()).expect("valid");
            let vault = Vault::new(&config).expect("a vault");
            let mut document = node(r#"{"a":{"b":{"b":1},"c":2}}"#);
            vault.seal(&key("a:1"), &mut document).expect("sealed");
            vault.open(&key("a:1"), &mut document).expect("opened");
            assert_eq!(document.to_text(), r#"{"a":{"b":{"b":1},"c":2}}"#, "{paths}");
        }
    }

    #[test]
    fn an_answer_is_no_value() {
        let vault = vault(&[ONE]);
        let sealed = vault.seal_answer(&key("a:1"), b"[1]").expect("sealed");
        assert_eq!(vault.open_answer(&key("a:1"), &sealed).as_deref(), Ok(&b"[1]"[..]));
        let mut document = node(&format!("{{\"email\":\"{}\"}}", String::from_utf8_lossy(&sealed)));
        let forged = SealError::Forged { what: "`$.email`".to_owned() };
        assert_eq!(vault.open(&key("a:1"), &mut document), Err(forged));
    }
}
