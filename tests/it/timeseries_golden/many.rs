//! Commands over many series.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::call::{Called, Caller, Inexpressible, answered, escaped};
use super::range::{RangeParameters, samples};
use super::words::{Phrase, phrases};

/// Which labels an answer shows.
enum Shown {
    None,
    All,
    Selected(Vec<String>),
}

/// What a query over many series asks beside its range.
struct Selection {
    filter: Vec<String>,
    shown: Shown,
    group: Option<(String, String)>,
}

impl Selection {
    fn new(phrases: &[Phrase<'_>]) -> Result<Self, Inexpressible> {
        let mut selection = Self { filter: Vec::new(), shown: Shown::None, group: None };
        let mut grouped_by = None;
        for phrase in phrases {
            match (phrase.keyword, phrase.arguments.as_slice()) {
                ("FILTER" | "SELECTED_LABELS" | "GROUPBY" | "REDUCE", []) => {
                    return Err(Inexpressible::SYNTAX);
                }
                // A condition is never that: whatever stands behind the conditions is read as one.
                ("FILTER", conditions) => selection.filter = conditions.iter().map(|&word| word.to_owned()).collect(),
                ("WITHLABELS", []) if matches!(selection.shown, Shown::None) => selection.shown = Shown::All,
                ("SELECTED_LABELS", names) if matches!(selection.shown, Shown::None) => {
                    selection.shown = Shown::Selected(names.iter().map(|&name| name.to_owned()).collect());
                }
                ("GROUPBY", [label]) if !selection.filter.is_empty() => grouped_by = Some((*label).to_owned()),
                ("REDUCE", [reducer]) => {
                    let reducer = reducer.to_ascii_lowercase().replace('.', "_");
                    selection.group = Some((grouped_by.take().ok_or(Inexpressible::SYNTAX)?, reducer));
                }
                ("LATEST", []) => {}
                _ => return Err(Inexpressible::SYNTAX),
            }
        }
        if selection.filter.is_empty() || grouped_by.is_some() {
            return Err(Inexpressible::SYNTAX);
        }
        Ok(selection)
    }

    fn body(&self, range: &RangeParameters) -> Value {
        let mut body = Map::new();
        for (name, value) in &range.0 {
            body.insert((*name).to_owned(), typed(name, value));
        }
        body.insert("filter".into(), json!(self.filter));
        if let Shown::Selected(names) = &self.shown {
            body.insert("labels".into(), json!(names));
        }
        match &self.group {
            Some((label, reducer)) => {
                body.insert("group_by".into(), json!(label));
                body.insert("reduce".into(), json!(reducer));
            }
            None => {
                body.insert("series_limit".into(), json!(1000));
            }
        }
        Value::Object(body)
    }

    /// The labels of an item in the module's form.
    fn labels(&self, item: &Value) -> Vec<Value> {
        let all = item["labels"].as_object().expect("labels");
        match &self.shown {
            Shown::None => Vec::new(),
            Shown::Selected(names) => names.iter().map(|name| json!([name, all[name]])).collect(),
            Shown::All => {
                let mut labels: Vec<Value> = all.iter().map(|(name, value)| json!([name, value])).collect();
                if let Some(reducer) = item["reducer"].as_str() {
                    let sources: Vec<&str> =
                        item["sources"].as_array().expect("sources").iter().filter_map(Value::as_str).collect();
                    labels.push(json!(["__reducer__", reducer.replace('_', ".")]));
                    labels.push(json!(["__source__", sources.join(",")]));
                }
                labels
            }
        }
    }
}

/// A parameter as a body has it: numbers where they are numbers, and text that is none as it is.
fn typed(name: &str, value: &str) -> Value {
    let number = || serde_json::from_str::<serde_json::Number>(value).map(Value::Number);
    match name {
        "limit" | "min_value" | "max_value" => number().unwrap_or_else(|_| json!(value)),
        "empty" => json!(true),
        "filter_by_ts" => {
            value.split(',').map(|time| serde_json::from_str(time).unwrap_or_else(|_| json!(time))).collect()
        }
        _ => json!(value),
    }
}

impl Caller<'_> {
    pub async fn many_ranges(&mut self, words: &[String], backwards: bool) -> Called {
        let (mut range, others) = RangeParameters::new(words, backwards)?;
        let selection = Selection::new(&others)?;
        if range.get("limit").is_none() {
            range.0.push(("limit", "100000".to_owned()));
        }
        let reply = self.send(Method::POST, "/timeseries/query", selection.body(&range).to_string()).await;
        Ok(answered(&reply, |page| {
            assert_eq!(page["next_cursor"], Value::Null, "one page is enough");
            let item = |item: &Value| json!([item["key"], selection.labels(item), samples(&item["samples"])]);
            page["items"].as_array().expect("items").iter().map(item).collect()
        }))
    }

    /// The newest samples: a range backwards of one point.
    pub async fn many_latest(&mut self, words: &[String]) -> Called {
        let selection = Selection::new(&phrases(words)?)?;
        let range = RangeParameters(vec![("order", "desc".to_owned()), ("limit", "1".to_owned())]);
        let reply = self.send(Method::POST, "/timeseries/query", selection.body(&range).to_string()).await;
        Ok(answered(&reply, |page| {
            let item = |item: &Value| {
                let newest = samples(&item["samples"]).get(0).cloned().unwrap_or_else(|| json!([]));
                json!([item["key"], selection.labels(item), newest])
            };
            page["items"].as_array().expect("items").iter().map(item).collect()
        }))
    }

    pub async fn keys_by_label(&mut self, words: &[String]) -> Called {
        if words.is_empty() {
            return Err(Inexpressible::SYNTAX);
        }
        let conditions: Vec<String> = words.iter().map(|word| format!("filter={}", escaped(word))).collect();
        let reply = self.app.get(&format!("/timeseries?limit=1000&{}", conditions.join("&"))).await;
        Ok(answered(&reply, |page| {
            page["items"].as_array().expect("items").iter().map(|item| item["key"].clone()).collect()
        }))
    }
}
