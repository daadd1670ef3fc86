//! Ranges of one series.

use serde_json::{Value, json};

use super::call::{Called, Caller, Inexpressible, answered, escaped, path};
use super::series::MAX_TIMESTAMP;
use super::words::{Phrase, phrases};

/// What TS.RANGE and its kin ask, as parameters of the service.
#[derive(Debug, Default)]
pub struct RangeParameters(pub Vec<(&'static str, String)>);

impl RangeParameters {
    /// `words` are those behind the key.
    pub fn new(words: &[String], backwards: bool) -> Result<(Self, Vec<Phrase<'_>>), Inexpressible> {
        let [from, to, options @ ..] = words else { return Err(Inexpressible::SYNTAX) };
        let mut parameters = Self::default();
        if from != "-" {
            parameters.add("from", from);
        }
        if to != "+" && !to.parse::<i64>().is_ok_and(|to| to > MAX_TIMESTAMP) {
            parameters.add("to", to);
        }
        let mut others: Vec<Phrase<'_>> = Vec::new();
        for phrase in phrases(options)? {
            let is_last_part = others.iter().any(|before| before.keyword == "FILTER");
            if !parameters.take(&phrase)? {
                others.push(phrase);
            } else if is_last_part {
                return Err(Inexpressible::SYNTAX);
            }
        }
        let is_grouped = others.iter().any(|phrase| phrase.keyword == "GROUPBY");
        if backwards {
            parameters.add("order", "desc");
        }
        if backwards && !is_grouped {
            parameters.turn_around()?;
        }
        Ok((parameters, others))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    /// `false`: the option is not one of a range.
    fn take(&mut self, phrase: &Phrase<'_>) -> Result<bool, Inexpressible> {
        match phrase.keyword {
            "COUNT" => self.add("limit", phrase.exactly::<1>()?[0]),
            "AGGREGATION" => {
                let [aggregation, width] = phrase.exactly()?;
                self.add("agg", aggregation.to_ascii_lowercase().replace('.', "_"));
                self.add("bucket", format!("{width}ms"));
            }
            "ALIGN" => {
                let align = phrase.exactly::<1>()?[0];
                self.add(
                    "align",
                    match align {
                        "-" => "start",
                        "+" => "end",
                        other => other,
                    },
                );
            }
            "BUCKETTIMESTAMP" | "EMPTY" if self.get("agg").is_none() => return Err(Inexpressible::SYNTAX),
            "BUCKETTIMESTAMP" => {
                let stamp = phrase.exactly::<1>()?[0];
                self.add(
                    "bucket_timestamp",
                    match stamp {
                        "-" | "low" => "start",
                        "~" => "mid",
                        "+" | "high" => "end",
                        other => other,
                    },
                );
            }
            "EMPTY" => {
                phrase.exactly::<0>()?;
                self.add("empty", "true");
            }
            "FILTER_BY_TS" => match phrase.arguments.as_slice() {
                [] => return Err(Inexpressible::SYNTAX),
                [first, others @ ..] => {
                    let is_time = |text: &str| text.parse::<u64>().is_ok();
                    if is_time(first) && others.iter().any(|other| !is_time(other)) {
                        return Err(Inexpressible::UNKNOWN_WORDS);
                    }
                    self.add("filter_by_ts", phrase.arguments.join(","));
                }
            },
            "FILTER_BY_VALUE" => {
                let [min, max] = phrase.exactly()?;
                for (name, bound) in [("min_value", min), ("max_value", max)] {
                    if !["-inf", "+inf", "inf"].contains(&bound) {
                        self.add(name, bound);
                    }
                }
            }
            // Nothing is compacted, so no bucket is still open.
            "LATEST" if phrase.arguments.is_empty() => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The service only turns the answer around. So does the module for groups; elsewhere it goes through the samples
    /// backwards, and its first sample of a bucket is our last.
    fn turn_around(&mut self) -> Result<(), Inexpressible> {
        let fills = self.get("empty").is_some();
        for (name, value) in &mut self.0 {
            match (*name, value.as_str()) {
                ("agg", "first") => {
                    *value = "last".into();
                    if fills {
                        // What stays is null here, and what was is null there.
                        self.0.retain(|(name, _)| *name != "empty");
                        self.add("fill", "null");
                    }
                    return Ok(());
                }
                ("agg", "last") if fills => return Err(Inexpressible("the newer value in empty buckets, backwards")),
                ("agg", "last") => {
                    *value = "first".into();
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub fn query(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        pairs.join("&")
    }
}

impl Caller<'_> {
    pub async fn range(&mut self, words: &[String], backwards: bool) -> Called {
        let [key, words @ ..] = words else { return Err(Inexpressible::SYNTAX) };
        let (mut parameters, others) = RangeParameters::new(words, backwards)?;
        // Labels are no part of one series' range.
        if others.iter().any(|phrase| phrase.keyword != "WITHLABELS") {
            return Err(Inexpressible::UNKNOWN_WORDS);
        }
        if parameters.get("limit").is_none() {
            parameters.add("limit", "100000");
        }
        let reply = self.app.get(&format!("{}/range?{}", path(key), parameters.query())).await;
        Ok(answered(&reply, |page| samples(&page["samples"])))
    }
}

/// Samples in the module's form.
pub fn samples(samples: &Value) -> Value {
    let number = |value: &Value| if value.is_null() { "NaN".to_owned() } else { value.to_string() };
    let sample = |sample: &Value| json!([sample["timestamp"], number(&sample["value"])]);
    samples.as_array().expect("samples").iter().map(sample).collect()
}
