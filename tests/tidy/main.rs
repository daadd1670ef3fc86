//! The house rules, checked against the source tree. Needs no Redis.
//!
//! Each test lists every breach it finds and says what to do. A rule with exceptions keeps them here, in a list with a
//! reason, so that a new one is seen in review.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, also outside of #[test] functions")]

mod arrows;
mod circles;
mod documents;
mod routes;
mod scripts;
mod size_and_names;
mod tree;
mod vocabulary;

/// Fails with every breach and with the way out.
#[track_caller]
fn assert_none(breaches: &[String], what_to_do: &str) {
    assert!(breaches.is_empty(), "\n  {}\n\n{what_to_do}\n", breaches.join("\n  "));
}
