//! Publishing messages.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequest, Request, State};

use super::super::WRITE;
use super::super::cloud_event::{CLOUD_EVENT, CloudEvent};
use super::super::error::PubSubError;
use super::super::model::{
    BatchReply, BatchRequest, BatchResult, ChannelPath, MAX_BATCH, PublishReply, PublishRequest,
};
use super::super::service::PubSubService;
use crate::events::{ChannelName, Message};
use crate::http::auth::Principal;
use crate::http::batch_item::BatchItem;
use crate::http::extract::{Json, NoQuery, Path, collect, media_type, parse_json};
use crate::http::fencing::GrantToken;
use crate::http::problem::Problem;
use crate::http::reply::{Created, ItemError};

/// Publish a message to a channel.
///
/// The message gets the next offset of its channel, is kept as the channel's namespace says, and reaches every
/// subscriber once. A repetition with the same `id` within five minutes is not published again: after a response with an
/// unknown outcome, send the same request again.
///
/// The body may be a `CloudEvent` in structured mode, whose `id` and `type` are the `id` and `message_type` of the message.
#[utoipa::path(post, path = "/pubsub/{channel}", tag = "pubsub", operation_id = "publish_message",
    params(ChannelPath),
    request_body(content((PublishRequest = "application/json"), (CloudEvent = "application/cloudevents+json"))),
    responses((status = 201, description = "The position of the message", body = PublishReply)))]
pub(in super::super) async fn publish_message(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Arc<Principal>>,
    Path(path): Path<ChannelPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    MessageBody(request): MessageBody,
) -> Result<Created<PublishReply>, Problem> {
    if request.channel.is_some() {
        return Err(Problem::body_field("/channel", "is only allowed in a batch: the path names the channel"));
    }
    Ok(Created(pubsub.publish(Some(&caller), path.channel, request, token).await?))
}

/// A message as JSON, or as a `CloudEvent`.
pub(in super::super) struct MessageBody(PublishRequest);

impl<S: Send + Sync> FromRequest<S> for MessageBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if media_type(request.headers()).as_deref() == Some(CLOUD_EVENT) {
            let event: CloudEvent = parse_json(&collect(request).await?)?;
            return Ok(Self(event.into_request()?));
        }
        let Json(request) = Json::from_request(request, state).await?;
        Ok(Self(request))
    }
}

/// Publish messages to channels in one round trip.
///
/// Each message has its own result, and an invalid one does not stop the others. Messages of one channel keep their
/// order.
#[utoipa::path(post, path = "/pubsub", tag = "pubsub", operation_id = "publish_messages",
    request_body = BatchRequest,
    responses((status = 200, description = "One result per message", body = BatchReply)))]
pub(in super::super) async fn publish_messages(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Arc<Principal>>,
    NoQuery: NoQuery,
    Json(BatchRequest { messages }): Json<BatchRequest>,
) -> Result<Json<BatchReply>, Problem> {
    if !(1..=MAX_BATCH).contains(&messages.len()) {
        let rule = format!("must have 1 to {MAX_BATCH} items, got {}", messages.len());
        return Err(Problem::body_field("/messages", rule));
    }
    let mut valid = Vec::with_capacity(messages.len());
    let mut results: Vec<Option<BatchResult>> = Vec::with_capacity(messages.len());
    for item in messages {
        match checked(&pubsub, &caller, item) {
            Ok(item) => {
                valid.push(item);
                results.push(None);
            }
            Err(problem) => results.push(Some(failed(&problem))),
        }
    }
    let mut published = pubsub.publish_all(valid).await.map_err(PubSubError::from)?.into_iter();
    let results = results.into_iter().map(|result| match result {
        Some(invalid) => Some(invalid),
        None => published.next().map(|published| match published {
            Ok(published) => BatchResult { status: 201, published: Some(published), error: None },
            Err(error) => failed(&error.into()),
        }),
    });
    Ok(Json(BatchReply { results: results.flatten().collect() }))
}

/// The channel and the message of an item that can be published.
fn checked(
    pubsub: &PubSubService,
    caller: &Principal,
    item: BatchItem<PublishRequest>,
) -> Result<(ChannelName, Message), Problem> {
    let mut request = match item {
        BatchItem::Valid(request) => request,
        BatchItem::Invalid { problem, .. } => return Err(*problem),
    };
    let channel = request.channel.take().ok_or_else(|| Problem::body_field("/channel", "is required in a batch"))?;
    caller.require_key(WRITE, channel.as_str())?;
    let message = pubsub.check(Some(caller), &channel, request)?;
    Ok((channel, message))
}

fn failed(problem: &Problem) -> BatchResult {
    let (status, error) = ItemError::of_problem(problem);
    BatchResult { status, published: None, error: Some(error) }
}
