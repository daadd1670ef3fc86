//! Items of a batch, which are read one by one: a mistake in one item is the result of that item.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::value::RawValue;

use super::extract::parse_json;
use super::problem::Problem;
use super::reply::ItemError;

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
        match items.first() {
            Some(Self::Invalid { problem, .. }) if !items.iter().any(|item| matches!(item, Self::Valid(_))) => {
                Err(problem.as_ref().clone().within(&format!("/{field}/0")))
            }
            _ => Ok(()),
        }
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
        let first = lists.into_iter().find_map(|(list, invalid)| Some((list, invalid.first()?)));
        let problem = first.map(|(list, item)| item.problem.clone().within(&format!("/{list}/{}", item.at)));
        problem.map_or(Ok(self), Err)
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
