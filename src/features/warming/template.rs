//! Templates of cache keys, such as `user:profile:{id:uuid}`, in both directions.

use std::collections::BTreeMap;

/// The most parts of a template: more would make its queries unreadable.
const MAX_PARTS: usize = 4;

/// A key with typed parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Fixed(String),
    Part(PartSpec),
}

/// The name and the type of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PartSpec {
    pub name: String,
    pub kind: PartKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartKind {
    /// Text without colons and control characters.
    Text,
    Int8,
    Bool,
    Uuid,
}

/// The values of a key's parts, by name.
pub(super) type Parts = BTreeMap<String, String>;

impl PartKind {
    /// Whether a text is the one way in which a value of this type is written.
    fn accepts(self, text: &str) -> bool {
        match self {
            Self::Text => !text.is_empty() && !text.contains(|c: char| c == ':' || c.is_control()),
            Self::Int8 => text.parse::<i64>().is_ok_and(|number| number.to_string() == text),
            Self::Bool => text == "true" || text == "false",
            Self::Uuid => is_uuid(text),
        }
    }
}

/// 8-4-4-4-12 lower-case hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

impl Template {
    /// Parses a template. It begins with fixed text, and fixed text lies between two parts.
    ///
    /// # Errors
    /// The rule that it violates.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (fixed, part) = rest.split_once('{').map_or((rest, None), |(fixed, part)| (fixed, Some(part)));
            if fixed.contains('}') {
                return Err("has a `}` without a `{`".to_owned());
            }
            if fixed.is_empty() && part.is_some() {
                return Err("must have fixed text before each part".to_owned());
            }
            if !fixed.is_empty() {
                pieces.push(Piece::Fixed(fixed.to_owned()));
            }
            let Some(part) = part else { break };
            let (spec, after) = part.split_once('}').ok_or("has a `{` without a `}`")?;
            pieces.push(Piece::Part(part_spec(spec)?));
            rest = after;
        }
        let template = Self { text: text.to_owned(), pieces };
        let names: Vec<&str> = template.parts().map(|part| part.name.as_str()).collect();
        if template.pieces.is_empty() {
            return Err("must not be empty".to_owned());
        }
        if names.len() > MAX_PARTS {
            return Err(format!("must have at most {MAX_PARTS} parts, got {}", names.len()));
        }
        if names.iter().enumerate().any(|(at, name)| names.iter().take(at).any(|earlier| earlier == name)) {
            return Err("must not name a part twice".to_owned());
        }
        Ok(template)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The text before the first part; all keys begin with it.
    pub(super) fn prefix(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Fixed(text)) => text,
            _ => "",
        }
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &PartSpec> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Part(spec) => Some(spec),
            Piece::Fixed(_) => None,
        })
    }

    /// The key with these parts; `None` if one is missing, or not of its type.
    #[cfg(any(feature = "postgres", test))]
    pub(super) fn print(&self, parts: &Parts) -> Option<String> {
        let mut key = String::with_capacity(self.text.len() + 32);
        for piece in &self.pieces {
            match piece {
                Piece::Fixed(text) => key.push_str(text),
                Piece::Part(spec) => key.push_str(parts.get(&spec.name).filter(|text| spec.kind.accepts(text))?),
            }
        }
        // A part whose text looks like the fixed text behind it would be read back differently.
        (self.read(&key).as_ref() == Some(parts)).then_some(key)
    }

    /// The parts of a key; `None` if it is not one of this template.
    pub(super) fn read(&self, key: &str) -> Option<Parts> {
        let (mut parts, mut rest) = (Parts::new(), key);
        for (at, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Fixed(text) => rest = rest.strip_prefix(text.as_str())?,
                Piece::Part(spec) => {
                    let end = match self.pieces.get(at + 1) {
                        Some(Piece::Fixed(next)) => rest.find(next.as_str())?,
                        _ => rest.len(),
                    };
                    let (text, after) = rest.split_at_checked(end)?;
                    if !spec.kind.accepts(text) {
                        return None;
                    }
                    parts.insert(spec.name.clone(), text.to_owned());
                    rest = after;
                }
            }
        }
        rest.is_empty().then_some(parts)
    }
}

fn part_spec(text: &str) -> Result<PartSpec, String> {
    let (name, kind) = text.split_once(':').unwrap_or((text, "text"));
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if !is_name {
        return Err(format!("must name its parts with a-z and _, got `{name}`"));
    }
    let kind = match kind {
        "text" => PartKind::Text,
        "int8" => PartKind::Int8,
        "bool" => PartKind::Bool,
        "uuid" => PartKind::Uuid,
        other => return Err(format!("has a part of the unknown type `{other}`: use text, int8, bool or uuid")),
    };
    Ok(PartSpec { name: name.to_owned(), kind })
}

/// Replaces `{name}` in a text by the part of a key, changed by `encode`. Returns `None` if there is no such part.
pub(super) fn fill(text: &str, parts: &Parts, encode: impl Fn(&str) -> String) -> Option<String> {
    let (mut filled, mut rest) = (String::with_capacity(text.len() + 32), text);
    while let Some((fixed, part)) = rest.split_once('{') {
        let (name, after) = part.split_once('}')?;
        filled.push_str(fixed);
        filled.push_str(&encode(parts.get(name)?));
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(pairs: &[(&str, &str)]) -> Parts {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_key_is_read_back_as_it_was_printed() {
        let template = Template::parse("price:history:{symbol}:{range}").expect("a template");
        let given = parts(&[("range", "1d"), ("symbol", "GRX/USD")]);
        assert_eq!(template.print(&given).as_deref(), Some("price:history:GRX/USD:1d"));
        assert_eq!(template.read("price:history:GRX/USD:1d"), Some(given));
        for key in ["price:history:a", "price:history:a:b:c", "price:history::b", "other:a:b", "price:history:a:\n"] {
            assert_eq!(template.read(key), None, "{key}");
        }
    }

    #[test]
    fn values_have_one_spelling() {
        let template = Template::parse("a:{id:int8}").expect("a template");
        for (text, is_valid) in
            [("7", true), ("-7", true), ("07", false), ("+7", false), ("9223372036854775808", false)]
        {
            assert_eq!(template.read(&format!("a:{text}")).is_some(), is_valid, "{text}");
        }
        let template = Template::parse("a:{id:uuid}").expect("a template");
        assert!(template.read("a:00000000-0000-4000-8000-00000000000a").is_some());
        assert!(template.read("a:00000000-0000-4000-8000-00000000000A").is_none());
    }

    #[test]
    fn a_wrong_template_is_explained() {
        for (text, rule) in [
            ("", "empty"),
            ("{id}", "fixed text"),
            ("a:{x}{y}", "fixed text"),
            ("a:{id", "without a `}`"),
            ("a:id}", "without a `{`"),
            ("a:{id:float}", "unknown type"),
            ("a:{Id}", "a-z"),
            ("a:{x}:{x}", "twice"),
            ("a:{a}:{b}:{c}:{d}:{e}", "at most 4"),
        ] {
            let error = Template::parse(text).expect_err(text);
            assert!(error.contains(rule), "{text}: {error}");
        }
    }

    #[test]
    fn text_is_filled_with_parts() {
        let given = parts(&[("id", "a/b")]);
        assert_eq!(fill("x/{id}/y", &given, |part| part.replace('/', "%2F")).as_deref(), Some("x/a%2Fb/y"));
        assert_eq!(fill("x/{other}", &given, str::to_owned), None);
    }

    proptest! {
        #[test]
        fn printing_and_reading_are_inverse(symbol in "\\PC{1,12}", id in any::<i64>()) {
            let template = Template::parse("m:{symbol}-x:{id:int8}").expect("a template");
            let given = parts(&[("symbol", &symbol), ("id", &id.to_string())]);
            if let Some(key) = template.print(&given) {
                prop_assert!(key.starts_with("m:"));
                prop_assert_eq!(template.read(&key), Some(given));
            }
        }

        #[test]
        fn what_is_read_is_printed_as_the_same_key(key in "m:\\PC{0,20}") {
            let template = Template::parse("m:{a}:{b}").expect("a template");
            if let Some(parts) = template.read(&key) {
                prop_assert_eq!(template.print(&parts), Some(key));
            }
        }
    }
}
