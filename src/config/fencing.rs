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
    /// How long a fence is kept after the last guarded write of data that does not expire.
    pub endless: Span,
}

/// A century, far below the largest number of milliseconds that a script can represent.
const LONGEST: Span = Span::from_millis(100 * 31_557_600_000);

impl Section for FencingConfig {
    const NAME: &'static str = "fencing";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([("outlive", self.outlive.as_millis() == 0)])?;
        if self.endless < self.outlive {
            return Err(FieldError::new("endless", "must not be shorter than outlive"));
        }
        if self.endless > LONGEST {
            return Err(FieldError::new("endless", "must not be longer than 100 years"));
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
        for (overrides, field) in [
            ("outlive = \"0s\"", "fencing.outlive"),
            ("outlive = \"2h\"\nendless = \"1h\"", "fencing.endless"),
            ("endless = \"6000w\"", "fencing.endless"),
        ] {
            let config = Config::with_overrides(&format!("[fencing]\n{overrides}")).expect("TOML");
            let error = config.section::<FencingConfig>().expect_err(overrides).to_string();
            assert!(error.contains(field), "{overrides}: {error}");
        }
    }
}
