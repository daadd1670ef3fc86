//! Brings minutes of the window into files, and says when the window no longer needs them.

use std::collections::BTreeSet;
use std::fmt;

use super::calendar;
use super::document::{self, Heading};
use super::error::FileError;
use super::manifest::{Day, Line, MinuteLine};
use super::reading::binding;
use super::sealed::ENCRYPTED;
use super::store::{Files, Written, sha256};
use crate::clock::UnixMillis;
use crate::tape::{Base, Generation, Minute, Symbol, WindowMinute};

/// A minute as it was read from the window.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub minute: UnixMillis,
    pub window: WindowMinute,
}

/// Who writes, and for which window.
#[derive(Clone, Debug)]
pub struct Holder {
    /// That of the window now.
    pub generation: Generation,
    /// The turn under which the replica writes.
    pub fence: UnixMillis,
    pub now: UnixMillis,
}

/// The file that has a minute at `rev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub version: u32,
    pub rev: u64,
    pub sha256: String,
    pub store: String,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, rev, sha256, store } = self;
        write!(f, "{version} {rev} {sha256} {store}")
    }
}

/// What became of a minute.
#[derive(Debug)]
pub enum Settled {
    /// The minute's base must be this one first.
    Needs(Base),
    /// A durable file has the minute.
    Stored { mark: Mark, is_new: bool },
    /// A durable file has more: Redis has lost trades that it had acknowledged.
    Behind(Mark),
    /// The file that counts and the window each have trades that the other one lacks. Both are kept.
    Conflict,
    /// The base cannot be read.
    Unreadable(FileError),
}

/// A minute of another system.
#[derive(Clone, Debug)]
pub struct Imported {
    pub minute: UnixMillis,
    pub trades: Minute,
    /// The SHA-256 of its file there.
    pub parent: String,
}

/// A minute that needs a file.
struct NewFile {
    content: Minute,
    base: Option<u32>,
    version: u32,
    generation: String,
    parent: Option<String>,
}

impl Files {
    /// Brings minutes of one day into durable files. The order of steps: each file, its name, then all lines of the manifest.
    /// After a failure, the next call goes on with what is there.
    ///
    /// # Errors
    /// [`FileError`] of the directory; nothing may be marked.
    pub fn settle(
        &self,
        symbol: &Symbol,
        day: UnixMillis,
        candidates: &[Candidate],
        holder: &Holder,
    ) -> Result<Vec<(UnixMillis, Settled)>, FileError> {
        self.check()?;
        let minutes: BTreeSet<UnixMillis> = candidates.iter().map(|candidate| candidate.minute).collect();
        let known = self.day_with(symbol, day, |minute| minutes.contains(&minute))?;
        let (mut all, mut lines) = (Vec::new(), Vec::new());
        for candidate in candidates {
            let (settled, line) = match self.decide(symbol, &known, candidate, holder)? {
                Conclusion::Done(settled, line) => (settled, line),
                Conclusion::Write(new) => {
                    self.ensure_directory(symbol, day)?;
                    let Candidate { minute, window } = candidate;
                    let line = self.write(symbol, *minute, window.rev, new, holder)?;
                    let mark = self.mark(&line, window.rev);
                    (Settled::Stored { mark, is_new: true }, Some(line))
                }
            };
            lines.extend(line.map(Line::Minute));
            all.push((candidate.minute, settled));
        }
        if !lines.is_empty() {
            self.sync_directory(symbol, day)?;
            // A line that was found may be in memory only, and a sync that has failed once succeeds without writing it: it is
            // written again.
            self.append(symbol, day, &lines)?;
        }
        Ok(all)
    }

    /// Writes minutes of one day that have no file yet. Changes of the window count above them.
    ///
    /// # Errors
    /// [`FileError`] of the directory; files without a line in the manifest may be left.
    pub fn import(
        &self,
        symbol: &Symbol,
        day: UnixMillis,
        minutes: Vec<Imported>,
        now: UnixMillis,
    ) -> Result<(), FileError> {
        self.check()?;
        self.ensure_directory(symbol, day)?;
        let holder = Holder { generation: Generation::default(), fence: 0, now };
        let write = |Imported { minute, trades: content, parent }| {
            let parent = Some(parent);
            let new = NewFile { content, base: None, version: 1, generation: String::new(), parent };
            self.write(symbol, minute, 0, new, &holder).map(Line::Minute)
        };
        let lines = minutes.into_iter().map(write).collect::<Result<Vec<_>, _>>()?;
        self.sync_directory(symbol, day)?;
        self.append(symbol, day, &lines)
    }

    fn decide(
        &self,
        symbol: &Symbol,
        day: &Day,
        Candidate { minute, window }: &Candidate,
        holder: &Holder,
    ) -> Result<Conclusion, FileError> {
        let versions = day.versions(*minute);
        let counting = day.counting(*minute);
        let version = versions.iter().map(|line| line.version).max().unwrap_or_default() + 1;
        let needs = |line: &MinuteLine| Ok(Conclusion::Done(Settled::Needs(Base::Version(line.version)), None));
        let new = match window.base {
            Base::Unset => {
                let is_whole = Settled::Needs(Base::Whole(holder.generation));
                return counting.map_or(Ok(Conclusion::Done(is_whole, None)), needs);
            }
            Base::Version(of) => {
                let base = versions.iter().find(|line| line.version == of);
                match self.added_to(symbol, base, window, *minute, of)? {
                    Ok(content) => {
                        let generation = base.map(|line| line.generation.clone()).unwrap_or_default();
                        let parent = base.and_then(|line| line.parent.clone());
                        NewFile { content, base: Some(of), version, generation, parent }
                    }
                    Err(error) => return Ok(Conclusion::Done(Settled::Unreadable(error), None)),
                }
            }
            Base::Whole(generation) => {
                // Redis has lost the minute, and counts from nothing again.
                if let Some(line) = counting.filter(|_| !versions.iter().any(|line| line.is_of(generation))) {
                    return needs(line);
                }
                NewFile {
                    content: window.trades.clone(),
                    base: None,
                    version,
                    generation: generation.to_string(),
                    parent: None,
                }
            }
        };
        let Some(line) = counting else { return Ok(Conclusion::Write(new)) };
        let found = match self.minute(symbol, line) {
            Ok(found) => found,
            // The window still has it.
            Err(error) if error.is_of_file() => return Ok(Conclusion::Write(new)),
            Err(error) => return Err(error),
        };
        let mark = self.mark(line, window.rev);
        Ok(match (found.contains(&new.content), new.content.contains(&found)) {
            (true, true) => Conclusion::Done(Settled::Stored { mark, is_new: false }, Some(line.clone())),
            (true, false) => Conclusion::Done(Settled::Behind(mark), Some(line.clone())),
            (false, true) => Conclusion::Write(new),
            (false, false) => Conclusion::Done(Settled::Conflict, None),
        })
    }

    /// The base of a minute and the trades in the window; the inner error is that of the base.
    fn added_to(
        &self,
        symbol: &Symbol,
        base: Option<&MinuteLine>,
        window: &WindowMinute,
        minute: UnixMillis,
        version: u32,
    ) -> Result<Result<Minute, FileError>, FileError> {
        let Some(line) = base else {
            return Ok(Err(FileError::Missing { file: calendar::minute_name(minute, version) }));
        };
        match self.minute(symbol, line) {
            Ok(mut content) => {
                content.add(&window.trades);
                Ok(Ok(content))
            }
            Err(error) if error.is_of_file() => Ok(Err(error)),
            Err(error) => Err(error),
        }
    }

    fn write(
        &self,
        symbol: &Symbol,
        minute: UnixMillis,
        rev: u64,
        NewFile { content, base, version, generation, parent }: NewFile,
        holder: &Holder,
    ) -> Result<MinuteLine, FileError> {
        let directory = calendar::day_directory(symbol, calendar::day_of(minute));
        self.create(holder.now, version, |version| {
            let heading = Heading { symbol: symbol.clone(), minute, version, rev, is_imported: parent.is_some() };
            let plain = document::encode(&heading, &content);
            let is_encrypted = self.keys.encrypts();
            let file = calendar::minute_name(minute, version) + if is_encrypted { ENCRYPTED } else { "" };
            let path = format!("{directory}/{file}");
            let plain_hash = is_encrypted.then(|| sha256(&plain));
            let bytes = self.keys.seal(&binding(&path), plain).map_err(FileError::disk("encrypt", &path))?;
            let line = MinuteLine {
                minute,
                file,
                version,
                rev,
                base,
                generation: generation.clone(),
                bytes: bytes.len(),
                sha256: sha256(&bytes),
                content: plain_hash,
                parent: parent.clone(),
                trades: content.candle.trades,
                levels: content.levels.by_price.len(),
                volume: content.candle.volume.to_string(),
                written_at: holder.now,
                writer: self.writer.clone(),
                fence: holder.fence,
            };
            Ok(Written { line, path, bytes })
        })
    }

    fn mark(&self, line: &MinuteLine, rev: u64) -> Mark {
        Mark { version: line.version, rev, sha256: line.sha256.clone(), store: self.store().to_owned() }
    }

    /// Which of these marked minutes the window no longer needs: the version that counts is the marked one, its file has just
    /// been read, and it has all trades of the window. The others must be settled again.
    ///
    /// # Errors
    /// [`FileError`] of the directory.
    pub fn confirm(
        &self,
        symbol: &Symbol,
        day: UnixMillis,
        marked: &[(Candidate, String)],
    ) -> Result<Vec<bool>, FileError> {
        self.check()?;
        let minutes: BTreeSet<UnixMillis> = marked.iter().map(|(candidate, _)| candidate.minute).collect();
        let known = self.day_with(symbol, day, |minute| minutes.contains(&minute))?;
        let is_safe = |(candidate, text): &(Candidate, String)| {
            let Some(line) = known.counting(candidate.minute) else { return Ok(false) };
            if self.mark(line, candidate.window.rev).to_string() != *text {
                return Ok(false);
            }
            match self.minute(symbol, line) {
                Ok(found) => Ok(found.contains(&candidate.window.trades)),
                Err(error) if error.is_of_file() => Ok(false),
                Err(error) => Err(error),
            }
        };
        marked.iter().map(is_safe).collect()
    }
}

enum Conclusion {
    /// The line, if there is one, is written to the manifest again.
    Done(Settled, Option<MinuteLine>),
    Write(NewFile),
}
