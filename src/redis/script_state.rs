//! Whether a server lets the service call its scripts.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType};
use utoipa::{PartialSchema, ToSchema};

use super::fault::{FaultKind, RedisFault};

/// Whether Lua scripts can be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptState {
    /// No connection has been made yet.
    Unknown,
    /// This many scripts are loaded.
    Loaded(usize),
    /// The server does not allow the service to load or run scripts.
    Refused(String),
}

impl PartialSchema for ScriptState {
    fn schema() -> RefOr<Schema> {
        // Generators of clients support no type that is either a string or an object.
        let text = "Whether Lua scripts can be called: `unknown` before the first connection, then `{\"loaded\": <count>}`, or \
                    `{\"refused\": <reason>}` if the server does not allow the service to load or run scripts.";
        ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some(text)).into()
    }
}

impl ToSchema for ScriptState {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("RedisScriptState")
    }
}

impl ScriptState {
    /// Applies the result of loading the scripts; a failed connection changes nothing. Returns whether anything
    /// changed.
    pub(super) fn learn(&mut self, loaded: &Result<(), RedisFault>, count: usize) -> bool {
        let news = match loaded {
            Ok(()) => Self::Loaded(count),
            Err(fault) if fault.is_unknown_command() => {
                Self::Refused("SCRIPT or EVALSHA is disabled on the server".to_owned())
            }
            Err(fault) if fault.kind == FaultKind::Denied => {
                Self::Refused("the service's Redis user may not use SCRIPT or EVALSHA".to_owned())
            }
            Err(_) => return false,
        };
        let is_news = *self != news;
        *self = news;
        is_news
    }
}
