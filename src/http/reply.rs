//! Answers that several capabilities give.

use std::fmt::Display;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Json;
use super::problem::Problem;
use crate::redis::Outcome;

/// 201 with the thing that was made.
#[derive(Debug)]
pub struct Created<T>(pub T);

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

/// 204: done, and nothing to say.
#[derive(Clone, Copy, Debug)]
pub struct NoContent;

impl IntoResponse for NoContent {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Ask with `cursor` set to this for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// Why one item of a batch failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemError {
    /// The kind of problem, as in `/problems/{slug}`.
    #[schema(example = "cache-miss")]
    pub code: &'static str,
    pub detail: String,
    pub outcome: Outcome,
}

impl ItemError {
    /// The error with the status that it has as an answer of its own.
    pub fn of<E: Display + Into<Problem>>(error: E) -> (u16, Self) {
        let detail = error.to_string();
        let problem: Problem = error.into();
        // What names no outcome was refused before anything was done.
        let outcome = problem.known_outcome().unwrap_or(Outcome::NotApplied);
        (problem.status().as_u16(), Self { code: problem.kind().slug, detail, outcome })
    }
}
