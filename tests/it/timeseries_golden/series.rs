//! Commands that write, describe and delete one series.

use axum::http::Method;
use serde_json::{Value, json};

use super::call::{Called, Caller, Inexpressible, answered, path};
use super::vector::Answer;
use super::words::{Phrase, phrases};
use crate::support::command;

/// The service's last possible timestamp.
pub const MAX_TIMESTAMP: i64 = 9_007_199_254_740_991;

/// The definition that TS.CREATE, TS.ALTER and TS.ADD may carry, as a body.
fn definition(phrases: &[Phrase<'_>]) -> Result<String, Inexpressible> {
    let mut fields = Vec::new();
    for phrase in phrases {
        match phrase.keyword {
            "RETENTION" => fields.push(format!("\"retention_ms\":{}", phrase.exactly::<1>()?[0])),
            "DUPLICATE_POLICY" => {
                let policy = phrase.exactly::<1>()?[0].to_ascii_lowercase();
                fields.push(format!("\"duplicate_policy\":{}", json!(policy)));
            }
            "LABELS" => {
                let (pairs, rest) = phrase.arguments.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err(Inexpressible::UNKNOWN_WORDS);
                }
                let mut labels = serde_json::Map::new();
                for [name, value] in pairs {
                    if !value.is_empty() && !name.is_empty() && !is_name(name) {
                        return Err(Inexpressible::LABEL_NAMES);
                    }
                    // The module reads the option wherever it finds the word.
                    if [name, value].iter().any(|word| word.eq_ignore_ascii_case("RETENTION")) {
                        return Err(Inexpressible::SYNTAX);
                    }
                    if labels.insert((*name).to_owned(), json!(value)).is_some() {
                        return Err(Inexpressible("a label that is there twice"));
                    }
                }
                fields.push(format!("\"labels\":{}", Value::Object(labels)));
            }
            // How the module keeps samples changes no answer.
            "ENCODING" | "CHUNK_SIZE" => {
                let known = phrase.arguments.iter().all(|word| {
                    ["COMPRESSED", "UNCOMPRESSED"].contains(&word.to_ascii_uppercase().as_str())
                        || word.parse::<u32>().is_ok_and(|size| size % 8 == 0 && (48..=1_048_576).contains(&size))
                });
                if !known || phrase.arguments.len() != 1 {
                    return Err(Inexpressible("how the module keeps samples"));
                }
            }
            "IGNORE" => return Err(Inexpressible::IGNORE),
            // Of the sample, not of the series.
            "ON_DUPLICATE" => {}
            _ => return Err(Inexpressible::UNKNOWN_WORDS),
        }
    }
    Ok(format!("{{{}}}", fields.join(",")))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn fixed<const N: usize>(words: &[String]) -> Result<([&str; N], &[String]), Inexpressible> {
    let (fixed, options) = words.split_at_checked(N).ok_or(Inexpressible::SYNTAX)?;
    let fixed: Vec<&str> = fixed.iter().map(String::as_str).collect();
    Ok((fixed.try_into().map_err(|_| Inexpressible::SYNTAX)?, options))
}

/// The module reads every value as a double, and the service refuses integers that it would have to round.
fn as_double(value: &str) -> String {
    match value.parse::<i64>() {
        Ok(integer) if integer.unsigned_abs() > 1 << 53 => format!("{value}.0"),
        _ => value.to_owned(),
    }
}

/// Times of the module that the service has no room for.
fn possible(time: &str) -> Result<&str, Inexpressible> {
    match time.parse::<i64>() {
        Ok(ms) if ms > MAX_TIMESTAMP => Err(Inexpressible::FAR_TIMES),
        _ => Ok(time),
    }
}

impl Caller<'_> {
    pub async fn create(&mut self, words: &[String]) -> Called {
        let ([key], options) = fixed::<1>(words)?;
        let body = definition(&phrases(options)?)?;
        let reply = self.send(Method::PUT, &path(key), body).await;
        // 200: it was there with the same definition.
        Ok(if reply.is(200) { Answer::Error } else { answered(&reply, |_| json!("OK")) })
    }

    pub async fn alter(&mut self, words: &[String]) -> Called {
        let ([key], options) = fixed::<1>(words)?;
        let body = definition(&phrases(options)?)?;
        Ok(answered(&self.send(Method::PATCH, &path(key), body).await, |_| json!("OK")))
    }

    pub async fn add(&mut self, words: &[String]) -> Called {
        let ([key, time, value], options) = fixed::<3>(words)?;
        possible(time)?;
        if time.contains(' ') || value.contains(' ') {
            return Err(Inexpressible::SYNTAX);
        }
        let phrases = phrases(options)?;
        let definition = definition(&phrases)?;
        let on_duplicate = match phrases.iter().find(|phrase| phrase.keyword == "ON_DUPLICATE") {
            Some(phrase) => format!(",\"on_duplicate\":{}", json!(phrase.exactly::<1>()?[0].to_ascii_lowercase())),
            None => String::new(),
        };
        let value = as_double(value);
        let body = format!("{{\"samples\":[{{\"timestamp\":{time},\"value\":{value}}}]{on_duplicate}}}");
        let samples = format!("{}/samples", path(key));
        let mut reply = self.send(Method::POST, &samples, body.clone()).await;
        if reply.is(404) {
            let created = self.send(Method::PUT, &path(key), definition).await;
            if !created.is(201) {
                return Ok(Answer::Error);
            }
            reply = self.send(Method::POST, &samples, body).await;
        }
        let time: Value = time.parse::<i64>().map_or(Value::Null, Value::from);
        match answered(&reply, |body| body["refused"].clone()) {
            Answer::Reply(refused) if refused != json!([]) => Ok(Answer::Error),
            Answer::Reply(_) => Ok(Answer::Reply(time)),
            Answer::Error => Ok(Answer::Error),
        }
    }

    pub async fn add_many(&mut self, words: &[String]) -> Called {
        let (triples, rest) = words.as_chunks::<3>();
        if triples.is_empty() || !rest.is_empty() {
            return Err(Inexpressible::SYNTAX);
        }
        let line = |[key, time, value]: &[String; 3]| {
            format!("{{\"series\":{},\"timestamp\":{time},\"value\":{value}}}\n", json!(key))
        };
        let body: String = triples.iter().map(line).collect();
        let ndjson = ("content-type", "application/x-ndjson");
        let reply = self.app.send(Method::POST, "/timeseries/samples", &[ndjson], body).await;
        if reply.is(422) && reply.json()["code"] == "samples-refused" {
            return Ok(Answer::Reply(triples.iter().map(|_| json!({ "error": "refused" })).collect()));
        }
        Ok(answered(&reply, |answer| {
            let refused: Vec<u64> = answer["refused"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|refused| refused["line"].as_u64().expect("a line"))
                .collect();
            let each = (1..).zip(triples).map(|(line, [_, time, _])| match time.parse::<i64>() {
                Ok(time) if !refused.contains(&line) => json!(time),
                _ => json!({ "error": "refused" }),
            });
            each.collect()
        }))
    }

    /// What a caller would do instead: read the newest sample, add to its value, and write it. The answer is that of the
    /// caller's own rule, so that it is not compared.
    pub async fn increment(&mut self, words: &[String], sign: f64) -> Called {
        let ([key, by], options) = fixed::<2>(words)?;
        let phrases = phrases(options)?;
        let (time, others): (Vec<_>, Vec<_>) = phrases.into_iter().partition(|phrase| phrase.keyword == "TIMESTAMP");
        let definition = definition(&others)?;
        let time = time.first().ok_or(Inexpressible::SYNTAX)?.exactly::<1>()?[0];
        let (Ok(by), Ok(time)) = (by.parse::<f64>(), time.parse::<i64>()) else { return Err(Inexpressible::INCREMENT) };
        let newest = self.app.get(&format!("{}/latest", path(key))).await;
        let newest = if newest.is(200) { newest.json() } else { json!({ "timestamp": 0, "value": 0.0 }) };
        if time >= newest["timestamp"].as_i64().expect("a time") {
            self.send(Method::PUT, &path(key), definition).await;
            let value = newest["value"].as_f64().expect("a value") + sign * by;
            let body = json!({ "samples": [{ "timestamp": time, "value": value }], "on_duplicate": "last" });
            self.send(Method::POST, &format!("{}/samples", path(key)), body.to_string()).await;
        }
        Err(Inexpressible::INCREMENT)
    }

    pub async fn delete(&mut self, words: &[String]) -> Called {
        let ([key, from, to], options) = fixed::<3>(words)?;
        if !options.is_empty() {
            return Err(Inexpressible::SYNTAX);
        }
        let from = if from == "-" { "0" } else { from };
        let last = MAX_TIMESTAMP.to_string();
        let to = if to == "+" || possible(to).is_err() { &last } else { to };
        let path = format!("{}/samples?from={from}&to={}", path(key), to.replace('+', "%2B"));
        Ok(answered(&self.app.delete(&path).await, |body| body["deleted"].clone()))
    }

    pub async fn latest(&mut self, words: &[String]) -> Called {
        let ([key], options) = fixed::<1>(words)?;
        if options.iter().any(|word| !word.eq_ignore_ascii_case("LATEST")) {
            return Err(Inexpressible::SYNTAX);
        }
        let reply = self.app.get(&format!("{}/latest", path(key))).await;
        if reply.is(404) && reply.json()["code"] == "series-empty" {
            return Ok(Answer::Reply(json!([])));
        }
        Ok(answered(&reply, |sample| json!([sample["timestamp"], sample["value"].to_string()])))
    }

    /// TS.INFO, as far as both say it; see [`super::differences::shown`].
    pub async fn describe(&mut self, words: &[String]) -> Called {
        let ([key], options) = fixed::<1>(words)?;
        if !options.is_empty() {
            return Err(Inexpressible::UNKNOWN_WORDS);
        }
        Ok(answered(&self.app.get(&path(key)).await, |series| {
            let time = |name: &str| if series[name].is_null() { json!(0) } else { series[name].clone() };
            let labels = series["labels"].as_object().expect("labels");
            let labels: Vec<Value> = labels.iter().map(|(name, value)| json!([name, value])).collect();
            json!([
                "totalSamples",
                series["count"],
                "firstTimestamp",
                time("first_timestamp"),
                "lastTimestamp",
                time("last_timestamp"),
                "retentionTime",
                series["retention_ms"],
                "duplicatePolicy",
                series["duplicate_policy"],
                "labels",
                labels
            ])
        }))
    }

    pub async fn drop_series(&mut self, words: &[String]) -> Called {
        let mut dropped = 0;
        for key in words {
            dropped += i32::from(self.app.delete(&path(key)).await.is(204));
        }
        Ok(Answer::Reply(json!(dropped)))
    }

    /// Something that is no series under a series' name.
    pub async fn occupy(&mut self, words: &[String]) -> Called {
        let ([key, value], _) = fixed::<2>(words)?;
        let name = self.app.state().keys().key(format_args!("ts:{key}"));
        let _: String = command(self.app, &["SET", name.as_str(), value]).await;
        Ok(Answer::Reply(json!("OK")))
    }

    pub async fn exists(&mut self, words: &[String]) -> Called {
        let ([key], _) = fixed::<1>(words)?;
        Ok(Answer::Reply(json!(i32::from(self.app.get(&path(key)).await.is(200)))))
    }
}
