//! Rate limits: strategies, several limits at once, many processes, proxies, faults, bad input.

mod envoy;
mod exceptions;
mod faults;
mod guard;
mod input;
mod limits;
mod models;
mod nginx;
mod oracle;
mod reload;
mod reservations;
mod resets;
mod schedules;
mod stories;
mod together;
