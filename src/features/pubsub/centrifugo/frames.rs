//! The JSON of the protocol: a frame has one command per line. Replies and pushes have a frame each, or share one.

use std::collections::BTreeMap;

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::error::CommandError;
use super::publication::Publication;
use crate::events::ChannelName;
use crate::http::extract::{json_message, parse_json};

/// A command: `{"id":1,"subscribe":{...}}`.
#[derive(Debug)]
pub(super) struct Command<'a> {
    /// The number of the reply; 0 for a command without one.
    pub id: u32,
    pub name: &'a str,
    pub params: &'a RawValue,
}

impl Command<'_> {
    /// The parameters.
    ///
    /// # Errors
    /// A bad request, naming the member.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, CommandError> {
        Ok(parse_json(self.params.get().as_bytes())?)
    }
}

/// The commands of a frame.
pub(super) fn commands(frame: &str) -> impl Iterator<Item = &str> {
    frame.split('\n').filter(|line| !line.trim_ascii().is_empty())
}

/// Reads a command; `None` for `{}`, with which a client answers a ping.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<Option<Command<'_>>, String> {
    let mut members: BTreeMap<&str, &RawValue> = serde_json::from_str(text)
        .map_err(|error| format!("a command must be a JSON object: {}", json_message(&error)))?;
    let id = match members.remove("id") {
        Some(id) => serde_json::from_str(id.get()).map_err(|_| "id must be a number of 32 bits".to_owned())?,
        None => 0,
    };
    match (members.pop_first(), members.is_empty()) {
        (None, _) if id == 0 => Ok(None),
        (Some((name, params)), true) => Ok(Some(Command { id, name, params })),
        _ => Err("a command must name one method".to_owned()),
    }
}

/// The reply to a command.
pub(super) fn reply(id: u32, name: &str, result: &impl Serialize) -> Utf8Bytes {
    format!("{{\"id\":{id},\"{name}\":{}}}", json(result)).into()
}

pub(super) fn error_reply(id: u32, error: &CommandError) -> Utf8Bytes {
    format!("{{\"id\":{id},\"error\":{}}}", json(error)).into()
}

/// The push of a message.
pub(super) fn message(channel: &ChannelName, publication: &Publication<'_>) -> Utf8Bytes {
    format!("{{\"push\":{{\"channel\":\"{channel}\",\"pub\":{}}}}}", json(publication)).into()
}

/// The push that ends a subscription. Clients subscribe again after a code of 2500 or above.
pub(super) fn unsubscribe(channel: &ChannelName, code: u16, reason: &str) -> Utf8Bytes {
    format!("{{\"push\":{{\"channel\":\"{channel}\",\"unsubscribe\":{{\"code\":{code},\"reason\":\"{reason}\"}}}}}}")
        .into()
}

/// Text, numbers and raw JSON always serialise.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_a_command_per_line() {
        let lines: Vec<_> = commands("{\"id\":1,\"connect\":{}}\n\n{\"id\":2,\"subscribe\":{}}\n").collect();
        assert_eq!(lines, ["{\"id\":1,\"connect\":{}}", "{\"id\":2,\"subscribe\":{}}"]);
        assert_eq!(commands(" \n").count(), 0);
    }

    #[test]
    fn a_command_has_a_number_and_one_method() {
        let command = parse(r#"{"id":7,"subscribe":{"channel":"a"}}"#).expect("valid").expect("a command");
        assert_eq!((command.id, command.name, command.params.get()), (7, "subscribe", r#"{"channel":"a"}"#));
        assert!(parse("{}").expect("valid").is_none());
        assert_eq!(parse(r#"{"send":{"data":1}}"#).expect("valid").expect("a command").id, 0);
        for bad in [
            "",
            "[]",
            "1",
            "{",
            r#"{"id":1}"#,
            r#"{"id":-1,"send":{}}"#,
            r#"{"id":"1","send":{}}"#,
            r#"{"id":1,"connect":{},"send":{}}"#,
            r#"{"id":4294967296,"send":{}}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn replies_and_pushes_are_single_lines() {
        let channel = ChannelName::parse("a:b").expect("a name");
        assert_eq!(
            reply(3, "connect", &serde_json::json!({ "ping": 25 })).as_str(),
            r#"{"id":3,"connect":{"ping":25}}"#
        );
        let error = error_reply(4, &CommandError::TOKEN_EXPIRED);
        assert_eq!(error.as_str(), r#"{"id":4,"error":{"code":109,"message":"the token has expired"}}"#);
        let push = unsubscribe(&channel, 2500, "insufficient state");
        assert_eq!(
            push.as_str(),
            r#"{"push":{"channel":"a:b","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
        );
    }
}
