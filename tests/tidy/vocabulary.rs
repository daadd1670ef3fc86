//! The words of the source and of the documents are those of the field, in plain English.

use std::collections::BTreeMap;

use crate::assert_none;
use crate::tree::{File, files};

/// Type names so general that a second type of the name would confuse: each may be defined once in the crate.
const DEFINED_ONCE: &[&str] = &[
    "Access", "Answer", "Backend", "Batch", "Decision", "Hold", "Look", "Place", "Request", "Stored", "Terms",
    "Verdict", "Wish",
];

/// Words and phrases that are not idiomatic, with what to write instead. Matched as whole words, in lower case.
const AVOIDED: &[(&str, &str)] = &[
    ("nobody", "no client, no caller, or the passive voice"),
    ("somebody", "another client"),
    ("whoever", "the client that"),
    ("for ever", "forever, permanently"),
    ("reckon", "calculate"),
    ("reckoned", "calculated"),
    ("reckons", "calculates"),
    ("anew", "again"),
    ("heed", "use, respect"),
    ("heeds", "uses, respects"),
    ("heeded", "used, respected"),
    ("unheeded", "ignored"),
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("in clear", "in plain text"),
    ("redis is away", "Redis is unavailable"),
    ("must not stand", "must not occur, must not be repeated"),
    ("stands there", "exists"),
    ("stands under", "is stored under"),
    ("stand under", "are stored under"),
    ("what stands", "the stored value, the content"),
    ("old news", "stale"),
    ("in vain", "discarded"),
    ("also when", "even if"),
    ("also not", "not even"),
    ("in the same moment", "at the same time"),
    ("of one's own", "a dedicated ..."),
    ("from now on", "from this point"),
    ("is no time", "is not a valid time"),
    ("at a sitting", "-"),
    ("new life", "a new TTL"),
    ("so to speak", "-"),
    ("thereby", "by this, so"),
    ("therein", "in it"),
    ("whereof", "of which"),
];

/// How a docstring must not begin: it is read alone.
const OPENINGS: &[&str] = &["The same", "As [`", "As above", "Likewise", "Same as", "See above", "Ditto"];

const TEXTS: &[&str] = &[".rs", ".lua", ".md", ".toml"];

fn texts() -> Vec<File> {
    let mut all = Vec::new();
    for folder in ["src", "migrations-lua", "docs", "config", "benches", "examples"] {
        all.extend(files(folder, TEXTS));
    }
    all.extend(files("", &["README.md", "CONTRIBUTING.md"]).into_iter().filter(|file| !file.path.contains('/')));
    all
}

#[test]
fn texts_use_the_words_of_the_field() {
    let mut violations = Vec::new();
    for file in texts() {
        for (number, line) in file.text.lines().enumerate() {
            let line = line.to_lowercase();
            for (word, instead) in AVOIDED.iter().filter(|(word, _)| has_word(&line, word)) {
                violations.push(format!("{}:{}: \"{word}\": write {instead}", file.path, number + 1));
            }
        }
    }
    assert_none(
        &violations,
        "Write what a native engineer would write. The list is AVOIDED in tests/tidy/vocabulary.rs.",
    );
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    line.match_indices(word)
        .any(|(at, _)| !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next()))
}

#[test]
fn a_docstring_makes_sense_when_read_alone() {
    let mut violations = Vec::new();
    for file in files("src", &[".rs"]) {
        let mut previous = "";
        for (number, line) in file.text.lines().enumerate() {
            let text = line.trim_start();
            let is_first = !previous.starts_with("///") && !previous.starts_with("//!");
            let docstring = text.strip_prefix("/// ").or_else(|| text.strip_prefix("//! "));
            if let Some(docstring) = docstring.filter(|_| is_first || previous == "///" || previous == "/// # Errors")
                && OPENINGS.iter().any(|opening| docstring.starts_with(opening))
            {
                violations.push(format!("{}:{}: {text}", file.path, number + 1));
            }
            previous = text;
        }
    }
    assert_none(&violations, "Say what it is or does, instead of pointing at the docstring before it.");
}

#[test]
fn general_type_names_are_defined_once() {
    let mut definitions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in files("src", &[".rs"]) {
        for line in file.text.lines() {
            if let Some(name) = defined_type(line)
                && let Some(name) = DEFINED_ONCE.iter().find(|known| **known == name)
            {
                definitions.entry(name).or_default().push(file.path.clone());
            }
        }
    }
    let violations: Vec<String> = definitions
        .iter()
        .filter(|(_, paths)| paths.len() > 1)
        .map(|(name, paths)| format!("{name}: {}", paths.join(", ")))
        .collect();
    assert_none(&violations, "One word has one meaning across the crate: use a more specific name.");
}

/// The name in `pub(super) struct Name<T> {` and the like.
fn defined_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = if line.starts_with("pub(") { line.split_once(')')?.1 } else { line.trim_start_matches("pub ") };
    let mut words = line.split_whitespace();
    let kind = words.next()?;
    let name = words.next().filter(|_| ["struct", "enum", "type", "trait"].contains(&kind))?;
    name.split(|letter: char| !letter.is_alphanumeric()).next()
}

#[test]
fn words_and_types_are_recognised() {
    assert!(has_word("it stands there.", "stands there") && !has_word("amend", "mend"));
    assert_eq!(defined_type("    pub(in super::super) struct Place<'a> {"), Some("Place"));
    assert_eq!(defined_type("pub(super) struct Place<'a> {"), Some("Place"));
    assert_eq!(defined_type("let place = Place::new();"), None);
}
