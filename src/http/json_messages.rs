//! The messages of serde about JSON values, in words that clients know.

/// What JSON calls the types that serde's messages name after Rust's.
const TYPES: &[(&[&str], &str)] = &[
    (&["u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize", "i128", "u128"], "a whole number"),
    (&["f32", "f64"], "a number"),
    (&["a string", "string", "borrowed string", "str", "identifier"], "a string"),
    (&["a boolean", "bool"], "a boolean"),
    (&["a sequence", "sequence"], "an array"),
    (&["a map", "map"], "an object"),
    (&["unit", "option"], "null"),
];

/// A message about a value that names types as JSON does.
pub fn in_terms_of_json(message: &str) -> String {
    let message = message.replacen("unknown variant `", "unknown value `", 1);
    let Some((given, expected)) = message.rsplit_once(", expected ") else { return message };
    let known = TYPES.iter().find(|(names, _)| names.contains(&expected)).map(|(_, name)| *name);
    let of_struct = ["struct ", "internally tagged enum ", "adjacently tagged enum ", "struct variant "];
    let of_tuple = ["tuple struct ", "a tuple ", "tuple variant "];
    let expected = match known {
        Some(name) => name,
        None if of_struct.iter().any(|start| expected.starts_with(start)) => "an object",
        None if of_tuple.iter().any(|start| expected.starts_with(start)) => "an array",
        None if expected.starts_with("enum ") || expected == "variant identifier" => "one of the documented values",
        None => expected,
    };
    let given = given
        .replace("invalid type: map", "invalid type: object")
        .replace("invalid type: sequence", "invalid type: array");
    format!("{given}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_no_types_of_rust() {
        for (message, words) in [
            ("invalid type: sequence, expected struct Order", "invalid type: array, expected an object"),
            ("invalid type: string \"1\", expected u64", "invalid type: string \"1\", expected a whole number"),
            ("invalid type: map, expected a sequence", "invalid type: object, expected an array"),
            ("invalid type: null, expected internally tagged enum Rule", "invalid type: null, expected an object"),
            ("invalid length 2, expected a tuple of size 3", "invalid length 2, expected an array"),
            ("invalid value: integer `-1`, expected u8", "invalid value: integer `-1`, expected a whole number"),
            ("unknown field `a`, expected `b` or `c`", "unknown field `a`, expected `b` or `c`"),
            ("unknown variant `a`, expected `b` or `c`", "unknown value `a`, expected `b` or `c`"),
            ("missing field `a`", "missing field `a`"),
        ] {
            assert_eq!(in_terms_of_json(message), words);
        }
    }
}
