//! A strict parser of JSON text (RFC 8259) that rejects repeated names and more than [`MAX_DEPTH`] levels.

use std::collections::HashSet;

use compact_str::CompactString;
use serde::de::IgnoredAny;

use super::number::{Number, number_length};
use super::{Members, Node};

/// The nesting of arrays and objects that a document may have.
pub(in super::super) const MAX_DEPTH: usize = 64;

/// Up to this number of members, a new name is compared with each of the others.
const FEW: usize = 16;

/// Why a text is not a valid document, and the position of the error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at line {line}, column {column}")]
pub(in super::super) struct ParseError {
    pub fault: Fault,
    pub line: usize,
    /// Counts bytes from 1.
    pub column: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Fault {
    #[error("{0}")]
    Syntax(&'static str),
    #[error("the name `{0}` is repeated in an object")]
    Duplicate(CompactString),
    #[error("the nesting exceeds {MAX_DEPTH} levels")]
    TooDeep,
}

impl Node {
    /// Parses one value, which may be surrounded by white space.
    ///
    /// # Errors
    /// [`ParseError`] if the text is not JSON, repeats a name, nests too deeply, or has a number beyond the range of
    /// 64-bit floats.
    pub(in super::super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        Self::parse_along(bytes, &[])
    }

    /// Parses only the value that the member `names` lead to, from the root down. Each object above that value gets
    /// only the named member.
    ///
    /// The other values are skipped, in a fifth of the time. They must be JSON, but their nesting, repeated names and
    /// large numbers are not checked.
    pub(in super::super) fn parse_along(bytes: &[u8], names: &[&str]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| located(bytes, error.valid_up_to(), Fault::Syntax("the text is not UTF-8")))?;
        let mut parser = JsonParser { text, at: 0 };
        parser.document(names).map_err(|fault| located(bytes, parser.at, fault))
    }
}

fn located(bytes: &[u8], at: usize, fault: Fault) -> ParseError {
    let before = bytes.get(..at).unwrap_or(bytes);
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    ParseError { fault, line, column }
}

const fn syntax<T>(message: &'static str) -> Result<T, Fault> {
    Err(Fault::Syntax(message))
}

struct JsonParser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> JsonParser<'a> {
    fn document(&mut self, names: &[&str]) -> Result<Node, Fault> {
        let node = self.value(0, names)?;
        match self.peek() {
            None => Ok(node),
            Some(_) => syntax("unexpected text after the value"),
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += blank;
        rest.get(blank).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next value; see [`Node::parse_along`].
    fn value(&mut self, depth: usize, names: &[&str]) -> Result<Node, Fault> {
        match self.peek() {
            None => syntax("expected a value, but the text ends"),
            Some(b'"') => self.string().map(Node::String),
            Some(b'{') => self.object(nested(depth)?, names),
            Some(b'[') => self.array(nested(depth)?),
            Some(b't') => self.word("true", Node::Bool(true)),
            Some(b'f') => self.word("false", Node::Bool(false)),
            Some(b'n') => self.word("null", Node::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => syntax("expected a value"),
        }
    }

    fn word(&mut self, word: &str, node: Node) -> Result<Node, Fault> {
        if !self.rest().starts_with(word) {
            return syntax("expected a value");
        }
        self.at += word.len();
        Ok(node)
    }

    fn number(&mut self) -> Result<Node, Fault> {
        let rest = self.rest();
        let Some(text) = number_length(rest.as_bytes()).and_then(|length| rest.get(..length)) else {
            return syntax("the number does not follow JSON's grammar");
        };
        let number = Number::of_text(text);
        if !number.is_finite() {
            return syntax("the number is out of range");
        }
        self.at += text.len();
        Ok(Node::Number(number))
    }

    /// The items or members up to `close`, separated by commas.
    fn separated(
        &mut self,
        close: u8,
        expected: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.at += 1;
        let mut next = self.peek();
        while next != Some(close) {
            item(self)?;
            next = self.peek();
            match next {
                Some(b',') => self.at += 1,
                Some(byte) if byte == close => {}
                _ => return syntax(expected),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut items = Vec::new();
        self.separated(b']', "expected `,` or `]`", |parser| {
            items.push(parser.value(depth, &[])?);
            Ok(())
        })?;
        // Growing gives room for four items at least, which multiplies the memory of many small arrays.
        items.shrink_to_fit();
        Ok(Node::Array(items))
    }

    fn object(&mut self, depth: usize, names: &[&str]) -> Result<Node, Fault> {
        let mut members = Members::new();
        let mut seen = HashSet::new();
        self.separated(b'}', "expected `,` or `}`", |parser| {
            if parser.peek() != Some(b'"') {
                return syntax("expected a name in quotes");
            }
            let begin = parser.at;
            let name = parser.string()?;
            if is_known(&members, &mut seen, &name) {
                parser.at = begin;
                return Err(Fault::Duplicate(name));
            }
            if parser.peek() != Some(b':') {
                return syntax("expected `:`");
            }
            parser.at += 1;
            match names {
                [] => members.push((name, parser.value(depth, &[])?)),
                [wanted, further @ ..] if name == *wanted => members.push((name, parser.value(depth, further)?)),
                _ => parser.skip_value()?,
            }
            Ok(())
        })?;
        members.shrink_to_fit();
        Ok(Node::Object(members))
    }

    fn skip_value(&mut self) -> Result<(), Fault> {
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<IgnoredAny>();
        let Some(Ok(_)) = values.next() else { return syntax("expected a value") };
        self.at += values.byte_offset();
        Ok(())
    }

    fn string(&mut self) -> Result<CompactString, Fault> {
        self.at += 1;
        let mut unescaped = CompactString::const_new("");
        loop {
            let rest = self.rest();
            let plain = rest.bytes().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1F)).count();
            let run = rest.get(..plain).unwrap_or_default();
            self.at += plain;
            match rest.as_bytes().get(plain) {
                Some(b'"') => {
                    self.at += 1;
                    if unescaped.is_empty() {
                        return Ok(CompactString::new(run));
                    }
                    unescaped.push_str(run);
                    return Ok(unescaped);
                }
                Some(b'\\') => {
                    unescaped.push_str(run);
                    let character = self.escape()?;
                    unescaped.push(character);
                }
                Some(_) => return syntax("a control character must be escaped in a string"),
                None => return syntax("the text ends inside a string"),
            }
        }
    }

    /// The character that an escape sequence represents.
    fn escape(&mut self) -> Result<char, Fault> {
        let letter = self.rest().as_bytes().get(1).copied();
        let character = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{C}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return syntax("unknown escape sequence"),
        };
        self.at += 2;
        Ok(character)
    }

    /// `\uXXXX`, or two of these that form a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, Fault> {
        let first = self.four_digits()?;
        let is_high_surrogate = (0xD800..0xDC00).contains(&first);
        let second = if is_high_surrogate && self.rest().starts_with("\\u") { Some(self.four_digits()?) } else { None };
        match char::decode_utf16([first].into_iter().chain(second)).next() {
            Some(Ok(character)) => Ok(character),
            _ => syntax("expected a complete surrogate pair"),
        }
    }

    fn four_digits(&mut self) -> Result<u16, Fault> {
        let digits = self.rest().get(2..6).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(code) = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) else {
            return syntax("expected four hexadecimal digits after `\\u`");
        };
        self.at += 6;
        Ok(code)
    }
}

/// The character that the escape sequence at the start of a text represents, and the length of the sequence.
pub(in super::super) fn unescape(text: &str) -> Option<(char, usize)> {
    let mut parser = JsonParser { text, at: 0 };
    parser.escape().ok().map(|character| (character, parser.at))
}

fn nested(depth: usize) -> Result<usize, Fault> {
    if depth == MAX_DEPTH { Err(Fault::TooDeep) } else { Ok(depth + 1) }
}

/// Whether an object has a member of this name. `seen` holds all names once there are more than [`FEW`].
fn is_known(members: &Members, seen: &mut HashSet<CompactString>, name: &CompactString) -> bool {
    if members.len() < FEW {
        return members.iter().any(|(known, _)| known == name);
    }
    if seen.is_empty() {
        seen.extend(members.iter().map(|(known, _)| known.clone()));
    }
    !seen.insert(name.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> String {
        Node::parse(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn invalid_json_is_rejected_with_the_position() {
        for (text, message) in [
            ("", "expected a value, but the text ends at line 1, column 1"),
            ("{\"a\":1,\n \"a\":2}", "the name `a` is repeated in an object at line 2, column 2"),
            ("[1,]", "expected a value at line 1, column 4"),
            ("[1 2]", "expected `,` or `]` at line 1, column 4"),
            ("{\"a\"}", "expected `:` at line 1, column 5"),
            ("{a:1}", "expected a name in quotes at line 1, column 2"),
            ("{\"a\":1,}", "expected a name in quotes at line 1, column 8"),
            ("1 2", "unexpected text after the value at line 1, column 3"),
            ("01", "the number does not follow JSON's grammar at line 1, column 1"),
            ("1e999", "the number is out of range at line 1, column 1"),
            ("nul", "expected a value at line 1, column 1"),
            ("\"a", "the text ends inside a string at line 1, column 3"),
            ("\"\t\"", "a control character must be escaped in a string at line 1, column 2"),
            ("\"\\x\"", "unknown escape sequence at line 1, column 2"),
            ("\"\\u12g4\"", "expected four hexadecimal digits after `\\u` at line 1, column 2"),
            ("\"\\ud800\"", "expected a complete surrogate pair at line 1, column 8"),
            ("\"\\udc00\\ud800\"", "expected a complete surrogate pair at line 1, column 8"),
        ] {
            assert_eq!(fault(text), message, "{text}");
        }
        assert!(Node::parse(b"\"\xFF\"").is_err());
        assert!(fault(&"[".repeat(1_000_000)).starts_with("the nesting exceeds 64 levels"));
        let names: Vec<String> = (0..40).chain([20]).map(|n| format!("\"n{n}\":0")).collect();
        assert!(fault(&format!("{{{}}}", names.join(","))).starts_with("the name `n20` is repeated"));
    }

    #[test]
    fn a_document_is_written_as_it_was_read() {
        for text in [
            "{\"z\":1.50,\"a\":[1e2,-0,123456789012345678901234567890,0.1000],\"m\":null}",
            "\"\\u001f\\u0000\\b\\f\\n\\r\\t\\\"\\\\/é😀\"",
            "[true,false,{},[],\"\"]",
        ] {
            assert_eq!(Node::parse(text.as_bytes()).expect(text).to_text(), text);
        }
        let spelled = " { \"\\u00e9\\/\" : \"\\ud83d\\ude00\" , \"b\" :[ 1 , 2 ] }\r\n";
        assert_eq!(Node::parse(spelled.as_bytes()).expect("JSON").to_text(), "{\"é/\":\"😀\",\"b\":[1,2]}");
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(Node::parse(deep.as_bytes()).expect("deep").to_text(), deep);
    }

    proptest! {
        #[test]
        fn it_accepts_what_serde_json_accepts(text in "[\\[\\]{}\",:\\\\ntruefalsu0-9.eE+ \\-aé]{0,24}") {
            let ours = Node::parse(text.as_bytes());
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match (&ours, &theirs) {
                (Ok(node), Ok(value)) => {
                    let again: serde_json::Value = serde_json::from_str(&node.to_text()).expect("JSON");
                    prop_assert_eq!(&again, value);
                }
                (Err(ParseError { fault: Fault::Duplicate(_), .. }), Ok(_)) | (Err(_), Err(_)) => {}
                _ => prop_assert!(false, "{text}: {ours:?}, serde_json: {theirs:?}"),
            }
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(node) = Node::parse(&bytes) {
                prop_assert_eq!(Node::parse(node.to_text().as_bytes()).expect("JSON"), node);
            }
        }
    }
}
