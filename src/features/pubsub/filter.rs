//! Filters on the tags of messages, in the form of Centrifugo's `tf`.

use serde::Deserialize;

use crate::events::TagMap;

/// The most nodes of a filter.
const MAX_NODES: usize = 16;

/// A condition on tags.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// `and`, `or`, `not`, or absent for a comparison.
    #[serde(default)]
    op: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    cmp: String,
    #[serde(default)]
    val: String,
    #[serde(default)]
    vals: Vec<String>,
    #[serde(default)]
    nodes: Vec<Self>,
}

impl Filter {
    /// # Errors
    /// The rule that the filter violates.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.count() > MAX_NODES {
            return Err(format!("must have at most {MAX_NODES} nodes"));
        }
        self.check_node()
    }

    fn count(&self) -> usize {
        1 + self.nodes.iter().map(Self::count).sum::<usize>()
    }

    fn check_node(&self) -> Result<(), String> {
        match self.op.as_str() {
            "" => match self.cmp.as_str() {
                "eq" | "neq" | "in" | "nin" | "ex" | "nex" | "sw" | "ew" | "ct" => Ok(()),
                "lt" | "lte" | "gt" | "gte" if self.val.parse::<f64>().is_ok() => Ok(()),
                "lt" | "lte" | "gt" | "gte" => Err(format!("`{}` is not a number", self.val)),
                other => Err(format!("`{other}` is not a comparison")),
            },
            "not" if self.nodes.len() != 1 => Err("`not` must have one node".to_owned()),
            "and" | "or" if self.nodes.is_empty() => Err(format!("`{}` must have nodes", self.op)),
            "and" | "or" | "not" => self.nodes.iter().try_for_each(Self::check_node),
            other => Err(format!("`{other}` is not an operator")),
        }
    }

    /// Whether a message with these tags is delivered.
    pub(super) fn passes(&self, tags: &TagMap) -> bool {
        match self.op.as_str() {
            "and" => return self.nodes.iter().all(|node| node.passes(tags)),
            "or" => return self.nodes.iter().any(|node| node.passes(tags)),
            "not" => return !self.nodes.iter().any(|node| node.passes(tags)),
            _ => {}
        }
        let tag = tags.get(&self.key);
        let compare = |holds: fn(f64, f64) -> bool| {
            let numbers = tag.and_then(|tag| tag.parse().ok()).zip(self.val.parse().ok());
            numbers.is_some_and(|(tag, value)| holds(tag, value))
        };
        match self.cmp.as_str() {
            "eq" => tag == Some(&self.val),
            "neq" => tag != Some(&self.val),
            "in" => tag.is_some_and(|tag| self.vals.contains(tag)),
            "nin" => tag.is_none_or(|tag| !self.vals.contains(tag)),
            "ex" => tag.is_some(),
            "nex" => tag.is_none(),
            "sw" => tag.is_some_and(|tag| tag.starts_with(&self.val)),
            "ew" => tag.is_some_and(|tag| tag.ends_with(&self.val)),
            "ct" => tag.is_some_and(|tag| tag.contains(&self.val)),
            "lt" => compare(|tag, value| tag < value),
            "lte" => compare(|tag, value| tag <= value),
            "gt" => compare(|tag, value| tag > value),
            "gte" => compare(|tag, value| tag >= value),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(filter: &str) -> bool {
        let filter: Filter = serde_json::from_str(filter).expect("a filter");
        filter.check().expect("valid");
        filter.passes(&TagMap::from([("side".to_owned(), "buy".to_owned()), ("qty".to_owned(), "7.5".to_owned())]))
    }

    #[test]
    fn comparisons_and_operators() {
        for yes in [
            r#"{"key":"side","cmp":"eq","val":"buy"}"#,
            r#"{"key":"side","cmp":"in","vals":["sell","buy"]}"#,
            r#"{"key":"none","cmp":"nex"}"#,
            r#"{"key":"qty","cmp":"gt","val":"7"}"#,
            r#"{"op":"and","nodes":[{"key":"side","cmp":"sw","val":"b"},{"op":"not","nodes":[{"key":"x","cmp":"ex"}]}]}"#,
        ] {
            assert!(passes(yes), "{yes}");
        }
        for no in [
            r#"{"key":"side","cmp":"neq","val":"buy"}"#,
            r#"{"key":"side","cmp":"lt","val":"7"}"#,
            r#"{"op":"or","nodes":[{"key":"x","cmp":"ex"},{"key":"qty","cmp":"lte","val":"7"}]}"#,
        ] {
            assert!(!passes(no), "{no}");
        }
    }

    #[test]
    fn invalid_filters_are_rejected() {
        let deep = (0..MAX_NODES)
            .fold(r#"{"key":"a","cmp":"ex"}"#.to_owned(), |inner, _| format!(r#"{{"op":"not","nodes":[{inner}]}}"#));
        for bad in [r#"{"cmp":"like"}"#, r#"{"op":"xor"}"#, r#"{"op":"not"}"#, r#"{"cmp":"lt","val":"x"}"#, &deep] {
            let filter: Filter = serde_json::from_str(bad).expect("JSON");
            assert!(filter.check().is_err(), "{bad}");
        }
    }
}
