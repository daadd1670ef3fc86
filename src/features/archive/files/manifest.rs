//! The manifest of a day of a symbol: one line of JSON for each file. A line counts as soon as it is durable.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::tape::Generation;

/// A file of one minute.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct MinuteLine {
    pub minute: UnixMillis,
    pub file: String,
    pub version: u32,
    /// The number of the last change that the file has.
    pub rev: u64,
    /// The version to which the window had only the trades that came later.
    pub base: Option<u32>,
    /// That of the minute in the window: another one means that Redis has lost the minute since. That of a version with later
    /// trades is that of its base.
    pub generation: String,
    pub bytes: usize,
    pub sha256: String,
    /// The SHA-256 of the content, if the file is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The hash of the file of another system from which the minute was imported.
    pub parent: Option<String>,
    pub trades: u64,
    pub levels: usize,
    pub volume: String,
    pub written_at: UnixMillis,
    pub writer: String,
    pub fence: UnixMillis,
}

impl MinuteLine {
    /// The SHA-256 of the content, which is a line of the pack.
    pub fn content_hash(&self) -> &String {
        self.content.as_ref().unwrap_or(&self.sha256)
    }

    /// Whether the window had all of its trades under this generation, or later ones were added to such a file.
    pub fn is_of(&self, generation: Generation) -> bool {
        self.generation == generation.to_string()
    }
}

/// A file of all minutes of a day.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PackLine {
    pub file: String,
    pub version: u32,
    /// The number of minute files in it.
    pub minutes: usize,
    pub bytes: u64,
    pub sha256: String,
    pub written_at: UnixMillis,
    pub writer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    Minute(MinuteLine),
    Pack(PackLine),
    /// A Parquet file of the minutes of a pack, each in the version that counts.
    Table(PackLine),
    /// A store has a copy of the file.
    Copied {
        file: String,
        to: String,
        copied_at: UnixMillis,
    },
    /// The files of the day were deleted because of `archive.retention`.
    Deleted {
        deleted_at: UnixMillis,
    },
}

impl Line {
    /// The line with its checksum.
    pub fn text(&self) -> String {
        // Objects with text keys never fail to serialize.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.truncate(text.len().saturating_sub(1));
        let checksum = crc32fast::hash(text.as_bytes());
        format!("{text}{CHECKSUM}{checksum:08x}\"}}\n")
    }

    /// Reads what [`Line::text`] writes; `None` if a byte is missing or changed.
    fn parse(line: &[u8]) -> Option<Self> {
        let (text, rest) = std::str::from_utf8(line).ok()?.rsplit_once(CHECKSUM)?;
        if rest != format!("{:08x}\"}}", crc32fast::hash(text.as_bytes())) {
            return None;
        }
        serde_json::from_str(&format!("{text}}}")).ok()
    }
}

/// What precedes the checksum of a line, which is that of the text before it.
const CHECKSUM: &str = ",\"crc32\":\"";

/// A manifest as it was read.
#[derive(Clone, Debug, Default)]
pub struct Day {
    /// By minute, in the order of the lines.
    pub minutes: BTreeMap<UnixMillis, Vec<MinuteLine>>,
    pub packs: Vec<PackLine>,
    pub tables: Vec<PackLine>,
    /// Files and the stores that have copies of them.
    pub copies: BTreeSet<(String, String)>,
    pub deleted_at: Option<UnixMillis>,
    /// Lines that do not have their checksum, such as one that was being written when the power failed.
    pub torn: usize,
}

impl Day {
    /// Parses all lines except those of minutes that are not wanted: most of the time goes into JSON, and a day has 1,440.
    pub fn parse(bytes: &[u8], is_wanted: impl Fn(UnixMillis) -> bool) -> Self {
        let mut day = Self::default();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for line in lines.filter(|line| minute_of(line).is_none_or(&is_wanted)) {
            match Line::parse(line) {
                Some(line) => day.add(line),
                None => day.torn += 1,
            }
        }
        day
    }

    /// Adds a line. One that was written again after a failure counts once.
    pub fn add(&mut self, line: Line) {
        match line {
            Line::Minute(line) => {
                let versions = self.minutes.entry(line.minute).or_default();
                if !versions.iter().any(|known| known.file == line.file && known.sha256 == line.sha256) {
                    versions.push(line);
                }
            }
            Line::Pack(line) => add_new(&mut self.packs, line),
            Line::Table(line) => add_new(&mut self.tables, line),
            Line::Copied { file, to, .. } => {
                self.copies.insert((file, to));
            }
            Line::Deleted { deleted_at } => self.deleted_at = Some(deleted_at),
        }
    }

    pub fn packs_and_tables(&self) -> impl Iterator<Item = &PackLine> {
        self.packs.iter().chain(&self.tables)
    }

    /// The versions of a minute.
    pub fn versions(&self, minute: UnixMillis) -> &[MinuteLine] {
        self.minutes.get(&minute).map(Vec::as_slice).unwrap_or_default()
    }

    /// The version of a minute that counts: the one with the latest change, of several the highest.
    pub fn counting(&self, minute: UnixMillis) -> Option<&MinuteLine> {
        counting(self.versions(minute))
    }
}

/// The minute of a line that begins as [`Line::text`] writes one; it may be damaged.
fn minute_of(line: &[u8]) -> Option<UnixMillis> {
    let rest = line.strip_prefix(br#"{"kind":"minute","minute":"#)?;
    let digits = rest.split(|byte| *byte == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn add_new(all: &mut Vec<PackLine>, line: PackLine) {
    if !all.iter().any(|known| known.file == line.file) {
        all.push(line);
    }
}

/// The version that counts among those of a minute.
pub fn counting(versions: &[MinuteLine]) -> Option<&MinuteLine> {
    versions.iter().max_by_key(|line| (line.rev, line.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(minute: UnixMillis, version: u32) -> Line {
        Line::Minute(MinuteLine {
            minute,
            file: format!("{minute}-{version}"),
            version,
            rev: 1,
            base: None,
            generation: String::new(),
            bytes: 1,
            sha256: String::new(),
            content: None,
            parent: None,
            trades: 1,
            levels: 1,
            volume: "1".to_owned(),
            written_at: 0,
            writer: String::new(),
            fence: 0,
        })
    }

    #[test]
    fn lines_of_other_minutes_are_skipped_and_all_others_are_read() {
        let deleted = Line::Deleted { deleted_at: 5 };
        let mut text: String =
            [line(60_000, 1), line(120_000, 1), deleted, line(60_000, 2)].iter().map(Line::text).collect();
        text.push_str("{\"kind\":\"minute\",\"minute\":60000,\"fi");
        let (all, some) =
            (Day::parse(text.as_bytes(), |_| true), Day::parse(text.as_bytes(), |minute| minute == 60_000));
        assert_eq!((all.minutes.len(), some.minutes.len()), (2, 1));
        assert_eq!((all.versions(60_000), all.torn), (some.versions(60_000), some.torn));
        assert_eq!((some.versions(60_000).len(), some.deleted_at, some.torn), (2, Some(5), 1));
    }
}
