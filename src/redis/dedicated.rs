//! Dedicated connections, for commands that block and for transactions on watched keys.

use std::time::Duration;

use deadpool::managed::Object;
use redis::{Cmd, FromRedisValue, Pipeline, Value};

use super::connection::Packet;
use super::exchange::holds_read_only;
use super::fault::{Effect, FaultKind, Outcome, RedisFault};
use super::link::discard;
use super::topology::Connector;

/// A dedicated connection. It returns to the pool only if no reply is outstanding.
#[derive(Debug)]
pub struct Dedicated {
    object: Option<Object<Connector>>,
    /// A command was sent and its reply has not been read completely.
    owes_an_answer: bool,
}

impl Dedicated {
    pub(super) fn new(object: Object<Connector>) -> Self {
        Self { object: Some(object), owes_an_answer: false }
    }

    /// Runs a command that may block for up to `limit`.
    ///
    /// # Errors
    /// The [`RedisFault`] of the command, or [`FaultKind::ConnectionLost`] if an earlier command broke the connection.
    pub async fn query<T: FromRedisValue>(
        &mut self,
        command: &Cmd,
        effect: Effect,
        limit: Duration,
    ) -> Result<T, RedisFault> {
        let value = self.exchange(Packet::Command(command), effect, limit).await?;
        T::from_redis_value(value).map_err(|error| RedisFault::bad_reply(error, effect))
    }

    /// Runs commands as one transaction. Returns `false`, with nothing changed, if a watched key was written meanwhile.
    ///
    /// # Errors
    /// The [`RedisFault`] of the first command that failed, or [`FaultKind::ConnectionLost`] after an earlier failure.
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

    /// Runs commands in one exchange; each has its own reply, which may be an error.
    ///
    /// # Errors
    /// The [`RedisFault`] of the exchange, or [`FaultKind::ConnectionLost`] after an earlier failure.
    pub(super) async fn replies(
        &mut self,
        commands: &Pipeline,
        effect: Effect,
        limit: Duration,
    ) -> Result<Vec<Value>, RedisFault> {
        let value = self.send(Packet::Commands(commands), effect, limit).await?;
        // The server has become a replica: the next user needs a connection to the new one.
        self.owes_an_answer = holds_read_only(&value);
        match value {
            Value::Array(replies) => Ok(replies),
            single => Ok(vec![single]),
        }
    }

    async fn exchange(&mut self, packet: Packet<'_>, effect: Effect, limit: Duration) -> Result<Value, RedisFault> {
        let value = self.send(packet, effect, limit).await?;
        let value = value.extract_error().map_err(|error| RedisFault::classify(error, effect));
        self.owes_an_answer = value.as_ref().is_err_and(RedisFault::breaks_connection);
        value
    }

    // After a cancellation, a timeout or an error the connection is closed: its next user would read this reply.
    async fn send(&mut self, packet: Packet<'_>, effect: Effect, limit: Duration) -> Result<Value, RedisFault> {
        let Some(object) = self.object.as_mut().filter(|_| !self.owes_an_answer) else {
            return Err(RedisFault::new(FaultKind::ConnectionLost, Outcome::NotApplied));
        };
        self.owes_an_answer = true;
        let answered = tokio::time::timeout(limit, object.channel.send(packet)).await;
        let value = match answered {
            Ok(answer) => answer.map_err(|error| RedisFault::classify(error, effect)),
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
