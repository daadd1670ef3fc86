//! Descriptors: which limiter counts a descriptor, and under which key.

use super::super::config::DescriptorConfig;
use super::model::DescriptorEntry;

/// The rules that assign limiters to descriptors; the first match counts.
#[derive(Clone, Debug)]
pub(in crate::features::ratelimit) struct DescriptorRules(Vec<DescriptorConfig>);

impl DescriptorRules {
    pub(in crate::features::ratelimit) fn new(rules: &[DescriptorConfig]) -> Self {
        Self(rules.to_vec())
    }

    pub(in crate::features::ratelimit) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of a descriptor's limiter, if it is limited.
    pub(in crate::features::ratelimit) fn limiter(&self, domain: &str, entries: &[DescriptorEntry]) -> Option<&str> {
        let matches = |rule: &&DescriptorConfig| {
            rule.domain == domain
                && rule.entries.len() == entries.len()
                && rule.entries.iter().zip(entries).all(|(wanted, entry)| {
                    wanted.key == entry.key && wanted.value.as_ref().is_none_or(|value| *value == entry.value)
                })
        };
        self.0.iter().find(matches).map(|rule| rule.limiter.as_str())
    }
}

/// Joins the values of a descriptor with colons. `%` and `:` are escaped in all but the last value, so that different
/// values make different keys.
pub(in crate::features::ratelimit) fn key(entries: &[DescriptorEntry]) -> String {
    let mut key = String::new();
    for (at, entry) in entries.iter().enumerate() {
        if at + 1 == entries.len() {
            key.push_str(&entry.value);
        } else {
            key.push_str(&entry.value.replace('%', "%25").replace(':', "%3A"));
            key.push(':');
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(values: &[&str]) -> Vec<DescriptorEntry> {
        values.iter().map(|value| DescriptorEntry { key: "k".to_owned(), value: (*value).to_owned() }).collect()
    }

    #[test]
    fn different_values_make_different_keys() {
        assert_eq!(key(&entries(&["10.0.0.1", "/a:b%"])), "10.0.0.1:/a:b%");
        assert_eq!(key(&entries(&["::1"])), "::1");
        assert_eq!(key(&entries(&["a:b", "c"])), "a%3Ab:c");
        assert_ne!(key(&entries(&["a:b", "c"])), key(&entries(&["a", "b:c"])));
        assert_ne!(key(&entries(&["a:b", "c"])), key(&entries(&["a%3Ab", "c"])));
    }
}
