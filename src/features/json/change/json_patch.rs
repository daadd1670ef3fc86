//! Parses and applies JSON Patches (RFC 6902).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ChangeError, ChangeReply, Changed, SizeLimit};
use crate::features::json::document::{MAX_DEPTH, Node, Pointer, depth, index, position, text_length};

/// The operations of one patch. In a large array or object, each one may have to move all values after its own.
const MAX_OPERATIONS: usize = 256;

/// Operations that are applied in order, all or none.
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

/// A patch as the caller sends it. Unknown members of an operation are ignored (RFC 6902, section 4).
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

/// Distinguishes an explicit `null`, which is a value, from an absent member.
fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// A broken rule of a patch, and a JSON pointer to the place.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct PatchFault {
    pub pointer: String,
    pub rule: String,
}

impl PatchForm {
    /// Parses the pointers and values.
    pub(in super::super) fn read(self) -> Result<Patch, PatchFault> {
        if self.0.len() > MAX_OPERATIONS {
            let rule = format!("must have at most {MAX_OPERATIONS} operations, got {}", self.0.len());
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
            None => Err(fault("from", "is required".to_owned())),
        };
        let value = || match &self.value {
            Some(raw) => Node::parse(raw.get().as_bytes()).map_err(|error| fault("value", error.to_string())),
            None => Err(fault("value", "is required".to_owned())),
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
    /// [`ChangeError::PatchFailed`] with the position of the operation that cannot be applied.
    pub(super) fn apply(&self, mut document: Node, limit: SizeLimit) -> Result<Changed, ChangeError> {
        let mut copied = 0;
        let mut is_different = false;
        for (at, operation) in self.0.iter().enumerate() {
            let failed = |reason: &str| ChangeError::PatchFailed { at, reason: reason.to_owned() };
            if let Operation::Copy { from, .. } = operation {
                copied += from.find(&document).map_or(0, text_length);
                limit.check_added(1, copied)?;
            }
            operation.apply(&mut document).map_err(|reason| match reason {
                OperationError::Reason(reason) => failed(reason),
                OperationError::TooDeep => ChangeError::TooDeep,
            })?;
            is_different |= !matches!(operation, Operation::Test { .. });
        }
        Ok(Changed { document: Some(document), reply: ChangeReply::Stored { created: false }, is_different })
    }
}

/// Why an operation cannot be applied to the document.
enum OperationError {
    Reason(&'static str),
    TooDeep,
}

const NO_VALUE: OperationError = OperationError::Reason("there is no value at this path");

impl Operation {
    fn apply(&self, document: &mut Node) -> Result<(), OperationError> {
        match self {
            Self::Add { path, value } => add(document, path, value.clone()),
            Self::Remove { path } => remove(document, path).map(|_| ()),
            Self::Replace { path, value } => {
                check_depth(path, value)?;
                *target(document, path)? = value.clone();
                Ok(())
            }
            Self::Move { from, path } if from.contains(path) => {
                Err(OperationError::Reason("a value cannot be moved into itself"))
            }
            Self::Move { from, path } => {
                let value = remove(document, from)?;
                add(document, path, value)
            }
            Self::Copy { from, path } => {
                let value = from.find(document).ok_or(NO_VALUE)?.clone();
                add(document, path, value)
            }
            Self::Test { path, value } => match path.find(document) {
                Some(found) if found == value => Ok(()),
                Some(_) => Err(OperationError::Reason("the value differs")),
                None => Err(NO_VALUE),
            },
        }
    }
}

/// Keeps the document within 64 levels at all times, so that recursive functions need little stack.
fn check_depth(path: &Pointer, value: &Node) -> Result<(), OperationError> {
    if path.levels() + depth(value) > MAX_DEPTH { Err(OperationError::TooDeep) } else { Ok(()) }
}

fn target<'d>(document: &'d mut Node, path: &Pointer) -> Result<&'d mut Node, OperationError> {
    if path.levels() == 0 {
        return Ok(document);
    }
    let (parent, name) = path.parent(document).ok_or(NO_VALUE)?;
    let at = position(parent, name).ok_or(NO_VALUE)?;
    parent.child_mut(at).ok_or(NO_VALUE)
}

fn add(document: &mut Node, path: &Pointer, value: Node) -> Result<(), OperationError> {
    check_depth(path, &value)?;
    if path.levels() == 0 {
        *document = value;
        return Ok(());
    }
    let (parent, name) = path.parent(document).ok_or(OperationError::Reason("the parent does not exist"))?;
    match parent {
        Node::Array(items) => {
            let at = if name == "-" { Some(items.len()) } else { index(name) };
            let at = at.filter(|at| *at <= items.len());
            items.insert(at.ok_or(OperationError::Reason("the array does not have this index"))?, value);
        }
        Node::Object(members) => match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, member)) => *member = value,
            None => members.push((name.into(), value)),
        },
        _ => return Err(OperationError::Reason("the parent is not an array or object")),
    }
    Ok(())
}

fn remove(document: &mut Node, path: &Pointer) -> Result<Node, OperationError> {
    if path.levels() == 0 {
        return Err(OperationError::Reason("a patch cannot remove the whole document"));
    }
    let (parent, name) = path.parent(document).ok_or(NO_VALUE)?;
    let at = position(parent, name).ok_or(NO_VALUE)?;
    match parent {
        Node::Array(items) if at < items.len() => Ok(items.remove(at)),
        Node::Object(members) => Ok(members.remove(at).1),
        _ => Err(NO_VALUE),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: SizeLimit = SizeLimit(10_000);

    /// Operations that are mostly well-formed, with pointers that mostly exist.
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
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = serde_json::from_slice::<PatchForm>(&bytes).map(|form| form.read().is_ok());
        }

        #[test]
        fn a_patch_results_in_a_document_or_an_error(operations in proptest::collection::vec(operation(), 0..8)) {
            let text = format!("[{}]", operations.join(","));
            let Ok(form) = serde_json::from_str::<PatchForm>(&text) else { return Ok(()) };
            let Ok(patch) = form.read() else { return Ok(()) };
            let document = Node::parse(br#"{"a":[1,[2]],"b":{"c":3},"":4}"#).expect("JSON");
            if let Ok(changed) = patch.apply(document, LIMIT) {
                let node = changed.document.expect("a document");
                prop_assert_eq!(Node::parse(node.to_text().as_bytes()).expect("JSON"), node);
            }
        }
    }
}
