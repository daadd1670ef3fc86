//! JSON paths in `RedisJSON`'s dialect.
//!
//! A path that is `$`, or starts with `$.` or `$[`, selects a list of values. Every other path has the legacy form:
//! `.a.b`, `a.b` and `["a"]` select what `$.a.b` and `$["a"]` select, but only the first value of it.
//!
//! | part | selects |
//! |---|---|
//! | `.name`, `["name"]`, `["a","b"]` | members; a bare name has letters, digits, `_-+:/#%$^~` and backquotes |
//! | `[0]`, `[-1]`, `[0,2]` | items; a negative index before the start means the first item |
//! | `[1:5:2]` | items from, to (exclusive), and a step above 0 |
//! | `*`, `[*]` | all members or items |
//! | `..` | the values that the next part selects at every level |
//! | `[?(@.a > 1 && $.b == "x")]` | members or items for which a condition holds, see [`filter`] |
//!
//! Source of the dialect: recorded answers of `RedisJSON` 8.0 and 8.8 (`tests/golden/json_*.json`).

mod filter;
mod parser;
mod select;

use compact_str::CompactString;
use serde::Deserialize;

use filter::Condition;
pub(super) use select::TooManyVisits;

/// The longest path, bytes. The API document states this limit.
const MAX_LENGTH: usize = 1_024;

/// How deep conditions can nest, in parentheses or in the paths of conditions.
const MAX_NESTING: usize = 16;

/// A parsed path. The default selects the whole document.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Path {
    text: String,
    is_legacy: bool,
    segments: Vec<Segment>,
}

/// One step from values to their members or items.
#[derive(Clone, Debug)]
struct Segment {
    /// Whether the step also starts at every value below (`..`).
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

/// Why a text is not a valid path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("must have at most {MAX_LENGTH} bytes, got {0}")]
    TooLong(usize),
    /// `at` counts bytes from 0.
    #[error("must be a JSON path: expected {expected} at position {at}")]
    Syntax { expected: &'static str, at: usize },
    #[error("must not nest filters more than {MAX_NESTING} levels deep")]
    TooDeep,
}

impl Path {
    /// # Errors
    /// [`PathError`], whose text names the position.
    pub(super) fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_LENGTH {
            return Err(PathError::TooLong(text.len()));
        }
        let is_legacy = text != "$" && !text.starts_with("$.") && !text.starts_with("$[");
        let segments = if is_legacy { parser::legacy(text)? } else { parser::after_root(text, 1)? };
        Ok(Self { text: text.to_owned(), is_legacy, segments })
    }

    /// The path `["name"]`, which selects one member of the document.
    pub(super) fn of_member(name: &str) -> Self {
        let mut text = b"[".to_vec();
        super::document::write_string(name, &mut text);
        text.push(b']');
        let segment = Segment { descends: false, selector: Selector::Names(vec![name.into()]) };
        Self { text: String::from_utf8_lossy(&text).into_owned(), is_legacy: true, segments: vec![segment] }
    }

    /// The path as the caller wrote it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path has the legacy form and so selects one value instead of a list.
    pub(super) fn is_legacy(&self) -> bool {
        self.is_legacy
    }

    /// The member names at the start of the path. The path needs only the part of a document below them.
    pub(super) fn leading_names(&self) -> Vec<&str> {
        // Conditions can refer to the whole document.
        if self.has_filter() {
            return Vec::new();
        }
        self.segments.iter().map_while(Segment::name).collect()
    }

    /// Whether the path needs few visits in a small document: at most one of its parts selects several values.
    pub(super) fn is_cheap(&self) -> bool {
        let selects_one = |segment: &Segment| {
            segment.name().is_some()
                || (!segment.descends && matches!(&segment.selector, Selector::Indexes(indexes) if indexes.len() == 1))
        };
        !self.has_filter() && self.segments.iter().filter(|segment| !selects_one(segment)).count() <= 1
    }

    /// Whether the path has conditions, and so reveals something about the values that it searches for.
    pub(super) fn has_filter(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment.selector, Selector::Filter(_)))
    }

    pub(super) fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    /// The member that a path to exactly one member names: the path to its parent, and its name.
    ///
    /// # Errors
    /// Why the path cannot name a new member.
    pub(super) fn new_member(&self) -> Result<(Self, &str), &'static str> {
        let is_index = |segment: &Segment| {
            !segment.descends && matches!(&segment.selector, Selector::Indexes(indexes) if indexes.len() == 1)
        };
        match self.segments.split_last() {
            Some((last, before)) if self.segments.iter().all(|part| part.name().is_some() || is_index(part)) => {
                let parent = Self { text: String::new(), is_legacy: self.is_legacy, segments: before.to_vec() };
                last.name().map(|name| (parent, name)).ok_or("the array does not have this item")
            }
            _ => Err(NOT_ONE_MEMBER),
        }
    }
}

const NOT_ONE_MEMBER: &str = "the path selects nothing and does not name exactly one new member";

impl Default for Path {
    fn default() -> Self {
        Self { text: "$".to_owned(), is_legacy: false, segments: Vec::new() }
    }
}

impl TryFrom<String> for Path {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl Segment {
    /// The name of the member that the segment selects, if it selects exactly one member by name.
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
    use super::super::work::WorkBudget;
    use super::*;

    const TEXT: &[u8] = br#"{"a":[{"a":1,"b":"x"},[2,3]],"b":{"a":null,"b":[true]}}"#;

    /// A budget of this many visits.
    fn visits(visits: usize) -> WorkBudget {
        WorkBudget::new(visits, usize::MAX)
    }

    fn select(path: &str, document: &str) -> String {
        let path = Path::parse(path).expect(path);
        let document = Node::parse(document.as_bytes()).expect("JSON");
        let found = path.select(&document, &visits(10_000)).expect("few visits");
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
    fn descent_lists_children_before_grandchildren() {
        assert_eq!(select("$..*", r#"{"a":[1,[2]],"b":3}"#), "[[1,[2]],3,1,[2],2]");
        assert_eq!(select("$..a", r#"{"x":{"a":1},"a":{"a":2}}"#), r#"[{"a":2},1,2]"#);
    }

    #[test]
    fn an_invalid_path_is_rejected_with_the_position() {
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
            match Path::parse(text).expect_err(text) {
                PathError::Syntax { at: found, .. } => assert_eq!(found, at, "{text}"),
                other => panic!("{text}: {other}"),
            }
        }
        let long = format!("$.{}", "a".repeat(MAX_LENGTH));
        assert_eq!(Path::parse(&long).expect_err("long"), PathError::TooLong(MAX_LENGTH + 2));
        let deep = format!("$[?(@{}", "[?(@".repeat(20));
        assert!(matches!(Path::parse(&deep), Err(PathError::TooDeep)));
        assert!(matches!(Path::parse(&format!("$[?{}", "(".repeat(60))), Err(PathError::TooDeep)));
    }

    #[test]
    fn a_path_that_would_visit_too_many_values_fails() {
        let document = Node::parse(format!("[{}]", vec!["[0,0,0]"; 50].join(",")).as_bytes()).expect("JSON");
        let path = Path::parse("$..*..*..*").expect("a path");
        assert_eq!(path.select(&document, &visits(100)).expect_err("too many"), TooManyVisits { limit: 100 });
        assert!(path.select(&document, &visits(10_000)).is_ok());
    }

    #[test]
    fn the_paths_of_a_request_share_their_visits() {
        let document = Node::parse(b"[1,2,3]").expect("JSON");
        let (path, work) = (Path::parse("$[*]").expect("a path"), visits(10));
        assert!(path.select(&document, &work).is_ok() && path.select(&document, &work).is_ok());
        assert_eq!(path.select(&document, &work), Err(TooManyVisits { limit: 10 }));
    }

    #[test]
    fn locations_cost_visits_by_their_depth() {
        let document = Node::parse(format!("{}1,2,3{}", "[".repeat(60), "]".repeat(60)).as_bytes()).expect("JSON");
        let path = Path::parse(&"[0]".repeat(59).replacen("[0]", "$[0]", 1)).expect("a path");
        assert!(path.select(&document, &visits(500)).is_ok());
        assert!(path.locate(&document, &visits(500)).is_err());
    }

    #[test]
    fn a_path_with_one_part_of_several_values_is_cheap() {
        for (path, is_cheap) in [
            ("$", true),
            ("$.a[0].b", true),
            ("$.a[*].b", true),
            ("$..a", true),
            ("$[*][*]", false),
            ("$[?(@.a)]", false),
        ] {
            assert_eq!(Path::parse(path).expect(path).is_cheap(), is_cheap, "{path}");
        }
    }

    #[test]
    fn only_a_path_to_one_member_can_create_it() {
        for (path, expected) in [
            ("$", Err(NOT_ONE_MEMBER)),
            (".", Err(NOT_ONE_MEMBER)),
            ("$.a", Ok((0, "a"))),
            (".a[1].b", Ok((2, "b"))),
            ("$.a[1]", Err("the array does not have this item")),
            ("$.a[*].b", Err(NOT_ONE_MEMBER)),
            ("$..b", Err(NOT_ONE_MEMBER)),
            ("$['a','b']", Err(NOT_ONE_MEMBER)),
        ] {
            let parsed = Path::parse(path).expect(path);
            let found = parsed.new_member().map(|(parent, name)| (parent.segments.len(), name));
            assert_eq!(found, expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = Path::parse(&text);
        }

        /// Pieces of paths in any order. Many form valid paths, and each of those stays within its visits.
        #[test]
        fn every_path_terminates(pieces in proptest::collection::vec(piece(), 0..12), root in "[$.]?") {
            let text = format!("{root}{}", pieces.concat());
            if let Ok(path) = Path::parse(&text) {
                let document = Node::parse(TEXT).expect("JSON");
                let along = Node::parse_along(TEXT, &path.leading_names()).expect("JSON");
                let of_less = path.select(&along, &visits(500));
                if let (Ok(of_all), Ok(of_less)) = (path.select(&document, &visits(500)), of_less) {
                    prop_assert_eq!(of_all, of_less);
                }
                let selected = path.select(&document, &visits(500)).map(|found| found.len());
                let located = path.locate(&document, &visits(500)).map(|found| found.len());
                match (selected, located) {
                    (Ok(selected), Ok(located)) => prop_assert!(located <= selected),
                    // Locations cost more than values.
                    (selected, located) => prop_assert!(selected.is_ok() || located.is_err()),
                }
            }
        }
    }

    fn piece() -> impl Strategy<Value = &'static str> {
        const PIECES: &str = ". .. * a b [ ] 0 -1 : , 'a' \"b\" ? ( ) @ $ == != < >= =~ && || true null 1.5 .a [*] [0] \
                              ..a [?(@.a)] [?@.b=='x'] [::2] ['a','b'] \\ \\u00 é";
        proptest::sample::select(PIECES.split(' ').chain([" "]).collect::<Vec<_>>())
    }
}
