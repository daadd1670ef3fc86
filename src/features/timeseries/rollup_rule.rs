//! What a rollup computes.

use serde::{Deserialize, Serialize};

use super::aggregate::{Aggregation, Grid};
use super::query::{BucketLength, Zone};
use crate::clock::UnixMillis;

/// A rollup as the series' hash holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RuleText {
    pub bucket: String,
    pub agg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// A time at which a bucket begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub align: Option<UnixMillis>,
    /// Milliseconds behind the newest sample that buckets stay; 0 for ever; absent: as long as the samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
}

impl RuleText {
    /// Distinct within a series, and the same again for a rollup of the same buckets: `sum:1d:Asia.Bangkok`.
    pub(super) fn id(&self) -> String {
        let zone = self.tz.as_ref().map(|tz| format!(":{}", tz.replace('/', "."))).unwrap_or_default();
        let align = self.align.map(|align| format!(":{align}")).unwrap_or_default();
        format!("{}:{}{zone}{align}", self.agg, self.bucket)
    }
}

/// The same, ready for use.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub text: RuleText,
    pub aggregation: Aggregation,
    pub grid: Grid,
}

/// How a rollup answers a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Its buckets are the query's.
    Same,
    /// Whole buckets of it lie in each of the query's: their numbers take the place of the samples.
    Parts,
}

/// A rollup of the list that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("a rollup that cannot be read: {0}")]
pub(super) struct UnknownRule(pub String);

impl Rule {
    /// # Errors
    /// [`UnknownRule`].
    pub(super) fn new(text: RuleText) -> Result<Self, UnknownRule> {
        let unknown = || UnknownRule(format!("{text:?}"));
        let length: BucketLength = text.bucket.parse().map_err(|_: String| unknown())?;
        let zone: Option<Zone> = text.tz.as_deref().map(str::parse).transpose().map_err(|_: String| unknown())?;
        let grid = length.grid(zone.as_ref(), text.align).map_err(|_| unknown())?;
        let aggregation = text.agg.parse().map_err(|_| unknown())?;
        Ok(Self { text, aggregation, grid })
    }

    /// Whether, and how, the rollup answers a query for buckets.
    ///
    /// Numbers of parts are combined only where that gives the very same number: the smallest of the smallest is the
    /// smallest, but a sum of rounded sums may differ from the sum in its last digit.
    pub(super) fn fit(&self, aggregation: Aggregation, grid: &Grid) -> Option<Fit> {
        let combines =
            matches!(aggregation, Aggregation::Min | Aggregation::Max | Aggregation::First | Aggregation::Last);
        if self.aggregation != aggregation {
            None
        } else if self.grid.is_same(grid) {
            Some(Fit::Same)
        } else {
            Some(Fit::Parts).filter(|_| combines && self.grid.divides(grid))
        }
    }

    /// How long buckets stay behind the newest sample; `None`: for ever.
    pub(super) fn retention(&self, of_samples: u64) -> Option<i64> {
        let retention = self.text.retention_ms.unwrap_or(of_samples);
        i64::try_from(retention).ok().filter(|retention| *retention > 0)
    }

    /// Whether buckets outlive their samples.
    pub(super) fn outlives(&self, samples: u64) -> bool {
        let own = self.text.retention_ms.unwrap_or(samples);
        samples > 0 && (own == 0 || own > samples)
    }
}

/// Whether rollups of an aggregation exist: its numbers depend on the samples of the bucket alone.
pub(super) fn is_possible(aggregation: Aggregation) -> bool {
    use Aggregation::{Avg, Count, First, Last, Max, Min, Range, Spread, Sum};
    matches!(aggregation, Avg | Sum | Min | Max | Range | Count | First | Last | Spread(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(bucket: &str, agg: &str, tz: Option<&str>) -> Rule {
        let text = RuleText {
            bucket: bucket.to_owned(),
            agg: agg.to_owned(),
            tz: tz.map(str::to_owned),
            align: None,
            retention_ms: None,
        };
        Rule::new(text).expect("a rule")
    }

    #[test]
    fn a_rollup_answers_its_own_buckets_and_those_that_it_divides() {
        let fit = |own: (&str, &str, Option<&str>), asked: (&str, &str, Option<&str>)| {
            let asked = rule(asked.0, asked.1, asked.2);
            rule(own.0, own.1, own.2).fit(asked.aggregation, &asked.grid)
        };
        let bangkok = Some("Asia/Bangkok");
        for (own, asked, expected) in [
            (("1h", "sum", None), ("1h", "sum", None), Some(Fit::Same)),
            (("60m", "sum", None), ("1h", "sum", None), Some(Fit::Same)),
            (("24h", "sum", None), ("1d", "sum", None), Some(Fit::Same)),
            (("1d", "sum", bangkok), ("1d", "sum", bangkok), Some(Fit::Same)),
            (("1h", "sum", None), ("1d", "sum", None), None),
            (("1h", "sum", None), ("1h", "avg", None), None),
            (("1h", "max", None), ("1d", "max", None), Some(Fit::Parts)),
            (("7m", "max", None), ("1h", "max", None), None),
            (("1d", "max", None), ("1d", "max", bangkok), None),
            (("1h", "max", bangkok), ("1d", "max", bangkok), Some(Fit::Parts)),
            (("1d", "first", bangkok), ("1mo", "first", bangkok), Some(Fit::Parts)),
            (("1mo", "last", bangkok), ("1y", "last", bangkok), Some(Fit::Parts)),
            (("1w", "last", bangkok), ("1mo", "last", bangkok), None),
            (("1d", "max", bangkok), ("1h", "max", bangkok), None),
        ] {
            assert_eq!(fit(own, asked), expected, "{own:?} for {asked:?}");
        }
    }
}
