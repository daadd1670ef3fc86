//! What takes the place of `copies.rs` in a binary without the feature `object-store`.

use std::convert::Infallible;

use bytes::Bytes;

use crate::config::FieldError;
use crate::config::archive::ArchiveConfig;

/// The configuration refuses a store.
#[derive(Debug)]
pub(super) enum Copies {}

#[expect(clippy::unused_async, reason = "the feature awaits")]
impl Copies {
    #[expect(clippy::unnecessary_wraps, reason = "the feature can fail")]
    pub(super) fn new(_: &ArchiveConfig) -> Result<Option<Self>, FieldError> {
        Ok(None)
    }

    pub(super) fn name(&self) -> &str {
        match *self {}
    }

    pub(super) async fn put(&self, _: &str, _: Vec<u8>) -> Result<(), Infallible> {
        match *self {}
    }

    pub(super) async fn get(&self, _: &str) -> Result<Bytes, Infallible> {
        match *self {}
    }
}
