//! The service against real servers: one file per room of the house.

mod support;

mod cache;
mod health;
