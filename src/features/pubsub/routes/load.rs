//! Publishing a stream of messages: NDJSON of any length in bounded memory.

use super::super::error::{MESSAGES_REFUSED, PubSubError};
use super::super::model::{BatchReply, BatchResult, PublishRequest};
use super::super::service::PubSubService;
use crate::events::{ChannelName, Message};
use crate::http::auth::Principal;
use crate::http::batch_item::BatchItem;
use crate::http::body::BodyStream;
use crate::http::extract::parse_json;
use crate::http::lines::Lines;
use crate::http::problem::Problem;
use crate::http::reply::ItemError;
use crate::redis::Outcome;

/// The most messages of one round trip ...
const BATCH: usize = 100;
/// ... and their most bytes, unless one message has more.
const BATCH_BYTES: usize = 128 << 10;
/// The most bytes of a line beside the data of its message.
const OVERHEAD: usize = 16 << 10;
/// The most refused messages; one more ends the stream.
const MAX_REFUSED: usize = 1_000;

/// A stream on its way.
pub(super) struct MessageLoad<'a> {
    pubsub: &'a PubSubService,
    caller: Option<&'a Principal>,
    /// The lines of the messages that are published next, and the messages.
    lines: Vec<u64>,
    messages: Vec<(ChannelName, Message)>,
    bytes: usize,
    reply: BatchReply,
}

impl<'a> MessageLoad<'a> {
    pub(super) fn new(pubsub: &'a PubSubService, caller: Option<&'a Principal>) -> Self {
        let reply = BatchReply::default();
        Self { pubsub, caller, lines: Vec::new(), messages: Vec::new(), bytes: 0, reply }
    }

    /// Publishes the lines of a body.
    ///
    /// # Errors
    /// `messages-refused` (422), `invalid-body` (422) if there is no message, the problems of a body that ends early, and those of Redis. The detail says how many messages
    /// were published at least.
    pub(super) async fn run(mut self, mut body: BodyStream) -> Result<BatchReply, Problem> {
        let mut lines = Lines::new(self.pubsub.config.message_limit.as_usize() + OVERHEAD);
        loop {
            let piece = body.next(self.pubsub.body_idle).await.map_err(|problem| self.interrupted(problem))?;
            let Some(piece) = piece else { break };
            lines.push(&piece);
            while let Some((number, line)) = lines.next_line() {
                self.take(number, line)?;
                if self.messages.len() >= BATCH || self.bytes >= BATCH_BYTES {
                    self.publish().await?;
                }
            }
            // A fast sender must not block the other requests on this thread.
            tokio::task::yield_now().await;
        }
        if let Some((number, line)) = lines.finish() {
            self.take(number, line)?;
        }
        self.publish().await?;
        self.reply.results.sort_by_key(|refused| refused.line);
        if self.reply.done() == 0 && !self.reply.results.is_empty() {
            return Err(self.refused("no message was published"));
        }
        if self.reply.done() == 0 {
            return Err(Problem::body_field("", "must have at least one line"));
        }
        Ok(self.reply)
    }

    fn take(&mut self, number: u64, line: Option<&[u8]>) -> Result<(), Problem> {
        let message = if let Some(line) = line {
            let request = parse_json::<PublishRequest>(line);
            request.and_then(|request| checked(self.pubsub, self.caller, BatchItem::Valid(request)))
        } else {
            let limit = self.pubsub.config.message_limit.as_usize();
            Err(PubSubError::TooLarge { limit, size: limit + OVERHEAD }.into())
        };
        match message {
            Ok(message) => {
                self.bytes += line.map_or(0, <[u8]>::len);
                self.lines.push(number);
                self.messages.push(message);
                Ok(())
            }
            Err(problem) => self.refuse(number, &problem),
        }
    }

    async fn publish(&mut self) -> Result<(), Problem> {
        self.bytes = 0;
        let (lines, messages) = (std::mem::take(&mut self.lines), std::mem::take(&mut self.messages));
        if messages.is_empty() {
            return Ok(());
        }
        let results = self.pubsub.publish_all(messages).await;
        let results = results.map_err(|fault| self.interrupted(fault.into()))?;
        for (line, result) in lines.into_iter().zip(results) {
            match result {
                Ok(published) => self.reply.count(&published),
                Err(error) => self.refuse(line, &error.into())?,
            }
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, problem: &Problem) -> Result<(), Problem> {
        self.reply.results.push(BatchResult { line: Some(line), ..failed(problem) });
        if self.reply.results.len() > MAX_REFUSED {
            return Err(self.refused(&format!("more than {MAX_REFUSED} messages were refused")));
        }
        Ok(())
    }

    /// The problem of a stream with refused messages.
    fn refused(&self, how_many: &str) -> Problem {
        let first = self.reply.results.first();
        let (line, error) = (first.and_then(|first| first.line), first.and_then(|first| first.error.as_ref()));
        let detail = error.map_or("", |error| &error.detail);
        let detail = format!("{how_many}; line {}: {detail}", line.unwrap_or_default());
        self.interrupted(Problem::new(&MESSAGES_REFUSED).detail(detail).outcome(Outcome::NotApplied))
    }

    /// Adds to a problem how many messages were published.
    fn interrupted(&self, problem: Problem) -> Problem {
        let done = self.reply.done();
        if done == 0 {
            return problem;
        }
        let detail = format!("{}; at least {done} messages of the stream were published", problem.text());
        // Some messages are published and others are not, so neither `applied` nor `not_applied` would be true.
        problem.detail(detail).outcome(Outcome::Unknown)
    }
}

/// The channel and the message of an item that can be published.
pub(super) fn checked(
    pubsub: &PubSubService,
    caller: Option<&Principal>,
    item: BatchItem<PublishRequest>,
) -> Result<(ChannelName, Message), Problem> {
    let mut request = match item {
        BatchItem::Valid(request) => request,
        BatchItem::Invalid { problem, .. } => return Err(*problem),
    };
    let channel = request.channel.take().ok_or_else(|| Problem::body_field("/channel", "is required in a batch"))?;
    let message = pubsub.check(caller, &channel, request)?;
    Ok((channel, message))
}

/// The result of a message that was not published.
pub(super) fn failed(problem: &Problem) -> BatchResult {
    let (status, error) = ItemError::of_problem(problem);
    BatchResult { status, line: None, published: None, error: Some(error) }
}
