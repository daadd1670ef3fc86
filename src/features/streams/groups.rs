//! Groups of consumers: they share the events of a stream, acknowledge them, and receive again what is not acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::error::StreamError;
use super::group_model::{
    ClaimReply, ClaimRequest, DeadLetter, GroupInfo, GroupRequest, Receipt, RedrivenReply, SettledReply,
};
use super::names::{ShortName, StreamName};
use super::scripts::{Claimed, Group, MAX_GROUPS, OfGroup, Verb, delete_group};
use super::service::{StreamService, read_value};
use crate::http::reply::Page;
use crate::lifecycle::large_work;
use crate::redis::{Batch, Effect, ScriptCall};
use crate::telemetry::episodes;

impl StreamService {
    /// Calls a script about a group.
    async fn of_group<Raw: redis::FromRedisValue, T>(
        &self,
        stream: &StreamName,
        group: &ShortName,
        call: impl FnOnce(&Group<'_>) -> ScriptCall<Raw, OfGroup<T>>,
    ) -> Result<T, StreamError> {
        let (keys, now) = (self.keys(stream), self.clock.redis_arg());
        let space = self.redis.keys();
        let call = call(&Group { keys: &keys, space, stream, name: group, config: &self.config, now: &now });
        match self.redis.call(call).await? {
            OfGroup::Found(reply) => Ok(reply),
            OfGroup::NoStream => Err(StreamError::NotFound(stream.clone())),
            OfGroup::NoGroup => Err(StreamError::GroupNotFound { stream: stream.clone(), group: group.clone() }),
        }
    }

    /// Creates a group or changes its settings. Returns whether it was created.
    ///
    /// # Errors
    /// [`StreamError::NotFound`], [`StreamError::TooManyGroups`], [`StreamError::Redis`].
    pub(super) async fn put_group(
        &self,
        stream: &StreamName,
        group: &ShortName,
        request: &GroupRequest,
    ) -> Result<bool, StreamError> {
        let GroupRequest { start, ack_timeout_ms, max_deliveries } = *request;
        let created = self.of_group(stream, group, |group| group.put(start, ack_timeout_ms, max_deliveries)).await?;
        created.ok_or(StreamError::TooManyGroups { limit: MAX_GROUPS })
    }

    /// The groups of a stream, by name.
    ///
    /// # Errors
    /// [`StreamError::NotFound`], [`StreamError::Redis`].
    pub(super) async fn groups(&self, stream: &StreamName) -> Result<Vec<GroupInfo>, StreamError> {
        let keys = self.keys(stream);
        let mut batch = Batch::new();
        let (mut version, mut fields) = (redis::cmd("HGET"), redis::cmd("HGETALL"));
        version.arg(&keys.meta).arg("v");
        fields.arg(&keys.groups);
        batch.command(version, Effect::Read);
        batch.command(fields, Effect::Read);
        let mut answers = self.redis.run(batch).await?;
        let version: Option<u64> = read_value(answers.value()?)?;
        let version = version.ok_or_else(|| StreamError::NotFound(stream.clone()))?;
        let fields: BTreeMap<String, u64> = read_value(answers.value()?)?;
        let names = fields.keys().filter_map(|field| field.strip_suffix("|used"));
        let unused_since = self.clock.now().saturating_sub_unsigned(self.config.group_idle.as_millis());
        let groups = names.map(|name| {
            let field = |field: &str| fields.get(&format!("{name}|{field}")).copied().unwrap_or_default();
            let time = |name: &str| i64::try_from(field(name)).unwrap_or(i64::MAX);
            GroupInfo {
                group: name.to_owned(),
                cursor: field("cursor"),
                lag: version.saturating_sub(field("cursor")) + field("pending"),
                pending: field("pending"),
                dead: field("dead"),
                lost: field("lost"),
                ack_timeout_ms: field("timeout"),
                max_deliveries: field("most"),
                created_at: time("created"),
                used_at: time("used"),
            }
        });
        // Those that were not used for too long do not exist any more.
        Ok(groups.filter(|group| group.used_at >= unused_since).collect())
    }

    /// One group.
    ///
    /// # Errors
    /// [`StreamError::NotFound`], [`StreamError::GroupNotFound`], [`StreamError::Redis`].
    pub(super) async fn group(&self, stream: &StreamName, group: &ShortName) -> Result<GroupInfo, StreamError> {
        let groups = self.groups(stream).await?;
        let found = groups.into_iter().find(|known| known.group == group.as_str());
        found.ok_or_else(|| StreamError::GroupNotFound { stream: stream.clone(), group: group.clone() })
    }

    /// Deletes a group, and records who did it.
    ///
    /// # Errors
    /// Those of [`StreamService::group`].
    pub(super) async fn delete_group(
        &self,
        stream: &StreamName,
        group: &ShortName,
        by: &str,
    ) -> Result<(), StreamError> {
        self.of_group(stream, group, delete_group).await?;
        tracing::warn!(target: "audit", %stream, %group, by, "group of consumers deleted");
        Ok(())
    }

    /// Delivers events to a consumer, and waits for the first if there is none.
    ///
    /// # Errors
    /// Those of [`StreamService::group`]. After an unknown outcome, events may be held until their timeout although no consumer has
    /// them.
    pub(super) async fn claim(
        &self,
        stream: &StreamName,
        group: &ShortName,
        request: &ClaimRequest,
    ) -> Result<ClaimReply, StreamError> {
        if request.wait_ms == 0 {
            return Ok(reply(self.claim_now(stream, group, request).await?, 0, 0));
        }
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms);
        let turn = self.waiters.turn(stream, group, &self.keys(stream).moved);
        let (mut buried, mut lost) = (0, 0);
        // Unknown if other consumers have asked all the time.
        let mut lag = None;
        // Those who wait for their turn cost nothing; one consumer at a time asks Redis.
        if let Ok(mut turn) = large_work::idle(tokio::time::timeout_at(deadline, turn.lock())).await {
            loop {
                if turn.is_due() {
                    let claimed = self.claim_now(stream, group, request).await?;
                    if !claimed.items.is_empty() {
                        return Ok(reply(claimed, buried, lost));
                    }
                    (buried, lost) = (buried + claimed.buried, lost + claimed.lost);
                    turn.rest(claimed.next_due_ms);
                    lag = Some(claimed.lag);
                }
                let is_due = large_work::idle(async {
                    tokio::select! {
                        () = turn.due() => true,
                        () = tokio::time::sleep_until(deadline) => false,
                        () = self.phase.draining() => false,
                    }
                });
                if !is_due.await {
                    break;
                }
            }
        }
        Ok(ClaimReply { items: Vec::new(), lag, dead: buried, lost })
    }

    async fn claim_now(
        &self,
        stream: &StreamName,
        group: &ShortName,
        request: &ClaimRequest,
    ) -> Result<Claimed, StreamError> {
        let claimed = self.of_group(stream, group, |group| group.claim(&request.consumer, request.count)).await?;
        self.metrics.note(stream, group, &claimed);
        if claimed.buried + claimed.lost > 0
            && let Some(repeated) = episodes::next("streams.claim")
        {
            let (buried, lost) = (claimed.buried, claimed.lost);
            tracing::warn!(%stream, %group, buried, lost, repeated, "events became dead letters or were trimmed");
        }
        Ok(claimed)
    }

    /// Whether a consumer still holds all events of an earlier claim.
    ///
    /// # Errors
    /// Those of [`StreamService::group`].
    pub(super) async fn still_holds(
        &self,
        stream: &StreamName,
        group: &ShortName,
        first: &ClaimReply,
    ) -> Result<bool, StreamError> {
        let receipts: Vec<Receipt> = first.items.iter().map(|item| item.receipt).collect();
        if receipts.is_empty() {
            return Ok(false);
        }
        let (_, stale) = self.of_group(stream, group, |group| group.settle(Verb::Check, &receipts)).await?;
        Ok(stale.is_empty())
    }

    /// Acknowledges, returns or extends deliveries.
    ///
    /// # Errors
    /// [`StreamError::ReceiptStale`] if all receipts are stale, and those of [`StreamService::group`].
    pub(super) async fn settle(
        &self,
        stream: &StreamName,
        group: &ShortName,
        verb: Verb,
        receipts: &[Receipt],
    ) -> Result<SettledReply, StreamError> {
        let (settled, stale) = self.of_group(stream, group, |group| group.settle(verb, receipts)).await?;
        self.metrics.settled.with_label_values(&[verb.name()]).inc_by(settled);
        self.metrics.stale.inc_by(u64::try_from(stale.len()).unwrap_or_default());
        if settled == 0 {
            return Err(StreamError::ReceiptStale { receipts: stale.iter().map(ToString::to_string).collect() });
        }
        Ok(SettledReply { settled, stale })
    }

    /// A page of the dead letters of a group behind a version.
    ///
    /// # Errors
    /// Those of [`StreamService::group`].
    pub(super) async fn dead_letters(
        &self,
        stream: &StreamName,
        group: &ShortName,
        after: u64,
        limit: usize,
    ) -> Result<Page<DeadLetter>, StreamError> {
        let (items, has_more) = self.of_group(stream, group, |group| group.dead(after, limit)).await?;
        let next_cursor = items.last().filter(|_| has_more).map(|last| last.version.to_string());
        Ok(Page { items, next_cursor })
    }

    /// Delivers dead letters again: those with these versions, or the oldest.
    ///
    /// # Errors
    /// Those of [`StreamService::group`].
    pub(super) async fn redrive(
        &self,
        stream: &StreamName,
        group: &ShortName,
        versions: &[u64],
    ) -> Result<RedrivenReply, StreamError> {
        let (redriven, lost) = self.of_group(stream, group, |group| group.redrive(versions)).await?;
        Ok(RedrivenReply { redriven, lost })
    }

    /// Delivers the events of a stream to a group again, from a version, and records who asked for it.
    ///
    /// # Errors
    /// Those of [`StreamService::group`].
    pub(super) async fn replay(
        &self,
        stream: &StreamName,
        group: &ShortName,
        from: u64,
        by: &str,
    ) -> Result<GroupInfo, StreamError> {
        self.of_group(stream, group, |group| group.replay(from)).await?;
        tracing::warn!(target: "audit", %stream, %group, from, by, "group of consumers replays events");
        self.group(stream, group).await.map_err(StreamError::applied)
    }
}

fn reply(claimed: Claimed, buried: u64, lost: u64) -> ClaimReply {
    let Claimed { items, lag, .. } = claimed;
    ClaimReply { items, lag: Some(lag), dead: claimed.buried + buried, lost: claimed.lost + lost }
}
