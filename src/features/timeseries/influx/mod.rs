//! InfluxDB line protocol, for existing clients that write metrics.
//!
//! Files, in reading order: `line.rs` parses lines, `influx_key.rs` builds the keys and labels of the series that they
//! create, and `routes.rs` has the HTTP operations that clients of InfluxDB 1 and 2 call.

pub(super) mod influx_key;
pub(super) mod line;
pub(super) mod precision;
pub(super) mod routes;
