//! Rate limits: strategies, several limits at once, many processes, proxies, faults, bad input.

mod exceptions;
mod faults;
mod input;
mod limits;
mod models;
mod nginx;
mod oracle;
mod reload;
mod schedules;
mod together;
