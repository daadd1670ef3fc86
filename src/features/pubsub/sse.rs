//! `GET /pubsub/sse`: Server-Sent Events, which continue after `Last-Event-ID`.
//!
//! Source: WHATWG HTML, section 9.2.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::stream;
use serde_json::json;
use utoipa::IntoParams;

use super::access::Verb;
use super::cloud_event::{CLOUD_EVENT, StoredCloudEvent};
use super::delivery::{Delivery, Position};
use super::model::parse_position;
use super::service::PubSubService;
use super::session::Session;
use super::subscription::{Delivering, Event};
use crate::events::ChannelName;
use crate::http::auth::{Caller, check_origin};
use crate::http::extract::OpenConnection;
use crate::http::negotiation::preferred;
use crate::http::problem::Problem;
use crate::http::reply::limited_event_stream;
use crate::random;

/// The most channels of one stream: its event ids contain a position in each.
const MAX_CHANNELS: usize = 16;
/// The most bytes of one chunk.
const CHUNK: usize = 16 << 10;
/// The time between comments. Browsers and proxies close idle connections after 30 s.
const HEARTBEAT: Duration = Duration::from_secs(15);
const TRANSPORT: &str = "sse";

/// The parameters of a stream, for the API document; `channel` may be repeated.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "`StreamQuery::parse` reads them, because one is repeated")]
pub(super) struct StreamParams {
    /// A channel; repeat the parameter for up to 16.
    #[param(min_items = 1, max_items = 16, example = json!(["market:events"]))]
    channel: Vec<String>,
    /// The most deliveries per second and channel, 0.01 to 1,000.
    #[param(required = false, minimum = 0.01, maximum = 1_000.0)]
    max_rate: Option<f64>,
    /// `latest`: only the newest message of each key at each delivery.
    #[param(required = false, pattern = "^(all|latest)$")]
    mode: Option<String>,
    /// The credential, for browsers, whose `EventSource` sends no headers.
    #[param(required = false)]
    token: Option<String>,
}

#[derive(Debug, Default)]
struct StreamQuery {
    channels: Vec<ChannelName>,
    interval: Option<Duration>,
    latest_only: bool,
    token: Option<String>,
}

/// Receive messages as Server-Sent Events.
///
/// Each event has an `id` with the positions of the stream: a client that reconnects with `Last-Event-ID`, as browsers do,
/// receives what it missed. The event type is that of the message if the stream has one channel, and `message` otherwise. An
/// event `gap` tells of messages that are lost, `stale` and `fresh` that messages may be late, and `expired` that the
/// credential has ended.
///
/// With `Accept: application/cloudevents+json`, the data of each message is a `CloudEvent`, as in the history.
#[utoipa::path(get, path = "/pubsub/sse", tag = "pubsub", operation_id = "stream_channel_events",
    params(StreamParams,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client received")),
    responses((status = 200, description = "A stream of events until the client leaves", content_type = "text/event-stream",
        body = String)))]
pub(super) async fn stream_events(
    State(pubsub): State<Arc<PubSubService>>,
    Extension(caller): Extension<Caller>,
    open: Option<Extension<OpenConnection>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_origin(&headers, &pubsub.origins)?;
    let query = StreamQuery::parse(uri.query().unwrap_or_default())?;
    let since = last_positions(&headers)?;
    pubsub.refuse_revoked(caller.principal.as_deref()).await?;
    let gauge = pubsub.metrics.connections.with_label_values(&[TRANSPORT]);
    let permit = pubsub.sockets.admit(caller.principal.as_deref(), gauge)?;
    let mut session = Session::new(&pubsub, caller, permit);
    if let Some(token) = &query.token {
        session.authenticate(token).await?;
    }
    for channel in &query.channels {
        pubsub.require(session.principal(), Verb::Subscribe, channel)?;
    }
    let mut text = format!("retry: {}\n\n", retry_ms());
    let mut stream = EventWriter {
        session,
        positions: BTreeMap::new(),
        is_single: query.channels.len() == 1,
        writes_cloud_events: preferred(&headers, &["text/event-stream", CLOUD_EVENT]) == CLOUD_EVENT,
    };
    for channel in &query.channels {
        let delivering =
            Delivering { interval: query.interval, latest_only: query.latest_only, ..Delivering::default() };
        let from = since.get(channel).cloned();
        let subscribed = stream.session.subscribe(channel, None, from.clone(), delivering).await?;
        if let (Some(false), Some(from)) = (subscribed.recovered, &from) {
            let to = &subscribed.position;
            stream.positions.insert(channel.clone(), to.clone());
            let gap = json!({ "channel": channel, "from": from.offset.saturating_add(1), "to": to.offset, "epoch": to.epoch,
                "reason": if from.epoch == to.epoch { "trimmed" } else { "epoch" } });
            stream.write_event(&mut text, "gap", &gap.to_string());
        }
        let before = subscribed.messages.first().map_or(subscribed.position.clone(), |first| Position {
            epoch: first.epoch.clone(),
            offset: first.offset - 1,
        });
        stream.positions.insert(channel.clone(), before);
        for delivery in subscribed.messages {
            stream.write_message(&mut text, channel, &delivery);
        }
        stream.positions.insert(channel.clone(), subscribed.position);
    }
    Ok(respond(stream, text, open.map(|Extension(open)| open)))
}

fn respond(stream: EventWriter, beginning: String, open: Option<OpenConnection>) -> Response {
    let heartbeat = Instant::now() + HEARTBEAT;
    let (tasks, idle) = (stream.session.pubsub.tasks.clone(), stream.session.pubsub.body_idle);
    let state = StreamState { stream, beginning: Some(beginning), heartbeat, drain: None, is_over: false, _open: open };
    let pieces = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((chunk, state))
    });
    limited_event_stream(pieces, &tasks, idle)
}

/// Writes events with the ids of their positions.
struct EventWriter {
    session: Session,
    positions: BTreeMap<ChannelName, Position>,
    is_single: bool,
    writes_cloud_events: bool,
}

struct StreamState {
    stream: EventWriter,
    beginning: Option<String>,
    heartbeat: Instant,
    /// When the stream ends because its replica stops.
    drain: Option<Instant>,
    is_over: bool,
    /// The stream counts as a connection as long as it is open.
    _open: Option<OpenConnection>,
}

impl StreamState {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(beginning) = self.beginning.take() {
            return Some(beginning.into());
        }
        if self.is_over {
            return None;
        }
        let mut events = Vec::new();
        loop {
            let phase = self.stream.session.pubsub.phase.clone();
            let due = [Some(self.heartbeat), self.drain, self.stream.session.expires].into_iter().flatten().min()?;
            tokio::select! {
                // The timer first: nothing is delivered once the credential has ended.
                biased;
                () = tokio::time::sleep_until(due.into()) => {
                    let now = Instant::now();
                    if self.drain.is_some_and(|at| at <= now) {
                        self.is_over = true;
                        return Some(format!("retry: {}\n\n", retry_ms()).into());
                    }
                    if self.stream.session.is_over() {
                        self.is_over = true;
                        return Some(Bytes::from_static(b"event: expired\ndata: {}\n\n"));
                    }
                    self.heartbeat = now + HEARTBEAT;
                    return Some(Bytes::from_static(b":\n\n"));
                }
                () = self.stream.session.subscriber.ready() => {
                    if self.stream.session.obey().is_none_or(|_| self.stream.session.subscriber.channels().next().is_none()) {
                        return None;
                    }
                    self.stream.session.subscriber.collect(CHUNK, &mut events).await;
                    if events.is_empty() || self.stream.session.is_over() {
                        continue;
                    }
                    self.heartbeat = Instant::now() + HEARTBEAT;
                    return Some(self.stream.write(&mut events));
                }
                () = phase.draining(), if self.drain.is_none() => {
                    let spread = self.stream.session.pubsub.config.drain_spread.duration();
                    self.drain = Some(Instant::now() + spread.mul_f64(random::fraction()));
                }
            }
        }
    }
}

impl EventWriter {
    fn write(&mut self, events: &mut Vec<Event>) -> Bytes {
        let delivered = self.session.pubsub.metrics.delivered.with_label_values(&[TRANSPORT]);
        let mut text = String::new();
        for event in events.drain(..) {
            match event {
                Event::Message { channel, delivery, .. } => {
                    delivered.inc();
                    self.write_message(&mut text, &channel.name, &delivery);
                }
                Event::Gap(gap) => {
                    let data = json!({ "channel": gap.channel, "from": gap.from, "to": gap.to, "epoch": gap.epoch,
                        "reason": gap.reason.text() });
                    self.positions.insert(gap.channel, Position { epoch: gap.epoch, offset: gap.to });
                    self.write_event(&mut text, "gap", &data.to_string());
                }
                Event::Presence { .. } => {}
                Event::Stale => text.push_str("event: stale\ndata: {}\n\n"),
                Event::Fresh => text.push_str("event: fresh\ndata: {}\n\n"),
            }
        }
        text.into()
    }

    fn write_message(&mut self, text: &mut String, channel: &ChannelName, delivery: &Delivery) {
        if self.is_single && !self.writes_cloud_events {
            let encoded = delivery.sse(|delivery| {
                let id = event_id([(channel, &delivery.position())]);
                format!("id: {id}\nevent: {}\ndata: {}\n\n", delivery.message_type, delivery.text()).into()
            });
            // What was encoded as text is text.
            text.push_str(std::str::from_utf8(encoded).unwrap_or_default());
            if let Some(known) = self.positions.get_mut(channel) {
                *known = delivery.position();
            }
            return;
        }
        self.positions.insert(channel.clone(), delivery.position());
        let name = if self.is_single { &*delivery.message_type } else { "message" };
        if !self.writes_cloud_events {
            return self.write_event(text, name, delivery.text());
        }
        let event = StoredCloudEvent::parse(delivery.text()).and_then(|event| serde_json::to_string(&event).ok());
        if let Some(event) = event {
            self.write_event(text, name, &event);
        }
    }

    fn write_event(&self, text: &mut String, name: &str, data: &str) {
        let id = event_id(&self.positions);
        // Writing to a String cannot fail.
        let _ = write!(text, "id: {id}\nevent: {name}\ndata: {data}\n\n");
    }
}

/// `channel=epoch.offset` for each channel, in base64url.
fn event_id<'a>(positions: impl IntoIterator<Item = (&'a ChannelName, &'a Position)>) -> String {
    let pairs = positions.into_iter().map(|(channel, at)| format!("{channel}={}.{}", at.epoch, at.offset));
    URL_SAFE_NO_PAD.encode(pairs.collect::<Vec<_>>().join(" "))
}

/// The positions in `Last-Event-ID`; none without the header.
fn last_positions(headers: &HeaderMap) -> Result<BTreeMap<ChannelName, Position>, Problem> {
    let Some(id) = headers.get("last-event-id").filter(|id| !id.is_empty()) else { return Ok(BTreeMap::new()) };
    let parse = || -> Option<BTreeMap<ChannelName, Position>> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id.as_bytes()).ok()?).ok()?;
        text.split(' ')
            .take(MAX_CHANNELS)
            .map(|pair| {
                let (channel, position) = pair.split_once('=')?;
                Some((ChannelName::parse(channel).ok()?, parse_position(position)?))
            })
            .collect()
    };
    parse().ok_or_else(|| Problem::request_header("Last-Event-ID", "must be the id of an event of this service"))
}

/// When clients should reconnect, milliseconds: at random, so that not all come at once.
fn retry_ms() -> u128 {
    Duration::from_secs(4).mul_f64(random::fraction()).as_millis() + 1_000
}

impl StreamQuery {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "channel" => {
                    let channel =
                        ChannelName::parse(&value).map_err(|rule| Problem::query_parameter("channel", rule))?;
                    if parsed.channels.contains(&channel) {
                        return Err(Problem::query_parameter("channel", format!("must not repeat `{channel}`")));
                    }
                    parsed.channels.push(channel);
                }
                "max_rate" if parsed.interval.is_none() => {
                    let rate = value.parse().ok().filter(|rate| (0.01..=1_000.0).contains(rate));
                    let rule = || format!("must be between 0.01 and 1000, got `{value}`");
                    let rate: f64 = rate.ok_or_else(|| Problem::query_parameter("max_rate", rule()))?;
                    parsed.interval = Some(Duration::from_secs_f64(1.0 / rate));
                }
                "mode" if matches!(&*value, "all" | "latest") => parsed.latest_only = value == "latest",
                "mode" => {
                    return Err(Problem::query_parameter("mode", format!("must be all or latest, got `{value}`")));
                }
                "token" if parsed.token.is_none() => parsed.token = Some(value.into_owned()),
                other => return Err(Problem::query_parameter(other, "is unknown or repeated")),
            }
        }
        if !(1..=MAX_CHANNELS).contains(&parsed.channels.len()) {
            let rule = format!("must be given 1 to {MAX_CHANNELS} times, got {}", parsed.channels.len());
            return Err(Problem::query_parameter("channel", rule));
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn an_event_id_is_read_back() {
        let channel = ChannelName::parse("market:events").expect("a name");
        let position = Position { epoch: "0a1b2c3d".into(), offset: 7 };
        let id = event_id([(&channel, &position)]);
        let headers = HeaderMap::from_iter([(
            HeaderName::from_static("last-event-id"),
            HeaderValue::try_from(id).expect("a header"),
        )]);
        assert_eq!(last_positions(&headers).expect("valid"), BTreeMap::from([(channel, position)]));
        for bad in ["x", "!!", "YQ"] {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static("last-event-id"), HeaderValue::from_static(bad))]);
            assert_eq!(last_positions(&headers).expect_err(bad).kind().slug, "invalid-header");
        }
    }
}
