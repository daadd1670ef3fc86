//! A connection of one's own, for commands that block and for transactions on watched keys.

use std::time::Duration;

use deadpool::managed::Object;
use redis::{Cmd, FromRedisValue, Pipeline, Value};

use super::connection::Packet;
use super::fault::{Effect, FaultKind, Outcome, RedisFault};
use super::link::discard;
use super::topology::Connector;

/// A connection of one's own; it goes back to the pool only if it owes nobody an answer.
#[derive(Debug)]
pub struct Dedicated {
    object: Option<Object<Connector>>,
    /// A command was sent and its answer is not complete.
    owes_an_answer: bool,
}

impl Dedicated {
    pub(super) fn new(object: Object<Connector>) -> Self {
        Self { object: Some(object), owes_an_answer: false }
    }

    /// Runs a command that may block for up to `limit`.
    ///
    /// # Errors
    /// The [`RedisFault`] of the command; [`FaultKind::ConnectionLost`] when an earlier one has cost the connection.
    pub async fn query<T: FromRedisValue>(
        &mut self,
        command: &Cmd,
        effect: Effect,
        limit: Duration,
    ) -> Result<T, RedisFault> {
        let value = self.exchange(Packet::Command(command), effect, limit).await?;
        T::from_redis_value(value).map_err(|error| RedisFault::bad_reply(error, effect))
    }

    /// Runs commands as one transaction; `false`: a key that this connection watches was written, and nothing was done.
    ///
    /// # Errors
    /// The [`RedisFault`] of the first command that failed, as of [`Dedicated::query`].
    pub async fn transaction(&mut self, commands: &Pipeline, limit: Duration) -> Result<bool, RedisFault> {
        let mut framed = Pipeline::with_capacity(commands.len() + 2);
        framed.cmd("MULTI");
        for command in commands.cmd_iter() {
            framed.add_command(command.clone());
        }
        framed.cmd("EXEC");
        let answers = self.exchange(Packet::Commands(&framed), Effect::Write, limit).await?;
        let Value::Array(answers) = answers else { return Ok(false) };
        Ok(answers.last().is_some_and(|executed| !matches!(executed, Value::Nil)))
    }

    /// Cancelled, timed out or broken, the connection is closed: the next question must not wait behind this one.
    async fn exchange(&mut self, packet: Packet<'_>, effect: Effect, limit: Duration) -> Result<Value, RedisFault> {
        let Some(object) = self.object.as_mut().filter(|_| !self.owes_an_answer) else {
            return Err(RedisFault::new(FaultKind::ConnectionLost, Outcome::NotApplied));
        };
        self.owes_an_answer = true;
        let answered = tokio::time::timeout(limit, object.channel.send(packet)).await;
        let value = match answered {
            Ok(answer) => answer.and_then(Value::extract_error).map_err(|error| RedisFault::classify(error, effect)),
            Err(_) => Err(RedisFault::timeout(effect)),
        };
        self.owes_an_answer = value.as_ref().is_err_and(RedisFault::breaks_connection);
        value
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        if let Some(object) = self.object.take().filter(|_| self.owes_an_answer) {
            discard(object);
        }
    }
}
