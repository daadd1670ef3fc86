//! Errors of real-time channels and the problems that they become.

use crate::events::{ChannelName, EventsError};
use crate::http::problem::{self, Location, Problem, ProblemKind};
use crate::problems;
use crate::redis::{Outcome, RedisFault};

problems! { PROBLEMS:
    CHANNEL_UNKNOWN = "channel-unknown", NOT_FOUND, "There is no such channel",
        "A channel exists if a namespace of the configuration has a pattern that matches its name. GET /pubsub/namespaces \
         lists the patterns.";
    EVENT_INVALID = "event-invalid", UNPROCESSABLE_ENTITY, "The event does not match the schema of its channel",
        "The channel carries a family of typed events. The problem lists what does not match. Nothing was published.";
    MESSAGES_REFUSED = "messages-refused", UNPROCESSABLE_ENTITY, "The messages of the stream were refused",
        "All messages of the stream were refused, or more than 1,000. The detail says how many messages were published, and what is wrong with \
         the first one that was not. Give every message an id, fix the stream and send all of it again.";
    EVENT_SUPERSEDED = "event-superseded", CONFLICT, "A newer revision was published",
        "The channel has a message with this revision or a later one, so this message was not published.";
    CHANNEL_FULL = "channel-full", CONFLICT, "The channel keeps no further messages",
        "A channel that keeps the latest message of each key has room for 1,000 keys and 2 MiB. Nothing was published.";
    TOO_MANY_SOCKETS = "too-many-sockets", TOO_MANY_REQUESTS, "The credential has too many real-time connections",
        "One credential may have pubsub.sockets_per_caller connections at one replica. Use one connection for several \
         channels, or close others.";
    TOKENS_DISABLED = "channel-tokens-disabled", CONFLICT, "The service issues no channel tokens",
        "Channel tokens need the setting pubsub.token_secret.";
    CHANNEL_TOKEN_INVALID = "channel-token-invalid", FORBIDDEN, "The channel token does not permit this subscription",
        "The token is not valid, has expired, belongs to another subject, or does not name the channel.";
    PRESENCE_DISABLED = "presence-disabled", CONFLICT, "The channel does not show who is subscribed",
        "The namespace of the channel needs presence = true.";
    NOT_SUBSCRIBED = "not-subscribed", CONFLICT, "The connection is not subscribed to the channel",
        "Subscribe to the channel first.";
    ALREADY_SUBSCRIBED = "already-subscribed", CONFLICT, "The connection is subscribed to the channel",
        "A connection has one subscription to each channel. Unsubscribe first to change it.";
    TOO_MANY_SUBSCRIPTIONS = "too-many-subscriptions", UNPROCESSABLE_ENTITY, "The connection has too many subscriptions",
        "A connection may have 128 subscriptions. Open another connection.";
}

/// The problems of an operation on a channel.
pub(super) static CHANNEL: &[&ProblemKind] =
    &[&CHANNEL_UNKNOWN, &problem::FORBIDDEN, &problem::INVALID_PATH, &problem::INVALID_QUERY];
/// The problems of publishing.
pub(super) static PUBLISH: &[&ProblemKind] = &[&EVENT_INVALID, &EVENT_SUPERSEDED, &CHANNEL_FULL];
/// The problems of opening a real-time connection.
pub(super) static CONNECT: &[&ProblemKind] = &[&TOO_MANY_SOCKETS, &problem::OVERLOADED];

/// Why an operation on a channel failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PubSubError {
    #[error(transparent)]
    Events(#[from] EventsError),
    #[error("this credential may not {verb} the channel `{channel}`")]
    Forbidden { verb: &'static str, channel: ChannelName },
    #[error("a credential is required to {verb} the channel `{channel}`")]
    Unauthenticated { verb: &'static str, channel: ChannelName },
    #[error("{}", violations.iter().map(|(pointer, rule)| format!("{pointer}: {rule}")).collect::<Vec<_>>().join("; "))]
    EventInvalid { violations: Vec<(String, String)> },
    #[error("the connection has a subscription to `{channel}`")]
    AlreadySubscribed { channel: ChannelName },
    #[error("the connection has no subscription to `{channel}`")]
    NotSubscribed { channel: ChannelName },
    #[error("the channel token has expired")]
    TokenExpired,
    #[error("the channel token does not permit a subscription to `{channel}`")]
    TokenInvalid { channel: ChannelName },
    #[error("the token is not valid")]
    Revoked,
    #[error("a connection may have at most {limit} subscriptions")]
    TooManySubscriptions { limit: usize },
    #[error("the namespace of `{channel}` does not show who is subscribed")]
    PresenceDisabled { channel: ChannelName },
    #[error("`pubsub.token_secret` is not set")]
    TokensDisabled,
    /// The data of the message has more bytes than `pubsub.message_limit`.
    #[error("data must have at most {limit} bytes, got {size}")]
    TooLarge { limit: usize, size: usize },
    /// A field violates a rule.
    #[error("{} {rule}", pointer.trim_start_matches('/'))]
    Invalid { pointer: String, rule: String },
}

impl PubSubError {
    pub(super) fn invalid(pointer: &str, rule: impl Into<String>) -> Self {
        Self::Invalid { pointer: pointer.to_owned(), rule: rule.into() }
    }
}

impl From<RedisFault> for PubSubError {
    fn from(fault: RedisFault) -> Self {
        Self::Events(EventsError::Redis(fault))
    }
}

impl From<PubSubError> for Problem {
    fn from(error: PubSubError) -> Self {
        let kind = match &error {
            PubSubError::Events(EventsError::Redis(fault)) => return Self::from(fault.clone()),
            PubSubError::Invalid { pointer, rule } => return Self::body_field(pointer, rule),
            PubSubError::TooLarge { limit, .. } => {
                let rule = format!("must have at most {limit} bytes");
                let problem = Self::new(&problem::BODY_TOO_LARGE).detail(&error).outcome(Outcome::NotApplied);
                return problem.violation(Location::Body, "/data", rule);
            }
            PubSubError::EventInvalid { violations } => {
                let problem = Self::new(&EVENT_INVALID).detail(&error).outcome(Outcome::NotApplied);
                let add = |problem: Self, (pointer, rule): &(String, String)| {
                    problem.violation(Location::Body, pointer, rule)
                };
                return violations.iter().fold(problem, add);
            }
            PubSubError::Events(EventsError::UnknownChannel { .. }) => &CHANNEL_UNKNOWN,
            PubSubError::Events(EventsError::Superseded { .. }) => &EVENT_SUPERSEDED,
            PubSubError::Events(EventsError::LatestFull { .. }) => &CHANNEL_FULL,
            PubSubError::Forbidden { .. } => &problem::FORBIDDEN,
            PubSubError::Unauthenticated { .. } | PubSubError::Revoked => &problem::UNAUTHENTICATED,
            PubSubError::AlreadySubscribed { .. } => &ALREADY_SUBSCRIBED,
            PubSubError::NotSubscribed { .. } => &NOT_SUBSCRIBED,
            PubSubError::TokenExpired | PubSubError::TokenInvalid { .. } => &CHANNEL_TOKEN_INVALID,
            PubSubError::TooManySubscriptions { .. } => &TOO_MANY_SUBSCRIPTIONS,
            PubSubError::PresenceDisabled { .. } => &PRESENCE_DISABLED,
            PubSubError::TokensDisabled => &TOKENS_DISABLED,
        };
        Self::new(kind).detail(&error).outcome(Outcome::NotApplied)
    }
}
