//! Splits a body that arrives in pieces into lines.

/// Which line breaks end a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineBreaks {
    All,
    /// All but those in the text of a field, which is in quotes: `InfluxDB`'s line protocol.
    OutsideTexts,
}

/// Splits pieces into lines, of which it holds at most one that is not complete.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    breaks: LineBreaks,
    /// What has been read of the current line, if texts may contain line breaks.
    scan: TextScan,
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer.
    at: usize,
    /// Whether the current line is too long: the rest of it is skipped.
    skipping: bool,
    number: u64,
}

impl Lines {
    pub fn new(limit: usize) -> Self {
        Self::with_breaks(limit, LineBreaks::All)
    }

    pub fn with_breaks(limit: usize, breaks: LineBreaks) -> Self {
        Self { limit, breaks, scan: TextScan::default(), buffer: Vec::new(), at: 0, skipping: false, number: 0 }
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
            self.scan = TextScan::default();
        }
        let start = self.at;
        let rest = self.buffer.get(start..).unwrap_or_default();
        let end = match self.breaks {
            LineBreaks::All => memchr::memchr(b'\n', rest),
            LineBreaks::OutsideTexts => self.scan.end(rest),
        };
        let Some(end) = end else {
            self.skipping |= rest.len() > self.limit;
            if self.skipping {
                self.at = self.buffer.len();
            }
            return None;
        };
        self.at += end + 1;
        let number = self.number + 1;
        self.number = number + self.scan.breaks;
        let is_too_long = std::mem::take(&mut self.skipping) || end > self.limit;
        let line = self.buffer.get(start..start + end).unwrap_or_default();
        Some((number, (!is_too_long).then(|| without_return(line))))
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

/// Where a line of `InfluxDB`'s line protocol has been read to. A text follows the `=` of a field; a backslash escapes a quote
/// in it.
#[derive(Debug, Default)]
struct TextScan {
    part: Part,
    previous: u8,
    /// The line breaks in the texts of the line.
    breaks: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Part {
    #[default]
    Start,
    Comment,
    /// The measurement and the tags.
    Names,
    Fields,
    Text {
        is_escaped: bool,
    },
}

impl TextScan {
    /// The position of the line break that ends the line. The bytes continue those of the last call.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        if matches!(self.part, Part::Start)
            && let Some(end) = memchr::memchr2(b'\n', b'"', bytes)
            && bytes.get(end) == Some(&b'\n')
        {
            return Some(end);
        }
        bytes.iter().position(|byte| self.ends_with(*byte))
    }

    /// Reads a byte, and returns whether it ends the line.
    fn ends_with(&mut self, byte: u8) -> bool {
        let previous = std::mem::replace(&mut self.previous, byte);
        self.part = match (self.part, byte) {
            (Part::Text { is_escaped: false }, b'"') => Part::Fields,
            (Part::Text { is_escaped }, _) => {
                self.breaks += u64::from(byte == b'\n');
                Part::Text { is_escaped: byte == b'\\' && !is_escaped }
            }
            (_, b'\n') => return true,
            (Part::Start, b'#') => Part::Comment,
            (Part::Start, byte) if !byte.is_ascii_whitespace() => Part::Names,
            (Part::Names, b' ') if previous != b'\\' => Part::Fields,
            (Part::Fields, b'"') if previous == b'=' => Part::Text { is_escaped: false },
            (part, _) => part,
        };
        false
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]], limit: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        split(pieces, Lines::new(limit))
    }

    fn split(pieces: &[&[u8]], mut lines: Lines) -> Vec<(u64, Option<Vec<u8>>)> {
        let owned = |(number, line): (u64, Option<&[u8]>)| (number, line.map(<[u8]>::to_vec));
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

    #[test]
    fn a_line_break_in_a_text_does_not_end_the_line() {
        let lines =
            ["m f=\"a\nb\",g=1", "# a \"comment", "m,t=\"a f=1", "m f=\"a\\\"\n\\\\\" 5", "m\\ n,t=\" f=2", "m f=3"];
        let expected: Vec<_> = lines.iter().zip([1, 3, 4, 5, 7, 8]).collect();
        let text = lines.join("\n");
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let read = split(&pieces, Lines::with_breaks(100, LineBreaks::OutsideTexts));
            let read: Vec<_> = read
                .into_iter()
                .map(|(number, line)| (String::from_utf8(line.expect("a line")).expect("UTF-8"), number))
                .collect();
            let read: Vec<_> = read.iter().map(|(line, number)| (line, *number)).collect();
            assert!(
                read.iter()
                    .map(|(line, number)| (line.as_str(), *number))
                    .eq(expected.iter().map(|(line, number)| (**line, *number))),
                "{size}: {read:?}"
            );
        }
    }

    #[test]
    fn no_part_of_a_text_that_is_too_long_is_a_line() {
        let text = b"m f=\"long text\nm f=1\nm f=2\"\nm f=3";
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            let lines = split(&pieces, Lines::with_breaks(10, LineBreaks::OutsideTexts));
            assert_eq!(lines, [(1, None), (4, Some(b"m f=3".to_vec()))], "{size}");
        }
    }
}
