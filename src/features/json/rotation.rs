//! Moves the encrypted values of all documents to the newest key, so that an older key can be removed.
//!
//! Each document is replaced by compare-and-swap on its version, so a rotation can be interrupted at any time and run again,
//! and runs beside the service. It finds documents with SCAN, which an operator's command may use and a request may not.

use std::collections::BTreeMap;

use super::backend::{self, DOCUMENTS};
use super::config::JsonConfig;
use super::document::Node;
use super::encryption::FieldEncryption;
use super::keys::JsonKeys;
use super::model::DocumentKey;
use super::scripts::{Expected, Write, Written};
use crate::config::{Config, ConfigError};
use crate::redis::{Backend, BackendRecord, PrefixScan, Redis, RedisFault, unescape};

/// How often a document is tried that other writers change at the same time.
const ATTEMPTS: usize = 10;

/// A rotation, ready to run.
#[derive(Debug)]
pub struct Rotation {
    redis: Redis,
    keys: JsonKeys,
    encryption: FieldEncryption,
    backend_record: BackendRecord,
}

/// What a rotation has found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    pub documents: u64,
    /// Documents that now have the newest key only, or would have in a run that changes something.
    pub rotated: u64,
    /// The encrypted values before the rotation, by the id of their key.
    pub by_key: BTreeMap<String, u64>,
    /// Documents that cannot be moved: their values do not decrypt, or other writers kept changing them.
    pub left: u64,
}

enum Step {
    Unchanged,
    Rotated,
    Left,
}

impl Rotation {
    /// # Errors
    /// [`ConfigError`] for a key or path that cannot be used.
    pub fn new(redis: Redis, config: &Config) -> Result<Self, ConfigError> {
        let json: JsonConfig = config.section()?;
        let keys = JsonKeys::new(redis.keys(), &json);
        let encryption = FieldEncryption::new(&json).map_err(|error| config.refuse::<JsonConfig>(error))?;
        Ok(Self {
            backend_record: BackendRecord::new(redis.clone(), &DOCUMENTS, keys.backend.clone(), json.backend),
            keys,
            encryption,
            redis,
        })
    }

    /// Moves every document of a collection with encrypted values, or only counts them. `report` receives the progress.
    ///
    /// # Errors
    /// [`RedisFault`]. Documents that were moved stay moved.
    pub async fn run(&self, dry_run: bool, mut report: impl FnMut(&Rotated)) -> Result<Rotated, RedisFault> {
        let backend = self.backend_record.backend().await?;
        let mut done = Rotated::default();
        let mut scan = PrefixScan::new(&self.redis, &self.keys.document_prefixes());
        while let Some(names) = scan.next().await? {
            for name in names {
                let Some(key) = self.key(&name).filter(|key| self.encryption.encrypts(key)) else { continue };
                match self.rotate(backend, &key, dry_run, &mut done).await? {
                    Step::Unchanged => {}
                    Step::Rotated => done.rotated += 1,
                    Step::Left => done.left += 1,
                }
            }
            report(&done);
        }
        Ok(done)
    }

    /// The key of a document of a collection; others have no encrypted values.
    fn key(&self, name: &str) -> Option<DocumentKey> {
        let key = DocumentKey::try_from(unescape(name.strip_prefix(self.redis.keys().prefix())?)).ok()?;
        Some(key).filter(|key| self.keys.of(key).document.as_str() == name)
    }

    async fn rotate(
        &self,
        backend: Backend,
        key: &DocumentKey,
        dry_run: bool,
        done: &mut Rotated,
    ) -> Result<Step, RedisFault> {
        let keys = self.keys.of(key);
        for attempt in 0..ATTEMPTS {
            let Some(stored) = backend::read(backend, &self.redis, &keys, None).await?.document else {
                return Ok(Step::Unchanged);
            };
            let Ok(mut document) = Node::parse(&stored.text) else { return Ok(Step::Left) };
            if attempt == 0 {
                done.documents += 1;
                for id in self.encryption.key_ids(key, &mut document).unwrap_or_default() {
                    *done.by_key.entry(id).or_default() += 1;
                }
            }
            let before = document.clone();
            if self.encryption.encrypt(key, &mut document).is_err() {
                return Ok(Step::Left);
            }
            if document == before {
                return Ok(Step::Unchanged);
            }
            if dry_run {
                return Ok(Step::Rotated);
            }
            let text = document.to_bytes();
            let write = Write {
                backend,
                keys: &keys,
                expected: Expected::Version(stored.version),
                text: Some(&text),
                ttl: None,
                operation: None,
                answer: None,
                frees: text.len() < stored.text.len(),
                announcement: None,
                fence: None,
            };
            match self.redis.call(write.call()).await? {
                Written::Stored { .. } => return Ok(Step::Rotated),
                Written::Absent | Written::Deleted => return Ok(Step::Unchanged),
                Written::Changed | Written::Foreign | Written::Repeated(_) => {}
            }
        }
        Ok(Step::Left)
    }
}
