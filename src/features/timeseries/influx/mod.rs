//! InfluxDB line protocol: writes by existing clients, and the keys of the series that they create.

pub(super) mod influx_key;
pub(super) mod line;
pub(super) mod routes;
