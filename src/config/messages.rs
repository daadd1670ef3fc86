//! The messages of serde about values, in words that clients and operators know.

/// What JSON calls the types that serde's messages name after Rust's.
const TYPES: &[(&[&str], &str)] = &[
    (&["u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize", "i128", "u128"], "a whole number"),
    (&["f32", "f64"], "a number"),
    (&["a string", "string", "string only", "borrowed string", "str", "identifier"], "a string"),
    (&["a boolean", "bool"], "a boolean"),
    (&["a sequence", "sequence"], "an array"),
    (&["a map", "map"], "an object"),
    (&["unit", "option"], "null"),
];

/// A message about a value that names types as JSON does.
pub fn in_terms_of_json(message: &str) -> String {
    let message = message.replacen("unknown variant `", "unknown value `", 1);
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{field} is missing");
    }
    if let Some(place) = message.strip_prefix("EOF while parsing ") {
        return format!("the text ends within {}", if place == "a list" { "an array" } else { place });
    }
    if message == "expected ident" {
        return "expected true, false or null".to_owned();
    }
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
        .replace("invalid type: sequence", "invalid type: array")
        .replace("invalid type: unit variant", "invalid type")
        .replace(": unit value", ": null")
        .replace(": floating point `", ": number `");
    format!("{given}, expected {expected}")
}

/// A message about a setting that names types as TOML does.
pub fn in_terms_of_toml(message: &str) -> String {
    in_terms_of_json(message)
        .replace("type: object", "type: table")
        .replace(", expected an object", ", expected a table")
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
            ("missing field `a`", "`a` is missing"),
            ("EOF while parsing an object", "the text ends within an object"),
            ("EOF while parsing a list", "the text ends within an array"),
            ("invalid type: floating point `5.5`, expected u64", "invalid type: number `5.5`, expected a whole number"),
            ("invalid type: unit variant, expected string only", "invalid type, expected a string"),
        ] {
            assert_eq!(in_terms_of_json(message), words);
        }
    }
}
