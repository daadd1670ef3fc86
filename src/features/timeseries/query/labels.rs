//! Which series are meant, by their labels.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::super::series::Labels;

/// One condition on a label: `zone=1`, `zone!=1`, `zone=(1,2)`, `zone!=(1,2)`, `zone=` (not there), `zone!=` (there).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct Matcher {
    name: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// One of these values.
    OneOf(Vec<String>),
    /// Another value, or none.
    NoneOf(Vec<String>),
    Absent,
    Present,
}

impl Matcher {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name);
        match &self.test {
            Test::OneOf(values) => value.is_some_and(|value| values.iter().any(|known| known == value)),
            Test::NoneOf(values) => value.is_none_or(|value| values.iter().all(|known| known != value)),
            Test::Absent => value.is_none(),
            Test::Present => value.is_some(),
        }
    }
}

impl FromStr for Matcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no condition: write label=value, label!=value, label=(a,b), label= or label!=");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let (name, negated) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
        if name.is_empty() {
            return Err(wrong());
        }
        let condition = match (values(value).ok_or_else(wrong)?, negated) {
            (None, false) => Test::Absent,
            (None, true) => Test::Present,
            (Some(values), false) => Test::OneOf(values),
            (Some(values), true) => Test::NoneOf(values),
        };
        Ok(Self { name: name.to_owned(), test: condition })
    }
}

/// The values behind the sign, none when there is no text; `None` when a list is not closed or has an empty value.
#[expect(clippy::option_option, reason = "wrong, empty, and some")]
fn values(text: &str) -> Option<Option<Vec<String>>> {
    let Some(list) = text.strip_prefix('(') else {
        return Some((!text.is_empty()).then(|| vec![text.to_owned()]));
    };
    let list = list.strip_suffix(')')?;
    if list.is_empty() {
        return Some(Some(Vec::new()));
    }
    let values: Vec<String> = list.split(',').map(str::to_owned).collect();
    if values.iter().any(|value| value.is_empty() || value.contains(['(', ')'])) { None } else { Some(Some(values)) }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Conditions that all hold; one of them at least names values that a label has, so that the list of labels can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct LabelFilter(Vec<Matcher>);

impl LabelFilter {
    /// The most conditions.
    pub(in crate::features::timeseries) const MAX: usize = 32;

    /// # Errors
    /// The rule that the conditions break.
    pub(in crate::features::timeseries) fn new(matchers: Vec<Matcher>) -> Result<Self, String> {
        if matchers.len() > Self::MAX {
            return Err(format!("has more than {} conditions", Self::MAX));
        }
        if !matchers.iter().any(|matcher| matches!(matcher.test, Test::OneOf(_))) {
            return Err("needs a condition label=value or label=(a,b)".to_owned());
        }
        Ok(Self(matchers))
    }

    /// Series with one of the given values of each label; `None`: no label is given.
    #[cfg(feature = "promql")]
    pub(in crate::features::timeseries) fn of_values(labels: Vec<(&str, Vec<String>)>) -> Option<Self> {
        let matcher = |(name, values): (&str, _)| Matcher { name: name.to_owned(), test: Test::OneOf(values) };
        (!labels.is_empty()).then(|| Self(labels.into_iter().map(matcher).collect()))
    }

    pub(in crate::features::timeseries) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels))
    }

    /// The conditions that name the values of a label, at least one; each of them finds all series that are meant.
    pub(in crate::features::timeseries) fn named(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().filter_map(|matcher| match &matcher.test {
            Test::OneOf(values) => Some((matcher.name.as_str(), values.as_slice())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let pairs: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Labels::try_from(pairs).expect("labels")
    }

    #[test]
    fn conditions_are_met_by_values_and_by_absence() {
        let kitchen = labels(&[("room", "kitchen"), ("floor", "1")]);
        for (condition, met) in [
            ("room=kitchen", true),
            ("room=bath", false),
            ("room=(bath,kitchen)", true),
            ("room=()", false),
            ("room!=bath", true),
            ("room!=kitchen", false),
            ("room!=(bath,kitchen)", false),
            ("room!=", true),
            ("room=", false),
            ("kind=", true),
            ("kind!=", false),
            ("kind!=air", true),
            ("room=\"kitchen\"", false),
            ("room=kitchen,bath", false),
            ("room = kitchen", false),
        ] {
            let matcher: Matcher = condition.parse().expect(condition);
            assert_eq!(matcher.matches(&kitchen), met, "{condition}");
        }
    }

    #[test]
    fn a_condition_is_complete() {
        for bad in
            ["", "room", "=kitchen", "!=kitchen", "room=(kitchen", "room=(a,,b)", "room=(a,", "room=(,)", "room=((a)"]
        {
            assert!(bad.parse::<Matcher>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_condition_names_a_value() {
        let filter = |conditions: &[&str]| {
            LabelFilter::new(conditions.iter().map(|condition| condition.parse().expect("a condition")).collect())
        };
        assert!(filter(&["room=kitchen", "kind!=air"]).is_ok());
        assert!(filter(&["room=()"]).is_ok());
        for bad in [vec![], vec!["room="], vec!["room!="], vec!["room!=kitchen"], vec!["a=b"; 33]] {
            assert!(filter(&bad).is_err(), "{bad:?}");
        }
    }
}
