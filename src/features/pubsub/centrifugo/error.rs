//! Errors with the codes of Centrifugo, on which its clients act.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::ToSchema;

use super::super::error::PubSubError;
use super::super::socket::CloseReason;
use crate::events::EventsError;
use crate::http::problem::Problem;

const INTERNAL: u32 = 100;
const UNAUTHORIZED: u32 = 101;
const UNKNOWN_CHANNEL: u32 = 102;
const PERMISSION_DENIED: u32 = 103;
const METHOD_NOT_FOUND: u32 = 104;
const ALREADY_SUBSCRIBED: u32 = 105;
const LIMIT_EXCEEDED: u32 = 106;
const BAD_REQUEST: u32 = 107;
const NOT_AVAILABLE: u32 = 108;
const TOKEN_EXPIRED: u32 = 109;
const UNRECOVERABLE_POSITION: u32 = 112;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ChannelApiError)]
pub(super) struct CommandError {
    /// One of Centrifugo's codes.
    #[schema(maximum = 112)]
    pub code: u32,
    #[schema(value_type = String)]
    pub message: Cow<'static, str>,
    /// Whether the command may succeed later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub temporary: bool,
}

impl CommandError {
    pub(super) const METHOD_NOT_FOUND: Self = Self::new(METHOD_NOT_FOUND, "there is no such method");
    pub(super) const TOKEN_EXPIRED: Self = Self::new(TOKEN_EXPIRED, "the token has expired");
    pub(super) const UNAUTHORIZED: Self = Self::new(UNAUTHORIZED, "a credential is required");
    pub(super) const UNRECOVERABLE: Self =
        Self::new(UNRECOVERABLE_POSITION, "messages after this position are missing");

    const fn new(code: u32, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message), temporary: false }
    }

    pub(super) fn bad_request(message: String) -> Self {
        Self { code: BAD_REQUEST, message: message.into(), temporary: false }
    }

    pub(super) fn limit_exceeded(message: String) -> Self {
        Self { code: LIMIT_EXCEEDED, message: message.into(), temporary: false }
    }

    fn of_problem(code: u32, problem: &Problem) -> Self {
        let mut message = problem.text().to_owned();
        if problem.may_have_applied() {
            message.push_str("; the change may have been applied");
        }
        Self { code, message: message.into(), temporary: code == INTERNAL }
    }
}

impl From<Problem> for CommandError {
    fn from(problem: Problem) -> Self {
        let code = match problem.status().as_u16() {
            401 => UNAUTHORIZED,
            403 => PERMISSION_DENIED,
            400..500 => BAD_REQUEST,
            _ => INTERNAL,
        };
        Self::of_problem(code, &problem)
    }
}

impl From<PubSubError> for CommandError {
    fn from(error: PubSubError) -> Self {
        let code = match &error {
            PubSubError::Events(EventsError::UnknownChannel { .. }) => UNKNOWN_CHANNEL,
            PubSubError::Events(EventsError::LatestFull { .. }) | PubSubError::TooManySubscriptions { .. } => {
                LIMIT_EXCEEDED
            }
            PubSubError::AlreadySubscribed { .. } => ALREADY_SUBSCRIBED,
            PubSubError::PresenceDisabled { .. } | PubSubError::TokensDisabled => NOT_AVAILABLE,
            PubSubError::TokenExpired => TOKEN_EXPIRED,
            _ => return Problem::from(error).into(),
        };
        Self::of_problem(code, &error.into())
    }
}

/// Why a command is not executed.
pub(super) enum Refusal {
    Reply(CommandError),
    Close(CloseReason),
}

impl<E: Into<CommandError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Reply(error.into())
    }
}
