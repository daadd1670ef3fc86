//! Exact decimal numbers: prices and quantities travel as text and are kept as whole numbers of their smallest unit.

/// The most digits of a number of units: two limbs of 15 digits, which Lua adds without rounding.
pub const MAX_DIGITS: usize = 30;

/// Why a text is not a number of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalError {
    /// Not an optional minus, a whole part without leading zeros, and an optional fraction.
    Malformed,
    /// A digit other than zero follows the last decimal.
    TooPrecise,
    /// More than [`MAX_DIGITS`] digits.
    TooLarge,
}

/// `text`, such as `-12.50`, in units of 10^-`decimals`. Exponents, a plus sign and leading zeros are malformed, and so is
/// `-0`; zeros after the last decimal are permitted.
pub fn parse(text: &str, decimals: u8) -> Result<i128, DecimalError> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric(whole) || !numeric(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
        return Err(DecimalError::Malformed);
    }
    let kept = fraction.len().min(usize::from(decimals));
    if fraction[kept..].bytes().any(|digit| digit != b'0') {
        return Err(DecimalError::TooPrecise);
    }
    let significant = if whole == "0" { 0 } else { whole.len() };
    if significant + usize::from(decimals) > MAX_DIGITS {
        return Err(DecimalError::TooLarge);
    }
    let magnitude =
        whole.bytes().chain(fraction[..kept].bytes()).fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'))
            * (kept..usize::from(decimals)).fold(1, |scale, _| scale * 10);
    match (negative, magnitude) {
        (true, 0) => Err(DecimalError::Malformed),
        (true, units) => Ok(-units),
        (false, units) => Ok(units),
    }
}

/// `units` of 10^-`decimals`, printed with exactly that many decimals.
pub fn print(units: i128, decimals: u8) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let scale = 10_u128.pow(u32::from(decimals));
    let (whole, fraction) = (units.unsigned_abs() / scale, units.unsigned_abs() % scale);
    match decimals {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction:0width$}", width = usize::from(decimals)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_round_trip() {
        for (text, decimals) in [("17.77", 2), ("0.000000000000000001", 18), ("-1.5", 1), ("0", 0), ("999999999999", 0)]
        {
            assert_eq!(print(parse(text, decimals).unwrap(), decimals), text);
        }
        assert_eq!(parse("1.1", 9), parse("1.100000000000", 9));
        assert_eq!(print(5, 2), "0.05");
    }

    #[test]
    fn only_one_spelling_of_a_number_is_accepted() {
        for text in ["", "-", ".5", "5.", "01.1", "+1", "1e3", "-0", "-0.00", "1,5", " 1", "0x1", "١"] {
            assert_eq!(parse(text, 2), Err(DecimalError::Malformed), "{text}");
        }
        assert_eq!(parse("1.001", 2), Err(DecimalError::TooPrecise));
        assert_eq!(parse("1000000000000", 18), Err(DecimalError::TooLarge));
        assert_eq!(parse("999999999999", 18), Ok(999_999_999_999 * 10_i128.pow(18)));
    }
}
