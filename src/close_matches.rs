//! Names that a caller may have meant.

use std::fmt::Display;

/// The most names that a message suggests.
const MOST: usize = 3;
/// The longest name that is compared, bytes: a comparison takes time in proportion to the product of both lengths.
const LONGEST: usize = 128;

/// Up to three of `known` that differ from `wanted` in at most a third of its characters, closest first.
///
/// Characters that are exchanged with their neighbour count once. A name above 128 bytes has no close matches.
pub fn close_matches<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    if wanted.len() > LONGEST {
        return Vec::new();
    }
    let tolerance = (wanted.chars().count() / 3).clamp(1, MOST);
    let is_comparable = |name: &&str| name.len() <= LONGEST && name.len().abs_diff(wanted.len()) <= 4 * tolerance;
    let compared = known.into_iter().filter(is_comparable).map(|name| (strsim::osa_distance(wanted, name), name));
    let mut close: Vec<(usize, &str)> = compared.filter(|(distance, _)| *distance <= tolerance).collect();
    close.sort_unstable();
    close.truncate(MOST);
    close.into_iter().map(|(_, name)| name).collect()
}

/// The end of a message about a missing name: the names that may have been meant, and how to create one.
pub fn advice(names: &[impl Display], creation: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => format!("; {creation}"),
        [one] => format!("; did you mean {one}? {creation}"),
        [others @ .., last] => format!("; did you mean {} or {last}? {creation}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_suggested_closest_first() {
        let known = ["authentication", "trading", "tradings", "tradnig", "training", "orders", "api"];
        assert_eq!(close_matches("trading", known), ["trading", "tradings", "tradnig"]);
        assert_eq!(close_matches("authentification", known), ["authentication"]);
        assert_eq!(close_matches("apis", known), ["api"]);
        assert!(close_matches("withdrawals", known).is_empty() && close_matches("", known).is_empty());
        assert!(close_matches(&"a".repeat(200), [&*"a".repeat(200)]).is_empty());
        assert_eq!(advice(&["a", "b", "c"], "PUT"), "; did you mean `a`, `b` or `c`? PUT");
        assert_eq!(advice(&["a"], "PUT"), "; did you mean `a`? PUT");
        assert_eq!(advice(&[""; 0], "PUT"), "; PUT");
    }
}
