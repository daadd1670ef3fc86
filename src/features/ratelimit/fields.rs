//! The `RateLimit-Policy` and `RateLimit` fields of an answer, and the answer to who is refused.
//!
//! Source: draft-ietf-httpapi-ratelimit-headers-10. A quota counts for a window (`q`, `w`); `r` is left of it, and more
//! comes in `t` seconds.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::decision::Decision;
use super::error::RATE_LIMITED;
use crate::http::problem::Problem;
use crate::redis::Outcome;

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Both fields for the decisions of one answer, an item for each.
fn fields(decisions: &[Decision]) -> [(HeaderName, HeaderValue); 2] {
    let (mut policy, mut limit) = (String::with_capacity(48), String::with_capacity(32));
    for decision in decisions {
        if !policy.is_empty() {
            policy.push_str(", ");
            limit.push_str(", ");
        }
        // Names of limiters need no escape.
        let (name, window) = (&*decision.limiter.name, decision.limiter.rule.window_ms());
        push(&mut policy, &["\"", name, "\";q="], decision.limit);
        push(&mut policy, &[";w="], seconds(window).max(1));
        push(&mut limit, &["\"", name, "\";r="], decision.remaining);
        if decision.more_ms > 0 {
            push(&mut limit, &[";t="], seconds(decision.more_ms));
        }
    }
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    [(POLICY.clone(), value(policy)), (LIMIT.clone(), value(limit))]
}

/// Appends text and a number, at a third of the cost of `write!`.
fn push(to: &mut String, text: &[&str], number: u64) {
    to.extend(text.iter().copied());
    to.push_str(itoa::Buffer::new().format(number));
}

/// Adds both fields.
pub(super) fn describe(headers: &mut HeaderMap, decisions: &[Decision]) {
    headers.extend(fields(decisions));
}

/// The 429 of a decision that refuses, with both fields and `Retry-After`.
pub(super) fn refusal(decision: Decision) -> Problem {
    let mut problem = Problem::new(&RATE_LIMITED)
        .detail(format_args!("the limit `{}` allows {} of these", decision.limiter.name, decision.limit))
        .outcome(Outcome::NotApplied);
    if let Some(wait) = decision.retry_after_ms {
        problem = problem.retry_after(Duration::from_millis(wait));
    }
    for (name, value) in fields(&[decision]) {
        problem = problem.header(name, value);
    }
    problem
}

/// Rounded up: who waits that long finds what was promised.
pub(super) const fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000)
}
