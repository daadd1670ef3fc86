//! The result as tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::calendar::Calendar;
use gridtokenx_redis::clock::UnixMillis;

/// Daily sums and totals of the readings that the service returned.
#[derive(Debug)]
pub(super) struct Report {
    calendar: Calendar,
    /// Sums by day and by kind, which is the name of a series up to its last colon.
    days: BTreeMap<UnixMillis, BTreeMap<String, f64>>,
    totals: Vec<Total>,
}

#[derive(Debug)]
struct Total {
    series: String,
    readings: f64,
    sum: f64,
}

impl Report {
    /// An empty report with the days of `calendar`.
    pub(super) fn new(calendar: Calendar) -> Self {
        Self { calendar, days: BTreeMap::new(), totals: Vec::new() }
    }

    /// Adds the daily sums and counts of one series.
    pub(super) fn add(&mut self, series: &str, sums: &[(UnixMillis, f64)], counts: &[(UnixMillis, f64)]) {
        let kind = series.rsplit_once(':').map_or(series, |(kind, _)| kind);
        for (day, sum) in sums {
            *self.days.entry(*day).or_default().entry(kind.to_owned()).or_default() += sum;
        }
        let total = |days: &[(UnixMillis, f64)]| days.iter().map(|(_, value)| value).sum();
        self.totals.push(Total { series: series.to_owned(), readings: total(counts), sum: total(sums) });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: BTreeSet<&String> = self.days.values().flat_map(BTreeMap::keys).collect();
        write!(f, "{:<10}", "day")?;
        for kind in &kinds {
            write!(f, "  {kind:>20}")?;
        }
        writeln!(f)?;
        for (day, sums) in &self.days {
            write!(f, "{}", self.calendar.date(*day))?;
            for kind in &kinds {
                write!(f, "  {:>20.3}", sums.get(*kind).copied().unwrap_or_default())?;
            }
            writeln!(f)?;
        }
        let width = self.totals.iter().map(|total| total.series.len()).max().unwrap_or_default();
        writeln!(f, "\n{:<width$}  {:>10}  {:>16}", "series", "readings", "sum")?;
        for Total { series, readings, sum } in &self.totals {
            writeln!(f, "{series:<width$}  {readings:>10}  {sum:>16.6}")?;
        }
        let readings: f64 = self.totals.iter().map(|total| total.readings).sum();
        writeln!(f, "{:<width$}  {readings:>10}", format!("{} series", self.totals.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::calendar::UTC;
    use super::*;

    #[test]
    fn meters_of_one_kind_share_a_column_and_have_separate_totals() {
        let mut report = Report::new(UTC);
        report.add("energy:generation:a", &[(0, 1.0), (86_400_000, 2.0)], &[(0, 4.0), (86_400_000, 4.0)]);
        report.add("energy:generation:b", &[(0, 0.5)], &[(0, 4.0)]);
        let text = report.to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["day", "energy:generation"]);
        assert_eq!(lines[1], ["1970-01-01", "1.500"]);
        assert_eq!(lines[2], ["1970-01-02", "2.000"]);
        assert_eq!(lines[5], ["energy:generation:a", "8", "3.000000"]);
        assert_eq!(lines[7], ["2", "series", "12"]);
    }
}
