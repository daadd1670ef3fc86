//! Intended differences between the service and the module.

use serde_json::{Value, json};

use super::vector::{Answer, Step};

/// The reason that docs/timeseries.md gives for an answer that differs; none where it should not.
pub fn reason(step: &Step, found: &Answer) -> Option<&'static str> {
    let words: Vec<&str> = step.cmd.iter().map(String::as_str).collect();
    if *found == Answer::Error && ends_before_it_begins(&words) {
        return Some("a window that ends before it begins");
    }
    let is_refused_for_rules = step.error.as_ref().is_some_and(|error| error.contains("compactions"));
    if matches!(found, Answer::Reply(_)) && is_refused_for_rules {
        return Some("deletions that cut expired buckets of a rule");
    }
    if matches!(found, Answer::Reply(_)) && has_negative_alignment(&words) {
        return Some("a negative alignment");
    }
    if matches!(found, Answer::Reply(_)) && averages_filtered_samples_backwards(&words) {
        return Some("averages over time of filtered samples, backwards");
    }
    None
}

fn averages_filtered_samples_backwards(words: &[&str]) -> bool {
    let has = |sought: &str| words.iter().any(|word| word.eq_ignore_ascii_case(sought));
    (has("TS.REVRANGE") || has("TS.MREVRANGE")) && has("twa") && (has("FILTER_BY_TS") || has("FILTER_BY_VALUE"))
}

fn has_negative_alignment(words: &[&str]) -> bool {
    let align = words.iter().position(|word| word.eq_ignore_ascii_case("ALIGN"));
    align.and_then(|at| words.get(at + 1)).is_some_and(|time| time.parse::<i64>().is_ok_and(|time| time < 0))
}

fn ends_before_it_begins(words: &[&str]) -> bool {
    let window = match words {
        ["TS.RANGE" | "TS.REVRANGE" | "TS.DEL", _, from, to, ..] | ["TS.MRANGE" | "TS.MREVRANGE", from, to, ..] => {
            (from.parse::<i64>(), to.parse::<i64>())
        }
        _ => return false,
    };
    matches!(window, (Ok(from), Ok(to)) if from > to)
}

/// What the service says about a series, in the order of its own answer.
const DESCRIBED: &[&str] =
    &["totalSamples", "firstTimestamp", "lastTimestamp", "retentionTime", "duplicatePolicy", "labels"];

/// The part of an answer that both have: TS.INFO also tells how the module keeps samples, and labels have no order here.
pub fn shown(command: &[String], answer: Answer) -> Answer {
    let is = |name: &str| command.first().is_some_and(|word| word.eq_ignore_ascii_case(name));
    let (is_info, is_many) = (is("TS.INFO"), is("TS.MRANGE") || is("TS.MREVRANGE") || is("TS.MGET"));
    match answer {
        Answer::Reply(Value::Array(items)) if is_many => {
            let item = |item: Value| match item {
                Value::Array(mut parts) if parts.len() == 3 => {
                    sort_labels(&mut parts[1]);
                    Value::Array(parts)
                }
                other => other,
            };
            Answer::Reply(items.into_iter().map(item).collect())
        }
        Answer::Reply(Value::Array(pairs)) if is_info => {
            let (pairs, _) = pairs.as_chunks::<2>();
            let known = pairs.iter().filter(|[name, _]| DESCRIBED.iter().any(|known| name == known));
            let sorted = known.map(|[name, value]| {
                let mut value = value.clone();
                sort_labels(&mut value);
                json!([name, value])
            });
            Answer::Reply(sorted.collect())
        }
        other => other,
    }
}

fn sort_labels(labels: &mut Value) {
    if let Value::Array(labels) = labels {
        labels.sort_by_key(|label| label[0].to_string());
    }
}
