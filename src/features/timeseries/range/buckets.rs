//! Reads pages of buckets.

use std::collections::VecDeque;

use super::super::aggregate::{Aggregation, End, Gap, Grid, Number, Pass, Placed, Register, Slot, Slots, fill, fold};
use super::super::cursor::Place;
use super::super::error::{TimeseriesError, Violation};
use super::super::rollup::{RollupView, WindowPart};
use super::super::series::Sample;
use super::super::window::{Order, Window};
use super::scan::{Ended, Scan};
use crate::clock::UnixMillis;

/// How samples are aggregated into buckets.
#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct BucketPlan {
    pub grid: Grid,
    pub aggregation: Aggregation,
    pub register: Register,
    pub gap: Gap,
}

/// The inputs of one page.
#[derive(Debug)]
pub(super) struct BucketPage<'a, 'b> {
    pub scan: &'a Scan<'b>,
    pub plan: BucketPlan,
    /// The complete window of the query.
    pub window: Window,
    pub limit: usize,
    /// The longest gap that is filled, in buckets.
    pub gap_buckets: usize,
    /// The maximum number of samples of a bucket that are kept in memory.
    pub kept_samples: usize,
    pub place: Option<Place>,
    /// A rollup with stored buckets for the query.
    pub rollup: Option<RollupView<'a>>,
}

/// How many buckets a backward read covers first; the number doubles with each step.
const FIRST_SPAN: usize = 16;

impl BucketPage<'_, '_> {
    /// Reads the buckets in the requested order, and the start of the next page.
    pub(super) async fn read(mut self, order: Order) -> Result<(Vec<Slot>, Option<Place>), TimeseriesError> {
        let skip = self.place.map_or(0, |place| place.skip);
        // One more bucket than requested shows whether there is a next page.
        let wanted = skip + self.limit + 1;
        let (slots, early_end) = match order {
            Order::Asc => self.oldest(wanted).await?,
            Order::Desc => self.newest(wanted).await?,
        };
        let BucketPlan { grid, gap, .. } = &mut self.plan;
        let placed = fill(slots.iter(), grid, *gap, order, wanted, self.gap_buckets)?;
        let next = match (placed.get(wanted - 1), early_end) {
            (Some(beyond), _) => Some(self.place_of(beyond, 0)),
            (None, EarlyEnd::No) => None,
            (None, EarlyEnd::At(start)) => Some(Place { at: start.max(self.window.from), skip: 0 }),
            (None, EarlyEnd::AfterLast) => placed.last().map(|last| self.place_of(last, 1)),
        };
        let page: Vec<Slot> = placed.iter().skip(skip).take(self.limit).map(|placed| placed.slot).collect();
        if page.is_empty() && early_end != EarlyEnd::No {
            // The next page would be empty too.
            return Err(self.scan.too_wide());
        }
        Ok((page, next))
    }

    fn place_of(&self, placed: &Placed, behind: usize) -> Place {
        Place { at: placed.origin.max(self.window.from), skip: placed.distance + behind }
    }

    /// Reads the oldest buckets of the remaining window, ascending.
    async fn oldest(&mut self, wanted: usize) -> Result<(VecDeque<Slot>, EarlyEnd), TimeseriesError> {
        let from = self.place.map_or(self.window.from, |place| place.at);
        let segment = Window { from, to: self.window.to };
        let mut slots = Slots::new(End::Oldest, wanted);
        let spent = self.pass(segment, &mut slots).await?;
        let early_end = match spent {
            None => EarlyEnd::No,
            // The gap between the last bucket and the next one is not filled yet.
            Some(_) if self.plan.gap.is_filled() => EarlyEnd::AfterLast,
            Some(open) => EarlyEnd::At(open),
        };
        Ok((slots.list, early_end))
    }

    /// Reads the newest buckets of the remaining window, ascending.
    ///
    /// Rounding makes a sum depend on the order of its terms. So the window is read in parts, the newest part first,
    /// but each part forwards: a page has the same numbers in both orders.
    async fn newest(&mut self, wanted: usize) -> Result<(VecDeque<Slot>, EarlyEnd), TimeseriesError> {
        let mut found = VecDeque::new();
        let mut end = match self.place {
            Some(place) => self.plan.grid.bucket(place.at).end.min(self.window.to + 1),
            None => self.window.to + 1,
        };
        let mut span = FIRST_SPAN;
        loop {
            let Some(newest) = self.newest_before(end).await? else { return Ok((found, EarlyEnd::No)) };
            // Skip parts of the window without samples.
            if !self.bridges() || (found.is_empty() && self.scan.oldest_after(end - 1).await?.is_none()) {
                end = end.min(self.plan.grid.bucket(newest.timestamp).end);
            }
            span = span.min(wanted - found.len());
            let back = i64::try_from(span).unwrap_or(i64::MAX) - 1;
            let from = self.plan.grid.before(end - 1, back).max(self.window.from);
            let mut slots = Slots::new(End::Newest, wanted - found.len());
            let spent = self.pass(Window { from, to: end - 1 }, &mut slots).await?;
            if spent.is_some() {
                return if found.is_empty() { Err(self.scan.too_wide()) } else { Ok((found, EarlyEnd::AfterLast)) };
            }
            for slot in slots.list.into_iter().rev() {
                found.push_front(slot);
            }
            if found.len() >= wanted || from <= self.window.from {
                return Ok((found, EarlyEnd::No));
            }
            (end, span) = (from, span * 2);
        }
    }

    /// The newest sample before `end` that can contribute to the rest of the page.
    async fn newest_before(&mut self, end: UnixMillis) -> Result<Option<Sample>, TimeseriesError> {
        let newest = self.scan.newest_before(end).await?;
        // An empty bucket can lie between a sample before the window and one in it.
        let newest = newest.filter(|sample| self.bridges() || sample.timestamp >= self.window.from);
        let Some(rollup) = &self.rollup else { return Ok(newest) };
        let newest = newest.filter(|sample| rollup.has(*sample));
        // Between samples that a client has sent again there can be buckets without samples.
        let after = newest.map_or(self.window.from, |sample| self.window.from.max(sample.timestamp + 1));
        Ok(rollup.newest_outlived(after, end).await?.or(newest))
    }

    fn bridges(&self) -> bool {
        self.plan.gap == Gap::Bridged
    }

    /// Aggregates a segment in one pass. If the budget of the request is exhausted before its end, returns the start of
    /// the incomplete bucket.
    async fn pass(&mut self, segment: Window, slots: &mut Slots) -> Result<Option<UnixMillis>, TimeseriesError> {
        let BucketPlan { mut grid, aggregation, register, .. } = self.plan.clone();
        let neighbours = aggregation.needs_neighbours();
        let before = if neighbours { self.scan.newest_before(segment.from).await? } else { None };
        check_wrap(register, before)?;
        let pass = Pass { grid: grid.clone(), window: self.window, segment, bridges: self.bridges() };
        let mut fold = fold(aggregation, register, pass, before);
        let kept_samples = self.kept_samples;
        let mut rest = segment;
        while rest.from <= rest.to && !slots.is_full() {
            let piece = match &mut self.rollup {
                Some(rollup) => rollup.next(rest).await?,
                None => WindowPart::Samples(rest),
            };
            let window = match piece {
                WindowPart::Samples(window) => window,
                WindowPart::Buckets { values, until } => {
                    if self.rollup.as_ref().is_some_and(RollupView::is_same) {
                        fold.finish(None, slots);
                        ready(&mut grid, aggregation, &values, slots);
                    } else {
                        fold.feed(&values, slots);
                    }
                    rest.from = until;
                    continue;
                }
            };
            let mut too_many = false;
            let mut beyond = None;
            let take = |samples: &[Sample]| {
                beyond = samples.iter().find(|sample| register.wrap.is_some_and(|wrap| sample.value > wrap)).copied();
                if beyond.is_some() {
                    return false;
                }
                fold.feed(samples, slots);
                too_many = fold.kept() > kept_samples;
                !too_many && !slots.is_full()
            };
            let ended = self.scan.read(window, Order::Asc, usize::MAX, take).await?;
            if too_many {
                let rule = format!("a bucket has more than {kept_samples} samples, the limit for percentiles");
                return Err(TimeseriesError::LimitExceeded(rule));
            }
            check_wrap(register, beyond)?;
            if let Ended::Spent(_) = ended {
                return Ok(Some(fold.open_start().unwrap_or(window.from)));
            }
            rest.from = window.to + 1;
        }
        if !slots.is_full() {
            let after = if neighbours { self.scan.oldest_after(segment.to).await? } else { None };
            check_wrap(register, after)?;
            fold.finish(after, slots);
        }
        Ok(None)
    }
}

/// Checks that a register can have the value of the sample.
fn check_wrap(register: Register, sample: Option<Sample>) -> Result<(), TimeseriesError> {
    match (register.wrap, sample) {
        (Some(wrap), Some(Sample { timestamp, value })) if value > wrap => {
            let rule =
                format!("must not be below a value of the counter, got {wrap}: the value at {timestamp} is {value}");
            Err(TimeseriesError::InvalidQuery(Violation::new("wrap", rule)))
        }
        _ => Ok(()),
    }
}

/// Adds the stored buckets of a rollup.
fn ready(grid: &mut Grid, aggregation: Aggregation, values: &[Sample], slots: &mut Slots) {
    for bucket in values {
        let number = match aggregation {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is a count")]
            Aggregation::Count => Number::Count(bucket.value as u64),
            _ => Number::Float(bucket.value),
        };
        slots.push(Slot { bucket: grid.bucket(bucket.timestamp), number });
    }
}

/// Whether a page ends early, before the window and before its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EarlyEnd {
    No,
    /// The next page starts with the bucket that contains this time.
    At(UnixMillis),
    /// The next page starts after the last bucket.
    AfterLast,
}
