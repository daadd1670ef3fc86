//! `Idempotency-Key`: a repeated request receives the recorded response and does not run again.

mod faults;
mod repeats;
mod replica;
