//! The regular expressions of queries.
//!
//! The parser compiles every expression, with a limit of 10 MB for each. They are therefore checked before it sees the query.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::util::unquote_string;
use regex::{Regex, RegexBuilder};

use super::error::PromError;

/// The most regular expressions of a request.
const MOST: usize = 16;
/// The memory that a compiled expression may take, bytes: enough for several Unicode classes.
const SIZE: usize = 256 << 10;
/// The memory of its search, bytes.
const SEARCH_SIZE: usize = 1 << 20;

/// The regular expressions in the text of queries, as the parser will read them.
///
/// # Errors
/// `bad_data` if there are too many.
pub(super) fn of(queries: &[String]) -> Result<Vec<String>, PromError> {
    let mut found = Vec::new();
    for query in queries {
        collect(query, &mut found);
    }
    if found.len() > MOST {
        let rule = format!("must have at most {MOST} regular expressions, got {}", found.len());
        return Err(PromError::bad("the request", rule));
    }
    Ok(found)
}

/// Adds each text that follows `=~` or `!~`. What is not valid is left out: the parser rejects it without compiling it.
fn collect(query: &str, found: &mut Vec<String>) {
    let (mut rest, mut is_expression) = (query, false);
    while let Some(at) = rest.find(['~', '#', '"', '\'', '`']) {
        let (_, tail) = rest.split_at(at);
        let mut chars = tail.char_indices();
        let Some((_, begin)) = chars.next() else { return };
        let length = match begin {
            '~' => {
                is_expression = true;
                1
            }
            '#' => tail.find(['\r', '\n']).unwrap_or(tail.len()),
            quote => {
                let mut end = None;
                while let Some((at, char)) = chars.next() {
                    if char == '\\' {
                        chars.next();
                    } else if char == quote {
                        end = Some(at + 1);
                        break;
                    }
                }
                let Some(end) = end else { return };
                let text = tail.get(..end).and_then(|text| unquote_string(text).ok());
                found.extend(text.filter(|_| std::mem::take(&mut is_expression)));
                end
            }
        };
        rest = tail.get(length..).unwrap_or_default();
    }
}

/// Checks that the compiled expressions are small.
///
/// # Errors
/// `bad_data` that names one that is not.
pub(super) fn check(expressions: &[String]) -> Result<(), PromError> {
    for text in expressions {
        let whole = format!("^(?:{text})$");
        // As the parser does: Prometheus takes a brace literally that begins no repetition.
        compile(&whole).or_else(|_| compile(&with_literal_braces(&whole))).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                PromError::bad("the regular expression", format!("`{text}` is too large"))
            }
            _ => PromError::bad("the regular expression", format!("`{text}` is invalid")),
        })?;
    }
    Ok(())
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(SIZE).dfa_size_limit(SEARCH_SIZE).build()
}

/// A condition whose search takes little memory.
///
/// # Errors
/// `bad_data`; not for an expression that was checked.
pub(super) fn limited(mut matcher: Matcher) -> Result<Matcher, PromError> {
    let again =
        |regex: &Regex| compile(regex.as_str()).map_err(|_| PromError::bad("the regular expression", "is too large"));
    matcher.op = match matcher.op {
        MatchOp::Re(regex) => MatchOp::Re(again(&regex)?),
        MatchOp::NotRe(regex) => MatchOp::NotRe(again(&regex)?),
        op => op,
    };
    Ok(matcher)
}

/// Escapes the braces that begin no repetition, as the parser does.
fn with_literal_braces(text: &str) -> String {
    let mut result = String::with_capacity(text.len() + 1);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char == '{' {
            let after = chars.as_str();
            let count = after.find(|char: char| !char.is_ascii_digit() && char != ',').unwrap_or(after.len());
            // With the character behind the number.
            let read: String = after.chars().take(count + 1).collect();
            let is_repetition = read.ends_with('}')
                && read.starts_with(|first: char| first.is_ascii_digit())
                && read.matches(',').count() < 2;
            result.push_str(if is_repetition { "{" } else { "\\{" });
            result.push_str(&read);
            chars = after.get(read.len()..).unwrap_or_default().chars();
        } else {
            result.push(char);
            if char == '\\' {
                result.extend(chars.next());
            }
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use promql_parser::parser::{self, Expr};

    use super::*;

    fn checked(query: &str) -> Result<(), String> {
        of(&[query.to_owned()]).and_then(|found| check(&found)).map_err(|error| error.text)
    }

    #[test]
    fn expressions_are_found_where_the_parser_finds_them() {
        for (query, expected) in [
            (r#"a{b=~"x.*",c!~'y',d="~",e!="z"}"#, vec!["x.*", "y"]),
            ("a{b=~ # \"no\"\n `\\\\d`}", vec![r"\\d"]),
            (r#"a{b=~"\"x\\.y"} # c=~"no""#, vec![r#""x\.y"#]),
            (r##"a{b="#",c=~"#"} + on(x) {d!~""}"##, vec!["#", ""]),
            (r#"{"a~b",c=~"d"}"#, vec!["d"]),
            ("1 + 1", vec![]),
        ] {
            let found = of(&[query.to_owned()]).expect("few");
            assert_eq!(found, expected, "{query}");
            let parsed = parser::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            if let Expr::VectorSelector(selector) = parsed {
                let is_regex = |matcher: &&Matcher| matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_));
                let values: Vec<_> = selector.matchers.matchers.iter().filter(is_regex).map(|m| &m.value).collect();
                assert_eq!(values, expected.iter().collect::<Vec<_>>(), "{query}");
            }
        }
    }

    #[test]
    fn large_expressions_are_refused_and_literal_braces_are_not() {
        for valid in ["", "a|b", "net_.+", r"\w+", "a{3}", "a{b}", "a{,3}x{}", "a{1,2}{", r"\{x{2,}"] {
            checked(&format!("a{{b=~`{valid}`}}")).expect(valid);
        }
        for (invalid, part) in [(r"\pL{100}", "too large"), (r"\pL{100}{x}", "too large"), ("(", "invalid")] {
            let error = checked(&format!("a{{b!~`{invalid}`}}")).expect_err(invalid);
            assert!(error.contains(part), "{error}");
        }
        let many = format!("a{{{}}}", vec!["b=~\"c\""; MOST + 1].join(","));
        assert!(checked(&many).is_err_and(|error| error.contains("16 regular expressions")));
    }
}
