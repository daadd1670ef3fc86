//! Splits a body that arrives in pieces into lines.

/// Splits pieces into lines, of which it holds at most one that is not complete.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer.
    at: usize,
    /// Whether the current line is too long: the rest of it is skipped.
    skipping: bool,
    number: u64,
}

impl Lines {
    pub fn new(limit: usize) -> Self {
        Self { limit, buffer: Vec::new(), at: 0, skipping: false, number: 0 }
    }

    /// Adds the next piece. The caller has taken all lines of the previous piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(piece);
    }

    /// Returns the number of the next complete line that is not empty, from 1, and its bytes without the line break; `None` if
    /// it was longer than the limit and was skipped.
    pub fn next_line(&mut self) -> Option<(u64, Option<&[u8]>)> {
        if !self.skipping {
            self.skip_empty();
        }
        let start = self.at;
        let rest = self.buffer.get(start..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            self.skipping |= rest.len() > self.limit;
            if self.skipping {
                self.at = self.buffer.len();
            }
            return None;
        };
        self.at += end + 1;
        self.number += 1;
        let is_too_long = std::mem::take(&mut self.skipping) || end > self.limit;
        let line = self.buffer.get(start..start + end).unwrap_or_default();
        Some((self.number, (!is_too_long).then(|| without_return(line))))
    }

    /// Skips empty lines together, since a compressed body can have millions of them.
    fn skip_empty(&mut self) {
        loop {
            self.at += match self.buffer.get(self.at..) {
                Some([b'\n', ..]) => 1,
                Some([b'\r', b'\n', ..]) => 2,
                _ => return,
            };
            self.number += 1;
        }
    }

    /// Returns the last line, if it does not end with a line break.
    pub fn finish(&mut self) -> Option<(u64, Option<&[u8]>)> {
        let line = self.buffer.get(self.at..).unwrap_or_default();
        match (self.skipping, line.is_empty()) {
            (true, _) => Some((self.number + 1, None)),
            (false, true) => None,
            (false, false) => Some((self.number + 1, Some(without_return(line)))),
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]], limit: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let owned = |(number, line): (u64, Option<&[u8]>)| (number, line.map(<[u8]>::to_vec));
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        for piece in pieces {
            lines.push(piece);
            while let Some(line) = lines.next_line() {
                out.push(owned(line));
            }
        }
        out.extend(lines.finish().map(owned));
        out
    }

    #[test]
    fn lines_are_the_same_however_the_body_is_cut() {
        let text = "\na,1\r\n\n\r\nzweiundzwanzigé,2\nc,3".as_bytes();
        let whole = all(&[text], 100);
        // Empty lines count.
        assert_eq!(whole.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 5, 6]);
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
