//! Who is subscribed, in the form that clients of Centrifugo know.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::model::PresenceReply;
use super::error::CommandError;
use super::publication::to_raw;

#[derive(Serialize)]
struct ClientInfo<'a> {
    client: &'a str,
    user: &'a str,
}

/// The result of `presence`, or that of `presence_stats` unless `is_list`.
///
/// # Errors
/// [`CommandError::limit_exceeded`] if the list is too large.
pub(super) fn presence_result(presence: &PresenceReply, is_list: bool) -> Result<Box<RawValue>, CommandError> {
    if !is_list {
        return Ok(to_raw(&BTreeMap::from([("num_clients", presence.clients), ("num_users", presence.subjects)])));
    }
    let members = presence.members.as_ref().ok_or_else(|| {
        let clients = presence.clients;
        CommandError::limit_exceeded(format!("the channel has too many clients for a list: {clients}"))
    })?;
    let info =
        |client: &'_ crate::events::Member| to_raw(&ClientInfo { client: &client.client, user: &client.subject });
    let members: BTreeMap<_, _> = members.iter().map(|member| (member.client.as_str(), info(member))).collect();
    Ok(to_raw(&BTreeMap::from([("presence", members)])))
}
