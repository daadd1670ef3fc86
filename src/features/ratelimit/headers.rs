//! The `RateLimit-Policy` and `RateLimit` response headers.
//!
//! Source: draft-ietf-httpapi-ratelimit-headers-10. A quota `q` counts for a window `w`; `r` of it remains, and more is
//! available in `t` seconds.

use axum::http::{HeaderName, HeaderValue};

use super::check::Decision;

static POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Both headers for the decisions of one response, with an item for each decision.
pub(super) fn fields(decisions: &[Decision]) -> [(HeaderName, HeaderValue); 2] {
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

/// Rounded up, so that a caller who waits this long is not early.
pub(super) const fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1_000)
}
