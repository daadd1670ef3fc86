//! A walk over the names and values of the service, which finds and removes what belongs to a subject.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use redis::Value;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::matcher::Matcher;
use super::rules::{CACHED, Content, Named, Rule, rule_of, rule_of_configured};
use crate::holdings::{Owners, own_name};
use crate::redis::{Effect, KeyScan, Redis, RedisFault};

/// Keys that one SCAN looks at.
const STEP: usize = 200;
/// The pause after a step: 4,000 keys a second.
const PACE: Duration = Duration::from_millis(50);
/// The members of one read of a collection.
const MEMBERS: usize = 500;
/// The members of a document that name its owner.
const OWNERS: &[&str] = &["user_id", "user", "owner", "subject", "wallet", "meter", "meter_id"];

/// What was found in a capability.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ErasureCounts)]
pub(super) struct Counts {
    /// Keys, members and entries with an id of the subject.
    pub found: u64,
    pub erased: u64,
    pub kept: u64,
    /// Locks that are held; they end within two minutes.
    pub waiting: u64,
    /// Why some are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What was found, by capability.
pub(super) type Found = BTreeMap<String, Counts>;

/// Whether a sweep changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Look,
    Erase,
}

/// What a sweep has found.
#[derive(Debug)]
pub(super) struct Match {
    pub capability: &'static str,
    pub key: String,
    /// The type of the key in Redis.
    pub kind: String,
    /// The members with an id; empty: the whole key.
    pub members: Vec<String>,
}

pub(super) struct Sweep<'a> {
    redis: &'a Redis,
    owners: &'a Owners,
    matcher: &'a Matcher,
    mode: Mode,
    scan: KeyScan<'a>,
    has_begun: bool,
    pub found: Found,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(redis: &'a Redis, owners: &'a Owners, matcher: &'a Matcher, mode: Mode) -> Self {
        Self { redis, owners, matcher, mode, scan: KeyScan::new(redis, STEP), has_begun: false, found: Found::new() }
    }

    /// Walks over all keys.
    ///
    /// # Errors
    /// [`RedisFault`]; the walk can begin again.
    pub(super) async fn run(mut self) -> Result<Found, RedisFault> {
        while self.next().await?.is_some() {}
        Ok(self.found)
    }

    /// Walks over the next keys. Returns what was found, which in [`Mode::Erase`] is removed; `None` after the last key.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Match>>, RedisFault> {
        if std::mem::replace(&mut self.has_begun, true) && !self.scan.is_over() {
            tokio::time::sleep(PACE).await;
        }
        let Some(names) = self.scan.next().await? else { return Ok(None) };
        let prefix = self.redis.keys().prefix().to_owned();
        // All names of the service are text.
        let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
        let ours: Vec<(String, String)> =
            names.filter_map(|key| own_name(&prefix, &key).map(|name| (key, name))).collect();
        let types: Vec<redis::Cmd> = ours.iter().map(|(key, _)| redis::cmd("TYPE").arg(key).take()).collect();
        let kinds = self.redis.query_all(&types, Effect::Read).await?;
        let mut matches = Vec::new();
        for ((key, name), kind) in ours.into_iter().zip(kinds) {
            let Value::SimpleString(kind) = kind? else { continue };
            matches.extend(self.visit(key, &name, kind).await?);
        }
        Ok(Some(matches))
    }

    async fn visit(&mut self, key: String, name: &str, kind: String) -> Result<Option<Match>, RedisFault> {
        // What the configuration says about a name is more specific than the rule of a group of names.
        let configured = self.owners.configured(name).and_then(rule_of_configured);
        let rule = match configured.or_else(|| rule_of(name)) {
            Some(rule) => rule,
            None if self.is_cached(name).await? => &CACHED,
            None => return Ok(None),
        };
        let capability = rule.capability;
        if rule.named != Named::Ignore && self.matcher.names(name) {
            self.act_on_key(rule, &key, name).await?;
            return Ok(Some(Match { capability, key, kind, members: Vec::new() }));
        }
        if rule.content == Content::Ignore {
            return Ok(None);
        }
        let members = self.members(rule, &key, &kind).await?;
        if members.is_empty() {
            return Ok(None);
        }
        self.act_on_members(rule, &key, &kind, &members).await?;
        Ok(Some(Match { capability, key, kind, members }))
    }

    /// Whether the list of cached values has the name.
    async fn is_cached(&self, name: &str) -> Result<bool, RedisFault> {
        let index = self.redis.keys().key("cache:{index}");
        let command = redis::cmd("ZSCORE").arg(&index).arg(crate::redis::unescape(name)).take();
        Ok(self.redis.query::<Option<f64>>(&command, Effect::Read).await?.is_some())
    }

    async fn act_on_key(&mut self, rule: &Rule, key: &str, name: &str) -> Result<(), RedisFault> {
        let is_held = rule.named == Named::WhenFree && self.is_held(name).await?;
        let is_erased = !is_held && !matches!(rule.named, Named::Keep(_));
        if is_erased && self.mode == Mode::Erase {
            self.redis.query::<i64>(redis::cmd("UNLINK").arg(key), Effect::Write).await?;
        }
        let counts = self.counts(rule);
        counts.found += 1;
        match rule.named {
            _ if is_held => counts.waiting += 1,
            Named::Keep(reason) => counts.keep(1, reason),
            _ => counts.erased += 1,
        }
        Ok(())
    }

    /// Whether the lock of a key is held.
    async fn is_held(&self, name: &str) -> Result<bool, RedisFault> {
        let inner = name.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let lease = self.redis.keys().key(inner.map_or(name, |(inner, _)| inner));
        self.redis.query(redis::cmd("EXISTS").arg(&lease), Effect::Read).await
    }

    /// The members, fields or entries of a key that contain an id; of a string, the key itself.
    async fn members(&self, rule: &Rule, key: &str, kind: &str) -> Result<Vec<String>, RedisFault> {
        match kind {
            "string" => {
                let text: Option<Vec<u8>> = self.redis.query(redis::cmd("GET").arg(key), Effect::Read).await?;
                let text = text.unwrap_or_default();
                let is_found = match rule.content {
                    Content::Document => self.owns_document(&text),
                    _ => std::str::from_utf8(&text).is_ok_and(|text| self.matcher.finds(text)),
                };
                Ok(if is_found { vec![key.to_owned()] } else { Vec::new() })
            }
            "hash" => self.scanned(key, "HSCAN", 2).await,
            "zset" => self.scanned(key, "ZSCAN", 2).await,
            "set" => self.scanned(key, "SSCAN", 1).await,
            "list" => self.listed(key).await,
            "stream" => self.streamed(key).await,
            _ => Ok(Vec::new()),
        }
    }

    /// Whether a document names the subject as its owner.
    fn owns_document(&self, text: &[u8]) -> bool {
        let Ok(document) = serde_json::from_slice::<HashMap<String, serde_json::Value>>(text) else { return false };
        let owners = OWNERS.iter().filter_map(|name| document.get(*name)?.as_str());
        owners.into_iter().any(|owner| self.matcher.finds(owner))
    }

    /// Scans a collection whose elements have `width` parts, the first of which is the member.
    async fn scanned(&self, key: &str, verb: &str, width: usize) -> Result<Vec<String>, RedisFault> {
        let (mut found, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let command = redis::cmd(verb).arg(key).arg(cursor).arg("COUNT").arg(MEMBERS).take();
            let (next, parts): (u64, Vec<Vec<u8>>) = self.redis.query(&command, Effect::Read).await?;
            let texts: Vec<String> = parts.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
            for element in texts.chunks(width) {
                // The score of a sorted set is no text of a caller.
                let searched = if verb == "ZSCAN" { element.get(..1).unwrap_or_default() } else { element };
                if searched.iter().any(|text| self.matcher.finds(text)) {
                    found.extend(element.first().cloned());
                }
            }
            cursor = next;
            if cursor == 0 {
                return Ok(found);
            }
        }
    }

    async fn listed(&self, key: &str) -> Result<Vec<String>, RedisFault> {
        let (mut found, mut start) = (Vec::new(), 0_usize);
        loop {
            let command = redis::cmd("LRANGE").arg(key).arg(start).arg(start + MEMBERS - 1).take();
            let items: Vec<Vec<u8>> = self.redis.query(&command, Effect::Read).await?;
            let texts = items.iter().map(|item| String::from_utf8_lossy(item).into_owned());
            found.extend(texts.filter(|text| self.matcher.finds(text)));
            if items.len() < MEMBERS {
                return Ok(found);
            }
            start += MEMBERS;
        }
    }

    async fn streamed(&self, key: &str) -> Result<Vec<String>, RedisFault> {
        let (mut found, mut start) = (Vec::new(), "-".to_owned());
        loop {
            let command = redis::cmd("XRANGE").arg(key).arg(&start).arg("+").arg("COUNT").arg(MEMBERS).take();
            let entries: Vec<(String, Vec<Vec<u8>>)> = self.redis.query(&command, Effect::Read).await?;
            for (id, parts) in &entries {
                if parts.iter().any(|part| self.matcher.finds(&String::from_utf8_lossy(part))) {
                    found.push(id.clone());
                }
            }
            match entries.last() {
                Some((last, _)) if entries.len() == MEMBERS => start = format!("({last}"),
                _ => return Ok(found),
            }
        }
    }

    async fn act_on_members(
        &mut self,
        rule: &Rule,
        key: &str,
        kind: &str,
        members: &[String],
    ) -> Result<(), RedisFault> {
        let count = u64::try_from(members.len()).unwrap_or(u64::MAX);
        if let Content::Keep(reason) = rule.content {
            let counts = self.counts(rule);
            counts.found += count;
            counts.keep(count, reason);
            return Ok(());
        }
        if self.mode == Mode::Erase {
            for part in members.chunks(MEMBERS) {
                let command = match kind {
                    "hash" => redis::cmd("HDEL").arg(key).arg(part).take(),
                    "zset" => redis::cmd("ZREM").arg(key).arg(part).take(),
                    "set" => redis::cmd("SREM").arg(key).arg(part).take(),
                    "stream" => redis::cmd("XDEL").arg(key).arg(part).take(),
                    "list" => {
                        let remove = |item: &String| redis::cmd("LREM").arg(key).arg(0).arg(item).take();
                        let commands: Vec<redis::Cmd> = part.iter().map(remove).collect();
                        for answer in self.redis.query_all(&commands, Effect::Write).await? {
                            answer?;
                        }
                        continue;
                    }
                    _ => redis::cmd("UNLINK").arg(key).take(),
                };
                self.redis.query::<i64>(&command, Effect::Write).await?;
            }
        }
        let counts = self.counts(rule);
        counts.found += count;
        counts.erased += count;
        Ok(())
    }

    fn counts(&mut self, rule: &Rule) -> &mut Counts {
        self.found.entry(rule.capability.to_owned()).or_default()
    }
}

impl Counts {
    fn keep(&mut self, count: u64, reason: &str) {
        self.kept += count;
        self.reason = Some(reason.to_owned());
    }
}

/// Adds the series whose labels contain an id.
///
/// # Errors
/// [`RedisFault`].
pub(super) async fn find_series(redis: &Redis, matcher: &mut Matcher) -> Result<(), RedisFault> {
    let labels = redis.keys().key("timeseries:index").sibling("timeseries:labels");
    let mut cursor = 0_u64;
    loop {
        let command = redis::cmd("HSCAN").arg(&labels).arg(cursor).arg("COUNT").arg(MEMBERS).take();
        let (next, pairs): (u64, Vec<(String, String)>) = redis.query(&command, Effect::Read).await?;
        for (series, labels) in pairs {
            if matcher.finds(&labels) || matcher.finds(&series) {
                matcher.own_series(series);
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}
