//! Subscribing, and the tokens of subscriptions.

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};

use super::super::delivery::Position;
use super::super::filter::Filter;
use super::super::session::Session;
use super::super::subscriber::Subscribed;
use super::super::subscription::{Delivering, Mode};
use super::error::{CommandError, Refusal};
use super::frames::{self, Command, reply};
use super::publication::Publication;
use crate::events::ChannelName;

/// The client asks for error 112 instead of a subscription that could not recover.
const REJECT_UNRECOVERED: u64 = 2;

#[derive(Deserialize)]
struct SubscribeParams {
    channel: ChannelName,
    /// A channel token.
    #[serde(default)]
    token: String,
    #[serde(default)]
    data: Option<SubscribeData>,
    #[serde(default)]
    recover: bool,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    tf: Option<Filter>,
    #[serde(default)]
    flag: u64,
    /// The kind of subscription; 0 is a stream of messages.
    #[serde(default, rename = "type")]
    kind: i64,
}

/// What an application may pass as data of a subscription: how it receives messages.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubscribeData {
    #[serde(default)]
    mode: Mode,
    max_rate: Option<f64>,
    #[serde(default)]
    snapshot: bool,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the protocol has them")]
struct SubscribeResult<'a> {
    recoverable: bool,
    positioned: bool,
    epoch: &'a str,
    offset: u64,
    was_recovering: bool,
    recovered: bool,
    #[serde(flatten)]
    token: TokenState,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    publications: Vec<Publication<'a>>,
}

/// How long the channel token of a subscription is valid.
#[derive(Serialize)]
pub(super) struct TokenState {
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<bool>,
    /// Seconds after which the client sends a new token: one before this one ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

impl TokenState {
    pub(super) fn of(session: &Session, channel: &ChannelName) -> Self {
        let left = session.token_ends_in(channel);
        Self { expires: left.map(|_| true), ttl: left.map(|left| left.as_secs().saturating_sub(1).max(1)) }
    }
}

/// Subscribes, and adds the reply and the recovered messages.
///
/// # Errors
/// Why the client is not subscribed.
pub(super) async fn subscribe(
    session: &mut Session,
    command: &Command<'_>,
    replies: &mut Vec<Utf8Bytes>,
) -> Result<(), Refusal> {
    let SubscribeParams { channel, token, data, recover, offset, epoch, tf, flag, kind } = command.read()?;
    if kind != 0 {
        return Err(CommandError::bad_request(format!("type must be 0, got {kind}")).into());
    }
    let SubscribeData { mode, max_rate, snapshot } = data.unwrap_or_default();
    let since = recover.then(|| Position { epoch: epoch.into(), offset });
    let delivering = Delivering::new(mode, max_rate, tf)?;
    // A client that recovers knows the messages up to its position.
    let delivering = Delivering { snapshot: snapshot && !recover, ..delivering };
    let token = Some(token.as_str()).filter(|token| !token.is_empty());
    let Subscribed { position, recovered, messages } = session.subscribe(&channel, token, since, delivering).await?;
    if recovered == Some(false) && flag & REJECT_UNRECOVERED != 0 {
        session.subscriber.unsubscribe(&channel);
        return Err(CommandError::UNRECOVERABLE.into());
    }
    let count = Publication::fitting(messages.iter().map(|delivery| &**delivery));
    let (first, others) = messages.split_at(count);
    let result = SubscribeResult {
        recoverable: true,
        positioned: true,
        epoch: &position.epoch,
        // Each recovered message moves the position of the client, which begins where it was.
        offset: if recovered == Some(true) { offset } else { position.offset },
        was_recovering: recover,
        recovered: recovered == Some(true),
        token: TokenState::of(session, &channel),
        publications: first.iter().map(|delivery| Publication::new(delivery)).collect(),
    };
    replies.push(reply(command.id, command.name, &result));
    let push = |delivery: &_| frames::message(&channel, &Publication::new(delivery));
    replies.extend(others.iter().map(|delivery| delivery.centrifugo(push).clone()));
    Ok(())
}
