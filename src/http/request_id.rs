//! The name under which a request is found in logs: the caller's, or a fresh one.

use std::cell::Cell;

use axum::http::{HeaderName, HeaderValue, Request};

use crate::random;

pub static HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken over from a caller.
const MAX_LENGTH: usize = 128;

thread_local! {
    static NEXT: Cell<u128> = Cell::new(first());
}

/// The caller's id when it is printable and short, else a fresh one.
pub fn of<B>(request: &Request<B>) -> HeaderValue {
    match request.headers().get(&HEADER) {
        Some(given) if is_acceptable(given) => given.clone(),
        _ => fresh(),
    }
}

fn is_acceptable(id: &HeaderValue) -> bool {
    (1..=MAX_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// 32 hexadecimal digits: a random start per thread, then steps by an odd constant, so that ids neither repeat nor
/// reveal how many there were.
fn fresh() -> HeaderValue {
    const STEP: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    let id = NEXT.get();
    NEXT.set(id.wrapping_add(STEP));
    // Hexadecimal digits are a valid header.
    HeaderValue::from_bytes(&random::hex_digits(id)).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
}

fn first() -> u128 {
    let half = || getrandom::u64().map_or(0, u128::from);
    half() << 64 | half()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(id: &str) -> HeaderValue {
        of(&Request::builder().header(&HEADER, id).body(()).expect("a request"))
    }

    #[test]
    fn a_printable_id_is_kept_and_any_other_replaced() {
        assert_eq!(with("order-17"), "order-17");
        assert_eq!(with("two words").len(), 32);
        assert_eq!(with(&"x".repeat(129)).len(), 32);
        assert_ne!(with(""), with(""));
    }
}
