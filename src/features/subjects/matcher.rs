//! Whether a text contains an id of the subject, as a whole word.

use std::collections::{BTreeSet, HashSet};

use crate::features::audit::api::KeyRing;
use crate::redis::unescape;

/// The shortest id, and the shortest one of digits only: a shorter number would be found in other data.
const MIN_ID: usize = 3;
const MIN_DIGITS: usize = 8;
const MAX_ID: usize = 128;

/// What separates the words of names, members and JSON.
fn is_separator(character: char) -> bool {
    matches!(character, ':' | '{' | '}' | '[' | ']' | '|' | '/' | '"' | '\'' | ',' | ';' | '=' | '\\')
        || character <= ' '
}

/// Checks that an id can be found without finding something else.
///
/// # Errors
/// The rule that it violates.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
    let least = if is_number { MIN_DIGITS } else { MIN_ID };
    if id.len() < least || id.len() > MAX_ID {
        return Err(format!("must have {MIN_ID} to {MAX_ID} bytes, and at least {MIN_DIGITS} if it is a number"));
    }
    if id.chars().any(|character| is_separator(character) || character == '%' || character.is_control()) {
        return Err("must not contain spaces, `%` or separators such as `:`".to_owned());
    }
    Ok(())
}

/// The ids that are looked for.
#[derive(Clone, Debug)]
pub(super) enum Ids {
    Plain(BTreeSet<String>),
    /// Their pseudonyms: a tombstone does not contain the id.
    Pseudonyms(KeyRing, HashSet<String>),
}

/// The ids, and the series that belong to the subject because of their labels.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    ids: Ids,
    series: HashSet<String>,
}

impl Matcher {
    pub(super) fn new(ids: Ids) -> Self {
        Self { ids, series: HashSet::new() }
    }

    pub(super) fn own_series(&mut self, name: String) {
        self.series.insert(name);
    }

    pub(super) fn series(&self) -> impl Iterator<Item = &String> {
        self.series.iter()
    }

    /// Whether the text contains an id, or names a series of the subject.
    pub(super) fn finds(&self, text: &str) -> bool {
        text.split(is_separator).any(|word| self.is_id(word)) || text.split('\0').any(|part| self.series.contains(part))
    }

    /// Whether a name of a key, without the configured prefix, contains an id or is that of a series of the subject.
    pub(super) fn names(&self, name: &str) -> bool {
        let name = unescape(name);
        if name.split(is_separator).any(|word| self.is_id(word)) {
            return true;
        }
        let inner =
            name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(name.as_str(), |(inner, _)| inner);
        self.series.contains(inner) || inner.strip_prefix("ts:").is_some_and(|series| self.series.contains(series))
    }

    fn is_id(&self, word: &str) -> bool {
        match &self.ids {
            Ids::Plain(ids) => ids.contains(word),
            Ids::Pseudonyms(ring, known) => {
                (MIN_ID..=MAX_ID).contains(&word.len()) && ring.pseudonyms(word).any(|name| known.contains(&name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_as_a_whole_word_only() {
        let matcher = Matcher::new(Ids::Plain(BTreeSet::from(["ann".to_owned()])));
        for text in ["user:profile:ann", "cache:lease:{user:profile:ann}", "{\"user\":\"ann\"}", "user\0ann\0s"] {
            assert!(matcher.finds(text), "{text}");
        }
        for text in ["user:profile:anna", "joann", "ann-marie", ""] {
            assert!(!matcher.finds(text), "{text}");
        }
    }

    #[test]
    fn a_series_of_the_subject_is_found_by_all_of_its_keys() {
        let mut matcher = Matcher::new(Ids::Plain(BTreeSet::new()));
        matcher.own_series("energy:generation:m1".to_owned());
        matcher.own_series("power".to_owned());
        for name in ["energy:generation:m1", "ts:head:{energy:generation:m1}", "ts:power", "ts:chunks:{ts:power}"] {
            assert!(matcher.names(name), "{name}");
        }
        assert!(!matcher.names("ts:powers") && matcher.finds("label\0value\0power"));
    }

    #[test]
    fn an_id_that_would_find_other_data_is_refused() {
        for id in ["", "ab", "1234567", "a:bcd", "a b c", "a%20b", &"x".repeat(129)] {
            assert!(check_id(id).is_err(), "{id}");
        }
        for id in ["ann", "12345678", "ann@example.org", "0b5e-77"] {
            check_id(id).expect("an id");
        }
    }
}
