//! The kinds of failures of Redis commands.

/// The kinds of failure that have different consequences for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No connection: refused, DNS, TLS, or the breaker is open after such a failure.
    Unavailable,
    /// No reply within the limit.
    Timeout,
    /// The connection broke while the command was running.
    ConnectionLost,
    /// Every connection of the pool stayed in use for as long as a request may wait.
    PoolExhausted,
    /// LOADING, CLUSTERDOWN, MASTERDOWN, TRYAGAIN: Redis is temporarily not ready.
    NotReady,
    /// BUSY: a script is running for too long.
    Busy,
    /// READONLY: the server is a replica.
    ReadOnly,
    /// OOM: `maxmemory` is reached and nothing may be evicted.
    OutOfMemory,
    /// MISCONF, NOREPLICAS: Redis refuses writes to protect data.
    WritesRefused,
    /// NOAUTH, WRONGPASS, NOPERM: the service's credentials or permissions are insufficient.
    Denied,
    /// WRONGTYPE: the key holds another kind of value.
    WrongType,
    /// STALEFENCE: the target has accepted a newer token of the lock that guards it.
    StaleFence,
    /// AHEADFENCE: the token is further ahead of Redis's clock than any that a lock grants.
    AheadFence,
    /// A script failed, or Redis sent a reply that the service does not understand.
    Internal,
}

impl FaultKind {
    /// The label in logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::PoolExhausted => "pool_exhausted",
            Self::NotReady => "not_ready",
            Self::Busy => "busy",
            Self::ReadOnly => "read_only",
            Self::OutOfMemory => "out_of_memory",
            Self::WritesRefused => "writes_refused",
            Self::Denied => "denied",
            Self::WrongType => "wrong_type",
            Self::StaleFence => "stale_fence",
            Self::AheadFence => "ahead_fence",
            Self::Internal => "internal",
        }
    }
}
