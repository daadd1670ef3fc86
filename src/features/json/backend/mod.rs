//! Where documents are kept: the seam below which the two kinds of Redis differ.
//!
//! Paths, changes, conditions and limits are above it and the same for both. Below it, a document is read whole and
//! written whole by compare-and-swap:
//!
//! - native: one string, the document's text;
//! - module: a value of RedisJSON, so that other programs read and index it with the module's own commands. The module
//!   rounds numbers to 64 bits and writes them in its own way. Where that changes the text, the text as it was written is
//!   kept beside the value with a hash of what the module shows, and counts as long as the module shows just that.

mod home;
mod native;

use serde::Deserialize;

use super::keys::Place;
use super::scripts::Read;
use super::stored::Stored;
use crate::http::operation::OperationId;
use crate::redis::{Redis, RedisFault};
pub(super) use home::Home;

/// What a deployment keeps its documents in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Strings.
    Native,
    /// Values of RedisJSON.
    Module,
}

/// `json.backend`: what a deployment without documents begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wish {
    /// The module if Redis has it.
    Auto,
    Module,
    Native,
}

/// A document, and the answer that is kept for an operation.
pub(super) type Found = (Option<Stored>, Option<Vec<u8>>);

impl Backend {
    const ALL: [Self; 2] = [Self::Native, Self::Module];

    /// As it stands in Redis and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Module => "module",
        }
    }

    /// The reverse of [`Backend::name`].
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name().as_bytes() == name)
    }

    /// Reads a document in one round trip, with the answer of `operation` if there is one.
    ///
    /// # Errors
    /// [`RedisFault`]; its kind is `WrongType` for what is no document of this backend.
    pub(super) async fn read(
        self,
        redis: &Redis,
        place: &Place,
        operation: Option<&OperationId>,
    ) -> Result<Found, RedisFault> {
        match self {
            Self::Native => native::read(redis, place, operation).await,
            Self::Module => redis.call(&Read { place, answer_key: &place.answer(operation) }).await,
        }
    }
}
