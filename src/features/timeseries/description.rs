//! A series as it is stored.

use super::series::Definition;
use crate::clock::UnixMillis;

/// The definition of a series and the size of its stored samples.
#[derive(Clone, Debug)]
pub struct Description {
    pub definition: Definition,
    pub created: UnixMillis,
    /// Samples within retention.
    pub count: u64,
    pub chunks: u64,
    /// The size of samples and chunks, without the overhead of Redis.
    pub bytes: u64,
    /// The oldest and the newest timestamp within retention; `None` for a series without samples.
    pub ends: Option<(UnixMillis, UnixMillis)>,
}
