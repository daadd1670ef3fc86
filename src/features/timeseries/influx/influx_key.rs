//! The keys of the series that line protocol creates: `influx:<measurement>:<field>,<tag>=<value>...`, tags in byte
//! order.
//!
//! A key contains the complete identity of its series, so that the first write of any client creates the same series.
//! The label `__name__`, which is the name of the metric in Prometheus, is `<measurement>_<field>`. Two measurements can
//! have the same name in this form (`a_b` with the field `c`, `a` with the field `b_c`), so the series of a measurement
//! with an underscore also have the label `_measurement`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::features::timeseries::series::{Labels, valid_label_name, valid_label_value};

/// The prefix of these keys.
pub(in crate::features::timeseries) const STEM: &str = "influx:";

/// The label that contains the name of the metric.
pub(in crate::features::timeseries) const NAME_LABEL: &str = "__name__";

/// The label that contains a measurement with an underscore. `InfluxDB` reserves this name too.
const MEASUREMENT_LABEL: &str = "_measurement";

/// The tags of a line, sorted by name.
pub(super) type Tags<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

/// The parts of the key that all fields of a line share.
#[derive(Debug)]
pub(super) struct TaggedKey<'a> {
    measurement: &'a str,
    /// `,<tag>=<value>...`
    tags: String,
}

impl<'a> TaggedKey<'a> {
    /// # Errors
    /// The rule of keys or labels that a name violates.
    pub(super) fn new(measurement: &'a str, tags: &Tags<'_>) -> Result<Self, String> {
        if !valid_label_value(measurement) {
            return Err("a measurement must not contain commas, parentheses or control characters".to_owned());
        }
        let mut text = String::new();
        for (name, value) in tags {
            if name == NAME_LABEL || name == MEASUREMENT_LABEL || !valid_label_name(name) {
                return Err(format!(
                    "tag `{name}`: a name must consist of letters, digits and `_.-`, and must not be {NAME_LABEL} or {MEASUREMENT_LABEL}"
                ));
            }
            if !valid_label_value(value) {
                return Err(format!(
                    "tag `{name}`: a value must not contain commas, parentheses or control characters"
                ));
            }
            text.extend([",", name, "=", value]);
        }
        let most = Labels::MAX_COUNT - if is_labelled(measurement) { 2 } else { 1 };
        if tags.len() > most {
            return Err(format!("a line must have at most {most} tags, got {}", tags.len()));
        }
        Ok(Self { measurement, tags: text })
    }

    /// # Errors
    /// The rule that the name of the field violates.
    pub(super) fn of_field(&self, field: &str) -> Result<String, String> {
        let name = format!("{}_{field}", self.measurement);
        if field.is_empty() || field.contains(':') || !valid_label_value(&name) {
            return Err(format!(
                "field `{field}`: a name must not contain colons, commas, parentheses or control characters"
            ));
        }
        Ok(format!("{STEM}{}:{field}{}", self.measurement, self.tags))
    }
}

/// Whether the series of a measurement have the label [`MEASUREMENT_LABEL`].
fn is_labelled(measurement: &str) -> bool {
    measurement.contains('_')
}

/// Parses the labels from the part of a key after its prefix; `None` if it does not have this form, with its tags in order:
/// the labels would be those of another series.
pub(in crate::features::timeseries) fn labels_of(rest: &str) -> Option<Labels> {
    let mut parts = rest.split(',');
    let (measurement, field) = parts.next()?.rsplit_once(':')?;
    let mut labels = BTreeMap::from([(NAME_LABEL.to_owned(), format!("{measurement}_{field}"))]);
    if is_labelled(measurement) {
        labels.insert(MEASUREMENT_LABEL.to_owned(), measurement.to_owned());
    }
    let mut previous = "";
    for part in parts {
        let (name, value) = part.split_once('=')?;
        if name <= previous || labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return None;
        }
        previous = name;
    }
    Labels::try_from(labels).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(measurement: &str, field: &str, tags: &[(&str, &str)]) -> Result<String, String> {
        let tags: Tags<'_> = tags.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        TaggedKey::new(measurement, &tags).and_then(|key| key.of_field(field))
    }

    #[test]
    fn a_key_has_its_tags_in_order() {
        let named = key("cpu", "idle", &[("host", "a"), ("az", "1")]);
        assert_eq!(named.as_deref(), Ok("influx:cpu:idle,az=1,host=a"));
        let labels = labels_of("cpu:idle,az=1,host=a").expect("labels");
        let pairs: Vec<_> = labels.iter().collect();
        assert_eq!(pairs, [("__name__", "cpu_idle"), ("az", "1"), ("host", "a")]);
    }

    #[test]
    fn names_that_no_label_can_carry_are_refused() {
        for (measurement, field, tags) in [
            ("a,b", "f", &[][..]),
            ("a", "f:g", &[]),
            ("a", "", &[]),
            ("a", "f,g", &[]),
            ("a", "f", &[("1st", "b")]),
            ("a", "f", &[("__name__", "b")]),
            ("a", "f", &[("_measurement", "a_b")]),
            ("a", "f", &[("t", "b(c)")]),
        ] {
            assert!(key(measurement, field, tags).is_err(), "{measurement} {field} {tags:?}");
        }
        for rest in ["cpu", "cpu:idle,host", "cpu:idle,a=1,a=2", "cpu:idle,b=1,a=2", "cpu:idle,__name__=x"] {
            assert!(labels_of(rest).is_none(), "{rest}");
        }
    }

    proptest! {
        /// Series of different measurements or fields have different labels.
        #[test]
        fn labels_tell_series_apart(
            (m1, m2) in ("[ab_:]{1,4}", "[ab_:]{1,4}"), (f1, f2) in ("[ab_]{1,4}", "[ab_]{1,4}")
        ) {
            prop_assume!((&m1, &f1) != (&m2, &f2));
            prop_assert_ne!(labels_of(&format!("{m1}:{f1}")), labels_of(&format!("{m2}:{f2}")));
        }

        /// Two lines have the same key only if they have the same measurement, field and tags.
        #[test]
        fn a_key_tells_what_it_is_made_of(
            measurement in "[a-z:=._]{1,5}", field in "[a-z=._]{1,5}",
            tags in proptest::collection::btree_map("[a-z_][a-z.-]{0,2}", "[a-z=:._]{1,4}", 0..4)
        ) {
            let borrowed: Tags<'_> =
                tags.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
            let key = TaggedKey::new(&measurement, &borrowed).and_then(|key| key.of_field(&field)).expect("a key");
            let rest = key.strip_prefix(STEM).expect("the stem");
            let (name, _) = rest.split_once(',').unwrap_or((rest, ""));
            prop_assert_eq!(name.rsplit_once(':'), Some((measurement.as_str(), field.as_str())));
            let labels = labels_of(rest).expect("labels");
            let others: BTreeMap<String, String> = labels
                .iter()
                .filter(|(name, _)| !matches!(*name, NAME_LABEL | MEASUREMENT_LABEL))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            prop_assert_eq!(others, tags);
        }
    }
}
