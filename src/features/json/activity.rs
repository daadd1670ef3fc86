//! The operations on a user's activity log.

use super::change::{Action, empty_log, log_page};
use super::document::{Members, Node, Number};
use super::error::JsonError;
use super::model::DocumentKey;
use super::path::Path;
use super::service::JsonService;
use super::stored::StoredDocument;
use super::update::{Update, Updated, WriteOptions};

impl JsonService {
    /// Lists at most `limit` entries as `{"items", "next_cursor"}`, newest first. A log that does not exist is empty.
    ///
    /// # Errors
    /// [`JsonError::WrongType`] if the document is not an activity log, and every error of [`JsonService::document`].
    pub(super) async fn list_activity(
        &self,
        key: &DocumentKey,
        cursor: Option<u64>,
        limit: usize,
        can_decrypt: bool,
    ) -> Result<(Node, Option<StoredDocument>), JsonError> {
        let (log, source) = match self.document(key, can_decrypt).await? {
            Some((log, source)) => (log, Some(source)),
            None => (empty_log(), None),
        };
        let (entries, next) = log_page(&log, cursor, limit)?;
        let next = next.map_or(Node::Null, |number| Node::String(number.to_string().into()));
        Ok((Node::Object(vec![("items".into(), Node::Array(entries)), ("next_cursor".into(), next)]), source))
    }

    /// Adds an entry, with the current time if it has no `timestamp`.
    pub(super) async fn record_activity(
        &self,
        key: &DocumentKey,
        mut entry: Members,
        options: WriteOptions,
    ) -> Result<Updated, JsonError> {
        if !entry.iter().any(|(name, _)| name == "timestamp") {
            entry.push(("timestamp".into(), Node::Number(Number::integer(self.clock.now().into()))));
        }
        let action = Action::Record { entry: Node::Object(entry), limit: self.config.activity_limit };
        self.update(key, &Update { initial: Some(empty_log()), ..options.update(Path::default(), action) }).await
    }
}
