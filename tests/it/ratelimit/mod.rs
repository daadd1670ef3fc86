//! Rate limits: strategies, several limits at once, faults, bad input.

mod input;
mod limits;
mod models;
mod oracle;
mod schedules;
mod together;
