//! Whether a server lets the service call its scripts.

use std::borrow::Cow;

use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
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
        let member = |kind, text: &str| ObjectBuilder::new().schema_type(kind).description(Some(text));
        ObjectBuilder::new()
            .schema_type(SchemaType::Array(vec![Type::String, Type::Object]))
            .description(Some(
                "Whether Lua scripts can be called: `unknown` before the first connection, then an object with one member.",
            ))
            .property("loaded", member(Type::Integer, "The number of loaded scripts."))
            .property("refused", member(Type::String, "Why the server does not allow the service to load or run scripts."))
            .into()
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
