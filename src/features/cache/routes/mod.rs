//! Routes: [`value`] for single values, [`collection`] for many.

mod collection;
mod value;

pub(super) use collection::*;
pub(super) use value::*;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::model::CacheKey;
use crate::http::extract::Path;
use crate::http::problem::Problem;

/// The `{key}` of a path.
pub(super) struct KeyPath(pub CacheKey);

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await?;
        CacheKey::try_from(text).map(Self).map_err(|rule| Problem::path_segment("key", rule))
    }
}
