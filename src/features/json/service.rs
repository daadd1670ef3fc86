//! What every part of the documents works with, and reading them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::backend::{self, DOCUMENTS};
use super::change::{Bounds, ChangeError};
use super::config::JsonConfig;
use super::document::Node;
use super::error::JsonError;
use super::keys::{JsonKeys, Place};
use super::metrics::JsonMetrics;
use super::model::{DocumentKey, LengthOf, Millis};
use super::path::Path;
use super::queue::Queues;
use super::schema::Schemas;
use super::scripts::Touch;
use super::stored::Stored;
use super::update::Seen;
use super::vault::Vault;
use crate::clock::Clock;
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::http::problem::Location;
use crate::redis::{BackendRecord, Fence, FencingToken, Redis, RedisFault};

#[derive(Clone, Debug)]
pub(super) struct JsonService(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub redis: Redis,
    pub home: BackendRecord,
    pub keys: JsonKeys,
    pub config: JsonConfig,
    pub bounds: Bounds,
    pub schemas: Schemas,
    pub vault: Vault,
    pub writers: Queues<Seen>,
    pub metrics: JsonMetrics,
    pub clock: Clock,
    /// How long a change may be tried: what a request has, less the time that Redis may take for the last write.
    pub patience: Duration,
}

impl std::ops::Deref for JsonService {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What was selected of a document.
#[derive(Debug)]
pub(super) struct Selected {
    /// JSON text.
    pub body: Bytes,
    pub source: Stored,
}

/// What is told about values instead of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aspect {
    Type,
    /// Items of arrays, members of objects, bytes of strings; of values of other types than `of` nothing is told.
    Length {
        of: Option<LengthOf>,
    },
    /// Names of members.
    Keys,
}

impl JsonService {
    /// # Errors
    /// A schema that cannot be used.
    pub(super) fn new(deps: &Deps, config: JsonConfig, http: &HttpConfig) -> Result<Self, String> {
        let redis = deps.redis.state.clone();
        let deadline = http.request_deadline.duration();
        let keys = JsonKeys::new(redis.keys(), &config);
        let service = Self(Arc::new(Inner {
            home: BackendRecord::new(redis.clone(), &DOCUMENTS, keys.backend().clone(), config.backend),
            keys,
            bounds: Bounds { document: config.document_limit.as_usize(), visits: config.path_visits },
            schemas: Schemas::new(&config)?,
            vault: Vault::new(&config)?,
            writers: Queues::default(),
            metrics: JsonMetrics::new(&deps.metrics),
            patience: deadline.saturating_sub(redis.command_timeout()).max(deadline / 2),
            clock: deps.clock.clone(),
            redis,
            config,
        }));
        service.home.plan(&deps.tasks, &deps.component_health);
        Ok(service)
    }

    /// Reads a document, or what `paths` select of it: one round trip.
    ///
    /// Without a path the text is answered as it is stored. One `$` path gives the list of its values, one legacy path
    /// the first value. Several paths give an object from path to value, all lists as soon as one is a `$` path. Encrypted
    /// values are opened first if they are shown `in_clear`.
    ///
    /// # Errors
    /// [`ChangeError::NoDocument`], [`ChangeError::PathMissing`] for a legacy path without a value,
    /// [`ChangeError::TooComplex`], [`JsonError::NotJson`], [`JsonError::Redis`].
    pub(super) async fn get(&self, key: &DocumentKey, paths: &[Path], in_clear: bool) -> Result<Selected, JsonError> {
        let result = self.read_selected(key, paths, in_clear).await;
        self.metrics.read.count(result)
    }

    async fn read_selected(&self, key: &DocumentKey, paths: &[Path], in_clear: bool) -> Result<Selected, JsonError> {
        let source = self.read(&self.keys.place(key)).await?.ok_or(JsonError::NO_DOCUMENT)?;
        let body = match paths {
            [] if !self.vault.guards(key) => {
                // Only what is JSON may be answered as such; nothing is kept of the reading.
                let _: &serde_json::value::RawValue =
                    serde_json::from_slice(&source.text).map_err(|_| JsonError::NotJson)?;
                source.text.clone()
            }
            [] => Bytes::from(self.parse(key, &source, None, in_clear)?.to_bytes()),
            [path] => Bytes::from(self.select(&self.parse(key, &source, Some(path), in_clear)?, paths)?),
            paths => Bytes::from(self.select(&self.parse(key, &source, None, in_clear)?, paths)?),
        };
        Ok(Selected { body, source })
    }

    /// A whole document to look at, if there is one.
    ///
    /// # Errors
    /// [`JsonError::NotJson`], [`JsonError::Redis`].
    pub(super) async fn document(
        &self,
        key: &DocumentKey,
        in_clear: bool,
    ) -> Result<Option<(Node, Stored)>, JsonError> {
        let read = async {
            match self.read(&self.keys.place(key)).await? {
                Some(source) => Ok(Some((self.parse(key, &source, None, in_clear)?, source))),
                None => Ok(None),
            }
        };
        self.metrics.read.count(read.await)
    }

    /// The text of what `paths` select, see [`JsonService::get`].
    ///
    /// # Errors
    /// [`ChangeError::PathMissing`], [`ChangeError::TooComplex`].
    pub(super) fn select(&self, document: &Node, paths: &[Path]) -> Result<Vec<u8>, JsonError> {
        let mut out = Vec::with_capacity(256);
        if let [path] = paths {
            self.write_selected(document, path, !path.is_legacy(), &mut out)?;
            return Ok(out);
        }
        let as_lists = paths.iter().any(|path| !path.is_legacy());
        let mut written: Vec<&str> = Vec::with_capacity(paths.len());
        for path in paths {
            if written.contains(&path.as_str()) {
                continue;
            }
            out.push(if written.is_empty() { b'{' } else { b',' });
            super::document::write_string(path.as_str(), &mut out);
            out.push(b':');
            self.write_selected(document, path, as_lists, &mut out)?;
            written.push(path.as_str());
        }
        out.push(b'}');
        Ok(out)
    }

    fn write_selected(&self, document: &Node, path: &Path, as_list: bool, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let found = path.select(document, self.bounds.visits)?;
        if !as_list {
            found.first().ok_or_else(|| missing(path))?.write(out);
            return Ok(());
        }
        out.push(b'[');
        for (at, node) in found.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            node.write(out);
        }
        out.push(b']');
        Ok(())
    }

    /// Tells types, lengths or names of what a path selects: one result per value, null where it has no such thing.
    ///
    /// # Errors
    /// As [`JsonService::get`]; [`ChangeError::WrongType`] when the value of a legacy path has no such thing.
    pub(super) async fn inspect(
        &self,
        key: &DocumentKey,
        path: &Path,
        aspect: Aspect,
        in_clear: bool,
    ) -> Result<(Vec<Node>, Stored), JsonError> {
        let result = self.read_aspect(key, path, aspect, in_clear).await;
        self.metrics.read.count(result)
    }

    async fn read_aspect(
        &self,
        key: &DocumentKey,
        path: &Path,
        aspect: Aspect,
        in_clear: bool,
    ) -> Result<(Vec<Node>, Stored), JsonError> {
        let source = self.read(&self.keys.place(key)).await?.ok_or(JsonError::NO_DOCUMENT)?;
        let document = self.parse(key, &source, Some(path), in_clear)?;
        let found = path.select(&document, self.bounds.visits)?;
        if path.is_legacy() {
            let first = *found.first().ok_or_else(|| missing(path))?;
            let told = aspect.of(first).ok_or_else(|| ChangeError::WrongType {
                path: path.as_str().to_owned(),
                expected: aspect.expected(),
                found: first.type_name(),
            })?;
            return Ok((vec![told], source));
        }
        let told = found.into_iter().map(|node| aspect.of(node).unwrap_or(Node::Null)).collect();
        Ok((told, source))
    }

    /// A document as this caller may see it; of one without secrets only what `path` looks at.
    fn parse(
        &self,
        key: &DocumentKey,
        source: &Stored,
        path: Option<&Path>,
        in_clear: bool,
    ) -> Result<Node, JsonError> {
        let mut document = source.parse_for(path.filter(|_| !self.vault.guards(key)))?;
        self.vault.show(key, &mut document, in_clear)?;
        Ok(document)
    }

    /// Gives a document a new life from now on; `None`: one that does not end.
    ///
    /// # Errors
    /// [`ChangeError::NoDocument`], [`JsonError::TooLong`], [`JsonError::Redis`].
    pub(super) async fn touch(
        &self,
        key: &DocumentKey,
        ttl: Option<Millis>,
        token: Option<FencingToken>,
    ) -> Result<(), JsonError> {
        let result = self.prolong(key, ttl, token).await;
        self.metrics.write.count(result)
    }

    async fn prolong(
        &self,
        key: &DocumentKey,
        ttl: Option<Millis>,
        token: Option<FencingToken>,
    ) -> Result<(), JsonError> {
        self.check_ttl(ttl, Location::Body, "/ttl_ms")?;
        let place = self.keys.place(key);
        let fence = self.fence(&place, token);
        let call = Touch {
            backend: self.home.backend().await?,
            place: &place,
            ttl: ttl.map(Millis::get),
            version_life: self.config.version_life.as_millis(),
            fence: fence.as_ref(),
        };
        if self.redis.call(&call).await? { Ok(()) } else { Err(JsonError::NO_DOCUMENT) }
    }

    /// What stands under a document's name.
    pub(super) async fn read(&self, place: &Place) -> Result<Option<Stored>, RedisFault> {
        let (stored, _) = backend::read(self.home.backend().await?, &self.redis, place, None).await?;
        Ok(stored)
    }

    /// What a caller with a lock's token has to pass to change a document.
    pub(super) fn fence(&self, place: &Place, token: Option<FencingToken>) -> Option<Fence> {
        token.map(|token| self.redis.fence(place.fence(), token))
    }

    pub(super) fn check_ttl(&self, ttl: Option<Millis>, location: Location, pointer: &str) -> Result<(), JsonError> {
        let max = self.config.max_ttl.as_millis();
        match ttl.map(Millis::get) {
            Some(ms) if ms > max => Err(JsonError::TooLong { location, pointer: pointer.to_owned(), ms, max }),
            _ => Ok(()),
        }
    }
}

impl Aspect {
    fn of(self, node: &Node) -> Option<Node> {
        match (self, node) {
            (Self::Type, node) => Some(Node::String(node.type_name().into())),
            (Self::Length { of: None | Some(LengthOf::Array) }, Node::Array(items)) => Some(Node::count(items.len())),
            (Self::Length { of: None | Some(LengthOf::String) }, Node::String(text)) => Some(Node::count(text.len())),
            (Self::Length { of: None | Some(LengthOf::Object) }, Node::Object(members)) => {
                Some(Node::count(members.len()))
            }
            (Self::Keys, Node::Object(members)) => {
                Some(Node::Array(members.iter().map(|(name, _)| Node::String(name.clone())).collect()))
            }
            (Self::Length { .. } | Self::Keys, _) => None,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Type => "a value",
            Self::Length { of: None } => "an array, an object or a string",
            Self::Length { of: Some(LengthOf::Array) } => "an array",
            Self::Length { of: Some(LengthOf::String) } => "a string",
            Self::Length { of: Some(LengthOf::Object) } | Self::Keys => "an object",
        }
    }
}

fn missing(path: &Path) -> JsonError {
    ChangeError::PathMissing { path: path.as_str().to_owned() }.into()
}
