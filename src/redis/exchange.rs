//! One question and its answer: the deadline, the retries that are safe, and the verdict on the connection.

use std::time::{Duration, Instant};

use redis::{Pipeline, ServerErrorKind, Value};

use super::connection::Packet;
use super::fault::{Effect, FaultKind, Outcome, RedisFault};
use super::link::{self, Live};
use super::{Link, Redis};
use crate::lifecycle::deadline::until;

/// Refusals that change with the next moment are tried this often more.
const RETRIES: u32 = 2;
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// A connection this young that meets a read-only server is kept: making it anew at once would meet the same one.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// So many command timeouts without a single answer mean that a cluster connection has stopped mending itself.
const WEDGED: u32 = 4;

impl Redis {
    /// When the call that begins now must have its answer, its retries included.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.0.limits.command
    }

    /// Sends a packet over the lane's connection.
    pub(super) async fn exchange(
        &self,
        packet: Packet<'_>,
        effect: Effect,
        deadline: Instant,
    ) -> Result<Value, RedisFault> {
        let link = self.link(link::current_lane());
        let mut retries = 0;
        loop {
            let under_way = self.0.metrics.begin(packet);
            let mut live = match link.live(self.0.limits.pool_wait).await {
                Ok(live) => live,
                // A refusal of the breaker is final: whoever asked again would only wait.
                Err(fault) => {
                    under_way.end(fault.kind.label());
                    return Err(fault);
                }
            };
            let fault = match attempt(&mut live, packet, effect, deadline).await {
                Ok(value) => {
                    under_way.end("ok");
                    if holds_read_only(&value) {
                        self.reset_connection(link, &live, FaultKind::ReadOnly);
                    }
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            under_way.end(fault.kind.label());
            let renewed = fault.breaks_connection() && self.reset_connection(link, &live, fault.kind);
            let pause = match fault.kind {
                FaultKind::NotReady if fault.outcome == Outcome::NotApplied => RETRY_PAUSE,
                FaultKind::ReadOnly if renewed || self.0.is_cluster => Duration::ZERO,
                FaultKind::ConnectionLost if effect == Effect::Read => Duration::ZERO,
                _ => return Err(fault),
            };
            // A retry with hardly any time left would only condemn the next connection.
            if retries == RETRIES || Instant::now() + pause + self.0.limits.command / 2 > deadline {
                return Err(fault);
            }
            retries += 1;
            tokio::time::sleep(pause).await;
        }
    }

    /// One exchange of a pipeline; each command has a result of its own.
    pub(super) async fn pipeline(
        &self,
        commands: &Pipeline,
        effect: Effect,
    ) -> Result<Vec<Result<Value, RedisFault>>, RedisFault> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let answers = match self.exchange(Packet::Commands(commands), effect, self.deadline()).await? {
            Value::Array(answers) => answers,
            single => vec![single],
        };
        let classify = |answer: Value| answer.extract_error().map_err(|error| RedisFault::classify(error, effect));
        Ok(answers.into_iter().map(classify).collect())
    }

    /// Has the connection made anew, if that can help; whether it is.
    fn reset_connection(&self, link: &Link, live: &Live, kind: FaultKind) -> bool {
        let helps = if self.0.is_cluster {
            // It mends its own nodes; dropping it for one slow node would punish the others. But under a storm of lost
            // connections it may lose its way for good.
            kind == FaultKind::Timeout && live.idle_for() > self.0.limits.command * WEDGED
        } else {
            kind != FaultKind::ReadOnly || live.age() >= SECOND_LOOK
        };
        if helps {
            link.mark_broken(live);
        }
        helps
    }
}

/// Sends a packet once and waits for its answer.
async fn attempt(live: &mut Live, packet: Packet<'_>, effect: Effect, deadline: Instant) -> Result<Value, RedisFault> {
    match until(deadline, live.channel.send(packet)).await {
        // The errors of a pipeline stay among its items: they belong to single commands.
        Some(answer) => answer
            .inspect(|_| live.record_reply())
            .and_then(|value| match value {
                Value::ServerError(error) => Err(error.into()),
                value => Ok(value),
            })
            .map_err(|error| RedisFault::classify(error, effect)),
        None => Err(RedisFault::timeout(effect)),
    }
}

/// Whether an answer to several commands says that the server takes no writes.
fn holds_read_only(value: &Value) -> bool {
    let says_so =
        |item: &Value| matches!(item, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::ReadOnly));
    matches!(value, Value::Array(items) if items.iter().any(says_so))
}
