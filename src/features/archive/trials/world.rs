//! Redis as the scripts of the archive see it, replicas that follow the steps of the archiver, and readers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::files::calendar::day_of;
use super::super::files::sealed::Keys;
use super::super::files::{Candidate, FileError, Files, Holder, Settled};
use super::super::merge::{self, Request};
use super::super::model::Order;
use super::super::originals::Originals;
use super::disk::{ModelDisk, SharedDisk};
use crate::tape::{Base, Generation, MINUTE, Minute, Side, Symbol, Trade, WindowMinute};

pub const NOW: i64 = 1_767_225_600_000;

pub fn symbol() -> Symbol {
    Symbol::try_from("GRID".to_owned()).expect("a symbol")
}

/// A trade of volume 1 in a minute.
pub fn trade(minute: i64, number: u64) -> Minute {
    let price = format!("{}", number % 3 + 1).parse().expect("a price");
    let quantity = "1".parse().expect("a quantity");
    let side = if number.is_multiple_of(2) { Side::Buy } else { Side::Sell };
    Minute::from(&Trade { id: number.to_string(), timestamp: minute, price, quantity, side: Some(side) })
}

#[derive(Debug, Default)]
pub struct Redis {
    pub rev: u64,
    generations: u64,
    pub generation: Generation,
    pub turn: i64,
    pub minutes: BTreeMap<i64, WindowMinute>,
    pub dirty: BTreeSet<i64>,
    pub archived: BTreeMap<i64, String>,
    pub dropped: Option<i64>,
    /// All trades that were ever acknowledged.
    pub truth: BTreeMap<i64, Minute>,
}

impl Redis {
    /// The state of the window is lost, and nothing else.
    pub fn lose_state(&mut self) {
        self.dropped = None;
        self.new_generation();
    }

    pub fn new_generation(&mut self) {
        self.generations += 1;
        self.generation = self.generations.into();
    }

    fn is_current(&self, fence: i64, minute: i64, rev: u64) -> bool {
        self.turn == fence && self.minutes.get(&minute).is_some_and(|window| window.rev == rev)
    }
}

/// What several replicas share.
#[derive(Clone, Default)]
pub struct World {
    pub disk: SharedDisk,
    redis: Arc<Mutex<Redis>>,
    /// A wrong protocol: late trades are relative to the newest version.
    is_wrong: bool,
    keys: Keys,
}

/// Why a replica stopped.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    #[error("another replica has the turn")]
    Stale,
    #[error("{0}")]
    Files(#[from] FileError),
}

impl World {
    pub fn new(is_wrong: bool) -> Self {
        Self { is_wrong, ..Self::default() }
    }

    /// One whose files are encrypted.
    pub fn encrypted() -> Self {
        Self { keys: Keys::parse(&"a5".repeat(32)).expect("a key"), ..Self::default() }
    }

    pub fn redis(&self) -> MutexGuard<'_, Redis> {
        self.redis.lock().expect("Redis")
    }

    /// Folds a trade, as `advance.lua` does.
    pub fn fold(&self, minute: i64, number: u64) {
        let mut redis = self.redis();
        let new = trade(minute, number);
        redis.rev += 1;
        let (rev, dropped, generation) = (redis.rev, redis.dropped, redis.generation);
        redis.truth.entry(minute).and_modify(|all| all.add(&new)).or_insert_with(|| new.clone());
        if let Some(window) = redis.minutes.get_mut(&minute) {
            window.rev = rev;
            window.trades.add(&new);
        } else {
            let base = if dropped >= Some(minute) { Base::Unset } else { Base::Whole(generation) };
            redis.minutes.insert(minute, WindowMinute { rev, base, trades: new });
        }
        redis.dirty.insert(minute);
    }

    pub fn open(&self) -> Result<(Files, ModelDisk), FileError> {
        let disk = ModelDisk::new(&self.disk);
        Ok((Files::open(Arc::new(disk.clone()), self.keys.clone(), NOW)?, disk))
    }

    /// One round of a replica, with the steps of `archiver.rs`. `between` is called between steps.
    pub fn round(&self, files: &Files, leaves: bool, between: &mut dyn FnMut()) -> Result<(), Stop> {
        let fence = {
            let mut redis = self.redis();
            redis.turn += 1;
            redis.turn
        };
        between();
        let dirty: Vec<i64> = self.redis().dirty.iter().copied().collect();
        self.settle(files, fence, &dirty, between)?;
        if !leaves {
            return Ok(());
        }
        let marked: Vec<(Candidate, String)> = {
            let redis = self.redis();
            let mark = |minute: &i64| redis.archived.get(minute).cloned().unwrap_or_default();
            redis.minutes.iter().map(|(minute, window)| (candidate(*minute, window), mark(minute))).collect()
        };
        let mut again = Vec::new();
        for (candidate, mark) in marked {
            between();
            let safe = files.confirm(&symbol(), day_of(candidate.minute), &[(candidate.clone(), mark.clone())])?;
            between();
            if safe != [true] {
                again.push(candidate.minute);
                continue;
            }
            let mut redis = self.redis();
            if redis.turn != fence {
                return Err(Stop::Stale);
            }
            let minute = candidate.minute;
            let is_marked = redis.archived.get(&minute) == Some(&mark) && !redis.dirty.contains(&minute);
            if redis.is_current(fence, minute, candidate.window.rev) && is_marked {
                redis.minutes.remove(&minute);
                redis.archived.remove(&minute);
                redis.dropped = redis.dropped.max(Some(minute));
            }
        }
        self.settle(files, fence, &again, between)
    }

    fn settle(&self, files: &Files, fence: i64, minutes: &[i64], between: &mut dyn FnMut()) -> Result<(), Stop> {
        let mut rest = minutes.to_vec();
        for _ in 0..4 {
            let (candidates, generation) = {
                let redis = self.redis();
                let read = |minute: &i64| redis.minutes.get(minute).map(|window| candidate(*minute, window));
                (rest.iter().filter_map(read).collect::<Vec<_>>(), redis.generation)
            };
            between();
            rest.clear();
            for mut candidate in candidates {
                let day = day_of(candidate.minute);
                if self.is_wrong && matches!(candidate.window.base, Base::Version(_)) {
                    let known = files.day(&symbol(), day)?;
                    let newest = known.counting(candidate.minute).map(|line| line.version);
                    candidate.window.base = newest.map_or(candidate.window.base, Base::Version);
                }
                let holder = Holder { generation, fence, now: NOW };
                let settled = files.settle(&symbol(), day, &[candidate.clone()], &holder)?;
                between();
                let Candidate { minute, window } = candidate;
                for (_, settled) in settled {
                    let mut redis = self.redis();
                    if redis.turn != fence {
                        return Err(Stop::Stale);
                    }
                    let is_current = redis.is_current(fence, minute, window.rev);
                    match settled {
                        Settled::Needs(base) => {
                            if let Some(known) =
                                redis.minutes.get_mut(&minute).filter(|known| is_current && known.base == window.base)
                            {
                                known.base = base;
                            }
                            rest.push(minute);
                        }
                        Settled::Stored { mark, .. } | Settled::Behind(mark) if is_current => {
                            redis.archived.insert(minute, mark.to_string());
                            redis.dirty.remove(&minute);
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// What a reader sees.
    pub fn read(&self, files: &Files, between: &mut dyn FnMut()) -> Result<BTreeMap<i64, Option<Minute>>, FileError> {
        let hot = self.redis().minutes.clone();
        between();
        let range = NOW - 1_440 * MINUTE..NOW + 1_440 * MINUTE;
        let request = Request { symbol: symbol(), range, order: Order::Asc, limit: 500, hot };
        let page = merge::page(files, &Originals::default(), &request)?;
        Ok(page.minutes.into_iter().map(|merged| (merged.minute, merged.trades.ok())).collect())
    }

    /// Checks that a reader sees every acknowledged trade once.
    pub fn violation(&self, files: &Files) -> Option<String> {
        let seen = match self.read(files, &mut || {}) {
            Ok(seen) => seen,
            Err(error) => return Some(error.to_string()),
        };
        let redis = self.redis();
        let differs = |(minute, truth): (&i64, &Minute)| {
            let found = seen.get(minute).cloned().flatten();
            let is_equal = found
                .as_ref()
                .is_some_and(|found| found.candle.trades == truth.candle.trades && found.levels == truth.levels);
            (!is_equal).then(|| format!("{minute}: {found:?} is not {truth:?}; {:?}", redis.minutes.get(minute)))
        };
        redis.truth.iter().find_map(differs)
    }
}

fn candidate(minute: i64, window: &WindowMinute) -> Candidate {
    Candidate { minute, window: window.clone() }
}
