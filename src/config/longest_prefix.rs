/// Returns the entry that applies to a name: the one with the longest prefix of it, in whatever order they are configured.
pub fn longest_prefix<'a, T>(entries: &'a [T], name: &str, prefix: impl Fn(&T) -> &str) -> Option<&'a T> {
    entries.iter().filter(|entry| name.starts_with(prefix(entry))).max_by_key(|entry| prefix(entry).len())
}

#[cfg(test)]
mod tests {
    use super::longest_prefix;

    #[test]
    fn the_longest_prefix_applies_in_any_order() {
        for entries in [["a:", "a:b:", "b:"], ["a:b:", "b:", "a:"]] {
            let found = |name| longest_prefix(&entries, name, |entry| entry).copied();
            assert_eq!(found("a:b:c"), Some("a:b:"));
            assert_eq!(found("a:b"), Some("a:"));
            assert_eq!(found("c"), None);
        }
    }
}
