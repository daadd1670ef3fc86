//! One exchange with Redis: its deadline, the retries that are safe, and the decision whether to keep the connection.

use std::time::{Duration, Instant};

use redis::{Pipeline, ServerErrorKind, Value};

use super::connection::Packet;
use super::fault::{Effect, FaultKind, Outcome, RedisFault};
use super::link::{self, Live};
use super::{Link, POOL_WAIT, Redis, durability};
use crate::lifecycle::deadline::until;
use crate::lifecycle::large_work;

/// How often a rejection that may be gone the next moment is tried again.
const RETRIES: u32 = 2;
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A connection younger than this is kept when its server is read-only: a new one would reach the same server.
const MIN_AGE: Duration = Duration::from_secs(1);
/// Redis answers no other client while it runs one after the other, which is noticeable for more commands.
const MANY_COMMANDS: usize = 32;
/// The most commands of a pipeline that are sent at a time. The other requests of the lane wait for their replies.
const PART: usize = 64;
/// The other requests of the lane wait while a packet is sent and its reply arrives, which is noticeable for longer ones,
/// bytes.
const LARGE: usize = 64 << 10;
/// A cluster connection without a reply for this many command timeouts no longer repairs itself.
const SILENT_TIMEOUTS: u32 = 4;

impl Redis {
    /// The time by which a call that begins now must have its reply, including retries.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.0.limits.command
    }

    /// Finds out whether the connection of this thread's lane is broken; then further commands are rejected at once.
    pub async fn ping(&self) {
        // The lane learns what there is to learn.
        let _ = self.query::<Value>(&redis::cmd("PING"), Effect::Read).await;
    }

    /// Sends a packet over the connection of this thread's lane.
    pub(super) async fn exchange(
        &self,
        packet: Packet<'_>,
        effect: Effect,
        deadline: Instant,
    ) -> Result<Value, RedisFault> {
        let lane = link::current_lane();
        self.0.hot_keys.record(lane, packet.keys());
        let replicas = if effect == Effect::Write { durability::required() } else { 0 };
        // A message to subscribers has no key, and nothing of it is stored.
        if replicas > 0
            && let Some(key) = packet.keys().next()
        {
            // Boxed: a future is as large as its largest branch, and few requests demand replicas.
            return Box::pin(self.exchange_durably(packet, key, replicas)).await;
        }
        let link = self.link(lane);
        let mut retries = 0;
        loop {
            let timed = self.0.metrics.begin(packet);
            let mut live = match link.live(POOL_WAIT).await {
                Ok(live) => live,
                // A rejection by the breaker is final: another attempt would only wait.
                Err(fault) => {
                    timed.end(fault.kind.label(), Instant::now());
                    return Err(fault);
                }
            };
            if retries == 0 {
                link.retry_budget.earn();
            }
            let (result, now) = attempt(&mut live, packet, effect, deadline).await;
            self.0.metrics.count_refusals(&result, effect);
            let fault = match result {
                Ok(value) => {
                    timed.end("ok", now);
                    if holds_read_only(&value) {
                        self.reset_connection(link, &live, FaultKind::ReadOnly);
                    }
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            timed.end(fault.kind.label(), now);
            let renewed = fault.breaks_connection() && self.reset_connection(link, &live, fault.kind);
            let pause = match fault.kind {
                FaultKind::NotReady if fault.outcome == Outcome::NotApplied => RETRY_PAUSE,
                FaultKind::ReadOnly if renewed || self.0.is_cluster => Duration::ZERO,
                FaultKind::ConnectionLost if effect == Effect::Read => Duration::ZERO,
                _ => return Err(fault),
            };
            // A retry with little time left would only time out and cost the next connection.
            let is_late = now + pause + self.0.limits.command / 2 > deadline;
            if retries == RETRIES || is_late || !link.retry_budget.pay() {
                return Err(fault);
            }
            retries += 1;
            self.0.metrics.retries.inc();
            // Boxed: a future is as large as its largest branch, and few requests are retried.
            Box::pin(tokio::time::sleep(pause)).await;
        }
    }

    /// Sends a pipeline; each command has its own result. A long one is sent in parts, and the commands of other requests
    /// run in between. A part after the first that fails is the result of its commands, and the rest is not sent.
    ///
    /// # Errors
    /// [`RedisFault`] if the first part failed.
    pub(super) async fn pipeline(
        &self,
        commands: &Pipeline,
        effect: Effect,
    ) -> Result<Vec<Result<Value, RedisFault>>, RedisFault> {
        let result = |reply| classify(reply, effect);
        if commands.len() <= PART {
            let replies = self.pipeline_replies(commands, effect).await?;
            return Ok(replies.into_iter().map(result).collect());
        }
        let mut results = Vec::with_capacity(commands.len());
        let mut rest = commands.cmd_iter();
        loop {
            let mut part = Pipeline::with_capacity(PART);
            for command in rest.by_ref().take(PART) {
                part.add_command(command.clone());
            }
            match self.pipeline_replies(&part, effect).await {
                Ok(replies) if replies.is_empty() => return Ok(results),
                Ok(replies) => results.extend(replies.into_iter().map(result)),
                Err(fault) if results.is_empty() => return Err(fault),
                Err(fault) => {
                    results.extend(std::iter::repeat_n(Err(fault.clone()), part.len()));
                    results.extend(rest.map(|_| Err(fault.clone().not_applied())));
                    return Ok(results);
                }
            }
        }
    }

    /// Sends a pipeline in one exchange; the first error of a command is the error of all.
    pub(super) async fn pipeline_of_one_slot(
        &self,
        commands: &Pipeline,
        effect: Effect,
    ) -> Result<Vec<Value>, RedisFault> {
        let replies = self.pipeline_replies(commands, effect).await?;
        replies.into_iter().map(|reply| classify(reply, effect)).collect()
    }

    async fn pipeline_replies(&self, commands: &Pipeline, effect: Effect) -> Result<Vec<Value>, RedisFault> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if commands.len() > MANY_COMMANDS {
            large_work::note();
        }
        match self.exchange(Packet::Commands(commands), effect, self.deadline()).await? {
            Value::Array(replies) => Ok(replies),
            single => Ok(vec![single]),
        }
    }

    /// Replaces the connection if that can help; returns whether it does.
    fn reset_connection(&self, link: &Link, live: &Live, kind: FaultKind) -> bool {
        let helps = if self.0.is_cluster {
            // It reconnects to its nodes itself, and dropping it for one slow node would fail the commands for others. But
            // after many lost connections it may stop doing so.
            kind == FaultKind::Timeout && live.idle_for() > self.0.limits.command * SILENT_TIMEOUTS
        } else {
            kind != FaultKind::ReadOnly || live.age() >= MIN_AGE
        };
        if helps {
            link.mark_broken(live);
        }
        helps
    }
}

/// Sends a packet once and waits for its reply; returns the result and the time at which it was known.
async fn attempt(
    live: &mut Live,
    packet: Packet<'_>,
    effect: Effect,
    deadline: Instant,
) -> (Result<Value, RedisFault>, Instant) {
    let size = packet.size();
    live.record_size(size);
    if size > LARGE {
        large_work::note();
    }
    let reply = until(deadline, live.channel.send(packet)).await;
    let now = Instant::now();
    let result = match reply {
        // The errors of a pipeline stay among its items, since they belong to single commands.
        Some(Ok(value)) => {
            live.record_reply(now);
            let length = length(&value);
            live.record_size(length);
            if length > LARGE {
                large_work::note();
            }
            match value {
                Value::ServerError(error) => Err(RedisFault::classify(error.into(), effect)),
                value => Ok(value),
            }
        }
        Some(Err(error)) => Err(RedisFault::classify(error, effect)),
        None => Err(RedisFault::timeout(effect)),
    };
    (result, now)
}

fn classify(reply: Value, effect: Effect) -> Result<Value, RedisFault> {
    reply.extract_error().map_err(|error| RedisFault::classify(error, effect))
}

/// The bytes of the texts in a reply.
fn length(value: &Value) -> usize {
    match value {
        Value::BulkString(bytes) => bytes.len(),
        Value::Array(items) => items.iter().map(length).sum(),
        _ => 0,
    }
}

/// Whether one of several replies says that the server accepts no writes.
pub(super) fn holds_read_only(value: &Value) -> bool {
    let says_so =
        |item: &Value| matches!(item, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::ReadOnly));
    matches!(value, Value::Array(items) if items.iter().any(says_so))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_reply_includes_nested_lists() {
        let text = |length| Value::BulkString(vec![0; length]);
        let entry = Value::Array(vec![text(3), Value::Array(vec![text(1), text(70_000)]), Value::Int(5), Value::Nil]);
        assert_eq!(length(&Value::Array(vec![entry, text(2)])), 70_006);
        assert_eq!(length(&text(7)), 7);
    }
}
