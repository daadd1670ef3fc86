//! JSON Patch (RFC 6902).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::pointer::{Pointer, index, position};
use super::{Answer, Bounds, ChangeError, Changed};
use crate::features::json::document::{MAX_DEPTH, Node, depth, text_length};

/// Operations that are made in order, all or none.
#[derive(Clone, Debug)]
pub(in super::super) struct Patch(Vec<Operation>);

#[derive(Clone, Debug)]
enum Operation {
    Add { path: Pointer, value: Node },
    Remove { path: Pointer },
    Replace { path: Pointer, value: Node },
    Move { from: Pointer, path: Pointer },
    Copy { from: Pointer, path: Pointer },
    Test { path: Pointer, value: Node },
}

/// A patch as it is written. Members that an operation does not define are ignored (RFC 6902, section 4).
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(in super::super) struct PatchForm(Vec<OperationForm>);

#[derive(Debug, Deserialize)]
struct OperationForm {
    op: Op,
    path: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default, deserialize_with = "given")]
    value: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

/// A `null` that was written is a value, not an absent one.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// What is wrong with a patch, and where: a JSON pointer into it.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct PatchFault {
    pub pointer: String,
    pub rule: String,
}

impl PatchForm {
    /// Reads its pointers and values; at most `limit` operations are taken.
    ///
    /// # Errors
    /// The first [`PatchFault`].
    pub(in super::super) fn read(self, limit: usize) -> Result<Patch, PatchFault> {
        if self.0.len() > limit {
            let rule = format!("has {} operations; at most {limit} are allowed", self.0.len());
            return Err(PatchFault { pointer: String::new(), rule });
        }
        self.0.into_iter().enumerate().map(|(at, form)| form.read(at)).collect::<Result<_, _>>().map(Patch)
    }
}

impl OperationForm {
    fn read(self, at: usize) -> Result<Operation, PatchFault> {
        let fault = |field: &str, rule: String| PatchFault { pointer: format!("/{at}/{field}"), rule };
        let pointer = |field: &str, text: &str| Pointer::parse(text).map_err(|rule| fault(field, rule.to_owned()));
        let path = pointer("path", &self.path)?;
        let from = || match &self.from {
            Some(text) => pointer("from", text),
            None => Err(fault("from", "is missing".to_owned())),
        };
        let value = || match &self.value {
            Some(raw) => Node::parse(raw.get().as_bytes()).map_err(|error| fault("value", error.to_string())),
            None => Err(fault("value", "is missing".to_owned())),
        };
        Ok(match self.op {
            Op::Add => Operation::Add { path, value: value()? },
            Op::Remove => Operation::Remove { path },
            Op::Replace => Operation::Replace { path, value: value()? },
            Op::Move => Operation::Move { from: from()?, path },
            Op::Copy => Operation::Copy { from: from()?, path },
            Op::Test => Operation::Test { path, value: value()? },
        })
    }
}

impl Patch {
    /// # Errors
    /// [`ChangeError::PatchFailed`] naming the operation that does not fit the document.
    pub(super) fn apply(&self, mut document: Node, bounds: Bounds) -> Result<Changed, ChangeError> {
        let mut copied = 0;
        let mut is_different = false;
        for (at, operation) in self.0.iter().enumerate() {
            let failed = |reason: &str| ChangeError::PatchFailed { at, reason: reason.to_owned() };
            if let Operation::Copy { from, .. } = operation {
                copied += from.find(&document).map_or(0, text_length);
                bounds.allow(1, copied)?;
            }
            operation.apply(&mut document).map_err(|reason| match reason {
                Misfit::Reason(reason) => failed(reason),
                Misfit::TooDeep => ChangeError::TooDeep,
            })?;
            is_different |= !matches!(operation, Operation::Test { .. });
        }
        Ok(Changed { document: Some(document), answer: Answer::Stored { created: false }, is_different })
    }
}

/// Why an operation does not fit the document.
enum Misfit {
    Reason(&'static str),
    TooDeep,
}

const NOTHING_THERE: Misfit = Misfit::Reason("there is nothing at this path");

impl Operation {
    fn apply(&self, document: &mut Node) -> Result<(), Misfit> {
        match self {
            Self::Add { path, value } => add(document, path, value.clone()),
            Self::Remove { path } => remove(document, path).map(|_| ()),
            Self::Replace { path, value } => {
                check_depth(path, value)?;
                *target(document, path)? = value.clone();
                Ok(())
            }
            Self::Move { from, path } if from.contains(path) => {
                Err(Misfit::Reason("a value cannot be moved into itself"))
            }
            Self::Move { from, path } => {
                let value = remove(document, from)?;
                add(document, path, value)
            }
            Self::Copy { from, path } => {
                let value = from.find(document).ok_or(NOTHING_THERE)?.clone();
                add(document, path, value)
            }
            Self::Test { path, value } => match path.find(document) {
                Some(found) if found == value => Ok(()),
                Some(_) => Err(Misfit::Reason("the value is another one")),
                None => Err(NOTHING_THERE),
            },
        }
    }
}

/// Documents nest no deeper than 64 levels at any time, so that walking them needs little stack.
fn check_depth(path: &Pointer, value: &Node) -> Result<(), Misfit> {
    if path.levels() + depth(value) > MAX_DEPTH { Err(Misfit::TooDeep) } else { Ok(()) }
}

fn target<'d>(document: &'d mut Node, path: &Pointer) -> Result<&'d mut Node, Misfit> {
    if path.levels() == 0 {
        return Ok(document);
    }
    let (parent, name) = path.parent(document).ok_or(NOTHING_THERE)?;
    let at = position(parent, name).ok_or(NOTHING_THERE)?;
    parent.child_mut(at).ok_or(NOTHING_THERE)
}

fn add(document: &mut Node, path: &Pointer, value: Node) -> Result<(), Misfit> {
    check_depth(path, &value)?;
    if path.levels() == 0 {
        *document = value;
        return Ok(());
    }
    let (parent, name) = path.parent(document).ok_or(Misfit::Reason("there is nothing to add to"))?;
    match parent {
        Node::Array(items) => {
            let at = if name == "-" { Some(items.len()) } else { index(name) };
            let at = at.filter(|at| *at <= items.len());
            items.insert(at.ok_or(Misfit::Reason("the array has no such index"))?, value);
        }
        Node::Object(members) => match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, member)) => *member = value,
            None => members.push((name.into(), value)),
        },
        _ => return Err(Misfit::Reason("there is no array or object to add to")),
    }
    Ok(())
}

fn remove(document: &mut Node, path: &Pointer) -> Result<Node, Misfit> {
    if path.levels() == 0 {
        return Err(Misfit::Reason("the whole document cannot be removed by a patch"));
    }
    let (parent, name) = path.parent(document).ok_or(NOTHING_THERE)?;
    let at = position(parent, name).ok_or(NOTHING_THERE)?;
    match parent {
        Node::Array(items) if at < items.len() => Ok(items.remove(at)),
        Node::Object(members) => Ok(members.remove(at).1),
        _ => Err(NOTHING_THERE),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { document: 10_000, visits: 1_000 };

    /// Operations that are mostly well-formed, on pointers that mostly lead somewhere.
    fn operation() -> impl Strategy<Value = String> {
        let op = proptest::sample::select(vec!["add", "remove", "replace", "move", "copy", "test", "spam"]);
        let pointer =
            proptest::sample::select(vec!["", "/", "/a", "/a/0", "/a/-", "/b/c", "/b", "a", "/~0", "/~", "/a/00"]);
        let value =
            proptest::sample::select(vec!["null", "1", "\"x\"", "[1,{\"a\":2}]", "{\"a\":[]}", "{\"a\":1,\"a\":2}"]);
        (op, pointer.clone(), pointer, value).prop_map(|(op, path, from, value)| {
            format!(r#"{{"op":"{op}","path":"{path}","from":"{from}","value":{value}}}"#)
        })
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_fail(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = serde_json::from_slice::<PatchForm>(&bytes).map(|form| form.read(10).is_ok());
        }

        #[test]
        fn a_patch_leaves_a_document_or_an_error(operations in proptest::collection::vec(operation(), 0..8)) {
            let text = format!("[{}]", operations.join(","));
            let Ok(form) = serde_json::from_str::<PatchForm>(&text) else { return Ok(()) };
            let Ok(patch) = form.read(10) else { return Ok(()) };
            let document = Node::parse(br#"{"a":[1,[2]],"b":{"c":3},"":4}"#).expect("JSON");
            if let Ok(changed) = patch.apply(document, BOUNDS) {
                let node = changed.document.expect("a document");
                prop_assert_eq!(Node::parse(node.to_text().as_bytes()).expect("JSON"), node);
            }
        }
    }
}
