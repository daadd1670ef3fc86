//! Brings the minutes of a window into files, and removes from Redis those whose files have been read back.
//!
//! Every step may be repeated by any replica after a crash. A replica that was paused for longer than its turn changes nothing
//! in Redis, and the files that it writes are versions like any other.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::error::ArchiveError;
use super::files::calendar::day_of;
use super::files::{Candidate, Files, Holder, Settled};
use super::report::Trouble;
use super::scripts::{self, Changed};
use super::service::ArchiveService;
use super::window::WindowState;
use crate::clock::UnixMillis;
use crate::redis::{RedisFault, Turn};
use crate::tape::{Generation, MINUTE, Symbol, WindowKeys};

/// How long a replica that no longer reports progress keeps its turn, milliseconds.
const TURN: u64 = 30_000;

/// The most minutes of one step; their files become durable together.
const STEP: usize = 64;

/// How often a minute is read again because it has changed.
const ATTEMPTS: usize = 4;

/// What one run did to a symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Minutes that have a file now.
    pub stored: usize,
    /// Minutes that left Redis.
    pub removed: usize,
    /// Whether the time was over before everything that is due was done.
    pub is_cut: bool,
}

/// A replica's work on one symbol.
struct Work<'a> {
    archive: &'a ArchiveService,
    symbol: &'a Symbol,
    keys: WindowKeys,
    generation: Generation,
    store: String,
    turn: Turn,
    progress: Progress,
    trouble: Vec<Trouble>,
}

enum Stop {
    /// Another replica has taken the turn.
    Lost,
    Failed(ArchiveError),
}

impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Self {
        Self::Failed(error)
    }
}

impl From<RedisFault> for Stop {
    fn from(fault: RedisFault) -> Self {
        Self::Failed(fault.into())
    }
}

impl ArchiveService {
    /// Archives what is due in the window of a symbol, if there is something and it is this replica's turn. Begins no further
    /// step after `end`.
    ///
    /// # Errors
    /// [`ArchiveError`]; what was done stays done.
    pub(super) async fn archive(&self, symbol: &Symbol, end: Option<Instant>) -> Result<Progress, ArchiveError> {
        let Some(directory) = &self.directory else { return Ok(Progress::default()) };
        let keys = self.window.keys(symbol);
        let [written_before, kept_from] = self.due_before();
        let is_due = !self.window.minutes(&keys.dirty, i64::MIN, written_before, 1).await?.is_empty()
            || !self.window.minutes(&keys.index, i64::MIN, kept_from, 1).await?.is_empty();
        if !is_due {
            self.board.forget(symbol);
            return Ok(Progress::default());
        }
        // Opens the directory, and finds out whether it is still there.
        directory.run(Files::check).await?;
        let store = directory.store().unwrap_or_default().to_owned();
        let state = self.claim(&keys, &store).await?;
        if state.store.as_deref() != Some(&store) {
            self.board.set(symbol, vec![Trouble::other_store()]);
            return Ok(Progress::default());
        }
        let mut turns = self.turns.lock().await;
        let Some(turn) = self.turn_of(&mut turns, symbol).await? else { return Ok(Progress::default()) };
        let generation = state.generation.unwrap_or_default();
        let (progress, trouble) = (Progress::default(), Vec::new());
        let mut work = Work { archive: self, symbol, keys, generation, store, turn, progress, trouble };
        let done = work.run(written_before, kept_from, end).await;
        turns.insert(symbol.clone(), work.turn);
        self.board.set(symbol, work.trouble);
        match done {
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Lost) => {
                turns.remove(symbol);
                Ok(work.progress)
            }
            Ok(()) => Ok(work.progress),
        }
    }

    /// Before which times minutes begin that must have a file, and that leave Redis.
    pub(super) fn due_before(&self) -> [UnixMillis; 2] {
        let now = self.clock.now();
        [self.config.archive_after, self.config.window]
            .map(|span| now.saturating_sub_unsigned(span.as_millis()) - MINUTE + 1)
    }

    /// Takes or keeps the turn of a symbol; `None` if another replica has it.
    pub(super) async fn turn_of(
        &self,
        turns: &mut HashMap<Symbol, Turn>,
        symbol: &Symbol,
    ) -> Result<Option<Turn>, ArchiveError> {
        let key = self.window.keys(symbol).archiver;
        let turn = self.redis.keep_turn(&key, turns.get(symbol).copied(), TURN, &self.clock).await?;
        match turn {
            Some(turn) => turns.insert(symbol.clone(), turn),
            None => turns.remove(symbol),
        };
        Ok(turn)
    }

    /// Makes a directory the one that keeps the files of a symbol, unless there is one.
    async fn claim(&self, keys: &WindowKeys, store: &str) -> Result<WindowState, ArchiveError> {
        let state = self.window.state(keys).await?;
        if state.store.is_some() {
            return Ok(state);
        }
        self.window.claim(keys, store).await?;
        Ok(self.window.state(keys).await?)
    }
}

impl Work<'_> {
    async fn run(
        &mut self,
        written_before: UnixMillis,
        kept_from: UnixMillis,
        end: Option<Instant>,
    ) -> Result<(), Stop> {
        let is_over = || end.is_some_and(|end| Instant::now() >= end);
        let dirty = self.keys.dirty.clone();
        let mut from = UnixMillis::MIN;
        loop {
            let minutes = self.archive.window.minutes(&dirty, from, written_before, STEP).await?;
            let Some(last) = minutes.last() else { break };
            from = last + 1;
            if is_over() {
                self.progress.is_cut = true;
                return Ok(());
            }
            self.keep_turn().await?;
            self.settle(&minutes).await?;
        }
        let index = self.keys.index.clone();
        from = UnixMillis::MIN;
        loop {
            let minutes = self.archive.window.minutes(&index, from, kept_from, STEP).await?;
            let Some(last) = minutes.last() else { return Ok(()) };
            from = last + 1;
            if is_over() {
                self.progress.is_cut = true;
                return Ok(());
            }
            self.keep_turn().await?;
            self.remove(&minutes).await?;
        }
    }

    async fn keep_turn(&mut self) -> Result<(), Stop> {
        let kept =
            self.archive.redis.keep_turn(&self.keys.archiver, Some(self.turn), TURN, &self.archive.clock).await?;
        self.turn = kept.ok_or(Stop::Lost)?;
        Ok(())
    }

    fn holder(&self) -> Holder {
        Holder { generation: self.generation, fence: self.turn.fence(), now: self.archive.clock.now() }
    }

    /// Brings minutes into files, and marks them.
    async fn settle(&mut self, minutes: &[UnixMillis]) -> Result<(), Stop> {
        let mut rest = minutes.to_vec();
        for _ in 0..ATTEMPTS {
            if rest.is_empty() {
                return Ok(());
            }
            let read = self.archive.window.read_minutes(&self.keys, &rest).await?;
            let mut days: BTreeMap<UnixMillis, Vec<Candidate>> = BTreeMap::new();
            for (minute, window) in read {
                days.entry(day_of(minute)).or_default().push(Candidate { minute, window });
            }
            rest.clear();
            for (day, candidates) in days {
                rest.extend(self.settle_day(day, candidates).await?);
            }
        }
        Ok(())
    }

    /// Returns the minutes that must be read again.
    async fn settle_day(&mut self, day: UnixMillis, candidates: Vec<Candidate>) -> Result<Vec<UnixMillis>, Stop> {
        let Some(directory) = &self.archive.directory else { return Ok(Vec::new()) };
        let (symbol, holder, given) = (self.symbol.clone(), self.holder(), candidates.clone());
        let started = Instant::now();
        let settled = directory.run(move |files| files.settle(&symbol, day, &given, &holder)).await?;
        let metrics = &self.archive.metrics;
        metrics.write_seconds.observe(started.elapsed().as_secs_f64());
        let (mut again, mut marks) = (Vec::new(), Vec::new());
        for ((minute, settled), candidate) in settled.into_iter().zip(candidates) {
            let (mark, result) = match settled {
                Settled::Needs(base) => {
                    let call = scripts::rebase(&self.keys, self.turn, minute, &candidate.window, base);
                    if self.archive.redis.call(call).await? == Changed::Stale {
                        return Err(Stop::Lost);
                    }
                    again.push(minute);
                    continue;
                }
                Settled::Stored { mark, is_new } => (mark, if is_new { "written" } else { "found" }),
                Settled::Behind(mark) => {
                    tracing::warn!(symbol = %self.symbol, minute, "a file has trades that Redis has lost; the file counts");
                    (mark, "redis_behind")
                }
                Settled::Conflict => {
                    metrics.files.with_label_values(&["conflict"]).inc();
                    self.trouble.push(Trouble::conflict(minute));
                    continue;
                }
                Settled::Unreadable(error) => {
                    metrics.files.with_label_values(&["unreadable"]).inc();
                    self.trouble.push(Trouble::unreadable(minute, &error));
                    continue;
                }
            };
            metrics.files.with_label_values(&[result]).inc();
            if mark.version > 1 && result == "written" {
                metrics.versions.inc();
            }
            marks.push((minute, mark));
        }
        // A minute with a late trade is not marked: the next round writes its next version.
        let marked = self.archive.redis.call(scripts::mark(&self.keys, self.turn, &marks)).await?;
        self.progress.stored += marked.ok_or(Stop::Lost)?;
        Ok(again)
    }

    /// Removes minutes that have left the window, if their files have just been read. The others are settled again.
    async fn remove(&mut self, minutes: &[UnixMillis]) -> Result<(), Stop> {
        let Some(directory) = &self.archive.directory else { return Ok(()) };
        let read = self.archive.window.read_minutes(&self.keys, minutes).await?;
        let marks = self.archive.window.marks(&self.keys, minutes).await?;
        let mut days: BTreeMap<UnixMillis, Vec<(Candidate, String)>> = BTreeMap::new();
        for (minute, window) in read {
            let mark = marks.get(&minute).cloned().unwrap_or_default();
            days.entry(day_of(minute)).or_default().push((Candidate { minute, window }, mark));
        }
        let mut again = Vec::new();
        for (day, marked) in days {
            let (symbol, given) = (self.symbol.clone(), marked.clone());
            let safe = directory.run(move |files| files.confirm(&symbol, day, &given)).await?;
            for ((candidate, mark), is_safe) in marked.into_iter().zip(safe) {
                let Candidate { minute, window } = candidate;
                if !is_safe {
                    again.push(minute);
                    continue;
                }
                let call = scripts::drop(&self.keys, self.turn, minute, window.rev, &mark, &self.store);
                match self.archive.redis.call(call).await? {
                    Changed::Done => {
                        self.progress.removed += 1;
                        self.archive.metrics.removed.inc();
                    }
                    Changed::Moved => {}
                    Changed::Stale => return Err(Stop::Lost),
                }
            }
        }
        self.settle(&again).await
    }
}
