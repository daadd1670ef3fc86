//! One row per operation: who may call it, how much time and body it may use, and which problems it returns.
//!
//! Features declare their rows next to the paths of their handlers. The rows form one table: the middleware enforces it,
//! and the OpenAPI document shows it as `security`. The service does not start with an operation that has no row (see
//! `app.rs`).

use std::time::Duration;

use super::auth::ADMIN;
use super::problem::{ProblemKind, REDIS_WRITES_REFUSED};

/// What a caller must present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing; used for health and documentation.
    Public,
    /// A credential with this scope.
    Scope(&'static str),
    /// A credential is optional here: the handler decides by the target of the operation, and may receive a credential
    /// later, such as in the first message of a WebSocket. A credential that is sent must be valid.
    InBand,
}

/// How much time a call may take and how large its body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// `http.request_deadline` and `http.body_limit`.
    Standard,
    /// `http.streaming_deadline`; the handler limits the body itself while it arrives.
    Streaming,
    /// The limits of [`Budget::Standard`] with [`LONGEST_WAIT`] added to the deadline, because the caller asked to wait.
    Waiting,
}

/// The longest time that a handler may let its caller wait for an event.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The keys on which an operation acts, for scopes that are limited to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Not known: callers need the scope for all keys.
    All,
    /// The path names them: templates with parameters of the path, such as `market:price:{symbol}`. Each must be permitted.
    InPath(&'static [&'static str]),
    /// The handler checks each key with [`Principal::may_access`](super::auth::Principal::may_access).
    CheckedByHandler,
}

/// What an operation does with a `Fencing-Token` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// It has no fence. A write rejects the header, so that no caller relies on a check that does not happen. A read
    /// ignores the header.
    None,
    /// Its target checks the token: a stale one is 409 `stale-fence`.
    Target,
    /// Each item of its body has its own check; a stale token appears in the result of its item.
    Items,
}

/// How much of the service one request of an operation can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Almost nothing. The operation tells how the service is, so it is served under any load.
    Probe,
    Usual,
    /// Much memory or time: a few requests of each credential run at a time, and further ones wait.
    Heavy,
}

/// What an operation does with an `Idempotency-Key` that its caller repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repetition {
    /// The repetition receives the recorded response, and the handler does not run.
    Replay,
    /// The handler runs again, because the recorded response describes a state that may have ended. It may read that
    /// response, see [`FirstResponse`](super::idempotent_operation::FirstResponse).
    Rerun,
    /// The handler runs again and receives the recorded response as
    /// [`FirstResponse`](super::idempotent_operation::FirstResponse). It must only read what became of the effect since: the
    /// record stays, and its status is that of the repetition.
    Refresh,
    /// The recorded response is repeated. If Redis cannot say whether there is one, the handler runs and nothing is recorded: the
    /// operation can be decided without Redis.
    ReplayIfRecorded,
    /// The key is ignored: the operation only reads, so every request is answered from the current state.
    Ignore,
}

/// A request extension: the operation can free memory of Redis. Its `Idempotency-Key` is claimed even if Redis is at
/// `maxmemory`.
#[derive(Clone, Copy, Debug)]
pub struct FreesMemory;

/// Which requests of an operation the audit log records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// None of them.
    None,
    /// All are counted after they were answered.
    Counted,
    /// Each one is recorded before it acts, and its outcome afterwards.
    Recorded,
    /// Those with this query parameter are recorded as by [`Audit::Recorded`].
    RecordedWith(&'static str),
}

/// The row of one operation.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub method: &'static str,
    pub path: &'static str,
    pub guard: Guard,
    pub budget: Budget,
    pub fencing: Fencing,
    pub repetition: Repetition,
    pub weight: Weight,
    pub keys: Keys,
    /// The scope for the parts of a request that only read; a caller with either scope may call the operation. Its handler
    /// checks each part.
    pub read_scope: Option<&'static str>,
    /// Whether a GET has effects beyond its response. HEAD does not fall back to it.
    pub changes_state: bool,
    /// Whether it can free memory of Redis.
    pub frees_memory: bool,
    /// How many replicas must have what the operation writes, whatever the request demands.
    pub min_replicas: u8,
    /// Which requests the audit log records, if that does not follow from the scope.
    pub audited: Option<Audit>,
    /// The problems that it can return; the API document lists them.
    pub problems: &'static [&'static [&'static ProblemKind]],
}

impl Access {
    /// An operation that needs no credential.
    pub const fn public(method: &'static str, path: &'static str) -> Self {
        Self::new(method, path, Guard::Public)
    }

    /// An operation for callers that have `scope`.
    pub const fn scoped(method: &'static str, path: &'static str, scope: &'static str) -> Self {
        Self::new(method, path, Guard::Scope(scope))
    }

    /// An operation whose handler decides who may call it; it takes a [`Caller`](super::auth::Caller).
    pub const fn in_band(method: &'static str, path: &'static str) -> Self {
        Self::new(method, path, Guard::InBand)
    }

    const fn new(method: &'static str, path: &'static str, guard: Guard) -> Self {
        Self {
            method,
            path,
            guard,
            budget: Budget::Standard,
            fencing: Fencing::None,
            repetition: Repetition::Replay,
            weight: Weight::Usual,
            keys: Keys::All,
            read_scope: None,
            changes_state: false,
            frees_memory: false,
            min_replicas: 0,
            audited: None,
            problems: &[],
        }
    }

    /// States the problems that the operation can return. The lists are those of [`problem`](super::problem), such as
    /// [`REDIS_READ`](super::problem::REDIS_READ), and the feature's own.
    #[must_use]
    pub const fn problems(mut self, problems: &'static [&'static [&'static ProblemKind]]) -> Self {
        self.problems = problems;
        self
    }

    /// Gives the operation the budget of a streamed body.
    #[must_use]
    pub const fn streaming(mut self) -> Self {
        self.budget = Budget::Streaming;
        self
    }

    /// Declares that a GET has effects beyond its response, such as a decision that consumes a limit.
    #[must_use]
    pub const fn changes_state(mut self) -> Self {
        self.changes_state = true;
        self
    }

    /// Declares that the operation can free memory of Redis: an `Idempotency-Key` does not prevent it when Redis is full.
    #[must_use]
    pub const fn frees(mut self) -> Self {
        self.frees_memory = true;
        self
    }

    /// States the keys on which the operation acts.
    #[must_use]
    pub const fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// States the scope for the parts of a request that only read.
    #[must_use]
    pub const fn reading(mut self, scope: &'static str) -> Self {
        self.read_scope = Some(scope);
        self
    }

    /// Serves the operation under any load; it must be cheap.
    #[must_use]
    pub const fn probe(mut self) -> Self {
        self.weight = Weight::Probe;
        self
    }

    /// Lets only a few requests of each credential run at a time; further ones wait.
    #[must_use]
    pub const fn heavy(mut self) -> Self {
        self.weight = Weight::Heavy;
        self
    }

    /// Demands that this many replicas have what the operation writes.
    #[must_use]
    pub const fn min_replicas(mut self, replicas: u8) -> Self {
        self.min_replicas = replicas;
        self
    }

    /// States which requests the audit log records, if that does not follow from the scope.
    #[must_use]
    pub const fn audited(mut self, audit: Audit) -> Self {
        self.audited = Some(audit);
        self
    }

    /// Which requests the audit log records.
    pub fn audit(&self) -> Audit {
        self.audited.unwrap_or(match self.guard {
            Guard::Scope(ADMIN) if self.method == "GET" => Audit::Counted,
            Guard::Scope(ADMIN) => Audit::Recorded,
            _ => Audit::None,
        })
    }

    /// Whether the operation is a write to Redis, as its problems say.
    pub fn writes(&self) -> bool {
        let has_problem = |kind: &&ProblemKind| kind.slug == REDIS_WRITES_REFUSED.slug;
        self.method != "GET" && self.problems.iter().copied().flatten().any(has_problem)
    }

    /// Whether the operation respects an `Idempotency-Key`. On public routes a key has no owner.
    pub fn is_repeatable(&self) -> bool {
        let by_method = ["POST", "PATCH"].contains(&self.method);
        by_method && self.guard != Guard::Public && self.repetition != Repetition::Ignore
    }

    /// Gives the operation the budget of a call that may wait for an event.
    #[must_use]
    pub const fn waiting(mut self) -> Self {
        self.budget = Budget::Waiting;
        self
    }

    /// Declares that the target of the write remembers fencing tokens. The handler must take a
    /// [`GrantToken`](super::fencing::GrantToken).
    #[must_use]
    pub const fn fenced(mut self) -> Self {
        self.fencing = Fencing::Target;
        self
    }

    /// Declares that a repetition must not receive a recorded response.
    #[must_use]
    pub const fn repeated_by(mut self, repetition: Repetition) -> Self {
        self.repetition = repetition;
        self
    }

    /// Declares that each item of the body has its own fencing token check.
    #[must_use]
    pub const fn fenced_by_item(mut self) -> Self {
        self.fencing = Fencing::Items;
        self
    }
}
