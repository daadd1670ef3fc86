//! The id under which logs, traces and problems name a request: the caller's own, or a generated one.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::random;

pub static HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is accepted from a caller.
const MAX_LENGTH: usize = 128;

/// The id of one request.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// The caller sent it; it is printable ASCII.
    Given(HeaderValue),
    /// 32 hexadecimal digits.
    Generated([u8; 32]),
}

impl RequestId {
    /// The caller's id if it is printable and short, otherwise a generated one.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(&HEADER) {
            Some(given) if is_acceptable(given) => Self::Given(given.clone()),
            _ => Self::Generated(random::unique_id()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Given(value) => value.to_str().unwrap_or_default(),
            Self::Generated(digits) => str::from_utf8(digits).unwrap_or_default(),
        }
    }

    /// The value of the response header.
    pub fn header(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            // Hexadecimal digits are a valid header value.
            Self::Generated(digits) => {
                HeaderValue::from_bytes(digits).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
            }
        }
    }
}

fn is_acceptable(id: &HeaderValue) -> bool {
    (1..=MAX_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(id: &str) -> HeaderValue {
        let headers = [(HEADER.clone(), HeaderValue::from_str(id).expect("a header value"))].into_iter().collect();
        let id = RequestId::of(&headers);
        assert_eq!(id.header(), id.as_str());
        id.header()
    }

    #[test]
    fn a_printable_id_is_kept_and_any_other_is_replaced() {
        assert_eq!(with("order-17"), "order-17");
        assert_eq!(with("two words").len(), 32);
        assert_eq!(with(&"x".repeat(129)).len(), 32);
        assert_ne!(with(""), with(""));
    }
}
