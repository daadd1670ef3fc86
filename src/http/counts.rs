//! Numbers of items in queries.

use std::fmt::Display;

use super::problem::Problem;

/// Accepts a number of items between 1 and `most`.
///
/// # Errors
/// `invalid-query` (422) that names the parameter.
pub fn require_count<T: Copy + Display + PartialOrd + From<u8>>(name: &str, count: T, most: T) -> Result<T, Problem> {
    if (T::from(1)..=most).contains(&count) {
        return Ok(count);
    }
    Err(Problem::query_parameter(name, format!("must be between 1 and {most}, got {count}")))
}
