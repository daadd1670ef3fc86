//! The W3C `traceparent` header.
//!
//! Source: W3C Recommendation "Trace Context", 2021, section 3.2.

use axum::http::HeaderValue;
use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

/// The client's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) sampled: bool,
}

/// Parses the header; `None` if the recommendation calls it invalid, in which case it counts as absent.
pub(super) fn parse(header: &HeaderValue) -> Option<Parent> {
    let mut parts = header.to_str().ok()?.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace = TraceId::from_hex(hex(parts.next()?, 32)?).ok()?;
    let span = SpanId::from_hex(hex(parts.next()?, 16)?).ok()?;
    let flags = u8::from_str_radix(hex(parts.next()?, 2)?, 16).ok()?;
    // Later versions may append fields, version 00 has none, and version ff is forbidden.
    let is_complete = match version {
        "00" => parts.next().is_none(),
        other => other != "ff",
    };
    let is_valid = is_complete && trace != TraceId::INVALID && span != SpanId::INVALID;
    is_valid.then_some(Parent { trace, span, sampled: TraceFlags::new(flags).is_sampled() })
}

/// Returns `part` if it is lower-case hexadecimal of this length.
fn hex(part: &str, length: usize) -> Option<&str> {
    let is_hex = part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &'static str) -> Option<Parent> {
        parse(&HeaderValue::from_static(text))
    }

    #[test]
    fn the_recommendation_s_example_is_read() {
        let parent = parsed("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("valid");
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parent.span.to_string(), "00f067aa0ba902b7");
        assert!(parent.sampled);
        let unsampled = parsed("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").expect("valid");
        assert!(!unsampled.sampled);
    }

    #[test]
    fn a_later_version_may_carry_more() {
        assert!(parsed("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-else").is_some());
    }

    #[test]
    fn an_invalid_header_counts_as_absent() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
