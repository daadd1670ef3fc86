//! A strict parser of Prometheus's text format: a scrape may reject what this parser rejects.
//!
//! Source: Prometheus documentation, "Exposition formats", text-based format 0.0.4.

use std::collections::{BTreeMap, HashMap};

type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
pub struct Exposition {
    kinds: HashMap<String, String>,
    samples: HashMap<(String, Labels), f64>,
}

impl Exposition {
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line must end with a line feed");
        let mut all = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a kind");
                assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
                assert!(all.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} has two TYPE lines");
            } else if !line.starts_with("# HELP ") {
                let (name, labels, value) = sample(line);
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let known = |name: &str| all.kinds.contains_key(name);
                assert!(known(&name) || family.is_some_and(known), "no TYPE before: {line}");
                assert!(all.samples.insert((name, labels), value).is_none(), "duplicate sample: {line}");
            }
        }
        all
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    pub fn kind(&self, name: &str) -> Option<&str> {
        self.kinds.get(name).map(String::as_str)
    }

    /// The value of [`Exposition::value`] as an integer.
    #[track_caller]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value = self.value(name, labels);
        format!("{value}").parse().unwrap_or_else(|_| panic!("{name}: {value} is not a count"))
    }

    /// The sample with exactly these labels; zero if it does not exist.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied().unwrap_or_default()
    }
}

#[track_caller]
fn sample(line: &str) -> (String, Labels, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("not closed: {line}"))),
        None => (series, ""),
    };
    assert!(is_name(name), "not a metric name: {line}");
    let mut pairs = Labels::new();
    let mut rest = labels;
    while let Some((label, after)) = rest.split_once("=\"") {
        assert!(is_name(label), "not a label name: {line}");
        // Label values of the service contain neither quotes nor backslashes.
        let (text, after) = after.split_once('"').unwrap_or_else(|| panic!("not closed: {line}"));
        pairs.insert(label.to_owned(), text.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    assert!(rest.is_empty(), "{line}");
    (name.to_owned(), pairs, value)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}
