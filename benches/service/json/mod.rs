//! JSON documents.

pub mod hot;
pub mod log;
pub mod paths;

/// A header line of a request with JSON.
const JSON: &str = "content-type: application/json\r\n";
