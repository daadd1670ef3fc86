//! Splits a body that arrives in pieces into lines.

use axum::body::Bytes;

/// Splits pieces into lines. A line within one piece is not copied; a line across pieces is assembled, up to the limit.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    piece: Bytes,
    /// The line that was returned last.
    line: Bytes,
    begun: Vec<u8>,
    /// Whether the current line is too long: the rest of it is skipped.
    skipping: bool,
    number: u64,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, piece: Bytes::new(), line: Bytes::new(), begun: Vec::new(), skipping: false, number: 0 }
    }

    /// Adds the next piece. The caller has taken all lines of the previous piece.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.piece = piece;
    }

    /// Returns the number of the next complete line, from 1, and its bytes without the line break; `None` if it was
    /// longer than the limit and was skipped.
    pub(super) fn next(&mut self) -> Option<(u64, Option<&[u8]>)> {
        let Some(end) = memchr::memchr(b'\n', &self.piece) else {
            self.keep_beginning();
            return None;
        };
        let tail = self.piece.split_to(end + 1);
        self.number += 1;
        if std::mem::take(&mut self.skipping) || self.begun.len() + end > self.limit {
            self.begun.clear();
            return Some((self.number, None));
        }
        self.line = if self.begun.is_empty() {
            tail
        } else {
            self.begun.extend_from_slice(&tail);
            Bytes::from(std::mem::take(&mut self.begun))
        };
        Some((self.number, Some(without_end(&self.line))))
    }

    /// Returns the last line, if it does not end with a line break.
    pub(super) fn finish(&mut self) -> Option<(u64, Option<&[u8]>)> {
        self.number += 1;
        if self.skipping {
            return Some((self.number, None));
        }
        if self.begun.is_empty() {
            return None;
        }
        self.line = Bytes::from(std::mem::take(&mut self.begun));
        Some((self.number, Some(without_end(&self.line))))
    }

    fn keep_beginning(&mut self) {
        let rest = std::mem::take(&mut self.piece);
        if self.skipping || self.begun.len() + rest.len() > self.limit {
            self.skipping = true;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(&rest);
        }
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]], limit: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(Bytes::copy_from_slice(piece));
            while let Some((number, line)) = lines.next() {
                out.push((number, line.map(<[u8]>::to_vec)));
            }
        }
        if let Some((number, line)) = lines.finish() {
            out.push((number, line.map(<[u8]>::to_vec)));
        }
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
            let expected = [(1, Some(b"short".to_vec())), (2, None), (3, Some(b"next".to_vec())), (4, None)];
            assert_eq!(lines, expected, "{size}");
        }
    }
}
