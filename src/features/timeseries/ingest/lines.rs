//! Splits a body that arrives in pieces into lines.

use bytes::{Bytes, BytesMut};

/// Splits pieces into lines, of which it holds at most one that is not complete.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    buffer: BytesMut,
    /// Whether the current line is too long: the rest of it is skipped.
    skipping: bool,
    number: u64,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new(), skipping: false, number: 0 }
    }

    /// Adds the next piece. The caller has taken all lines of the previous piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Returns the number of the next complete line, from 1, and its bytes without the line break; `None` if it was
    /// longer than the limit and was skipped.
    pub(super) fn next(&mut self) -> Option<(u64, Option<Bytes>)> {
        let Some(end) = memchr::memchr(b'\n', &self.buffer) else {
            self.skipping |= self.buffer.len() > self.limit;
            if self.skipping {
                self.buffer.clear();
            }
            return None;
        };
        let line = self.buffer.split_to(end + 1);
        self.number += 1;
        let is_too_long = std::mem::take(&mut self.skipping) || end > self.limit;
        Some((self.number, (!is_too_long).then(|| without_end(line))))
    }

    /// Returns the last line, if it does not end with a line break.
    pub(super) fn finish(&mut self) -> Option<(u64, Option<Bytes>)> {
        let line = std::mem::take(&mut self.buffer);
        self.number += 1;
        match (self.skipping, line.is_empty()) {
            (true, _) => Some((self.number, None)),
            (false, true) => None,
            (false, false) => Some((self.number, Some(without_end(line)))),
        }
    }
}

fn without_end(mut line: BytesMut) -> Bytes {
    for end in [b'\n', b'\r'] {
        if line.last() == Some(&end) {
            line.truncate(line.len() - 1);
        }
    }
    line.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]], limit: usize) -> Vec<(u64, Option<Bytes>)> {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(piece);
            out.extend(std::iter::from_fn(|| lines.next()));
        }
        out.extend(lines.finish());
        out
    }

    #[test]
    fn lines_are_the_same_however_the_body_is_cut() {
        let text = "a,1\r\n\nzweiundzwanzigé,2\nc,3".as_bytes();
        let whole = all(&[text], 100);
        assert_eq!(whole.len(), 4);
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(all(&pieces, 100), whole, "{size}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_counted() {
        let text = b"short\nmuch too long a line\nnext\nlong at the end";
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            let lines = all(&pieces, 6);
            let expected = [(1, Some(Bytes::from("short"))), (2, None), (3, Some(Bytes::from("next"))), (4, None)];
            assert_eq!(lines, expected, "{size}");
        }
    }
}
