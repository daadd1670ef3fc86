//! What other capabilities use of the audit log: its keys, and notes.

pub use super::key_ring::{KeyFileError, KeyRing, Signed};
pub use super::service::AuditService;
pub use super::{command::key_ring, service};
