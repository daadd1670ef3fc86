//! `Idempotency-Key`: what is repeated is answered again, not done again.

mod faults;
mod repeats;
mod replica;
