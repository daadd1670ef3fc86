//! Parses and applies JSON Patches (RFC 6902).

use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{ChangeReply, Changed, Limits};
use crate::features::json::document::{MAX_DEPTH, Node, Pointer, depth, index, position, text_length};
use crate::features::json::error::JsonError;
use crate::features::json::path::TooManyVisits;
use crate::features::json::schema::BrokenRule;

/// The bytes of a value that can be walked through in the time of one visit of a path.
const BYTES_WALKED: usize = 16;

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

/// One operation of a JSON Patch (RFC 6902).
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = JsonPatchOperation)]
pub(in super::super) struct PatchOperation {
    op: PatchVerb,
    /// A JSON pointer.
    #[schema(pattern = "^(/([^~]|~0|~1)*)?$", example = "/tags/-")]
    path: String,
    /// A JSON pointer; for move and copy.
    #[serde(default)]
    #[schema(pattern = "^(/([^~]|~0|~1)*)?$")]
    from: Option<String>,
    /// For add, replace and test.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<serde_json::Value>)]
    value: Option<Box<RawValue>>,
}

/// The name of a JSON Patch operation.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = JsonPatchVerb)]
enum PatchVerb {
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

impl PatchOperation {
    /// Parses the pointers and the value. Unknown and unneeded members are ignored (RFC 6902, section 4).
    fn parse(self, at: usize) -> Result<Operation, BrokenRule> {
        let broken = |field: &str, rule: String| BrokenRule { pointer: format!("/{at}/{field}"), rule };
        let pointer = |field: &str, text: &str| Pointer::parse(text).map_err(|rule| broken(field, rule.to_owned()));
        let path = pointer("path", &self.path)?;
        let from = || match &self.from {
            Some(text) => pointer("from", text),
            None => Err(broken("from", "is required".to_owned())),
        };
        let value = || match &self.value {
            Some(raw) => Node::parse(raw.get().as_bytes()).map_err(|error| broken("value", error.to_string())),
            None => Err(broken("value", "is required".to_owned())),
        };
        Ok(match self.op {
            PatchVerb::Add => Operation::Add { path, value: value()? },
            PatchVerb::Remove => Operation::Remove { path },
            PatchVerb::Replace => Operation::Replace { path, value: value()? },
            PatchVerb::Move => Operation::Move { from: from()?, path },
            PatchVerb::Copy => Operation::Copy { from: from()?, path },
            PatchVerb::Test => Operation::Test { path, value: value()? },
        })
    }
}

impl Patch {
    /// # Errors
    /// The first operation that breaks a rule, or a patch with too many operations.
    pub(in super::super) fn parse(operations: Vec<PatchOperation>) -> Result<Self, BrokenRule> {
        if operations.len() > MAX_OPERATIONS {
            let rule = format!("must have at most {MAX_OPERATIONS} operations, got {}", operations.len());
            return Err(BrokenRule { pointer: String::new(), rule });
        }
        operations.into_iter().enumerate().map(|(at, form)| form.parse(at)).collect::<Result<_, _>>().map(Self)
    }

    /// The number of operations.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// # Errors
    /// [`JsonError::PatchFailed`] with the position of the operation that cannot be applied, [`JsonError::TooLarge`],
    /// [`JsonError::TooDeep`], [`JsonError::TooComplex`].
    pub(super) fn apply(&self, mut document: Node, limits: Limits<'_>) -> Result<Changed, JsonError> {
        let mut copied = 0;
        let mut is_different = false;
        for (at, operation) in self.0.iter().enumerate() {
            if let Operation::Copy { from, .. } | Operation::Move { from, .. } = operation {
                let length = from.find(&document).map_or(0, text_length);
                // The value is walked through several times.
                let visits = length / BYTES_WALKED;
                if visits > limits.work.visits_left() {
                    return Err(TooManyVisits { limit: limits.work.max_visits() }.into());
                }
                limits.work.spend_visits(visits);
                if matches!(operation, Operation::Copy { .. }) {
                    copied += length;
                    limits.size.check_added(1, copied)?;
                }
            }
            // Keeps the document within 64 levels at all times, so that recursive functions need little stack.
            if operation.levels_after(&document) > MAX_DEPTH {
                return Err(JsonError::TooDeep);
            }
            operation.apply(&mut document).map_err(|reason| JsonError::PatchFailed { at, reason })?;
            is_different |= !matches!(operation, Operation::Test { .. });
        }
        Ok(Changed { document: Some(document), reply: ChangeReply::Stored { created: false }, is_different })
    }
}

const NO_VALUE: &str = "there is no value at this path";

impl Operation {
    /// The levels from the root to the innermost part of the value that the operation stores; 0 if it stores none.
    fn levels_after(&self, document: &Node) -> usize {
        match self {
            Self::Add { path, value } | Self::Replace { path, value } => path.levels() + depth(value),
            Self::Move { from, path } if from.contains(path) => 0,
            Self::Move { from, path } | Self::Copy { from, path } => {
                from.find(document).map_or(0, |value| path.levels() + depth(value))
            }
            Self::Remove { .. } | Self::Test { .. } => 0,
        }
    }

    /// # Errors
    /// Why the operation cannot be applied.
    fn apply(&self, document: &mut Node) -> Result<(), &'static str> {
        match self {
            Self::Add { path, value } => add(document, path, value.clone()),
            Self::Remove { path } => remove(document, path).map(|_| ()),
            Self::Replace { path, value } => {
                *path.find_mut(document).ok_or(NO_VALUE)? = value.clone();
                Ok(())
            }
            Self::Move { from, path } if from.contains(path) => Err("a value cannot be moved into itself"),
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
                Some(_) => Err("the value differs"),
                None => Err(NO_VALUE),
            },
        }
    }
}

fn add(document: &mut Node, path: &Pointer, value: Node) -> Result<(), &'static str> {
    if path.levels() == 0 {
        *document = value;
        return Ok(());
    }
    let (parent, name) = path.parent(document).ok_or("the parent does not exist")?;
    match parent {
        Node::Array(items) => {
            let at = if name == "-" { Some(items.len()) } else { index(name) };
            let at = at.filter(|at| *at <= items.len());
            items.insert(at.ok_or("the array does not have this index")?, value);
        }
        Node::Object(members) => match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, member)) => *member = value,
            None => members.push((name.into(), value)),
        },
        _ => return Err("the parent is not an array or object"),
    }
    Ok(())
}

fn remove(document: &mut Node, path: &Pointer) -> Result<Node, &'static str> {
    if path.levels() == 0 {
        return Err("a patch cannot remove the whole document");
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

    use super::super::SizeLimit;
    use super::*;
    use crate::features::json::work::WorkBudget;

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
            let _ = serde_json::from_slice(&bytes).map(|operations| Patch::parse(operations).is_ok());
        }

        #[test]
        fn a_patch_results_in_a_document_or_an_error(operations in proptest::collection::vec(operation(), 0..8)) {
            let text = format!("[{}]", operations.join(","));
            let Ok(operations) = serde_json::from_str(&text) else { return Ok(()) };
            let Ok(patch) = Patch::parse(operations) else { return Ok(()) };
            let document = Node::parse(br#"{"a":[1,[2]],"b":{"c":3},"":4}"#).expect("JSON");
            if let Ok(changed) = patch.apply(document, Limits { size: SizeLimit(10_000), work: &WorkBudget::default() }) {
                let node = changed.document.expect("a document");
                prop_assert_eq!(Node::parse(node.to_text().as_bytes()).expect("JSON"), node);
            }
        }
    }
}
