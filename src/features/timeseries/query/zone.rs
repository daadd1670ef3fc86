//! The `tz` parameter: the time zone of a query.

use std::str::FromStr;

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, de};

/// A zone of the IANA database. The database is the system's, or the compiled-in one if the system has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct Zone(pub TimeZone);

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        // The longest name in the database has about 30 characters.
        if name.len() <= 64
            && let Ok(zone) = TimeZone::get(name)
        {
            return Ok(Self(zone));
        }
        let name: String = name.chars().take(64).collect();
        Err(format!("must be a zone of the IANA database such as Asia/Bangkok, got `{name}`"))
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_names_of_the_database() {
        for good in ["Asia/Bangkok", "Europe/Berlin", "Australia/Lord_Howe", "UTC"] {
            assert!(good.parse::<Zone>().is_ok(), "{good}");
        }
        for bad in
            ["", "Asia/Bangkokk", "+07:00", "../../etc/passwd", "/etc/localtime", "posixrules\0", &"x".repeat(999)]
        {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
    }
}
