//! `[alerts]`: how often conditions are checked, and how long they last before they count.

use serde::Deserialize;

use crate::config::value::Span;
use crate::config::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertsConfig {
    /// How often conditions are checked.
    pub interval: Span,
    /// How long a condition lasts before its alert fires.
    pub hold: Span,
    /// How long a condition is over before its alert ends.
    pub clear: Span,
    /// The replicas that each Redis server should have.
    pub redis_replicas: u32,
    /// The name of this replica of the service; empty: the name of the machine and the port.
    pub instance: String,
}

impl Section for AlertsConfig {
    const NAME: &'static str = "alerts";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_short([("interval", self.interval)])?;
        if self.instance.len() > 100 || self.instance.contains('|') {
            return Err(FieldError::new("instance", "must have at most 100 bytes and no `|`"));
        }
        Ok(())
    }
}
