//! An export: everything that contains an id of a person, line by line.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use redis::{Cmd, FromRedisValue};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::matcher::Matcher;
use super::model::ExportLine;
use super::service::SubjectService;
use super::sweep::{Match, Mode, Sweep};
use crate::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};

/// The lines that wait for the client.
const WAITING: usize = 64;

/// The pieces of an export; an error ends it, so that an incomplete one is no complete one.
pub(super) type Pieces = mpsc::Receiver<Result<Bytes, RedisFault>>;

impl SubjectService {
    /// Starts to export; the work ends when the pieces are dropped.
    pub(super) fn export(self: Arc<Self>, matcher: Matcher) -> (Pieces, impl Future<Output = ()> + Send + 'static) {
        let (sender, pieces) = mpsc::channel(WAITING);
        let work = async move {
            if let Err(fault) = self.write_export(&matcher, &sender).await {
                // The client may be gone.
                let _ = sender.send(Err(fault)).await;
            }
        };
        (pieces, work)
    }

    async fn write_export(
        &self,
        matcher: &Matcher,
        sender: &mpsc::Sender<Result<Bytes, RedisFault>>,
    ) -> Result<(), RedisFault> {
        for series in matcher.series() {
            let see = json!({ "series": series, "see": "GET /timeseries/{key}/export" });
            send(
                sender,
                ExportLine { capability: "timeseries".into(), key: series.clone(), kind: "series".into(), value: see },
            )
            .await?;
        }
        let mut count = 0_u64;
        for redis in self.roles.distinct() {
            let mut sweep = Sweep::new(redis, &self.owners, matcher, Mode::Look);
            while let Some(matches) = sweep.next().await? {
                // The samples of a series are exported by its own route; an inventory lists keys of other persons as well.
                for Match { capability, key, kind, members } in
                    matches.into_iter().filter(|found| !matches!(found.capability, "timeseries" | "inspect"))
                {
                    let is_whole = members.is_empty() || kind == "string";
                    let value = if is_whole { content(redis, &key, &kind).await? } else { json!(members) };
                    count += 1;
                    send(sender, ExportLine { capability: capability.to_owned(), key, kind, value }).await?;
                }
            }
        }
        let end = json!({ "items": count });
        send(sender, ExportLine { capability: "end".into(), key: String::new(), kind: String::new(), value: end }).await
    }
}

async fn send(sender: &mpsc::Sender<Result<Bytes, RedisFault>>, line: ExportLine) -> Result<(), RedisFault> {
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    text.push(b'\n');
    let gone = |_| RedisFault::new(FaultKind::ConnectionLost, Outcome::NotApplied);
    sender.send(Ok(text.into())).await.map_err(gone)
}

/// The whole content of a key.
async fn content(redis: &Redis, key: &str, kind: &str) -> Result<Value, RedisFault> {
    let command = |verb: &str| redis::cmd(verb).arg(key).take();
    Ok(match kind {
        "string" => match read::<Option<Vec<u8>>>(redis, &command("GET")).await? {
            Some(bytes) => text(bytes),
            None => Value::Null,
        },
        "hash" => {
            let fields: HashMap<String, Vec<u8>> = read(redis, &command("HGETALL")).await?;
            fields.into_iter().map(|(name, value)| (name, text(value))).collect()
        }
        "zset" => {
            let members: Vec<(Vec<u8>, f64)> = read(redis, command("ZRANGE").arg(0).arg(-1).arg("WITHSCORES")).await?;
            members.into_iter().map(|(member, score)| json!({ "member": text(member), "score": score })).collect()
        }
        "set" => texts(read(redis, &command("SMEMBERS")).await?),
        "list" => texts(read(redis, command("LRANGE").arg(0).arg(-1)).await?),
        "stream" => {
            let entries: Vec<(String, Vec<Vec<u8>>)> = read(redis, command("XRANGE").arg("-").arg("+")).await?;
            entries.into_iter().map(|(id, parts)| json!({ "id": id, "fields": texts(parts) })).collect()
        }
        _ => Value::Null,
    })
}

async fn read<T: FromRedisValue>(redis: &Redis, command: &Cmd) -> Result<T, RedisFault> {
    redis.query(command, Effect::Read).await
}

fn texts(values: Vec<Vec<u8>>) -> Value {
    values.into_iter().map(text).collect()
}

fn text(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(error) => json!({ "base64": BASE64.encode(error.into_bytes()) }),
    }
}
