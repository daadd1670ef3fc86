//! The service against real servers: one file per room of the house.

mod support;

mod health;
mod timeseries;
mod timeseries_bulk;
mod timeseries_faults;
mod timeseries_input;
mod timeseries_model;
mod timeseries_range;
