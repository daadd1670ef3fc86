//! Publishing messages.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequest, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::super::cloud_event::{CLOUD_EVENT, CloudEvent};
use super::super::error::PubSubError;
use super::super::model::{
    BatchReply, BatchRequest, BatchResult, ChannelPath, MAX_BATCH, MessageLines, PublishReply, PublishRequest,
};
use super::super::service::PubSubService;
use super::load::{MessageLoad, checked, failed};
use crate::http::auth::Caller;
use crate::http::batch_item::{check_results, errors_of};
use crate::http::body::BodyStream;
use crate::http::extract::{Json, NoQuery, Path, collect, media_type, parse_json, require_json};
use crate::http::fencing::GrantToken;
use crate::http::negotiation::NDJSON;
use crate::http::problem::Problem;
use crate::http::reply::Created;

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
    Extension(Caller { principal, .. }): Extension<Caller>,
    Path(path): Path<ChannelPath>,
    NoQuery: NoQuery,
    GrantToken(token): GrantToken,
    MessageBody(request): MessageBody,
) -> Result<Created<PublishReply>, Problem> {
    if request.channel.is_some() {
        return Err(Problem::body_field("/channel", "is only allowed in a batch: the path names the channel"));
    }
    pubsub.refuse_revoked(principal.as_deref()).await?;
    Ok(Created(pubsub.publish(principal.as_deref(), path.channel, request, token).await?))
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

/// Publish messages to channels in one round trip, or a stream of them.
///
/// JSON: each message has its own result, and an invalid one does not stop the others; if all are refused, the response has the
/// status of the first one. NDJSON: one message per line, in a body of any length. The response counts the published messages and has an item for each one that was not published. If
/// a stream fails, the problem's detail says how many messages were published at least; send all of it again if every
/// message has an `id`. Messages of one channel keep their order.
#[utoipa::path(post, path = "/pubsub", tag = "pubsub", operation_id = "publish_messages",
    request_body(content((BatchRequest = "application/json"), (MessageLines = "application/x-ndjson"))),
    responses((status = 200, description = "One result per message; of a stream, the numbers of messages and the refused ones",
        body = BatchReply, headers(("Items-Failed" = u64, description = "How many messages were refused; absent if none was")))))]
pub(in super::super) async fn publish_messages(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(Caller { principal, .. }): Extension<Caller>,
    NoQuery: NoQuery,
    headers: HeaderMap,
    body: BodyStream,
) -> Result<Response, Problem> {
    pubsub.refuse_revoked(principal.as_deref()).await?;
    if media_type(&headers).as_deref() == Some(NDJSON) {
        let load = MessageLoad::new(&pubsub, principal.as_deref());
        return respond(load.run(body).await?);
    }
    require_json(&headers)?;
    let BatchRequest { messages } = parse_json(&body.collect(pubsub.body_limit, pubsub.body_idle).await?)?;
    if !(1..=MAX_BATCH).contains(&messages.len()) {
        let rule = format!("must have 1 to {MAX_BATCH} items, got {}", messages.len());
        return Err(Problem::body_field("/messages", rule));
    }
    let mut valid = Vec::with_capacity(messages.len());
    let mut results: Vec<Option<BatchResult>> = Vec::with_capacity(messages.len());
    for item in messages {
        match checked(&pubsub, principal.as_deref(), item) {
            Ok(item) => {
                valid.push(item);
                results.push(None);
            }
            Err(problem) => results.push(Some(failed(&problem))),
        }
    }
    let mut published = pubsub.publish_all(valid).await.map_err(PubSubError::from)?.into_iter();
    let mut reply = BatchReply::default();
    for invalid in results {
        let result = match invalid {
            Some(invalid) => Some(invalid),
            None => published.next().map(|published| match published {
                Ok(published) => {
                    reply.count(&published);
                    BatchResult { status: 201, line: None, published: Some(published), error: None }
                }
                Err(error) => failed(&error.into()),
            }),
        };
        reply.results.extend(result);
    }
    respond(reply)
}

/// # Errors
/// The problem of the first message, if all were refused.
fn respond(reply: BatchReply) -> Result<Response, Problem> {
    let failed = check_results(reply.done() > 0, errors_of("messages", reply.results.iter().map(|item| &item.error)))?;
    Ok((failed, Json(reply)).into_response())
}
