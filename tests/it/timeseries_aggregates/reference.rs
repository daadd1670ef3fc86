//! A plain reference for ranges: every bucket is computed from all samples.

/// A query of a series.
#[derive(Clone, Debug)]
pub struct Question {
    pub from: i64,
    pub to: i64,
    pub aggregation: &'static str,
    pub width: i64,
    pub anchor: i64,
    /// `empty`, or a `fill`, or nothing.
    pub gaps: &'static str,
    pub min: f64,
    pub max: f64,
    pub wrap: Option<f64>,
}

pub type Samples = [(i64, f64)];

impl Question {
    /// Buckets by their start; not a number stands for null.
    pub fn answer(&self, samples: &Samples) -> Vec<(i64, f64)> {
        let passing: Vec<(i64, f64)> =
            samples.iter().copied().filter(|&(_, value)| self.min <= value && value <= self.max).collect();
        let is_line = ["twa", "increase", "rate"].contains(&self.aggregation);
        let bridged = ["increase", "rate"].contains(&self.aggregation) || (is_line && self.gaps == "empty");
        let (Some(&(oldest, _)), Some(&(newest, _))) = (passing.first(), passing.last()) else { return Vec::new() };
        let mut found: Vec<(i64, Option<f64>)> = Vec::new();
        let mut start = self.from.max(oldest) - (self.from.max(oldest) - self.anchor).rem_euclid(self.width);
        while start <= self.to.min(newest) {
            let end = start + self.width;
            let inside: Vec<(i64, f64)> = passing
                .iter()
                .copied()
                .filter(|&(time, _)| time >= start.max(self.from) && time < end && time <= self.to)
                .collect();
            let number = if !inside.is_empty() || (bridged && self.is_between(&passing, start, end)) {
                Some(self.number(&passing, &inside, start))
            } else {
                None
            };
            found.push((start, number));
            start = end;
        }
        let known = |bucket: &(i64, Option<f64>)| bucket.1.is_some();
        let (Some(first), Some(last)) = (found.iter().position(known), found.iter().rposition(known)) else {
            return Vec::new();
        };
        let range = &found[first..=last];
        let fills = self.gaps != "none" && !bridged;
        let filled = range.iter().enumerate().filter(|(_, (_, number))| number.is_some() || fills);
        filled.map(|(at, &(start, number))| (start.max(0), number.unwrap_or_else(|| self.filled(range, at)))).collect()
    }

    /// Whether the whole of a bucket, as far as it is in the window, lies between two samples.
    fn is_between(&self, samples: &Samples, start: i64, end: i64) -> bool {
        let (low, high) = (start.max(self.from), self.end_of(end));
        samples[0].0 < low && high <= samples[samples.len() - 1].0
    }

    /// Where a bucket ends in the window, for lines.
    fn end_of(&self, end: i64) -> i64 {
        match self.aggregation {
            "twa" => end.min(self.to),
            _ if self.to >= end - 1 => end,
            _ => self.to,
        }
    }

    fn number(&self, all: &Samples, inside: &Samples, start: i64) -> f64 {
        let values: Vec<f64> = inside.iter().map(|&(_, value)| value).collect();
        let count = f64::from(u32::try_from(values.len()).expect("few"));
        let sum = || values.iter().sum::<f64>();
        let least = || values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = || values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let squares = || {
            let mean = sum() / count;
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
        };
        let sample_variance = || if count > 1.0 { squares() / (count - 1.0) } else { 0.0 };
        match self.aggregation {
            "avg" => sum() / count,
            "sum" => sum(),
            "min" => least(),
            "max" => most(),
            "range" => most() - least(),
            "count" => count,
            "first" => values[0],
            "last" => values[values.len() - 1],
            "var_p" => squares() / count,
            "std_p" => (squares() / count).sqrt(),
            "var_s" => sample_variance(),
            "std_s" => sample_variance().sqrt(),
            "median" => percentile(values, 0.5),
            "p90" => percentile(values, 0.9),
            "p99.9" => percentile(values, 0.999),
            "twa" => self.time_weighted(all, inside, start),
            "increase" => self.counted(all, start).0,
            "rate" => {
                let (increase, seconds) = self.counted(all, start);
                increase / seconds
            }
            other => panic!("no reference for {other}"),
        }
    }

    /// The part of a bucket that the line through the samples covers.
    fn covered(&self, all: &Samples, start: i64) -> (i64, i64) {
        let low = start.max(self.from).max(all[0].0);
        (low, self.end_of(start + self.width).min(all[all.len() - 1].0).max(low))
    }

    fn time_weighted(&self, all: &Samples, inside: &Samples, start: i64) -> f64 {
        let (low, high) = self.covered(all, start);
        if low == high {
            return inside.last().map_or_else(|| on_the_line(all, low), |&(_, value)| value);
        }
        let mut points = vec![(low, on_the_line(all, low))];
        points.extend(all.iter().copied().filter(|&(time, _)| low < time && time < high));
        points.push((high, on_the_line(all, high)));
        let areas = points.windows(2).map(|pair| f64::midpoint(pair[0].1, pair[1].1) * distance(pair[0].0, pair[1].0));
        areas.sum::<f64>() / distance(low, high)
    }

    /// The increase, and the seconds it took.
    fn counted(&self, all: &Samples, start: i64) -> (f64, f64) {
        let mut counted = vec![(all[0].0, 0.0)];
        for pair in all.windows(2) {
            let (before, now) = (pair[0].1, pair[1].1);
            let step = match self.wrap {
                _ if now >= before || (before > 0.0 && now >= before * 0.9) => now - before,
                Some(wrap) if before < wrap && wrap - before + now <= wrap / 2.0 => wrap - before + now,
                _ => now.max(0.0),
            };
            counted.push((pair[1].0, counted[counted.len() - 1].1 + step));
        }
        let (low, high) = self.covered(all, start);
        (on_the_line(&counted, high) - on_the_line(&counted, low), distance(low, high) / 1_000.0)
    }

    fn filled(&self, range: &[(i64, Option<f64>)], at: usize) -> f64 {
        let before = range[..at].iter().rev().find_map(|&(start, number)| number.map(|number| (start, number)));
        let after = range[at..].iter().find_map(|&(start, number)| number.map(|number| (start, number)));
        let ((low, from), (high, to)) = (before.expect("one before"), after.expect("one behind"));
        match (self.gaps, self.aggregation) {
            ("previous", _) | ("empty", "last") => from,
            ("linear", _) => from + (to - from) * distance(low, range[at].0) / distance(low, high),
            ("empty", "sum" | "count") => 0.0,
            _ => f64::NAN,
        }
    }
}

fn distance(from: i64, to: i64) -> f64 {
    f64::from(i32::try_from(to - from).expect("a short time"))
}

/// The value of the line through the samples at a time that it covers.
fn on_the_line(samples: &Samples, time: i64) -> f64 {
    if let Some(&(_, value)) = samples.iter().find(|sample| sample.0 == time) {
        return value;
    }
    let after = samples.iter().position(|sample| sample.0 > time).expect("a sample behind");
    let ((t0, v0), (t1, v1)) = (samples[after - 1], samples[after]);
    v0 + (v1 - v0) * distance(t0, time) / distance(t0, t1)
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let mut rank = share * f64::from(u32::try_from(values.len() - 1).expect("few"));
    let mut at = 0;
    while rank >= 1.0 - 1e-9 {
        rank -= 1.0;
        at += 1;
    }
    let above = values.get(at + 1).copied().unwrap_or(values[at]);
    values[at] + (above - values[at]) * rank.max(0.0)
}
