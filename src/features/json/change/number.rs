//! Arithmetic, as RedisJSON does it: integers of 64 bits stay integers, everything else becomes a float.

use super::each::{Touched, each};
use super::{Bounds, ChangeError, Changed};
use crate::features::json::document::{Node, Number};
use crate::features::json::path::Path;

/// Replaces numbers by what `operation` makes of them; the results are the new numbers.
pub(super) fn calculate(
    document: Node,
    path: &Path,
    bounds: Bounds,
    operation: impl Fn(&Number) -> Result<Number, ChangeError>,
) -> Result<Changed, ChangeError> {
    each(document, path, bounds, "a number", |node| {
        let Node::Number(number) = node else { return Ok(Touched::WrongType) };
        *number = operation(number)?;
        Ok(Touched::Changed(Node::Number(number.clone())))
    })
}

pub(super) fn sum(one: &Number, two: &Number) -> Result<Number, ChangeError> {
    combine(one, two, i64::checked_add, |one, two| one + two)
}

pub(super) fn product(one: &Number, two: &Number) -> Result<Number, ChangeError> {
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
            .ok_or(ChangeError::NoNumber("beyond the integers of 64 bits"));
    }
    Number::float(floats(one.as_f64(), two.as_f64())).ok_or(ChangeError::NoNumber("beyond the floats of 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).expect(text)
    }

    #[test]
    fn integers_stay_integers_and_floats_floats() {
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
    fn what_has_no_room_is_refused() {
        assert!(sum(&number("9223372036854775807"), &number("1")).is_err());
        assert!(product(&number("-9223372036854775808"), &number("-1")).is_err());
        assert!(product(&number("1e200"), &number("1e200")).is_err());
    }
}
