//! Arithmetic, as in `RedisJSON`: 64-bit integers stay integers, all other numbers become floats.

use super::selected_values::{ValueChange, change_each};
use super::{ChangeError, Changed};
use crate::features::json::document::{Node, Number};
use crate::features::json::path::Path;

/// Adds `by` to the selected numbers. The results are the new numbers.
pub(super) fn increment(document: Node, path: &Path, by: &Number) -> Result<Changed, ChangeError> {
    calculate(document, path, |number| sum(number, by))
}

/// Multiplies the selected numbers by `by`. The results are the new numbers.
pub(super) fn multiply(document: Node, path: &Path, by: &Number) -> Result<Changed, ChangeError> {
    calculate(document, path, |number| product(number, by))
}

fn calculate(
    document: Node,
    path: &Path,
    operation: impl Fn(&Number) -> Result<Number, ChangeError>,
) -> Result<Changed, ChangeError> {
    change_each(document, path, "a number", |node| {
        let Node::Number(number) = node else { return Ok(ValueChange::WrongType) };
        *number = operation(number)?;
        Ok(ValueChange::Changed(Node::Number(number.clone())))
    })
}

fn sum(one: &Number, two: &Number) -> Result<Number, ChangeError> {
    combine(one, two, i64::checked_add, |one, two| one + two)
}

fn product(one: &Number, two: &Number) -> Result<Number, ChangeError> {
    combine(one, two, i64::checked_mul, |one, two| one * two)
}

fn combine(
    one: &Number,
    two: &Number,
    integers: fn(i64, i64) -> Option<i64>,
    floats: fn(f64, f64) -> f64,
) -> Result<Number, ChangeError> {
    let integer = |number: &Number| number.as_integer().and_then(|number| i64::try_from(number).ok());
    if let (Some(one), Some(two)) = (integer(one), integer(two)) {
        return integers(one, two)
            .map(|result| Number::integer(result.into()))
            .ok_or(ChangeError::NoNumber("beyond the range of 64-bit integers"));
    }
    Number::float(floats(one.as_f64(), two.as_f64())).ok_or(ChangeError::NoNumber("beyond the range of 64-bit floats"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect(text)
    }

    #[test]
    fn integers_stay_integers_and_floats_stay_floats() {
        for (one, two, total, multiplied) in [
            ("3", "1", "4", "3"),
            ("3", "1.0", "4.0", "3.0"),
            ("2.5", "-3", "-0.5", "-7.5"),
            ("9007199254740993", "1", "9007199254740994", "9007199254740993"),
            ("18446744073709551615", "1", "1.8446744073709552e19", "1.8446744073709552e19"),
            ("0.1", "0.2", "0.30000000000000004", "0.020000000000000004"),
        ] {
            assert_eq!(sum(&number(one), &number(two)).expect("a sum").as_str(), total);
            assert_eq!(product(&number(one), &number(two)).expect("a product").as_str(), multiplied);
        }
    }

    #[test]
    fn a_result_out_of_range_is_rejected() {
        assert!(sum(&number("9223372036854775807"), &number("1")).is_err());
        assert!(product(&number("-9223372036854775808"), &number("-1")).is_err());
        assert!(product(&number("1e200"), &number("1e200")).is_err());
    }
}
