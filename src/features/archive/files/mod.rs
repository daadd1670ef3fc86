//! The files of the archive. Nothing here knows Redis.
//!
//! - `disk.rs`: the calls to the file system. `calendar.rs`: names. `document.rs`: the content of a minute.
//! - `original.rs`: files of the system that this service replaces.
//! - `sealed.rs`: encryption of both kinds of files.
//! - `manifest.rs`: the list of the files of a day, which says which version counts.
//! - `store.rs`: opens the directory, and writes files that survive a crash. `reading.rs`: reads and verifies them.
//! - `settle.rs`: brings a minute of the window into a file, and says when the window no longer needs it.
//! - `pack.rs`: days as one file, their end, and `SHA256SUMS`. `table.rs`: packs as Parquet.
//! - `copying.rs`: what a store must get, and what comes back from it.
//!
//! Immutability: the name of a minute or pack is created once, after its content is durable, and only if no file has it. A
//! file without a line in the manifest does not count; it is adopted if the minute is written again with the same content.

pub mod calendar;
mod copying;
pub mod disk;
pub mod document;
mod error;
pub mod manifest;
pub mod original;
mod pack;
mod reading;
pub mod sealed;
mod settle;
mod store;
#[cfg(feature = "parquet")]
mod table;

pub use error::FileError;
pub use pack::{PackOutcome, RetentionOutcome};
pub use reading::{Finding, FindingKind, binding};
pub use settle::{Candidate, Holder, Imported, Mark, Settled};
pub use store::{Files, sha256};
