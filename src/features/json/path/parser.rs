//! A recursive-descent parser of paths. White space is allowed between all parts.

use std::cmp::Ordering;

use compact_str::CompactString;

use super::super::document::{Node, Number, number_length, unescape};
use super::filter::{Comparison, Compiled, Condition, Operand};
use super::{MAX_NESTING, PathError, Segment, Selector};

/// Parses a legacy path: `.`, `.a`, `a` and `["a"]` are `$`, `$.a`, `$.a` and `$.["a"]`.
pub(super) fn legacy(text: &str) -> Result<Vec<Segment>, PathError> {
    if text == "." {
        return Ok(Vec::new());
    }
    if text.starts_with('.') {
        return after_root(text, 0);
    }
    let mut parser = PathParser { text, at: 0, nesting: 0 };
    let first = Segment { descends: false, selector: parser.dotted()? };
    let mut segments = vec![first];
    segments.extend(parser.segments()?);
    parser.end()?;
    Ok(segments)
}

/// Parses the segments from byte `at` to the end.
pub(super) fn after_root(text: &str, at: usize) -> Result<Vec<Segment>, PathError> {
    let mut parser = PathParser { text, at, nesting: 0 };
    let segments = parser.segments()?;
    parser.end()?;
    Ok(segments)
}

struct PathParser<'a> {
    text: &'a str,
    at: usize,
    nesting: usize,
}

/// Whether a byte can be part of a bare name. Characters beyond ASCII need no quotes.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte >= 0x80
        || matches!(byte, b'_' | b'`' | b'~' | b'+' | b'#' | b'%' | b'$' | b'^' | b'/' | b':' | b'-')
}

impl PathParser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.rest().as_bytes();
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        let next = rest.get(blank).copied();
        self.at += blank;
        next
    }

    /// Consumes `token` if it is next.
    fn take(&mut self, token: &str) -> bool {
        self.peek();
        let is_next = self.rest().starts_with(token);
        if is_next {
            self.at += token.len();
        }
        is_next
    }

    fn require(&mut self, token: &str, expected: &'static str) -> Result<(), PathError> {
        if self.take(token) { Ok(()) } else { Err(self.wrong(expected)) }
    }

    fn wrong(&self, expected: &'static str) -> PathError {
        PathError::Syntax { expected, at: self.at }
    }

    fn end(&mut self) -> Result<(), PathError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong("`.`, `[` or the end")),
        }
    }

    fn segments(&mut self) -> Result<Vec<Segment>, PathError> {
        let mut segments = Vec::new();
        loop {
            let (descends, selector) = match self.peek() {
                Some(b'[') => (false, self.bracketed()?),
                Some(b'.') => {
                    let descends = self.take("..");
                    if !descends {
                        self.at += 1;
                    }
                    (descends, self.dotted()?)
                }
                _ => return Ok(segments),
            };
            segments.push(Segment { descends, selector });
        }
    }

    /// The selector after a dot.
    fn dotted(&mut self) -> Result<Selector, PathError> {
        match self.peek() {
            Some(b'[') => self.bracketed(),
            Some(b'*') => {
                self.at += 1;
                Ok(Selector::All)
            }
            Some(byte) if is_name_byte(byte) => {
                let rest = self.rest();
                let length = rest.bytes().take_while(|byte| is_name_byte(*byte)).count();
                let name = CompactString::new(rest.get(..length).unwrap_or_default());
                self.at += length;
                Ok(Selector::Names(vec![name]))
            }
            _ => Err(self.wrong("a name, `*` or `[`")),
        }
    }

    fn bracketed(&mut self) -> Result<Selector, PathError> {
        self.at += 1;
        let selector = match self.peek() {
            Some(b'*') => {
                self.at += 1;
                Selector::All
            }
            Some(b'\'' | b'"') => {
                let mut names = vec![self.quoted()?];
                while self.take(",") {
                    names.push(self.quoted()?);
                }
                Selector::Names(names)
            }
            Some(b'?') => {
                self.at += 1;
                Selector::Filter(Box::new(self.condition()?))
            }
            Some(b':') => self.slice(None)?,
            Some(b'-' | b'0'..=b'9') => {
                let first = self.integer()?;
                if self.peek() == Some(b':') {
                    self.slice(Some(first))?
                } else {
                    let mut indexes = vec![first];
                    while self.take(",") {
                        indexes.push(self.integer()?);
                    }
                    Selector::Indexes(indexes)
                }
            }
            _ => return Err(self.wrong("a name in quotes, an index, a slice, `*` or `?`")),
        };
        self.require("]", "`]`")?;
        Ok(selector)
    }

    fn slice(&mut self, start: Option<i64>) -> Result<Selector, PathError> {
        self.require(":", "`:`")?;
        let end = self.bound()?;
        let mut step = 1;
        if self.take(":") {
            self.peek();
            let at = self.at;
            let given = self.bound()?.unwrap_or(1);
            step = usize::try_from(given).unwrap_or(0);
            if step == 0 {
                return Err(PathError::Syntax { expected: "a step of at least 1", at });
            }
        }
        Ok(Selector::Slice { start, end, step })
    }

    fn bound(&mut self) -> Result<Option<i64>, PathError> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.integer().map(Some),
            _ => Ok(None),
        }
    }

    fn integer(&mut self) -> Result<i64, PathError> {
        self.peek();
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest.bytes().skip(sign).take_while(u8::is_ascii_digit).count();
        let text = rest.get(..sign + digits).unwrap_or_default();
        let has_leading_zero = digits > 1 && text.as_bytes().get(sign) == Some(&b'0');
        match text.parse() {
            Ok(number) if !has_leading_zero => {
                self.at += text.len();
                Ok(number)
            }
            _ => Err(self.wrong("a whole number")),
        }
    }

    /// Text in single or double quotes, with JSON's escapes and `\'`.
    fn quoted(&mut self) -> Result<CompactString, PathError> {
        let Some(quote @ (b'\'' | b'"')) = self.peek() else { return Err(self.wrong("text in quotes")) };
        self.at += 1;
        let mut text = CompactString::const_new("");
        loop {
            let rest = self.rest();
            let plain = rest.bytes().take_while(|byte| *byte != quote && *byte != b'\\').count();
            text.push_str(rest.get(..plain).unwrap_or_default());
            let next = rest.as_bytes().get(plain).copied();
            self.at += plain;
            match next {
                Some(b'\\') => {
                    let escape = self.rest();
                    let apostrophe = escape.starts_with("\\'").then_some(('\'', 2));
                    let (character, length) =
                        apostrophe.or_else(|| unescape(escape)).ok_or_else(|| self.wrong("a JSON escape"))?;
                    text.push(character);
                    self.at += length;
                }
                Some(_) => {
                    self.at += 1;
                    return Ok(text);
                }
                None => return Err(self.wrong("a closing quote")),
            }
        }
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, PathError>) -> Result<T, PathError> {
        if self.nesting == MAX_NESTING {
            return Err(PathError::TooDeep);
        }
        self.nesting += 1;
        let result = read(self);
        self.nesting -= 1;
        result
    }

    fn condition(&mut self) -> Result<Condition, PathError> {
        self.nested(|parser| {
            let mut any = vec![parser.conjunction()?];
            while parser.take("||") {
                any.push(parser.conjunction()?);
            }
            Ok(if any.len() == 1 { any.remove(0) } else { Condition::Any(any) })
        })
    }

    fn conjunction(&mut self) -> Result<Condition, PathError> {
        let mut all = vec![self.single_condition()?];
        while self.take("&&") {
            all.push(self.single_condition()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::All(all) })
    }

    fn single_condition(&mut self) -> Result<Condition, PathError> {
        if self.take("(") {
            let condition = self.condition()?;
            self.require(")", "`)`, `&&` or `||`")?;
            return Ok(condition);
        }
        let left = self.operand()?;
        if self.take("=~") {
            let pattern = self.operand()?;
            return Ok(Condition::Matches(left, pattern, Compiled::default()));
        }
        // Longer tokens first.
        let comparisons: [(&str, Comparison); 6] = [
            ("==", |order| order == Some(Ordering::Equal)),
            ("!=", |order| order != Some(Ordering::Equal)),
            ("<=", |order| order.is_some_and(Ordering::is_le)),
            (">=", |order| order.is_some_and(Ordering::is_ge)),
            ("<", |order| order == Some(Ordering::Less)),
            (">", |order| order == Some(Ordering::Greater)),
        ];
        for (token, accepts) in comparisons {
            if self.take(token) {
                return Ok(Condition::Compares(left, accepts, self.operand()?));
            }
        }
        Ok(Condition::Exists(left))
    }

    fn operand(&mut self) -> Result<Operand, PathError> {
        match self.peek() {
            Some(start @ (b'@' | b'$')) => {
                self.at += 1;
                self.nested(Self::segments).map(if start == b'@' { Operand::Current } else { Operand::Root })
            }
            Some(b'\'' | b'"') => self.quoted().map(|text| Operand::Literal(Node::String(text))),
            Some(b'-' | b'0'..=b'9') => {
                let rest = self.rest();
                let length = number_length(rest.as_bytes()).unwrap_or(0);
                let number = Number::parse(rest.get(..length).unwrap_or_default());
                self.at += length;
                number.map(|number| Operand::Literal(Node::Number(number))).ok_or_else(|| self.wrong("a number"))
            }
            _ => {
                for (word, node) in [("true", Node::Bool(true)), ("false", Node::Bool(false)), ("null", Node::Null)] {
                    if self.take(word) {
                        return Ok(Operand::Literal(node));
                    }
                }
                Err(self.wrong("`@`, `$`, text in quotes, a number, true, false, null or `(`"))
            }
        }
    }
}
