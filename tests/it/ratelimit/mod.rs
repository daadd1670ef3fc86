//! Rate limits: strategies, several limits at once, faults, bad input.

mod exceptions;
mod faults;
mod input;
mod limits;
mod models;
mod oracle;
mod reload;
mod schedules;
mod together;
