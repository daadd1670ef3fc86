//! JSON text as typed values, and what is wrong with text that cannot be read.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::problem::{self, Problem};
use super::strict_objects::{ONE_OF, StrictObjects};
use crate::config::messages::in_terms_of_json;

/// How deeply a JSON body may be nested.
pub const MAX_JSON_DEPTH: usize = 64;

/// Parses JSON text after checking its depth.
///
/// # Errors
/// `invalid-json` or `json-too-deep` (400), or `invalid-body` (422) naming the field.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if depth_exceeds(bytes, MAX_JSON_DEPTH) {
        return Err(Problem::new(&problem::TOO_DEEP).detail(format!("more than {MAX_JSON_DEPTH} levels")));
    }
    // Most bodies are valid: the path to a mistake is only determined after there is one.
    if let Ok(value) = read_json(bytes) {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(StrictObjects(&mut deserializer)).map_err(|error| {
        let pointer = json_pointer(error.path());
        json_problem(bytes, &pointer, error.inner())
    })?;
    deserializer.end().map_err(|error| json_problem(bytes, "", &error))?;
    Ok(value)
}

/// Reads JSON text of limited depth. An array does not stand for an object.
///
/// # Errors
/// Those of the parser; [`json_message`] puts them in words that clients know.
pub fn read_json<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(StrictObjects(&mut deserializer))?;
    deserializer.end()?;
    Ok(value)
}

/// What the parser refuses, in words that clients know, without its position.
pub fn json_message(error: &serde_json::Error) -> String {
    in_terms_of_json(without_position(&error.to_string()))
}

fn json_problem(bytes: &[u8], pointer: &str, error: &serde_json::Error) -> Problem {
    let shown = error.to_string();
    let message = without_position(&shown);
    if error.is_data() {
        // Such a value may also be a mistake in the syntax.
        if message.starts_with(ONE_OF)
            && let Err(syntax) = serde_json::from_slice::<IgnoredAny>(bytes)
        {
            return json_problem(bytes, "", &syntax);
        }
        let pointer = field_in_message(message).map_or_else(|| pointer.to_owned(), |field| beside(pointer, field));
        return Problem::body_field(&pointer, in_terms_of_json(message));
    }
    let message = in_terms_of_json(message);
    Problem::new(&problem::INVALID_JSON).detail(format!(
        "{message} at line {}, column {}",
        error.line(),
        error.column()
    ))
}

/// Whether arrays and objects nest deeper than `limit`. Invalid JSON is left to the parser.
fn depth_exceeds(bytes: &[u8], limit: usize) -> bool {
    // Each level needs a bracket. Most bodies are too short for that or have too few, and counting them is cheap.
    if bytes.len() <= limit || bytes.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() <= limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

fn json_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;

    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.extend(["/", &index.to_string()]),
            Segment::Map { key } => pointer.extend(["/", &key.replace('~', "~0").replace('/', "~1")]),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// "unknown field `x`" and "missing field `x`" know the field better than the path does.
pub(super) fn field_in_message(message: &str) -> Option<&str> {
    ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))
        .and_then(|rest| rest.split('`').next())
}

/// `field` below `pointer`, unless the path already ends there.
fn beside(pointer: &str, field: &str) -> String {
    let leaf = format!("/{field}");
    if pointer.ends_with(&leaf) { pointer.to_owned() } else { format!("{pointer}{leaf}") }
}

/// `serde_json` appends its position; the problem says it elsewhere or not at all.
fn without_position(message: &str) -> &str {
    message.rsplit_once(" at line ").map_or(message, |(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        #[expect(dead_code, reason = "only its presence matters")]
        ttl_ms: u64,
        #[serde(default)]
        #[expect(dead_code, reason = "only its form matters")]
        items: Vec<u8>,
        #[serde(default)]
        #[expect(dead_code, reason = "only its form matters")]
        side: Side,
    }

    #[derive(Debug, Default, Deserialize)]
    enum Side {
        #[default]
        #[serde(rename = "buy")]
        Buy,
    }

    fn refusal(text: &str) -> (&'static str, String) {
        let problem = parse_json::<Order>(text.as_bytes()).expect_err("refused");
        (problem.kind().slug, format!("{problem:?}"))
    }

    #[test]
    fn a_refused_body_names_its_field() {
        for (text, slug, pointer) in [
            (r#"{"ttl_ms":1,"tll":2}"#, "invalid-body", "\"/tll\""),
            (r#"{"items":[]}"#, "invalid-body", "\"/ttl_ms\""),
            (r#"{"ttl_ms":-1}"#, "invalid-body", "\"/ttl_ms\""),
            (r#"{"ttl_ms":1,"items":[1,300]}"#, "invalid-body", "\"/items/1\""),
            (r#"{"ttl_ms":1.5}"#, "invalid-body", "number `1.5`, expected a whole number"),
            (r#"{"ttl_ms":1,"side":5}"#, "invalid-body", "\"/side\""),
            (r#"{"ttl_ms":1,"side":null}"#, "invalid-body", "must be one of `buy`"),
            (r#"{"ttl_ms":1,"side":5"#, "invalid-json", ""),
            (r#"{"ttl_ms":1"#, "invalid-json", "the text ends within an object at line 1, column 11"),
            (r#"{"ttl_ms":1} x"#, "invalid-json", ""),
            ("[1]", "invalid-body", "\"\""),
        ] {
            let (found, shown) = refusal(text);
            assert_eq!(found, slug, "{text}: {shown}");
            assert!(shown.contains(pointer), "{text}: {shown}");
        }
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        assert!(depth_exceeds(deep.as_bytes(), MAX_JSON_DEPTH));
        let quoted = format!("\"{}\\\"{}\"", "[".repeat(65), "[".repeat(65));
        assert!(!depth_exceeds(quoted.as_bytes(), MAX_JSON_DEPTH));
    }
}
