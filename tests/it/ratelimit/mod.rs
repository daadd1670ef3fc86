//! Rate limits: strategies, several limits at once, several processes, proxies, faults, invalid input.

mod check_all;
mod envoy;
mod exceptions;
mod faults;
mod guard;
mod input;
mod limits;
mod models;
mod nginx;
mod oracle;
mod refusals;
mod reload;
mod reservations;
mod resets;
mod rule_changes;
mod schedules;
mod sequences;
mod settlements;
