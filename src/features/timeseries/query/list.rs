//! The query parameters of the list of series.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use utoipa::IntoParams;

use super::super::error::Violation;
use super::{LabelFilter, Matcher};

/// The query parameters of the list of series.
#[derive(Clone, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::features::timeseries) struct ListQuery {
    /// The prefix of the keys.
    #[param(example = "energy:")]
    pub prefix: Option<String>,
    /// A condition on a label: `zone=1`, `zone!=1`, `zone=(1,2)`, `zone!=(1,2)`, `zone=` (absent) or `zone!=`
    /// (present). It can be repeated; series must meet all conditions, and at least one must be like `zone=1` or
    /// `zone=(1,2)`.
    #[param(value_type = Option<Vec<String>>, max_items = 32)]
    pub filter: Vec<Matcher>,
    /// `next_cursor` of the previous page.
    #[param(min_length = 1)]
    pub cursor: Option<String>,
    /// The maximum number of series in a page; 100 if absent.
    #[param(minimum = 1, maximum = 1_000)]
    pub limit: Option<usize>,
}

impl ListQuery {
    pub(in crate::features::timeseries) const DEFAULT_LIMIT: usize = 100;
    pub(in crate::features::timeseries) const MAX_LIMIT: usize = 1_000;

    /// # Errors
    /// [`Violation`] if the limit is out of range.
    pub(in crate::features::timeseries) fn checked_limit(&self) -> Result<usize, Violation> {
        super::checked_limit("limit", self.limit.unwrap_or(Self::DEFAULT_LIMIT), Self::MAX_LIMIT)
    }

    /// The conditions; `None` for all series.
    ///
    /// # Errors
    /// [`Violation`] if no condition names a value.
    pub(in crate::features::timeseries) fn label_filter(&self) -> Result<Option<LabelFilter>, Violation> {
        if self.filter.is_empty() {
            return Ok(None);
        }
        let filter = LabelFilter::new(self.filter.clone());
        filter.map(Some).map_err(|rule| Violation::new("filter", rule))
    }
}

/// Implemented by hand, because only `filter` may be repeated.
impl<'de> Deserialize<'de> for ListQuery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Parameters)
    }
}

struct Parameters;

impl<'de> Visitor<'de> for Parameters {
    type Value = ListQuery;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("query parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ListQuery, A::Error> {
        const KNOWN: &[&str] = &["prefix", "filter", "cursor", "limit"];
        let mut query = ListQuery::default();
        while let Some(name) = map.next_key::<String>()? {
            let given = match name.as_str() {
                "filter" => {
                    query.filter.push(map.next_value()?);
                    false
                }
                "prefix" => query.prefix.replace(map.next_value()?).is_some(),
                "cursor" => query.cursor.replace(map.next_value()?).is_some(),
                "limit" => query.limit.replace(map.next_value()?).is_some(),
                other => return Err(de::Error::unknown_field(other, KNOWN)),
            };
            if given {
                return Err(de::Error::custom(format!("duplicate field `{name}`")));
            }
        }
        Ok(query)
    }
}
