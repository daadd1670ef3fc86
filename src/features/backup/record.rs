//! Records as bytes: `1`, key, type of expiry and expiry; then pieces of the value, each `2`, its length and bytes; then `3`.
//! `0` ends all records. Numbers are little-endian. So neither the writer nor the file needs the length of a value in advance.

use super::error::BackupError;

const END: u8 = 0;
const BEGIN: u8 = 1;
const PIECE: u8 = 2;
const COMPLETE: u8 = 3;

/// The longest value that Redis accepts in one command, with the type.
const LONGEST_VALUE: usize = 512 << 20;

/// A key with its value: the type and the bytes of DUMP without the footer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub key: Vec<u8>,
    /// When the key expires, Unix milliseconds.
    pub expires: Option<i64>,
    pub value: Vec<u8>,
}

/// The beginning of a record.
pub(super) fn begin(key: &[u8], expires: Option<i64>) -> Vec<u8> {
    let mut bytes = vec![BEGIN];
    bytes.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&expires.unwrap_or(-1).to_le_bytes());
    bytes
}

/// What precedes a piece of a value with this length.
pub(super) fn piece(length: usize) -> [u8; 5] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [PIECE, a, b, c, d]
}

pub(super) const fn complete() -> [u8; 1] {
    [COMPLETE]
}

pub(super) const fn end() -> [u8; 1] {
    [END]
}

/// Puts records together from bytes that arrive in pieces.
#[derive(Default)]
pub(super) struct Parser {
    pending: Vec<u8>,
    record: Option<Record>,
    is_over: bool,
}

impl Parser {
    /// Takes the next bytes, and hands over each record that they complete.
    ///
    /// # Errors
    /// [`BackupError::File`] if the bytes are malformed, or the error of the receiver.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut receive: impl FnMut(Record) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = pending.as_slice();
        while let Some(after) = self.step(rest, &mut receive)? {
            rest = after;
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Takes one element; `None` if it is not complete yet.
    fn step<'a>(
        &mut self,
        bytes: &'a [u8],
        receive: &mut impl FnMut(Record) -> Result<(), BackupError>,
    ) -> Result<Option<&'a [u8]>, BackupError> {
        let Some((tag, rest)) = bytes.split_first() else { return Ok(None) };
        match (*tag, &mut self.record) {
            _ if self.is_over => Err(malformed("bytes follow the last one")),
            (END, None) => {
                self.is_over = true;
                Ok(Some(rest))
            }
            (BEGIN, None) => {
                let Some((key, rest)) = sized(rest) else { return Ok(None) };
                let Some((expires, rest)) = rest.split_first_chunk() else { return Ok(None) };
                let expires = Some(i64::from_le_bytes(*expires)).filter(|expires| *expires >= 0);
                self.record = Some(Record { key: key.to_vec(), expires, value: Vec::new() });
                Ok(Some(rest))
            }
            (PIECE, Some(record)) => {
                let Some((piece, rest)) = sized(rest) else { return Ok(None) };
                if record.value.len() + piece.len() > LONGEST_VALUE {
                    return Err(malformed("a value is too long"));
                }
                record.value.extend_from_slice(piece);
                Ok(Some(rest))
            }
            (COMPLETE, Some(_)) => {
                let record = self.record.take().unwrap_or_default();
                if record.value.is_empty() {
                    return Err(malformed("a value is empty"));
                }
                receive(record)?;
                Ok(Some(rest))
            }
            _ => Err(malformed("they are out of step")),
        }
    }

    /// Checks that the last record was complete.
    ///
    /// # Errors
    /// [`BackupError::File`].
    pub(super) fn finish(&self) -> Result<(), BackupError> {
        if self.is_over && self.pending.is_empty() { Ok(()) } else { Err(malformed("the last one is not complete")) }
    }
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

fn malformed(reason: &str) -> BackupError {
    BackupError::File(format!("its records are malformed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_any_cut_and_nothing_else_is_accepted() {
        let records = [
            Record { key: b"a".to_vec(), expires: None, value: b"\x00one".to_vec() },
            Record { key: b"b".to_vec(), expires: Some(7), value: vec![9; 300] },
        ];
        let mut bytes = Vec::new();
        for record in &records {
            bytes.extend(begin(&record.key, record.expires));
            for piece_of in record.value.chunks(100) {
                bytes.extend(piece(piece_of.len()));
                bytes.extend(piece_of);
            }
            bytes.extend(complete());
        }
        bytes.extend(end());
        for size in [1, 2, 7, 1_000] {
            let (mut parser, mut found) = (Parser::default(), Vec::new());
            for part in bytes.chunks(size) {
                parser
                    .feed(part, |record| {
                        found.push(record);
                        Ok(())
                    })
                    .expect("well-formed");
            }
            parser.finish().expect("complete");
            assert_eq!(found, records);
        }
        for length in 0..bytes.len() {
            let mut parser = Parser::default();
            let fed = parser.feed(&bytes[..length], |_| Ok(()));
            assert!(fed.and_then(|()| parser.finish()).is_err(), "{length}");
        }
        assert!(Parser::default().feed(&[&bytes[..], &[1]].concat(), |_| Ok(())).is_err());
    }
}
