//! JSON paths in RedisJSON's dialect.
//!
//! A path that is `$`, or starts with `$.` or `$[`, selects a list of values. Every other path is of the legacy form:
//! `.a.b`, `a.b`, `["a"]` mean what `$.a.b` and so on do, but stand for one value, the first.
//!
//! | part | selects |
//! |---|---|
//! | `.name`, `["name"]`, `["a","b"]` | members; a bare name has letters, digits, `_-+:/#%$^~` and backquotes |
//! | `[0]`, `[-1]`, `[0,2]` | items; a negative index before the start means the first item |
//! | `[1:5:2]` | items from, to (exclusive), in steps above 0 |
//! | `*`, `[*]` | all members or items |
//! | `..` | what the next part selects at every level |
//! | `[?(@.a > 1 && $.b == "x")]` | members or items for which a condition holds, see [`filter`] |
//!
//! Source of the dialect: recorded answers of RedisJSON 8.0 and 8.8 (`tests/golden/json_*.json`).

mod filter;
mod parser;
mod select;

use compact_str::CompactString;

use filter::Condition;
pub(super) use select::TooManyVisits;

/// A path, ready to be applied to documents.
#[derive(Clone, Debug)]
pub(super) struct Path {
    text: String,
    is_legacy: bool,
    segments: Vec<Segment>,
}

/// One step from values to values below them.
#[derive(Clone, Debug)]
struct Segment {
    /// Whether it is taken from every value below as well (`..`).
    descends: bool,
    selector: Selector,
}

#[derive(Clone, Debug)]
enum Selector {
    All,
    Names(Vec<CompactString>),
    Indexes(Vec<i64>),
    Slice { start: Option<i64>, end: Option<i64>, step: usize },
    Filter(Box<Condition>),
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("has {length} bytes; at most {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    /// `at` counts bytes from 0.
    #[error("is no path: {expected} is expected at position {at}")]
    Syntax { expected: &'static str, at: usize },
    #[error("nests filters more than {limit} deep")]
    TooDeep { limit: usize },
}

/// The last part of a path whose parts each select at most one value.
#[derive(Debug)]
pub(super) enum Leaf<'a> {
    /// The path is the root.
    Root,
    /// A member of what `parent` selects.
    Member { parent: Path, name: &'a CompactString },
    /// An item of an array.
    Item,
}

impl Path {
    /// Reads a path of at most `limit` bytes.
    ///
    /// # Errors
    /// [`PathError`], whose text names the place.
    pub(super) fn parse(text: &str, limit: usize) -> Result<Self, PathError> {
        if text.len() > limit {
            return Err(PathError::TooLong { length: text.len(), limit });
        }
        let is_legacy = text != "$" && !text.starts_with("$.") && !text.starts_with("$[");
        let segments = if is_legacy { parser::legacy(text)? } else { parser::after_root(text, 1)? };
        Ok(Self { text: text.to_owned(), is_legacy, segments })
    }

    /// `$`, the whole document.
    pub(super) fn root() -> Self {
        Self { text: "$".to_owned(), is_legacy: false, segments: Vec::new() }
    }

    /// `["name"]`, one member of the document, as one value.
    pub(super) fn of_member(name: &str) -> Self {
        let mut text = b"[".to_vec();
        super::document::write_string(name, &mut text);
        text.push(b']');
        let segment = Segment { descends: false, selector: Selector::Names(vec![name.into()]) };
        Self { text: String::from_utf8_lossy(&text).into_owned(), is_legacy: true, segments: vec![segment] }
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it stands for one value instead of a list.
    pub(super) fn is_legacy(&self) -> bool {
        self.is_legacy
    }

    /// The names of the members that lie on the way to everything it selects: all that it looks at of a document is below
    /// them.
    pub(super) fn leading_names(&self) -> Vec<&str> {
        // Conditions may look at the whole document.
        if self.has_filter() {
            return Vec::new();
        }
        self.segments.iter().map_while(Segment::name).collect()
    }

    /// Whether it has conditions, and so says something of the values it looks for.
    pub(super) fn has_filter(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment.selector, Selector::Filter(_)))
    }

    pub(super) fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// What a value that is not there yet would be; `None` when the path may select several.
    pub(super) fn leaf(&self) -> Option<Leaf<'_>> {
        let is_single = |segment: &Segment| match &segment.selector {
            _ if segment.descends => false,
            Selector::Names(names) => names.len() == 1,
            Selector::Indexes(indexes) => indexes.len() == 1,
            _ => false,
        };
        if !self.segments.iter().all(is_single) {
            return None;
        }
        let Some((last, before)) = self.segments.split_last() else { return Some(Leaf::Root) };
        let parent = Self { text: String::new(), is_legacy: self.is_legacy, segments: before.to_vec() };
        match &last.selector {
            Selector::Names(names) => names.first().map(|name| Leaf::Member { parent, name }),
            _ => Some(Leaf::Item),
        }
    }
}

impl Segment {
    /// The member that it selects, if it is one by its name.
    fn name(&self) -> Option<&str> {
        match (&self.selector, self.descends) {
            (Selector::Names(names), false) if names.len() == 1 => names.first().map(CompactString::as_str),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::document::Node;
    use super::*;

    const LIMIT: usize = 256;
    const TEXT: &[u8] = br#"{"a":[{"a":1,"b":"x"},[2,3]],"b":{"a":null,"b":[true]}}"#;

    fn select(path: &str, document: &str) -> String {
        let path = Path::parse(path, LIMIT).expect(path);
        let document = Node::parse(document.as_bytes()).expect("JSON");
        let found = path.select(&document, 10_000).expect("few visits");
        Node::Array(found.into_iter().cloned().collect()).to_text()
    }

    #[test]
    fn members_and_items_are_selected() {
        let document = r#"{"a b":1,"l":[10,20,30,40],"é":2,"o":{"l":[1]},"k:1/2":3}"#;
        for (path, found) in [
            ("$", format!("[{document}]").as_str()),
            ("$.l[1]", "[20]"),
            ("$.l[-1]", "[40]"),
            ("$.l[-99]", "[10]"),
            ("$.l[99]", "[]"),
            ("$.l[0,99,-1,0]", "[10,40,10]"),
            ("$.l[1:]", "[20,30,40]"),
            ("$.l[:-3]", "[10]"),
            ("$.l[::3]", "[10,40]"),
            ("$.l[3:1]", "[]"),
            ("$.l[ 1 : 3 ]", "[20,30]"),
            ("$['a b','nope',\"é\"]", "[1,2]"),
            ("$.é", "[2]"),
            ("$.k:1/2", "[3]"),
            ("$..l[0]", "[10,1]"),
            ("$.o.*", "[[1]]"),
            ("$.o.[\"l\"].[0]", "[1]"),
            ("$. o .l ", "[[1]]"),
            ("$.l.x", "[]"),
            ("$[0]", "[]"),
            (".o.l", "[[1]]"),
            ("o.l", "[[1]]"),
            ("[\"a b\"]", "[1]"),
        ] {
            assert_eq!(select(path, document), found, "{path}");
        }
    }

    #[test]
    fn descent_lists_a_value_s_children_before_theirs() {
        assert_eq!(select("$..*", r#"{"a":[1,[2]],"b":3}"#), "[[1,[2]],3,1,[2],2]");
        assert_eq!(select("$..a", r#"{"x":{"a":1},"a":{"a":2}}"#), r#"[{"a":2},1,2]"#);
    }

    #[test]
    fn what_is_no_path_is_refused_with_its_place() {
        for (text, at) in [
            ("$.", 2),
            ("$[", 2),
            ("$..", 3),
            ("$...a", 3),
            ("$.a b", 4),
            ("$.a!", 3),
            ("$.l[01]", 4),
            ("$.l[1.5]", 5),
            ("$.l[::0]", 6),
            ("$.l[5::-1]", 7),
            ("$.l['a", 6),
            ("$.l[a]", 4),
            ("$[?(@.a>)]", 8),
            ("$[?(!@.a)]", 4),
            ("$[?(@.a=5)]", 7),
            ("$[(@.a)]", 2),
            ("", 0),
            ("@.a", 0),
            ("a..", 3),
        ] {
            match Path::parse(text, LIMIT).expect_err(text) {
                PathError::Syntax { at: found, .. } => assert_eq!(found, at, "{text}"),
                other => panic!("{text}: {other}"),
            }
        }
        let long = format!("$.{}", "a".repeat(LIMIT));
        assert_eq!(
            Path::parse(&long, LIMIT).expect_err("long"),
            PathError::TooLong { length: LIMIT + 2, limit: LIMIT }
        );
        let deep = format!("$[?(@{}", "[?(@".repeat(20));
        assert!(matches!(Path::parse(&deep, LIMIT), Err(PathError::TooDeep { .. })));
        assert!(matches!(Path::parse(&format!("$[?{}", "(".repeat(60)), LIMIT), Err(PathError::TooDeep { .. })));
    }

    #[test]
    fn a_path_that_would_visit_too_much_is_given_up() {
        let document = Node::parse(format!("[{}]", vec!["[0,0,0]"; 50].join(",")).as_bytes()).expect("JSON");
        let path = Path::parse("$..*..*..*", LIMIT).expect("a path");
        assert_eq!(path.select(&document, 100).expect_err("too many"), TooManyVisits { limit: 100 });
        assert!(path.select(&document, 10_000).is_ok());
    }

    #[test]
    fn only_a_path_to_one_member_can_be_made() {
        let leaf = |text: &str| match Path::parse(text, LIMIT).expect(text).leaf() {
            None => "several".to_owned(),
            Some(Leaf::Root) => "root".to_owned(),
            Some(Leaf::Item) => "item".to_owned(),
            Some(Leaf::Member { parent, name }) => format!("{name} of {}", parent.segments.len()),
        };
        for (path, expected) in [
            ("$", "root"),
            (".", "root"),
            ("$.a", "a of 0"),
            (".a[1].b", "b of 2"),
            ("$.a[1]", "item"),
            ("$.a[*].b", "several"),
            ("$..b", "several"),
            ("$['a','b']", "several"),
        ] {
            assert_eq!(leaf(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_fail(text in any::<String>()) {
            let _ = Path::parse(&text, LIMIT);
        }

        /// Pieces of paths in any order: many are paths, and each ends within its visits.
        #[test]
        fn every_path_comes_to_an_end(pieces in proptest::collection::vec(piece(), 0..12), root in "[$.]?") {
            let text = format!("{root}{}", pieces.concat());
            if let Ok(path) = Path::parse(&text, LIMIT) {
                let document = Node::parse(TEXT).expect("JSON");
                let along = Node::parse_along(TEXT, &path.leading_names()).expect("JSON");
                if let (Ok(of_all), Ok(of_less)) = (path.select(&document, 500), path.select(&along, 500)) {
                    prop_assert_eq!(of_all, of_less);
                }
                let selected = path.select(&document, 500).map(|found| found.len());
                let located = path.locate(&document, 500).map(|found| found.len());
                match (selected, located) {
                    (Ok(selected), Ok(located)) => prop_assert!(located <= selected),
                    (selected, located) => prop_assert_eq!(selected.is_err(), located.is_err()),
                }
            }
        }
    }

    fn piece() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec![
            ".",
            "..",
            "*",
            "a",
            "b",
            "[",
            "]",
            "0",
            "-1",
            ":",
            ",",
            "'a'",
            "\"b\"",
            "?",
            "(",
            ")",
            "@",
            "$",
            "==",
            "!=",
            "<",
            ">=",
            "=~",
            "&&",
            "||",
            "true",
            "null",
            "1.5",
            " ",
            ".a",
            "[*]",
            "[0]",
            "..a",
            "[?(@.a)]",
            "[?@.b=='x']",
            "[::2]",
            "['a','b']",
            "\\",
            "\\u00",
            "é",
        ])
    }
}
