//! Filters: conditions that select series by their labels.

use serde::Deserialize;

use super::super::series::Labels;

/// A condition on a label: `zone=1`, `zone!=1`, `zone=(1,2)`, `zone!=(1,2)`, `zone=` (absent) or `zone!=` (present).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(in crate::features::timeseries) struct Matcher {
    name: String,
    /// The values of which the label has one; `None` if the label is absent.
    values: Option<Vec<String>>,
    /// Whether the condition is `!=`, which is met if the rest is not.
    negated: bool,
}

impl Matcher {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name);
        let meets = match &self.values {
            Some(values) => value.is_some_and(|value| values.iter().any(|known| known == value)),
            None => value.is_none(),
        };
        meets != self.negated
    }

    /// The values of which the label must have one, if the condition names them.
    fn named_values(&self) -> Option<&[String]> {
        self.values.as_deref().filter(|_| !self.negated)
    }
}

impl TryFrom<String> for Matcher {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong =
            || format!("must be label=value, label!=value, label=(a,b), label!=(a,b), label= or label!=, got `{text}`");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let (name, negated) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
        if name.is_empty() {
            return Err(wrong());
        }
        let values = values(value).map_err(|()| wrong())?;
        Ok(Self { name: name.to_owned(), values, negated })
    }
}

/// Parses the values after the sign; `None` without text.
///
/// # Errors
/// If a list is not closed or has an empty value.
fn values(text: &str) -> Result<Option<Vec<String>>, ()> {
    let Some(list) = text.strip_prefix('(') else {
        return Ok((!text.is_empty()).then(|| vec![text.to_owned()]));
    };
    let list = list.strip_suffix(')').ok_or(())?;
    if list.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let values: Vec<String> = list.split(',').map(str::to_owned).collect();
    if values.iter().any(|value| value.is_empty() || value.contains(['(', ')'])) { Err(()) } else { Ok(Some(values)) }
}

/// Conditions that a series must meet. At least one names the values of a label, so that the label index can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct LabelFilter(Vec<Matcher>);

impl LabelFilter {
    /// The maximum number of conditions.
    pub(in crate::features::timeseries) const MAX: usize = 32;

    /// # Errors
    /// The rule that the conditions violate.
    pub(in crate::features::timeseries) fn new(matchers: Vec<Matcher>) -> Result<Self, String> {
        if matchers.len() > Self::MAX {
            return Err(format!("must have at most {} conditions, got {}", Self::MAX, matchers.len()));
        }
        if !matchers.iter().any(|matcher| matcher.named_values().is_some()) {
            return Err("must have at least one condition label=value or label=(a,b)".to_owned());
        }
        Ok(Self(matchers))
    }

    /// A filter for series that have one of the given values of each label; `None` if no label is given.
    #[cfg(feature = "promql")]
    pub(in crate::features::timeseries) fn of_values(labels: Vec<(&str, Vec<String>)>) -> Option<Self> {
        let matcher =
            |(name, values): (&str, _)| Matcher { name: name.to_owned(), values: Some(values), negated: false };
        (!labels.is_empty()).then(|| Self(labels.into_iter().map(matcher).collect()))
    }

    pub(in crate::features::timeseries) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels))
    }

    /// The conditions that name the values of a label, at least one. Each of them matches all series that the filter
    /// selects.
    pub(in crate::features::timeseries) fn named(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().filter_map(|matcher| Some((matcher.name.as_str(), matcher.named_values()?)))
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
            let matcher = Matcher::try_from(condition.to_owned()).expect(condition);
            assert_eq!(matcher.matches(&kitchen), met, "{condition}");
        }
    }

    #[test]
    fn a_condition_is_complete() {
        for bad in
            ["", "room", "=kitchen", "!=kitchen", "room=(kitchen", "room=(a,,b)", "room=(a,", "room=(,)", "room=((a)"]
        {
            assert!(Matcher::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_condition_names_a_value() {
        let filter = |conditions: &[&str]| {
            let matcher = |condition: &&str| Matcher::try_from((*condition).to_owned()).expect(condition);
            LabelFilter::new(conditions.iter().map(matcher).collect())
        };
        assert!(filter(&["room=kitchen", "kind!=air"]).is_ok());
        assert!(filter(&["room=()"]).is_ok());
        for bad in [vec![], vec!["room="], vec!["room!="], vec!["room!=kitchen"], vec!["a=b"; 33]] {
            assert!(filter(&bad).is_err(), "{bad:?}");
        }
    }
}
