//! Items of a batch, which are read one by one: a mistake in one item is the result of that item. A batch whose changes have
//! all failed is a problem.

use axum::http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::value::RawValue;

use super::extract::parse_json;
use super::problem::{Location, Problem};
use super::reply::ItemError;
use crate::redis::Outcome;

/// An item of a list in a body, or the reason why it cannot be read.
#[derive(Debug)]
pub enum BatchItem<T> {
    Valid(T),
    Invalid { key: String, problem: Box<Problem> },
}

impl<T> BatchItem<T> {
    /// The item, unless it does not pass `check`, whose problem names the field as a pointer into the item.
    #[must_use]
    pub fn checked(self, check: impl Fn(&T) -> Result<(), Problem>) -> Self {
        match self {
            Self::Valid(item) => match check(&item) {
                Ok(()) => Self::Valid(item),
                Err(problem) => Self::Invalid { key: String::new(), problem: Box::new(problem) },
            },
            invalid @ Self::Invalid { .. } => invalid,
        }
    }

    /// Rejects a list of which no item is valid. An empty list is valid.
    ///
    /// # Errors
    /// The problem of the first item of the list `field`, naming the field of the item.
    pub fn require_valid(field: &str, items: &[Self]) -> Result<(), Problem> {
        let invalid = items.iter().enumerate().map_while(|(at, item)| match item {
            Self::Valid(_) => None,
            Self::Invalid { problem, .. } => Some((format!("/{field}/{at}"), &**problem)),
        });
        let invalid: Vec<_> = invalid.collect();
        if invalid.len() < items.len() { Ok(()) } else { all_failed(&invalid).map_or(Ok(()), Err) }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for BatchItem<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        Ok(match parse_json(text.as_bytes()) {
            Ok(item) => Self::Valid(item),
            Err(problem) => Self::Invalid { key: given_key(text), problem: Box::new(problem) },
        })
    }
}

/// The key that an invalid item names: the item itself, or its member `key`; empty if neither is text.
fn given_key(text: &str) -> String {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Item(String),
        Member { key: String },
    }

    match serde_json::from_str(text) {
        Ok(Given::Item(key) | Given::Member { key }) => key,
        Err(_) => String::new(),
    }
}

/// An item that does not run.
#[derive(Debug)]
pub struct InvalidItem {
    at: usize,
    key: String,
    problem: Box<Problem>,
}

/// The items of a list that can run, and the others.
#[derive(Debug)]
pub struct Separated<T> {
    pub valid: Vec<T>,
    pub invalid: Vec<InvalidItem>,
}

/// Separates the items that can be read and pass `check`, whose problem names the field as a pointer into the item.
pub fn separate<T>(
    items: Vec<BatchItem<T>>,
    key: impl Fn(&T) -> &str,
    check: impl Fn(&T) -> Result<(), Problem>,
) -> Separated<T> {
    let mut separated = Separated { valid: Vec::with_capacity(items.len()), invalid: Vec::new() };
    for (at, item) in items.into_iter().enumerate() {
        match item {
            BatchItem::Invalid { key, problem } => separated.invalid.push(InvalidItem { at, key, problem }),
            BatchItem::Valid(item) => match check(&item) {
                Ok(()) => separated.valid.push(item),
                Err(problem) => {
                    separated.invalid.push(InvalidItem { at, key: key(&item).to_owned(), problem: Box::new(problem) });
                }
            },
        }
    }
    separated
}

/// A batch whose valid items run.
#[derive(Debug)]
pub struct SeparatedBatch<Get, Set, Delete> {
    pub get: Separated<Get>,
    pub set: Separated<Set>,
    pub delete: Separated<Delete>,
}

impl<Get, Set, Delete> SeparatedBatch<Get, Set, Delete> {
    /// Rejects a batch of which no item can run. An empty batch is valid.
    ///
    /// # Errors
    /// The problem of the first item, naming its field.
    pub fn require_valid(self) -> Result<Self, Problem> {
        if !(self.get.valid.is_empty() && self.set.valid.is_empty() && self.delete.valid.is_empty()) {
            return Ok(self);
        }
        let lists = [("get", &self.get.invalid), ("set", &self.set.invalid), ("delete", &self.delete.invalid)];
        let invalid = lists.into_iter().flat_map(|(list, items)| items.iter().map(move |item| (list, item)));
        let invalid: Vec<_> = invalid.map(|(list, item)| (format!("/{list}/{}", item.at), &*item.problem)).collect();
        all_failed(&invalid).map_or(Ok(self), Err)
    }
}

/// Puts the results of the invalid items among those of the others, which are in the order of their items.
pub fn merge<R>(results: &mut Vec<R>, invalid: Vec<InvalidItem>, result: impl Fn(ItemResult) -> R) {
    for InvalidItem { at, key, problem } in invalid {
        let (status, error) = ItemError::of_problem(&problem);
        results.insert(at.min(results.len()), result(ItemResult { key, status, error }));
    }
}

/// The result of an item without any data.
#[derive(Debug)]
pub struct ItemResult {
    pub key: String,
    pub status: u16,
    pub error: ItemError,
}

/// The header that states how many changes of a batch have failed; absent if none has.
const FAILED: HeaderName = HeaderName::from_static("items-failed");

/// The most failed items that a problem lists.
const MAX_LISTED: usize = 100;

/// The errors of the results of a list, whose items change something.
pub fn errors_of<'a>(
    list: &'static str,
    errors: impl Iterator<Item = &'a Option<ItemError>>,
) -> impl Iterator<Item = ItemOutcome<'a>> {
    errors.enumerate().map(move |(at, error)| ItemOutcome { list, at, error: error.as_ref() })
}

/// What became of an item that changes something.
#[derive(Debug)]
pub struct ItemOutcome<'a> {
    list: &'static str,
    at: usize,
    error: Option<&'a ItemError>,
}

/// Judges the results of a batch. Returns the header with the number of failed items, if there are any.
///
/// # Errors
/// The problem of the first item, with the errors of all, if each has failed and the batch `has_read` nothing either. Its
/// outcome is that of the items, or unknown if they differ.
pub fn check_results<'a>(
    has_read: bool,
    results: impl IntoIterator<Item = ItemOutcome<'a>>,
) -> Result<Option<[(HeaderName, HeaderValue); 1]>, Problem> {
    let (mut failed, mut is_any_done) = (Vec::new(), has_read);
    for ItemOutcome { list, at, error } in results {
        match error {
            Some(error) if error.outcome != Outcome::Applied => failed.push((format!("/{list}/{at}"), error)),
            _ => is_any_done = true,
        }
    }
    let Some((_, first)) = failed.first() else { return Ok(None) };
    if is_any_done {
        return Ok(Some([(FAILED, HeaderValue::from(failed.len()))]));
    }
    let outcome = first.outcome;
    let is_same = failed.iter().all(|(_, error)| error.outcome == outcome);
    let problems: Vec<_> =
        failed.iter().filter_map(|(pointer, error)| Some((pointer.clone(), error.problem.as_deref()?))).collect();
    let problem = all_failed(&problems);
    problem.map_or(Ok(None), |problem| Err(problem.outcome(if is_same { outcome } else { Outcome::Unknown })))
}

/// The problem of a batch whose items have all failed: that of the first one, with the errors of the others. `None` without
/// items. Each item comes with its pointer.
fn all_failed(items: &[(String, &Problem)]) -> Option<Problem> {
    let ((pointer, first), others) = items.split_first()?;
    let with_text = |problem: Problem, pointer: &str, item: &Problem| {
        problem.violation(Location::Body, pointer, format!("{}: {}", item.kind().slug, item.text()))
    };
    let mut problem = Problem::clone(first).within(pointer);
    // The only item needs no list.
    if problem.violations().is_empty() && !others.is_empty() {
        problem = with_text(problem, pointer, first);
    }
    let others = others.iter().take(MAX_LISTED);
    Some(others.fold(problem, |problem, (pointer, other)| match other.violations().first() {
        Some(violation) if violation.location == Location::Body => {
            problem.violation(Location::Body, format!("{pointer}{}", violation.pointer), &violation.detail)
        }
        _ => with_text(problem, pointer, other),
    }))
}
