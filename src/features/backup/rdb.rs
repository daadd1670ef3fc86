//! Reads a snapshot in the RDB format, versions 9 to 13, and cuts it into records without understanding the values.
//!
//! Each entry of a snapshot has, byte for byte, the type and the value that DUMP returns. An unknown type or operation ends
//! the read with an error: the reader would be out of step.
//!
//! Source: `rdb.c` of Redis 7.0 and 8.0.

use std::io::{self, Read};

use super::crc64;
use super::lzf;

/// The versions of the format that this reader knows.
const VERSIONS: std::ops::RangeInclusive<u32> = 9..=13;
const BUFFER: usize = 1 << 16;
/// The longest key that may be one of the service.
const LONGEST_KEY: u64 = 1 << 20;

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RdbError {
    #[error("the snapshot is malformed: {0}")]
    Malformed(String),
    #[error("the snapshot has the RDB version {0}, and this service reads 9 to 13")]
    Version(u32),
    #[error("the snapshot has the unknown type {0}")]
    UnknownType(u8),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What is known of a record before its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordHead {
    pub key: Vec<u8>,
    /// When the key expires, Unix milliseconds.
    pub expires: Option<i64>,
}

/// Receives the records.
pub(super) trait Records {
    /// A record begins. Returns whether its value is wanted.
    fn begin(&mut self, head: &RecordHead) -> io::Result<bool>;
    /// The next bytes of the value, as DUMP returns them, the type first.
    fn value(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The wanted value is complete.
    fn end(&mut self) -> io::Result<()>;
}

/// What follows from a complete snapshot.
#[derive(Debug)]
pub(super) struct Ended {
    /// The version of its format.
    pub version: u32,
    /// Keys in other databases, which were skipped.
    pub elsewhere: u64,
    /// What was read beyond its end.
    pub rest: Vec<u8>,
}

/// Reads a snapshot up to its checksum; `records` receives the keys of one database.
///
/// # Errors
/// [`RdbError`]; a record that was begun may be incomplete.
pub(super) fn read(input: impl Read, database: u64, records: &mut impl Records) -> Result<Ended, RdbError> {
    let mut reader = Reader {
        input,
        buffer: vec![0; BUFFER].into_boxed_slice(),
        at: 0,
        end: 0,
        unchecked: 0,
        unsent: None,
        crc: 0,
        database,
        elsewhere: 0,
        records,
    };
    let version = reader.snapshot()?;
    let rest = reader.buffer.get(reader.at..reader.end).unwrap_or_default().to_vec();
    Ok(Ended { version, elsewhere: reader.elsewhere, rest })
}

struct Reader<'a, R, S> {
    input: R,
    buffer: Box<[u8]>,
    /// The bytes in the buffer: up to `at` are read, and up to `end` are there.
    at: usize,
    end: usize,
    /// The first byte that is not in the checksum.
    unchecked: usize,
    /// The first byte of a wanted value that the receiver does not have.
    unsent: Option<usize>,
    crc: u64,
    database: u64,
    elsewhere: u64,
    records: &'a mut S,
}

/// A length, or an encoding of a string that takes its place.
enum Length {
    Plain(u64),
    Encoded(u8),
}

impl<R: Read, S: Records> Reader<'_, R, S> {
    fn snapshot(&mut self) -> Result<u32, RdbError> {
        let magic: [u8; 9] = self.array()?;
        let version = magic.strip_prefix(b"REDIS").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let version: u32 = version.ok_or_else(|| malformed("it does not begin with REDIS and a version"))?;
        if !VERSIONS.contains(&version) {
            return Err(RdbError::Version(version));
        }
        let (mut expires, mut database) = (None, 0);
        loop {
            match self.byte()? {
                0xFF => break,
                0xFE => database = self.length()?,
                0xFD => expires = Some(i64::from(i32::from_le_bytes(self.array()?)) * 1_000),
                0xFC => expires = Some(i64::from_le_bytes(self.array()?)),
                0xFB => self.lengths(2)?,
                0xFA => self.strings(2)?,
                0xF9 => self.skip(1)?,
                0xF8 => self.lengths(1)?,
                0xF7 => {
                    self.lengths(1)?;
                    self.module_values()?;
                }
                0xF5 => self.strings(1)?,
                0xF4 => self.lengths(3)?,
                kind => self.entry(kind, database, expires.take())?,
            }
        }
        self.flush()?;
        let calculated = self.crc;
        let stored = u64::from_le_bytes(self.array()?);
        // Zero: the server has been told not to calculate it.
        if stored != 0 && stored != calculated {
            return Err(malformed("its checksum is wrong"));
        }
        Ok(version)
    }

    fn entry(&mut self, kind: u8, database: u64, expires: Option<i64>) -> Result<(), RdbError> {
        let key = self.key()?;
        if database != self.database {
            self.elsewhere += 1;
            return self.value(kind);
        }
        let is_wanted = match key {
            Some(key) => self.records.begin(&RecordHead { key, expires })?,
            None => false,
        };
        if !is_wanted {
            return self.value(kind);
        }
        self.records.value(&[kind])?;
        self.flush()?;
        self.unsent = Some(self.at);
        self.value(kind)?;
        self.flush()?;
        self.unsent = None;
        Ok(self.records.end()?)
    }

    /// Skips a value. The names of the types are in `rdb.h`.
    fn value(&mut self, kind: u8) -> Result<(), RdbError> {
        match kind {
            // A string; or one string that holds all members.
            0 | 9..=13 | 16 | 17 | 20 => self.strings(1),
            1 | 2 | 14 => {
                let count = self.length()?;
                self.strings(count)
            }
            3 => self.repeat(|reader| {
                reader.strings(1)?;
                match reader.byte()? {
                    253..=255 => Ok(()),
                    length => reader.skip(u64::from(length)),
                }
            }),
            4 => self.repeat(|reader| reader.strings(2)),
            5 => self.repeat(|reader| {
                reader.strings(1)?;
                reader.skip(8)
            }),
            7 => {
                self.lengths(1)?;
                self.module_values()
            }
            15 | 19 | 21 => self.stream(kind),
            18 => self.repeat(|reader| {
                reader.lengths(1)?;
                reader.strings(1)
            }),
            24 => {
                self.skip(8)?;
                self.repeat(|reader| {
                    reader.lengths(1)?;
                    reader.strings(2)
                })
            }
            25 => {
                self.skip(8)?;
                self.strings(1)
            }
            unknown => Err(RdbError::UnknownType(unknown)),
        }
    }

    fn stream(&mut self, kind: u8) -> Result<(), RdbError> {
        self.repeat(|reader| reader.strings(2))?;
        // Entries and the last id; the first id, the highest deleted one, and all that were added.
        self.lengths(if kind == 15 { 3 } else { 8 })?;
        self.repeat(|reader| {
            reader.strings(1)?;
            reader.lengths(if kind == 15 { 2 } else { 3 })?;
            // What is pending: id, time of delivery, number of deliveries.
            reader.repeat(|reader| {
                reader.skip(24)?;
                reader.lengths(1)
            })?;
            reader.repeat(|reader| {
                reader.strings(1)?;
                reader.skip(if kind == 21 { 16 } else { 8 })?;
                let pending = reader.length()?;
                reader.skip(pending.saturating_mul(16))
            })
        })
    }

    /// The parts of a module's value, which name their types.
    fn module_values(&mut self) -> Result<(), RdbError> {
        loop {
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => self.lengths(1)?,
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.strings(1)?,
                other => return Err(malformed(&format!("a module's value has a part of type {other}"))),
            }
        }
    }

    fn repeat(&mut self, mut part: impl FnMut(&mut Self) -> Result<(), RdbError>) -> Result<(), RdbError> {
        for _ in 0..self.length()? {
            part(self)?;
        }
        Ok(())
    }

    fn lengths(&mut self, count: u32) -> Result<(), RdbError> {
        (0..count).try_for_each(|_| self.length().map(|_| ()))
    }

    fn length(&mut self) -> Result<u64, RdbError> {
        match self.encoding()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(_) => Err(malformed("a length is an encoding")),
        }
    }

    fn encoding(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        Ok(Length::Plain(match first >> 6 {
            0 => u64::from(first),
            1 => u64::from(u16::from_be_bytes([first & 0x3F, self.byte()?])),
            3 => return Ok(Length::Encoded(first & 0x3F)),
            _ if first == 0x80 => u64::from(u32::from_be_bytes(self.array()?)),
            _ if first == 0x81 => u64::from_be_bytes(self.array()?),
            _ => return Err(malformed("a length has an unknown form")),
        }))
    }

    fn strings(&mut self, count: u64) -> Result<(), RdbError> {
        for _ in 0..count {
            let size = match self.encoding()? {
                Length::Plain(size) => size,
                Length::Encoded(kind @ 0..=2) => 1 << kind,
                Length::Encoded(3) => {
                    let size = self.length()?;
                    self.lengths(1)?;
                    size
                }
                Length::Encoded(_) => return Err(malformed("a string has an unknown encoding")),
            };
            self.skip(size)?;
        }
        Ok(())
    }

    /// The key of an entry; `None` if it is too long to be one of the service.
    fn key(&mut self) -> Result<Option<Vec<u8>>, RdbError> {
        Ok(Some(match self.encoding()? {
            Length::Plain(size) if size > LONGEST_KEY => {
                self.skip(size)?;
                return Ok(None);
            }
            Length::Plain(size) => self.bytes(size)?,
            Length::Encoded(0) => i8::from_le_bytes(self.array()?).to_string().into_bytes(),
            Length::Encoded(1) => i16::from_le_bytes(self.array()?).to_string().into_bytes(),
            Length::Encoded(2) => i32::from_le_bytes(self.array()?).to_string().into_bytes(),
            Length::Encoded(3) => {
                let (packed, size) = (self.length()?, self.length()?);
                if packed > LONGEST_KEY || size > LONGEST_KEY {
                    self.skip(packed)?;
                    return Ok(None);
                }
                let packed = self.bytes(packed)?;
                lzf::unpack(&packed, usize::try_from(size).unwrap_or_default())
                    .ok_or_else(|| malformed("a compressed key is malformed"))?
            }
            Length::Encoded(_) => return Err(malformed("a key has an unknown encoding")),
        }))
    }

    fn byte(&mut self) -> Result<u8, RdbError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut array = [0; N];
        self.read_exact(&mut array)?;
        Ok(array)
    }

    /// `size` bytes, of which there are few.
    fn bytes(&mut self, size: u64) -> Result<Vec<u8>, RdbError> {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn read_exact(&mut self, mut out: &mut [u8]) -> Result<(), RdbError> {
        while !out.is_empty() {
            let there = self.available()?;
            let size = there.len().min(out.len());
            let (filled, rest) = out.split_at_mut(size);
            filled.copy_from_slice(there.get(..size).unwrap_or_default());
            self.at += size;
            out = rest;
        }
        Ok(())
    }

    fn skip(&mut self, size: u64) -> Result<(), RdbError> {
        let mut left = size;
        while left > 0 {
            let there = self.available()?.len();
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(there);
            self.at += step;
            left -= step as u64;
        }
        Ok(())
    }

    /// The bytes in the buffer, at least one.
    fn available(&mut self) -> Result<&[u8], RdbError> {
        if self.at == self.end {
            self.flush()?;
            self.end = self.input.read(&mut self.buffer)?;
            (self.at, self.unchecked) = (0, 0);
            self.unsent = self.unsent.map(|_| 0);
            if self.end == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(self.buffer.get(self.at..self.end).unwrap_or_default())
    }

    /// Adds what was read to the checksum, and hands over what is wanted of it.
    fn flush(&mut self) -> Result<(), RdbError> {
        self.crc = crc64::update(self.crc, self.buffer.get(self.unchecked..self.at).unwrap_or_default());
        self.unchecked = self.at;
        if let Some(from) = self.unsent.filter(|from| *from < self.at) {
            self.records.value(self.buffer.get(from..self.at).unwrap_or_default())?;
            self.unsent = Some(self.at);
        }
        Ok(())
    }
}

fn malformed(reason: &str) -> RdbError {
    RdbError::Malformed(reason.to_owned())
}

#[cfg(test)]
mod tests;
