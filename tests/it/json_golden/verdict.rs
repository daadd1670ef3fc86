//! Compares answers.

use serde_json::Value;

use super::Verdict;
use super::translate::History;
use super::vectors::Step;
use crate::support::{Reply, TestApp};

/// The tolerance for the module's floats, which it does not round correctly (16 or 17 digits, one unit).
const TOLERANCE: f64 = 4e-16;

pub fn of_redis(app: &TestApp, command: &[String], expected: &Value) -> Verdict {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let found = match app.redis().command::<redis::Value>(&words) {
        redis::Value::Int(number) => Value::from(number),
        redis::Value::Okay => Value::from("OK"),
        redis::Value::BulkString(bytes) => Value::from(String::from_utf8_lossy(&bytes).into_owned()),
        redis::Value::Nil => Value::Null,
        other => Value::from(format!("{other:?}")),
    };
    if found == *expected { Verdict::Same } else { Verdict::Different(format!("{found} instead of {expected}")) }
}

/// The verdict about the last reply.
pub fn of_replies(replies: &[Reply], step: &Step, history: &History) -> Verdict {
    let reply = replies.last().expect("a reply");
    if reply.status.is_server_error() {
        return Verdict::Different(format!("{}: {}", reply.status, reply.text()));
    }
    if step.answers().into_iter().any(|answer| agrees(reply, step, answer, history)) {
        return Verdict::Same;
    }
    let module = step.reply.as_ref().map_or("an error".to_owned(), Value::to_string);
    Verdict::Different(format!("{} {} instead of {module}", reply.status.as_u16(), reply.text()))
}

/// Whether a reply matches the module's answer; `None` is an error.
fn agrees(reply: &Reply, step: &Step, answer: Option<&Value>, history: &History) -> bool {
    let command = step.cmd.first().map_or("", String::as_str);
    let path = step.cmd.get(2).map_or(".", String::as_str);
    let is_legacy = path != "$" && !path.starts_with("$.") && !path.starts_with("$[");
    let Some(answer) = answer else { return reply.status.is_client_error() };
    match command {
        "JSON.SET" | "JSON.MERGE" => match answer {
            Value::Null if step.cmd.len() > 4 => reply.is(412) || reply.is(404),
            Value::Null => reply.is(404),
            _ => reply.is(201) || reply.is(204),
        },
        "JSON.DEL" | "JSON.FORGET" => reply.is(200) && reply.json()["deleted"] == *answer,
        "JSON.CLEAR" => reply.is(200) && reply.json()["cleared"] == *answer,
        "JSON.MSET" => reply.is(200) && statuses(reply, "set").iter().all(|status| [201, 204].contains(status)),
        // An invalid path is rejected; the module reports a missing value.
        "JSON.MGET" if reply.is(422) => is_nothing(answer),
        "JSON.MGET" => reply.is(200) && same(&values(reply), &each_parsed(answer), history),
        "JSON.GET" => match answer {
            Value::Null => reply.is(404),
            text => reply.is(200) && same(&reply.json(), &parse(text), history),
        },
        // The status reports that nothing could be changed.
        _ if is_change(command) && !is_legacy && is_nothing(&unpacked(command, answer)) => {
            reply.is(404) || reply.is(409) || (reply.is(200) && is_nothing(&results(command, reply)))
        }
        _ if answer.is_null() => reply.is(404) || (reply.is(200) && is_nothing(&results(command, reply))),
        _ if !reply.is(200) => false,
        _ if is_legacy => {
            let found = results(command, reply);
            let items = found.as_array().cloned().unwrap_or_default();
            let expected = unpacked(command, answer);
            // A change at a legacy path returns all results, not only one.
            items.iter().any(|item| same(item, &expected, history)) && (is_change(command) || items.len() == 1)
        }
        _ => same(&results(command, reply), &unpacked(command, answer), history),
    }
}

fn statuses(reply: &Reply, list: &str) -> Vec<u64> {
    let items = reply.json()[list].as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|item| item["status"].as_u64()).collect()
}

/// The values that a batch read; null for missing ones.
fn values(reply: &Reply) -> Value {
    let items = reply.json()["get"].as_array().cloned().unwrap_or_default();
    Value::Array(items.into_iter().map(|item| item.get("value").cloned().unwrap_or_default()).collect())
}

fn each_parsed(texts: &Value) -> Value {
    Value::Array(texts.as_array().cloned().unwrap_or_default().iter().map(parse).collect())
}

fn is_change(command: &str) -> bool {
    !matches!(command, "JSON.TYPE" | "JSON.OBJKEYS" | "JSON.OBJLEN" | "JSON.STRLEN" | "JSON.ARRLEN")
}

/// Whether nothing was changed: no results, or nothing but nulls.
fn is_nothing(results: &Value) -> bool {
    match results {
        Value::Null => true,
        Value::Array(items) => items.iter().all(Value::is_null),
        _ => false,
    }
}

/// The results of a reply in the form of the command's answer.
fn results(command: &str, reply: &Reply) -> Value {
    let results = reply.json()["results"].clone();
    match (command, results) {
        ("JSON.ARRPOP", Value::Array(items)) => {
            Value::Array(items.into_iter().map(|item| item.get("value").cloned().map_or(Value::Null, some)).collect())
        }
        (_, results) => results,
    }
}

/// A popped null differs from an empty array.
fn some(value: Value) -> Value {
    Value::Array(vec![value])
}

/// The module's answer with its JSON texts parsed.
fn unpacked(command: &str, answer: &Value) -> Value {
    match (command, answer) {
        ("JSON.ARRPOP", Value::Array(items)) => Value::Array(
            items.iter().map(|item| if item.is_null() { Value::Null } else { some(parse(item)) }).collect(),
        ),
        ("JSON.ARRPOP", text) => some(parse(text)),
        ("JSON.TOGGLE", Value::Array(items)) => Value::Array(
            items.iter().map(|item| item.as_i64().map_or(Value::Null, |number| Value::from(number == 1))).collect(),
        ),
        ("JSON.NUMINCRBY" | "JSON.NUMMULTBY" | "JSON.TOGGLE", text) => parse(text),
        (_, other) => other.clone(),
    }
}

fn parse(text: &Value) -> Value {
    text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| text.clone())
}

/// Whether the values are equal except for the module's rounding and, once it moved members, the order of lists.
fn same(one: &Value, two: &Value, history: &History) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => same_number(one, two),
        (Value::Array(one), Value::Array(two)) if one.len() == two.len() => {
            let in_order = one.iter().zip(two).all(|(one, two)| same(one, two, history));
            in_order || (history.reordered && same_in_any_order(one, two, history))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(name, value)| two.get(name).is_some_and(|other| same(value, other, history)))
        }
        _ => one == two,
    }
}

fn same_in_any_order(one: &[Value], two: &[Value], history: &History) -> bool {
    let mut rest: Vec<&Value> = two.iter().collect();
    one.iter().all(|item| {
        let found = rest.iter().position(|other| same(item, other, history));
        found.map(|at| rest.swap_remove(at)).is_some()
    })
}

fn same_number(one: &serde_json::Number, two: &serde_json::Number) -> bool {
    if one.is_f64() != two.is_f64() {
        return false;
    }
    if !one.is_f64() {
        return one == two;
    }
    let (one, two) = (one.as_f64().unwrap_or_default(), two.as_f64().unwrap_or_default());
    (one - two).abs() <= TOLERANCE * one.abs().max(two.abs())
}
