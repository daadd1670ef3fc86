//! The parameters of requests, from the query string and, with POST, from a form.

use promql_parser::util::parse_duration;

use super::super::series::MAX_TIMESTAMP;
use super::error::PromError;
use crate::clock::UnixMillis;

/// Names and values, in the order of the request. As in Prometheus, names that are not known are ignored: clients of systems
/// that are compatible with it send their own.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Parameters(pub Vec<(String, String)>);

impl Parameters {
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, PromError> {
        let mut values = self.all(name);
        let first = values.next().filter(|value| !value.is_empty());
        if values.next().is_some() { Err(PromError::bad(name, "must not be repeated")) } else { Ok(first) }
    }

    /// A time: Unix seconds with an optional fraction, or RFC 3339.
    pub(super) fn time(&self, name: &str) -> Result<Option<UnixMillis>, PromError> {
        let parse = |text: &str| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
        self.millis(name, 0, parse, "must be a time after 1970, as Unix seconds or RFC 3339")
    }

    /// A duration in milliseconds, given as seconds with an optional fraction or as text such as `1h30m`.
    pub(super) fn duration(&self, name: &str) -> Result<Option<i64>, PromError> {
        let parse = |text: &str| parse_duration(text).ok().and_then(|length| i64::try_from(length.as_millis()).ok());
        self.millis(name, 1, parse, "must be a duration of at least 1 ms")
    }

    /// Milliseconds from `lowest` on, given as seconds or as text that `parse` understands.
    fn millis(
        &self,
        name: &str,
        lowest: i64,
        parse: impl Fn(&str) -> Option<i64>,
        rule: &str,
    ) -> Result<Option<i64>, PromError> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let millis = text.parse().map_or_else(|_| parse(text), millis);
        let invalid = || PromError::bad(name, format!("{rule}, got `{text}`"));
        millis.filter(|ms| (lowest..=MAX_TIMESTAMP).contains(ms)).map(Some).ok_or_else(invalid)
    }

    /// The maximum number of items in the response.
    pub(super) fn limit(&self) -> Result<usize, PromError> {
        match self.one("limit")?.map(str::parse) {
            // 0 means no limit.
            None | Some(Ok(0)) => Ok(usize::MAX),
            Some(Ok(limit)) => Ok(limit),
            Some(Err(_)) => Err(PromError::bad("limit", "must be a non-negative integer")),
        }
    }

    /// The steps of a range query, at most `most`.
    pub(super) fn steps(&self, most: usize) -> Result<Steps, PromError> {
        let (start, end, step) = (self.time("start")?, self.time("end")?, self.duration("step")?);
        let start = start.ok_or_else(|| PromError::bad("start", "is missing"))?;
        let end = end.ok_or_else(|| PromError::bad("end", "is missing"))?;
        let step = step.ok_or_else(|| PromError::bad("step", "is missing"))?;
        if end < start {
            return Err(PromError::bad("end", "must not be before `start`"));
        }
        let count = usize::try_from((end - start) / step).unwrap_or(usize::MAX).saturating_add(1);
        if count > most {
            return Err(PromError::bad(
                "step",
                format!("must result in at most {most} points per series, got {count}"),
            ));
        }
        Ok(Steps { start, step, count })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "bounds are checked on the result, and a cast saturates")]
fn millis(seconds: f64) -> Option<i64> {
    seconds.is_finite().then(|| (seconds * 1_000.0).round() as i64)
}

/// The times at which a query is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct Steps {
    pub start: UnixMillis,
    /// Milliseconds.
    pub step: i64,
    pub count: usize,
}

impl Steps {
    pub(super) fn one(time: UnixMillis) -> Self {
        Self { start: time, step: 1, count: 1 }
    }

    pub(in crate::features::timeseries) fn times(self) -> impl Iterator<Item = UnixMillis> {
        (0_i64..).take(self.count).map(move |n| self.start + n * self.step)
    }

    pub(super) fn end(self) -> UnixMillis {
        self.start + i64::try_from(self.count.saturating_sub(1)).unwrap_or(i64::MAX).saturating_mul(self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn steps_reach_from_the_start_to_the_last_one_before_the_end() {
        let steps = |start, end, step| parameters(&[("start", start), ("end", end), ("step", step)]).steps(11);
        let times = |start, end, step| steps(start, end, step).expect("steps").times().collect::<Vec<_>>();
        assert_eq!(times("1.5", "3", "0.5"), [1_500, 2_000, 2_500, 3_000]);
        assert_eq!(times("1970-01-01T00:00:10Z", "70", "1m"), [10_000, 70_000]);
        assert_eq!(times("5", "5.9", "1"), [5_000]);
        assert_eq!(steps("0", "10", "1").map(Steps::end).ok(), Some(10_000));
        for (start, end, step) in [
            ("2", "1", "1"),
            ("0", "11", "1"),
            ("0", "1", "0"),
            ("0", "1", "-1"),
            ("0", "1", "0.0001"),
            ("x", "1", "1"),
            ("-1", "1", "1"),
            ("0", "1e30", "1"),
            ("0", "NaN", "1"),
            ("0", "1", "1x"),
            ("", "1", "1"),
        ] {
            assert!(steps(start, end, step).is_err(), "{start} {end} {step}");
        }
        assert!(parameters(&[("time", "1"), ("time", "2")]).time("time").is_err());
    }
}
