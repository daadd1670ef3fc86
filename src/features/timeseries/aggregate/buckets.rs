//! Aggregates ascending samples into buckets, in one pass.

use std::collections::VecDeque;

use super::super::series::Sample;
use super::super::window::Window;
use super::grid::Grid;
use super::kernel::Kernel;
use super::point::{Bucket, Slot};
use crate::clock::UnixMillis;

/// The complete buckets of a pass, up to the requested number.
#[derive(Debug)]
pub(in crate::features::timeseries) struct Slots {
    pub list: VecDeque<Slot>,
    most: usize,
    end: End,
    /// Whether the pass found more buckets than requested.
    pub more: bool,
}

/// Which buckets are kept if there are more than requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum End {
    Oldest,
    Newest,
}

impl Slots {
    pub(in crate::features::timeseries) fn new(end: End, most: usize) -> Self {
        Self { list: VecDeque::new(), most, end, more: false }
    }

    /// Whether the requested number is reached, so that further buckets would not be kept.
    pub(in crate::features::timeseries) fn is_full(&self) -> bool {
        self.end == End::Oldest && self.list.len() >= self.most
    }

    /// Appends a bucket that is newer than all others.
    pub(in crate::features::timeseries) fn push(&mut self, slot: Slot) {
        if self.is_full() {
            self.more = true;
            return;
        }
        self.list.push_back(slot);
        if self.list.len() > self.most {
            self.list.pop_front();
            self.more = true;
        }
    }
}

/// The parameters of one pass over samples.
#[derive(Clone, Debug)]
pub(in crate::features::timeseries) struct Pass {
    pub grid: Grid,
    /// The complete window of the query.
    pub window: Window,
    /// The part of the window that this pass reads.
    pub segment: Window,
    /// Whether the result includes empty buckets between two samples, with the number that the kernel derives for them.
    pub bridges: bool,
}

/// A pass over samples. Empty buckets appear only if the kernel bridges them.
pub(in crate::features::timeseries) struct Fold {
    /// Chosen once per query, and called for whole slices of samples.
    kernel: Box<dyn Kernel>,
    pass: Pass,
    open: Option<Bucket>,
    /// The newest sample that was added.
    last: Option<Sample>,
    /// The end of the newest bucket in the result.
    reached: UnixMillis,
}

impl Fold {
    /// `before` is the newest sample before the segment.
    pub(super) fn new(kernel: Box<dyn Kernel>, pass: Pass, before: Option<Sample>) -> Self {
        let reached = pass.segment.from;
        Self { kernel, pass, open: None, last: before, reached }
    }

    fn close(&mut self, bucket: Bucket, after: Option<Sample>, out: &mut Slots) {
        out.push(Slot { bucket, number: self.kernel.close(after) });
        self.reached = bucket.end;
    }

    /// Adds the empty buckets before `until`; `after` is the next sample.
    fn bridge(&mut self, until: UnixMillis, after: Sample, out: &mut Slots) {
        let Some(before) = self.last.filter(|_| self.pass.bridges) else { return };
        while self.reached < until && !out.is_full() {
            let bucket = self.pass.grid.bucket(self.reached);
            let number = self.kernel.bridge(self.kernel.edges(bucket, self.pass.window), before, after);
            out.push(Slot { bucket, number });
            self.reached = bucket.end;
        }
    }

    /// Adds ascending samples. It ignores the rest when enough buckets are complete.
    pub(in crate::features::timeseries) fn feed(&mut self, mut samples: &[Sample], out: &mut Slots) {
        while let Some(&first) = samples.first() {
            let bucket = match self.open {
                Some(bucket) if first.timestamp < bucket.end => bucket,
                open => {
                    if let Some(complete) = open {
                        self.close(complete, Some(first), out);
                    }
                    let bucket = self.pass.grid.bucket(first.timestamp);
                    self.bridge(bucket.start, first, out);
                    if out.is_full() {
                        self.open = None;
                        return;
                    }
                    self.kernel.open(self.kernel.edges(bucket, self.pass.window), self.last);
                    self.open = Some(bucket);
                    bucket
                }
            };
            let (inside, rest) = samples.split_at(before(samples, bucket.end));
            self.kernel.add(inside);
            self.last = inside.last().copied();
            samples = rest;
        }
    }

    /// Completes the last bucket; `after` is the oldest sample after the segment.
    pub(in crate::features::timeseries) fn finish(&mut self, after: Option<Sample>, out: &mut Slots) {
        if let Some(bucket) = self.open.take() {
            self.close(bucket, after, out);
        }
        if let Some(after) = after {
            self.bridge(self.pass.segment.to + 1, after, out);
        }
    }

    /// The start of the incomplete bucket.
    pub(in crate::features::timeseries) fn open_start(&self) -> Option<UnixMillis> {
        self.open.map(|bucket| bucket.start)
    }

    /// How many samples the incomplete bucket keeps in memory.
    pub(in crate::features::timeseries) fn kept(&self) -> usize {
        self.kernel.kept()
    }
}

/// How many of the ascending samples are before `end`: an exponential search, since most buckets are short.
fn before(samples: &[Sample], end: UnixMillis) -> usize {
    let is_inside = |sample: &Sample| sample.timestamp < end;
    let mut step = 1;
    while samples.get(step).is_some_and(is_inside) {
        step *= 2;
    }
    let low = step / 2;
    let high = (step + 1).min(samples.len());
    low + samples.get(low..high).unwrap_or_default().partition_point(is_inside)
}
