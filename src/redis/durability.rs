//! How many replicas must have what a request writes before its response says so, and how many had it.
//!
//! The number is demanded by the middleware and reached far below it. A worker polls one request at a time on one thread,
//! so a cell of the thread belongs to the request that is being polled.
//!
//! `WAIT` counts the replicas that have the last write of its own connection. A write and its `WAIT` therefore go over one
//! dedicated connection: on a shared one, every other request would wait too.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Instant;

use futures_util::future::join_all;
use redis::{Pipeline, ServerErrorKind, Value};

use super::Redis;
use super::connection::Packet;
use super::fault::{Effect, RedisFault};
use super::key::Key;

/// How long the mark stays that is written behind a write, milliseconds.
const MARK_LIFE_MS: u32 = 1_000;

thread_local! {
    static CURRENT: Cell<Durability> = const { Cell::new(Durability::new(0)) };
}

/// What a request demands of its writes, and what they have reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Durability {
    required: u8,
    /// The fewest replicas that had one of the writes; `None` before the first one.
    reached: Option<u8>,
    /// Whether Redis refused one of the writes, or did not answer it.
    has_failed: bool,
}

impl Durability {
    /// Demands that this many replicas have each write; 0 demands nothing.
    pub const fn new(required: u8) -> Self {
        Self { required, reached: None, has_failed: false }
    }

    pub fn required(self) -> u8 {
        self.required
    }

    /// The fewest replicas that had one of the writes; `None` if nothing was written.
    pub fn reached(self) -> Option<u8> {
        self.reached
    }

    /// Whether one of the writes was not made, or may not have been.
    pub fn has_failed(self) -> bool {
        self.has_failed
    }

    /// Makes one poll of the request. Its writes wait for the replicas.
    pub fn during<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        let outer = CURRENT.replace(*self);
        let result = poll();
        *self = CURRENT.replace(outer);
        result
    }
}

/// The replicas that must have what is written now.
pub(super) fn required() -> u8 {
    CURRENT.get().required
}

/// Whether a write of this request has reached fewer replicas than demanded.
pub fn is_unmet() -> bool {
    let current = CURRENT.get();
    current.reached.is_some_and(|reached| reached < current.required)
}

/// A part of the request that runs in a task of its own, with the demand of the request.
pub fn carry<F: Future>(part: F) -> impl Future<Output = Carried<F::Output>> {
    let mut durability = Durability::new(required());
    async move {
        let mut part = pin!(part);
        let output = poll_fn(|cx| durability.during(|| part.as_mut().poll(cx))).await;
        Carried { output, durability }
    }
}

/// The output of a part of the request, and what its writes have reached.
#[derive(Debug)]
pub struct Carried<T> {
    output: T,
    durability: Durability,
}

impl<T> Carried<T> {
    /// Counts the writes of the part as the request's own, and returns the output.
    pub fn learn(self) -> T {
        record(self.durability.reached, self.durability.has_failed);
        self.output
    }
}

/// Awaits the replies to commands that are sent one by one: together, or one after the other if each needs a dedicated
/// connection.
pub(super) async fn join<F: Future>(commands: impl Iterator<Item = F>) -> Vec<F::Output> {
    if required() == 0 {
        return join_all(commands).await;
    }
    let mut replies = Vec::new();
    for command in commands {
        replies.push(command.await);
    }
    replies
}

/// Notes how many replicas had the writes that were just made, if any were, and whether one failed.
fn record(replicas: Option<u8>, has_failed: bool) {
    let mut current = CURRENT.get();
    current.reached = current.reached.into_iter().chain(replicas).min();
    current.has_failed |= has_failed;
    CURRENT.set(current);
}

impl Redis {
    /// Sends a packet of writes, of which `key` is the first key, and waits at most half a command timeout until this many replicas have them. Too few
    /// replicas are no fault: the writes were made, and the request learns the number.
    ///
    /// # Errors
    /// [`RedisFault`], as of any exchange. It is not tried again.
    pub(super) async fn exchange_durably(
        &self,
        packet: Packet<'_>,
        key: &[u8],
        replicas: u8,
    ) -> Result<Value, RedisFault> {
        let timed = self.0.metrics.begin(packet);
        let result = self.write_and_wait(packet, key, replicas).await;
        let label = result.as_ref().map_or_else(|fault| fault.kind.label(), |_| "ok");
        timed.end(label, Instant::now());
        self.0.metrics.count_refusals(&result, Effect::Write);
        // A call by a hash that the server does not know is made again by its text.
        record(None, result.as_ref().is_err_and(|fault| !fault.is_noscript()));
        if result.as_ref().is_err_and(RedisFault::breaks_connection) {
            // The shared connection may be broken as well.
            self.ping().await;
        }
        result
    }

    async fn write_and_wait(&self, packet: Packet<'_>, key: &[u8], replicas: u8) -> Result<Value, RedisFault> {
        let wait = self.0.limits.command / 2;
        let mut commands = match packet {
            Packet::Command(_) | Packet::At(..) => Pipeline::new(),
            Packet::Commands(commands) => commands.clone(),
        };
        if let Packet::Command(command) | Packet::At(command, _) = packet {
            commands.add_command(command.clone());
        }
        // A write that finds everything as it shall be reaches no replica, and newer servers do not count it as the last
        // write of the connection.
        commands.cmd("SET").arg(Key::mark_of(&String::from_utf8_lossy(key))).arg("").arg("PX").arg(MARK_LIFE_MS);
        commands.cmd("WAIT").arg(replicas).arg(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let mut connection = self.dedicated().await?;
        let mut replies = connection.replies(&commands, Effect::Write, self.0.limits.command + wait).await?;
        let waited = replies.pop();
        let marked = replies.pop();
        let reached = match (marked, waited) {
            (Some(Value::Okay), Some(Value::Int(reached))) => u8::try_from(reached).unwrap_or(u8::MAX),
            // A server that may not be asked, or that has just become a replica, confirms nothing.
            _ => 0,
        };
        let is_refusal = |reply: &Value| matches!(reply, Value::ServerError(error) if error.kind() != Some(ServerErrorKind::NoScript));
        let is_made = |reply: &Value| !matches!(reply, Value::ServerError(_));
        record(replies.iter().any(is_made).then_some(reached), replies.iter().any(is_refusal));
        match packet {
            Packet::Commands(_) => Ok(Value::Array(replies)),
            Packet::Command(_) | Packet::At(..) => match replies.pop().unwrap_or(Value::Nil) {
                Value::ServerError(error) => Err(RedisFault::classify(error.into(), Effect::Write)),
                value => Ok(value),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_learns_the_fewest_replicas_of_its_own_writes() {
        let (mut one, mut other) = (Durability::new(2), Durability::new(0));
        assert_eq!(one.during(required), 2);
        assert_eq!(other.during(required), 0);
        assert_eq!(one.reached(), None);
        one.during(|| record(Some(2), false));
        one.during(|| {
            record(Some(1), true);
            other.during(|| record(Some(0), false));
        });
        one.during(|| record(Some(2), false));
        assert_eq!((one.reached(), other.reached()), (Some(1), Some(0)));
        assert_eq!((one.has_failed(), other.has_failed()), (true, false));
        assert_eq!(required(), 0, "nothing is demanded outside a request");
    }
}
