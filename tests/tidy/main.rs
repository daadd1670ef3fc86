//! Rules of the project, checked on the source tree. They need no Redis.
//!
//! Each test lists every violation and says what to do. Exceptions are rows of a list in the test, each with a reason, so
//! that reviewers see a new one.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking, also outside of #[test] functions")]

mod allowed_imports;
mod circles;
mod documents;
mod holdings;
mod imports;
mod routes;
mod scripts;
mod size_and_names;
mod tree;
mod vocabulary;

/// Fails with every violation and with advice.
#[track_caller]
fn assert_none(violations: &[String], what_to_do: &str) {
    assert!(violations.is_empty(), "\n  {}\n\n{what_to_do}\n", violations.join("\n  "));
}
