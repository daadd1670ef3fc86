//! The definition of a rollup: an aggregation over a grid of buckets.

use serde::{Deserialize, Serialize};

use super::aggregate::{Aggregation, Grid};
use super::query::{BucketLength, Zone};
use crate::clock::UnixMillis;

/// A rollup as the hash of the series stores it, in a JSON list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RollupSpec {
    pub bucket: String,
    pub agg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// A time at which a bucket begins, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub align: Option<UnixMillis>,
    /// Milliseconds before the newest sample for which buckets are kept; 0 keeps all; absent: as long as the samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_ms: Option<u64>,
}

impl RollupSpec {
    /// The id, which is unique within a series and depends on the buckets only: `sum:1d:Asia.Bangkok`.
    pub(super) fn id(&self) -> String {
        let zone = self.tz.as_ref().map(|tz| format!(":{}", tz.replace('/', "."))).unwrap_or_default();
        let align = self.align.map(|align| format!(":{align}")).unwrap_or_default();
        format!("{}:{}{zone}{align}", self.agg, self.bucket)
    }
}

/// A parsed [`RollupSpec`].
#[derive(Clone, Debug)]
pub(super) struct RollupRule {
    pub spec: RollupSpec,
    pub aggregation: Aggregation,
    pub grid: Grid,
}

/// How a rollup answers a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RollupFit {
    /// Its buckets are those of the query.
    SameBuckets,
    /// Each bucket of the query consists of whole buckets of the rollup, whose values replace the samples.
    SmallerBuckets,
}

impl RollupRule {
    /// # Errors
    /// The specification, if it is not valid.
    pub(super) fn new(spec: RollupSpec) -> Result<Self, String> {
        let unknown = || format!("an invalid rollup: {spec:?}");
        let length: BucketLength = spec.bucket.parse().map_err(|_: String| unknown())?;
        let zone: Option<Zone> = spec.tz.as_deref().map(str::parse).transpose().map_err(|_: String| unknown())?;
        let grid = length.grid(zone.as_ref(), spec.align).map_err(|_| unknown())?;
        let aggregation = spec.agg.parse().map_err(|_| unknown())?;
        Ok(Self { spec, aggregation, grid })
    }

    /// How the rollup can answer a query for buckets; `None` if it cannot.
    ///
    /// Smaller buckets are combined only where that gives exactly the same number: the minimum of minima is the minimum, but
    /// a sum of rounded sums can differ from the sum in its last digit.
    pub(super) fn fit(&self, aggregation: Aggregation, grid: &Grid) -> Option<RollupFit> {
        let combines =
            matches!(aggregation, Aggregation::Min | Aggregation::Max | Aggregation::First | Aggregation::Last);
        if self.aggregation != aggregation {
            None
        } else if self.grid.is_same(grid) {
            Some(RollupFit::SameBuckets)
        } else {
            Some(RollupFit::SmallerBuckets).filter(|_| combines && self.grid.divides(grid))
        }
    }

    /// Milliseconds before the newest sample for which buckets are kept; `None` keeps all.
    pub(super) fn retention(&self, of_samples: u64) -> Option<i64> {
        let retention = self.spec.retention_ms.unwrap_or(of_samples);
        i64::try_from(retention).ok().filter(|retention| *retention > 0)
    }

    /// Whether it keeps buckets for a time of its own, whether or not their samples are there.
    pub(super) fn keeps_its_own(&self) -> bool {
        self.spec.retention_ms.is_some()
    }

    /// Whether buckets outlive their samples.
    pub(super) fn outlives(&self, samples: u64) -> bool {
        let own = self.spec.retention_ms.unwrap_or(samples);
        samples > 0 && (own == 0 || own > samples)
    }
}

/// Whether an aggregation can have rollups: its value depends only on the samples of the bucket.
pub(super) fn has_rollups(aggregation: Aggregation) -> bool {
    use Aggregation::{Avg, Count, First, Last, Max, Min, Range, StdP, StdS, Sum, VarP, VarS};
    matches!(aggregation, Avg | Sum | Min | Max | Range | Count | First | Last | StdP | StdS | VarP | VarS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(bucket: &str, agg: &str, tz: Option<&str>) -> RollupRule {
        let spec = RollupSpec {
            bucket: bucket.to_owned(),
            agg: agg.to_owned(),
            tz: tz.map(str::to_owned),
            align: None,
            retention_ms: None,
        };
        RollupRule::new(spec).expect("a rule")
    }

    #[test]
    fn a_rollup_answers_its_own_buckets_and_those_that_it_divides() {
        let fit = |own: (&str, &str, Option<&str>), asked: (&str, &str, Option<&str>)| {
            let asked = rule(asked.0, asked.1, asked.2);
            rule(own.0, own.1, own.2).fit(asked.aggregation, &asked.grid)
        };
        let bangkok = Some("Asia/Bangkok");
        for (own, asked, expected) in [
            (("1h", "sum", None), ("1h", "sum", None), Some(RollupFit::SameBuckets)),
            (("60m", "sum", None), ("1h", "sum", None), Some(RollupFit::SameBuckets)),
            (("24h", "sum", None), ("1d", "sum", None), Some(RollupFit::SameBuckets)),
            (("1d", "sum", bangkok), ("1d", "sum", bangkok), Some(RollupFit::SameBuckets)),
            (("1h", "sum", None), ("1d", "sum", None), None),
            (("1h", "sum", None), ("1h", "avg", None), None),
            (("1h", "max", None), ("1d", "max", None), Some(RollupFit::SmallerBuckets)),
            (("7m", "max", None), ("1h", "max", None), None),
            (("1d", "max", None), ("1d", "max", bangkok), None),
            (("1h", "max", bangkok), ("1d", "max", bangkok), Some(RollupFit::SmallerBuckets)),
            (("1d", "first", bangkok), ("1mo", "first", bangkok), Some(RollupFit::SmallerBuckets)),
            (("1mo", "last", bangkok), ("1y", "last", bangkok), Some(RollupFit::SmallerBuckets)),
            (("1w", "last", bangkok), ("1mo", "last", bangkok), None),
            (("1d", "max", bangkok), ("1h", "max", bangkok), None),
            (("1d", "max", None), ("1mo", "max", None), Some(RollupFit::SmallerBuckets)),
            (("1h", "first", Some("UTC")), ("1y", "first", None), Some(RollupFit::SmallerBuckets)),
            (("1d", "sum", Some("UTC")), ("1d", "sum", None), Some(RollupFit::SameBuckets)),
            (("1d", "sum", None), ("24h", "sum", Some("UTC")), Some(RollupFit::SameBuckets)),
        ] {
            assert_eq!(fit(own, asked), expected, "{own:?} for {asked:?}");
        }
    }
}
