//! What takes the place of `s3.rs` in a binary without the feature `object-store`.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;

/// The configuration refuses a store.
#[derive(Clone, Debug)]
pub enum S3Store {}

pub type S3Error = Infallible;

#[expect(clippy::unused_async, reason = "the feature awaits")]
impl S3Store {
    pub fn new(_: &str, _: &str) -> Result<Option<Self>, String> {
        Ok(None)
    }

    pub fn name(&self) -> &str {
        match *self {}
    }

    pub async fn put(&self, _: &str, _: Vec<u8>) -> Result<(), S3Error> {
        match *self {}
    }

    pub async fn get(&self, _: &str) -> Result<Bytes, S3Error> {
        match *self {}
    }

    pub async fn has(&self, _: &str) -> Result<bool, S3Error> {
        match *self {}
    }

    pub async fn upload(&self, _: &str, _: impl tokio::io::AsyncRead + Unpin) -> Result<(), S3Error> {
        match *self {}
    }

    pub async fn download(&self, _: &str, _: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), S3Error> {
        match *self {}
    }

    pub async fn list(&self) -> Result<Vec<String>, S3Error> {
        match *self {}
    }

    pub async fn delete(&self, _: &str) -> Result<(), S3Error> {
        match *self {}
    }
}
