//! `Idempotency-Key`: a repeated request receives the recorded response and does not run again. A response that describes
//! a state with an end is never repeated beyond it.

mod faults;
mod leases;
mod repeats;
mod replica;
mod states;
