//! Which commands a server knows: its own and those of its modules.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Redis;
use super::fault::{Effect, RedisFault};

/// How long an answer counts. Modules come and go with the process of the server, after which it is asked again anyway.
const AGE: Duration = Duration::from_secs(60);

/// The answers of a server, by command.
#[derive(Debug, Default)]
pub(super) struct KnownCommands(Mutex<BTreeMap<String, (bool, Instant)>>);

impl KnownCommands {
    fn answers(&self) -> MutexGuard<'_, BTreeMap<String, (bool, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all answers, because the server is another process.
    pub(super) fn forget(&self) {
        self.answers().clear();
    }
}

impl Redis {
    /// Whether the server knows a command, its own or a module's.
    ///
    /// # Errors
    /// The [`RedisFault`] of the request.
    pub async fn knows(&self, command: &str) -> Result<bool, RedisFault> {
        let known = self.0.known_commands.answers().get(command).copied();
        if let Some((answer, at)) = known
            && at.elapsed() < AGE
        {
            return Ok(answer);
        }
        let reply: redis::Value = self.query(redis::cmd("COMMAND").arg("INFO").arg(command), Effect::Read).await?;
        let answer = match reply {
            redis::Value::Array(items) => items.iter().any(|item| !matches!(item, redis::Value::Nil)),
            _ => false,
        };
        self.0.known_commands.answers().insert(command.to_owned(), (answer, Instant::now()));
        Ok(answer)
    }
}
