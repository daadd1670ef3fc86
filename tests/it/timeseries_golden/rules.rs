//! Compaction rules, as rollups of their source.
//!
//! A rule writes to a series of its own. Here the source is asked for the rule's buckets, which its rollup answers: all
//! of them are what LATEST shows, and without the open one, that of the newest sample, they are what the rule has written.

use axum::http::Method;
use serde_json::{Value, json};

use super::call::{Called, Caller, Inexpressible, answered, path};
use super::range::samples;
use super::vector::Answer;
use super::words::phrases;
use crate::support::eventually;

/// A rule that a rollup stands for.
#[derive(Debug)]
pub struct Rule {
    source: String,
    destination: String,
    /// Of the rollup.
    id: String,
    /// The range that asks for the rule's buckets.
    query: String,
    width: i64,
    align: i64,
}

impl Caller<'_> {
    pub async fn create_rule(&mut self, words: &[String]) -> Called {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (fixed, align) = match words.as_slice() {
            [fixed @ .., align] if fixed.len() == 5 => (fixed, Some(*align)),
            fixed => (fixed, None),
        };
        let [source, destination, keyword, aggregation, width] = fixed else { return Err(Inexpressible::SYNTAX) };
        if !keyword.eq_ignore_ascii_case("AGGREGATION") {
            return Err(Inexpressible::SYNTAX);
        }
        let aggregation = aggregation.to_ascii_lowercase().replace('.', "_");
        if aggregation == "twa" {
            return Err(Inexpressible("rules of averages over time"));
        }
        // Whether a destination can be one is a question that only the module has.
        let is_in_use = |key: &str| self.rules.iter().any(|rule| rule.source == key || rule.destination == key);
        let is_written_to = |key: &str| self.rules.iter().any(|rule| rule.destination == key);
        let is_free = self.app.get(&path(destination)).await.is(200) && !is_in_use(destination);
        if source == destination || !is_free || is_written_to(source) {
            return Err(Inexpressible::RULES);
        }
        if self.app.get(&path(source)).await.json()["retention_ms"].as_i64().is_some_and(|retention| retention > 0) {
            return Err(Inexpressible("rules of series with retention"));
        }
        let field = align.map(|align| format!(",\"align\":{align}")).unwrap_or_default();
        let body = format!("{{\"bucket\":\"{width}ms\",\"agg\":\"{aggregation}\",\"retention_ms\":0{field}}}");
        let is_empty = self.app.get(&format!("{}/latest", path(source))).await.is(404);
        let reply = self.send(Method::POST, &format!("{}/rollups", path(source)), body).await;
        if !reply.status.is_success() {
            return Ok(answered(&reply, |_| Value::Null));
        }
        if !is_empty {
            return Err(Inexpressible::PAST);
        }
        let parameter = align.map(|align| format!("&align={align}")).unwrap_or_default();
        self.rules.push(Rule {
            source: (*source).to_owned(),
            destination: (*destination).to_owned(),
            id: reply.json()["id"].as_str().expect("an id").to_owned(),
            query: format!("agg={aggregation}&bucket={width}ms{parameter}&limit=100000"),
            width: width.parse().expect("the service took it"),
            align: align.map_or(0, |align| align.parse().expect("the service took it")),
        });
        Ok(Answer::Reply(json!("OK")))
    }

    pub async fn delete_rule(&mut self, words: &[String]) -> Called {
        let [source, destination] = words else { return Err(Inexpressible::SYNTAX) };
        let at = self.rules.iter().position(|rule| rule.source == *source && rule.destination == *destination);
        let Some(at) = at else { return Err(Inexpressible::RULES) };
        let rule = self.rules.remove(at);
        let reply = self.app.delete(&format!("{}/rollups/{}", path(&rule.source), rule.id)).await;
        self.lose(rule.destination);
        Ok(answered(&reply, |_| json!("OK")))
    }

    /// Notes which rules a command ends; what a rule has written stays.
    pub fn end_rules(&mut self, command: &[String]) {
        let [name, keys @ ..] = command else { return };
        if !name.eq_ignore_ascii_case("DEL") {
            return;
        }
        let ends = |rule: &Rule| keys.contains(&rule.source) || keys.contains(&rule.destination);
        let (ended, rules): (Vec<Rule>, Vec<Rule>) = std::mem::take(&mut self.rules).into_iter().partition(ends);
        self.rules = rules;
        for rule in ended.into_iter().filter(|rule| !keys.contains(&rule.destination)) {
            self.lose(rule.destination);
        }
    }

    /// What the module answers about a series that a rule writes to; `None`: the command is not about one.
    pub async fn of_destination(&self, name: &str, words: &[String]) -> Option<Called> {
        let name = name.to_ascii_uppercase();
        if ["TS.MRANGE", "TS.MREVRANGE", "TS.MGET"].contains(&name.as_str()) && !self.rules.is_empty() {
            return Some(Err(Inexpressible::RULES));
        }
        let rule = self.rules.iter().find(|rule| words.first() == Some(&rule.destination))?;
        Some(match (name.as_str(), words) {
            ("DEL" | "EXISTS" | "TS.CREATE" | "TS.CREATERULE" | "TS.DELETERULE", _) => return None,
            ("TS.GET", [_, options @ ..]) => match phrases(options) {
                Ok(options) if options.iter().all(|option| option.keyword == "LATEST") => {
                    let buckets = self.buckets(rule, !options.is_empty()).await;
                    Ok(Answer::Reply(buckets.last().cloned().unwrap_or(json!([]))))
                }
                _ => Err(Inexpressible::SYNTAX),
            },
            ("TS.RANGE" | "TS.REVRANGE", [_, from, to, options @ ..]) => {
                self.range_of_destination(rule, name == "TS.REVRANGE", (from, to), options).await
            }
            _ => Err(Inexpressible::RULES),
        })
    }

    async fn range_of_destination(
        &self,
        rule: &Rule,
        backwards: bool,
        (from, to): (&str, &str),
        options: &[String],
    ) -> Called {
        let (mut latest, mut count) = (false, usize::MAX);
        for phrase in phrases(options)? {
            match phrase.keyword {
                "LATEST" => latest = true,
                "COUNT" => count = phrase.exactly::<1>()?[0].parse().map_err(|_| Inexpressible::SYNTAX)?,
                _ => return Err(Inexpressible::RULES),
            }
        }
        let end = |text: &str, open: &str, all: i64| if text == open { Ok(all) } else { text.parse() };
        let (Ok(from), Ok(to)) = (end(from, "-", 0), end(to, "+", i64::MAX)) else { return Err(Inexpressible::SYNTAX) };
        let mut buckets = self.buckets(rule, latest).await;
        buckets.retain(|bucket| bucket[0].as_i64().is_some_and(|start| (from..=to).contains(&start)));
        if backwards {
            buckets.reverse();
        }
        buckets.truncate(count);
        Ok(Answer::Reply(Value::Array(buckets)))
    }

    async fn buckets(&self, rule: &Rule, latest: bool) -> Vec<Value> {
        let list = format!("{}/rollups", path(&rule.source));
        let complete = async || self.app.get(&list).await.expect(200).json()["items"][0]["complete"] == true;
        eventually("the rollup is filled", complete).await;
        let page = self.app.get(&format!("{}/range?{}", path(&rule.source), rule.query)).await.expect(200).json();
        let Value::Array(buckets) = samples(&page["samples"]) else { return Vec::new() };
        let newest = self.app.get(&format!("{}/latest", path(&rule.source))).await;
        let open = newest.is(200).then(|| {
            let newest = newest.json()["timestamp"].as_i64().expect("a time");
            (newest - (newest - rule.align).rem_euclid(rule.width)).max(0)
        });
        buckets.into_iter().filter(|bucket| latest || bucket[0].as_i64() != open).collect()
    }
}
