//! `[fencing]`: how long a target remembers the tokens of its writers.

use serde::Deserialize;

use super::value::Span;
use super::{FieldError, Section};

/// Belongs to no feature: the features that grant leases and those that accept guarded writes must agree on it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FencingConfig {
    /// How much longer a fence is kept than the data it guards; no lease may be longer.
    pub outlive: Span,
}

/// How long a fence is kept after the last guarded write of data that does not expire, so that unused ones do not
/// accumulate: a year. No holder pauses longer.
pub const ENDLESS: Span = Span::from_millis(365 * 86_400_000);

impl Section for FencingConfig {
    const NAME: &'static str = "fencing";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([("outlive", self.outlive.as_millis() == 0)])?;
        if self.outlive > ENDLESS {
            return Err(FieldError::new("outlive", format!("must be at most {ENDLESS}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_wrong_length_names_its_field() {
        for (overrides, field) in [("outlive = \"0s\"", "fencing.outlive"), ("outlive = \"366d\"", "fencing.outlive")] {
            let config = Config::with_overrides(&format!("[fencing]\n{overrides}")).expect("TOML");
            let error = config.section::<FencingConfig>().expect_err(overrides).to_string();
            assert!(error.contains(field), "{overrides}: {error}");
        }
    }
}
