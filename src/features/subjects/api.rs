//! What a restore does with the persons that were erased since the backup.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::keys::ErasureKeys;
use super::matcher::{Ids, Matcher};
use super::sweep::{Mode, Sweep, find_series};
use crate::features::audit::api::{KeyRing, Signed};
use crate::holdings::Owners;
use crate::redis::{Effect, Redis, RedisFault};

/// The persons that were erased, as pseudonyms, to be kept beside backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstones {
    /// Pseudonym -> when the person was erased, Unix milliseconds.
    pub erased: BTreeMap<String, i64>,
    /// Signs the compact JSON of `erased`.
    pub signed: Signed,
}

impl Tombstones {
    /// Signs these tombstones.
    pub fn signed(erased: BTreeMap<String, i64>, ring: &KeyRing) -> Self {
        let signed = ring.sign(&text(&erased));
        Self { erased, signed }
    }

    /// # Errors
    /// [`TombstoneError::NotSigned`].
    pub fn check(&self, ring: &KeyRing) -> Result<(), TombstoneError> {
        if ring.verify(&text(&self.erased), &self.signed) { Ok(()) } else { Err(TombstoneError::NotSigned) }
    }
}

/// Why tombstones cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum TombstoneError {
    #[error("the tombstones are not signed with a key of the audit log")]
    NotSigned,
    #[error("Redis could not be reached")]
    Redis(#[from] RedisFault),
}

/// The tombstones in Redis.
///
/// # Errors
/// [`RedisFault`].
pub async fn tombstones(redis: &Redis, ring: &KeyRing) -> Result<Tombstones, RedisFault> {
    let keys = ErasureKeys::new(redis.keys());
    let erased: BTreeMap<String, i64> = redis.query(redis::cmd("HGETALL").arg(&keys.tombstones), Effect::Read).await?;
    Ok(Tombstones::signed(erased, ring))
}

/// How many tombstones are in Redis.
///
/// # Errors
/// [`RedisFault`].
pub async fn count_tombstones(redis: &Redis) -> Result<u64, RedisFault> {
    let keys = ErasureKeys::new(redis.keys());
    redis.query(redis::cmd("HLEN").arg(&keys.tombstones), Effect::Read).await
}

/// Erases again what a restored backup has brought back: the persons in `kept`, a copy beside the backups, and those whose
/// tombstones are in Redis. `owners` knows the names that the configuration gives to capabilities. Returns how many keys and members were erased.
///
/// # Errors
/// [`TombstoneError`]; then the restored data must not be served.
pub async fn apply_tombstones(
    redis: &Redis,
    owners: &Owners,
    ring: &KeyRing,
    kept: Option<&Tombstones>,
) -> Result<u64, TombstoneError> {
    let keys = ErasureKeys::new(redis.keys());
    if let Some(kept) = kept {
        kept.check(ring)?;
        for (name, at) in &kept.erased {
            let command = redis::cmd("HSETNX").arg(&keys.tombstones).arg(name).arg(at).take();
            redis.query::<i64>(&command, Effect::Write).await?;
        }
    }
    let names: HashSet<String> = tombstones(redis, ring).await?.erased.into_keys().collect();
    if names.is_empty() {
        return Ok(0);
    }
    let mut matcher = Matcher::new(Ids::Pseudonyms(ring.clone(), names));
    find_series(redis, &mut matcher).await?;
    let found = Sweep::new(redis, owners, &matcher, Mode::Erase).run().await?;
    Ok(found.values().map(|counts| counts.erased).sum())
}

fn text(erased: &BTreeMap<String, i64>) -> String {
    // Strings and numbers always serialise.
    serde_json::to_string(erased).unwrap_or_default()
}
