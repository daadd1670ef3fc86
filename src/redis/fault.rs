//! Failures of Redis commands: the kind of failure, and what became of the command.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::fault_kind::FaultKind;

/// What a command may change. It decides what a lost reply means and whether the command may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing: the command may be repeated.
    Read,
    /// Changes something: the command is repeated only if Redis said that it did not run.
    Write,
}

/// What became of the request, as far as the service knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing was changed: retry freely.
    NotApplied,
    /// The change was made.
    Applied,
    /// The change may or may not have been made: retry only with the same `Idempotency-Key`.
    Unknown,
}

/// A failed Redis command.
#[derive(Clone, Debug, thiserror::Error)]
pub struct RedisFault {
    pub kind: FaultKind,
    pub outcome: Outcome,
    /// The delay after which a retry may succeed; `None` if waiting does not help.
    pub retry_after: Option<Duration>,
    #[source]
    cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for RedisFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FaultKind::Unavailable => "Redis cannot be reached",
            FaultKind::Timeout => "Redis did not answer in time",
            FaultKind::ConnectionLost => "the connection to Redis broke before it answered",
            FaultKind::PoolExhausted => "no Redis connection became free in time",
            FaultKind::NotReady => "Redis is not ready to serve",
            FaultKind::Busy => "Redis is busy with a long-running script",
            FaultKind::ReadOnly => "the Redis server we reach is a read-only replica",
            FaultKind::OutOfMemory => "Redis is out of memory",
            FaultKind::WritesRefused => "Redis refuses writes at the moment",
            FaultKind::Denied => "Redis denied the service access",
            FaultKind::WrongType => "the key holds another kind of value",
            FaultKind::StaleFence => {
                "the target has accepted a newer fencing token: the lock has had another holder since"
            }
            FaultKind::AheadFence => {
                "the fencing token is more than an hour ahead of Redis's clock, so no lock has granted it"
            }
            FaultKind::Internal => "Redis answered in an unexpected way",
        })
    }
}

impl RedisFault {
    pub fn new(kind: FaultKind, outcome: Outcome) -> Self {
        let retry_after = match kind {
            FaultKind::Denied
            | FaultKind::WrongType
            | FaultKind::StaleFence
            | FaultKind::AheadFence
            | FaultKind::Internal => None,
            FaultKind::OutOfMemory | FaultKind::WritesRefused => Some(Duration::from_secs(5)),
            _ => Some(Duration::from_secs(1)),
        };
        Self { kind, outcome, retry_after, cause: None }
    }

    #[must_use]
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// The fault of a command that was not sent because this fault happened first.
    #[must_use]
    pub fn not_applied(mut self) -> Self {
        self.outcome = Outcome::NotApplied;
        self
    }

    /// The fault of a later step: the change itself was made.
    #[must_use]
    pub fn applied(mut self) -> Self {
        self.outcome = Outcome::Applied;
        self
    }

    /// The fault of a change of several steps, of which some were made.
    #[must_use]
    pub fn partly_applied(mut self) -> Self {
        self.outcome = Outcome::Unknown;
        self
    }

    /// The result of the steps of one change: the first fault, whose outcome is unknown if another step was made or may have
    /// been.
    ///
    /// # Errors
    /// That fault.
    pub fn of_steps<T>(steps: impl IntoIterator<Item = Result<T, Self>>) -> Result<(), Self> {
        let (mut first, mut is_partial) = (None, false);
        for step in steps {
            is_partial |= step.as_ref().err().is_none_or(|fault| fault.outcome != Outcome::NotApplied);
            first = first.or(step.err());
        }
        match first {
            None => Ok(()),
            Some(fault) if is_partial => Err(fault.partly_applied()),
            Some(fault) => Err(fault),
        }
    }

    /// No reply within the limit; the command may still run.
    pub fn timeout(effect: Effect) -> Self {
        Self::new(FaultKind::Timeout, Self::lost(effect))
    }

    /// Redis sent a reply that the code does not expect.
    pub fn bad_reply(cause: impl std::error::Error + Send + Sync + 'static, effect: Effect) -> Self {
        Self::new(FaultKind::Internal, Self::lost(effect)).caused_by(cause)
    }

    /// Why there is no connection. No request was sent, whatever the reason.
    pub(super) fn connecting(error: RedisError) -> Self {
        let mut fault = Self::classify(error, Effect::Read);
        fault.without_connection();
        fault
    }

    /// Turns a fault of preparing a connection into the fault of having none.
    pub(super) fn without_connection(&mut self) {
        let told = matches!(self.kind, FaultKind::Denied | FaultKind::NotReady | FaultKind::Busy);
        if !told {
            self.kind = FaultKind::Unavailable;
            self.retry_after = Some(Duration::from_secs(1));
        }
        self.outcome = Outcome::NotApplied;
    }

    /// Classifies an error of the client library.
    ///
    /// The library knows only some of Redis's error codes; the others (BUSY, OOM, MISCONF ...) are recognised by the
    /// text of the code.
    pub fn classify(error: RedisError, effect: Effect) -> Self {
        let kind = match error.kind() {
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask => FaultKind::NotReady,
                ServerErrorKind::ReadOnly => FaultKind::ReadOnly,
                ServerErrorKind::NoPerm => FaultKind::Denied,
                _ => classify_text(&error),
            },
            ErrorKind::Extension => classify_text(&error),
            ErrorKind::AuthenticationFailed => FaultKind::Denied,
            ErrorKind::Io if error.is_timeout() => FaultKind::Timeout,
            ErrorKind::Io if error.is_connection_refusal() => FaultKind::Unavailable,
            // A connection that breaks within a reply leaves a part of it, which cannot be parsed.
            ErrorKind::Io | ErrorKind::Parse => FaultKind::ConnectionLost,
            ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel => FaultKind::Unavailable,
            _ => FaultKind::Internal,
        };
        let answered = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        let outcome = match kind {
            FaultKind::Timeout | FaultKind::ConnectionLost => Self::lost(effect),
            FaultKind::Internal if !answered => Self::lost(effect),
            // A script that failed, or was denied a command halfway, may have written before.
            FaultKind::Internal | FaultKind::Denied if happened_in_script(&error) => Self::lost(effect),
            _ => Outcome::NotApplied,
        };
        Self::new(kind, outcome).caused_by(error)
    }

    /// Whether the connection must be replaced: it is gone, its replies no longer match the requests, or another server
    /// must be found.
    pub fn breaks_connection(&self) -> bool {
        match self.kind {
            FaultKind::Unavailable | FaultKind::Timeout | FaultKind::ConnectionLost | FaultKind::ReadOnly => true,
            FaultKind::Denied => self.code_is("NOAUTH"),
            _ => false,
        }
    }

    /// Whether the fault concerns only the requested key and says nothing about the server.
    pub fn is_of_the_key(&self) -> bool {
        matches!(self.kind, FaultKind::WrongType | FaultKind::StaleFence)
    }

    /// The fault and its causes on one line, for the log.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // The client library's errors already include their source.
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        text
    }

    /// Whether Redis replied that it does not know the script.
    pub(super) fn is_noscript(&self) -> bool {
        self.code_is("NOSCRIPT")
    }

    /// Whether the server does not know the command, because it was renamed or does not exist.
    pub(super) fn is_unknown_command(&self) -> bool {
        self.error().and_then(RedisError::detail).is_some_and(|text| text.contains("unknown command"))
    }

    fn code_is(&self, code: &str) -> bool {
        self.error().and_then(RedisError::code) == Some(code)
    }

    fn error(&self) -> Option<&RedisError> {
        self.cause.as_deref()?.downcast_ref()
    }

    fn lost(effect: Effect) -> Outcome {
        match effect {
            Effect::Read => Outcome::NotApplied,
            Effect::Write => Outcome::Unknown,
        }
    }
}

fn classify_text(error: &RedisError) -> FaultKind {
    match error.code().unwrap_or_default() {
        "BUSY" | "UNKILLABLE" => FaultKind::Busy,
        "OOM" => FaultKind::OutOfMemory,
        "MISCONF" | "NOREPLICAS" => FaultKind::WritesRefused,
        // DENIED: protected mode rejects a remote client.
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => FaultKind::Denied,
        "WRONGTYPE" => FaultKind::WrongType,
        "STALEFENCE" => FaultKind::StaleFence,
        "AHEADFENCE" => FaultKind::AheadFence,
        // A denial inside a script has no code of its own. Only the beginning of the text comes from Redis: the rest
        // may quote a client's input.
        _ if error.detail().is_some_and(|detail| IN_SCRIPT_DENIALS.iter().any(|text| detail.starts_with(text))) => {
            FaultKind::Denied
        }
        _ => FaultKind::Internal,
    }
}

/// How Redis 7.0, and 7.2 and later, begin the message that the ACL forbids a command in a script.
const IN_SCRIPT_DENIALS: &[&str] = &["The user executing the script can't", "ACL failure in script"];

/// Redis appends the script's hash and line to every error raised in a script.
fn happened_in_script(error: &RedisError) -> bool {
    error.detail().is_some_and(|detail| detail.contains(", on @user_script:"))
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    fn classify(line: &str) -> RedisFault {
        let reply = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("a reply");
        let error = match reply {
            Value::ServerError(error) => error.into(),
            other => panic!("{other:?} is not an error"),
        };
        RedisFault::classify(error, Effect::Write)
    }

    #[test]
    fn every_redis_error_has_its_kind() {
        for (line, kind) in [
            ("LOADING Redis is loading the dataset in memory", FaultKind::NotReady),
            ("CLUSTERDOWN The cluster is down", FaultKind::NotReady),
            ("MASTERDOWN Link with MASTER is down", FaultKind::NotReady),
            ("TRYAGAIN Multiple keys request during rehashing of slot", FaultKind::NotReady),
            ("BUSY Redis is busy running a script.", FaultKind::Busy),
            ("READONLY You can't write against a read only replica.", FaultKind::ReadOnly),
            ("OOM command not allowed when used memory > 'maxmemory'.", FaultKind::OutOfMemory),
            ("MISCONF Redis is configured to save RDB snapshots", FaultKind::WritesRefused),
            ("NOREPLICAS Not enough good replicas to write.", FaultKind::WritesRefused),
            ("NOAUTH Authentication required.", FaultKind::Denied),
            ("WRONGPASS invalid username-password pair", FaultKind::Denied),
            ("NOPERM this user has no permissions", FaultKind::Denied),
            ("WRONGTYPE Operation against a key", FaultKind::WrongType),
            ("STALEFENCE 1795250253460884", FaultKind::StaleFence),
            ("AHEADFENCE 1795250253", FaultKind::AheadFence),
            ("DENIED Redis is running in protected mode", FaultKind::Denied),
            ("CROSSSLOT Keys in request don't hash to the same slot", FaultKind::Internal),
            ("ERR unknown command 'EVALSHA'", FaultKind::Internal),
        ] {
            let fault = classify(line);
            assert_eq!(fault.kind, kind, "{line}");
            assert_eq!(fault.outcome, Outcome::NotApplied, "{line}");
        }
    }

    /// The texts of Redis 7.0.15 for what fails inside a script.
    #[test]
    fn an_error_inside_a_script_has_its_kind_and_an_honest_outcome() {
        let at = "script: 5a895bdd68aab109d9772ddd349bc459125d684f, on @user_script:1.";
        for (line, kind, outcome) in [
            ("ERR The user executing the script can't access at least one of the keys", FaultKind::Denied, UNKNOWN),
            ("ERR The user executing the script can't run this command or subcommand", FaultKind::Denied, UNKNOWN),
            ("ERR user_script:1: attempt to index nil", FaultKind::Internal, UNKNOWN),
            ("ERR user_script:1: ACL failure in script", FaultKind::Internal, UNKNOWN),
            // These are said before a script's first write, or not at all.
            ("OOM command not allowed when used memory > 'maxmemory'.", FaultKind::OutOfMemory, NOT_APPLIED),
            ("MISCONF Redis is configured to save RDB snapshots", FaultKind::WritesRefused, NOT_APPLIED),
            ("NOREPLICAS Not enough good replicas to write.", FaultKind::WritesRefused, NOT_APPLIED),
            ("READONLY You can't write against a read only replica.", FaultKind::ReadOnly, NOT_APPLIED),
            ("WRONGTYPE Operation against a key", FaultKind::WrongType, NOT_APPLIED),
        ] {
            let fault = classify(&format!("{line} {at}"));
            assert_eq!((fault.kind, fault.outcome), (kind, outcome), "{line}");
        }
    }

    const UNKNOWN: Outcome = Outcome::Unknown;
    const NOT_APPLIED: Outcome = Outcome::NotApplied;

    #[test]
    fn a_change_of_several_steps_is_not_applied_only_if_no_step_was_made() {
        let refused = || Err::<(), _>(RedisFault::new(FaultKind::OutOfMemory, NOT_APPLIED));
        let lost = || Err(RedisFault::timeout(Effect::Write));
        let outcome = |steps: Vec<Result<(), RedisFault>>| RedisFault::of_steps(steps).map_err(|fault| fault.outcome);
        assert_eq!(outcome(vec![Ok(()), Ok(())]), Ok(()));
        assert_eq!(outcome(vec![refused(), refused()]), Err(NOT_APPLIED));
        assert_eq!(outcome(vec![refused(), Ok(())]), Err(UNKNOWN));
        assert_eq!(outcome(vec![refused(), lost()]), Err(UNKNOWN));
    }

    #[test]
    fn a_lost_write_has_an_unknown_outcome_and_a_lost_read_none() {
        assert_eq!(RedisFault::timeout(Effect::Write).outcome, Outcome::Unknown);
        assert_eq!(RedisFault::timeout(Effect::Read).outcome, Outcome::NotApplied);
    }
}
