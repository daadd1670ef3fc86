//! `Fencing-Token`: the number of the lock grant under which a client writes.
//!
//! The target of the write rejects the token if it has accepted a larger one, or if no lock can have granted it; see
//! [`Redis::fence`](crate::redis::Redis::fence). A capability supports fencing with an access row that is
//! [`fenced`](Access::fenced), a handler that takes a [`GrantToken`], and script calls with a
//! [`Fence`](crate::redis::Fence).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Required};

use super::access::{Access, Fencing};
use super::openapi::with_rows;
use super::openapi_responses;
use super::problem::{self, Problem};
use super::reply::ItemError;
use crate::redis::FencingToken;

const NAME: &str = "Fencing-Token";

static HEADER: HeaderName = HeaderName::from_static("fencing-token");

/// The token under which a request writes; `None` for a client without a lock.
#[derive(Clone, Copy, Debug)]
pub struct GrantToken(pub Option<FencingToken>);

impl<S: Send + Sync> FromRequestParts<S> for GrantToken {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(&HEADER).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None) => read(value).map(|token| Self(Some(token))),
            (Some(_), Some(_)) => Err(Problem::request_header(NAME, "must be given once")),
        }
    }
}

fn read(value: &HeaderValue) -> Result<FencingToken, Problem> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let token = digits.and_then(|digits| digits.parse().ok()).and_then(FencingToken::new);
    token.ok_or_else(|| {
        let rule = format!("must be the fencing_token of a lock, an integer from 1 to {}", FencingToken::MAX);
        Problem::request_header(NAME, rule)
    })
}

/// Rejects a batch whose writes have all failed because no lock can have granted their token.
///
/// # Errors
/// `invalid-header` (422).
pub fn reject_ahead<'a>(errors: impl IntoIterator<Item = Option<&'a ItemError>>) -> Result<(), Problem> {
    let is_ahead = |error: &ItemError| error.code == problem::INVALID_HEADER.slug;
    if errors.into_iter().flatten().any(is_ahead) { Err(problem::ahead_token()) } else { Ok(()) }
}

/// Rejects a token on a route that would ignore it.
///
/// # Errors
/// `invalid-header` (422) for a write with a token.
pub(super) fn refuse_unheeded(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    if method.is_safe() || !headers.contains_key(&HEADER) {
        return Ok(());
    }
    Err(Problem::request_header(NAME, "is not supported by this route: send it with writes to what the lock guards"))
}

/// Documents the header, and the rejection of a stale token, in the operations whose access rows support them.
pub fn describe(document: &mut OpenApi, rows: &[Access]) {
    for (operation, row) in with_rows(document, rows) {
        match row.fencing {
            Fencing::None => {}
            Fencing::Items => take_header(operation),
            Fencing::Target => {
                take_header(operation);
                openapi_responses::add(operation, "409", problem::STALE_FENCE.slug);
            }
        }
    }
}

fn take_header(operation: &mut Operation) {
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter()));
    openapi_responses::add(operation, "422", problem::INVALID_HEADER.slug);
}

fn parameter() -> Parameter {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(FencingToken::MAX));
    ParameterBuilder::new()
        .name(NAME)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "The `fencing_token` of the caller's lock. What is written remembers the highest one it has seen and \
             refuses smaller ones: `stale-fence`. A token that is more than an hour ahead of Redis's clock cannot have \
             been granted: `invalid-header`. Without the header nothing is checked or remembered.",
        ))
        .schema(Some(number))
        .build()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn token(values: &[&[u8]]) -> Result<Option<FencingToken>, Problem> {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append(HEADER.clone(), HeaderValue::from_bytes(value).expect("a header"));
        }
        let (mut parts, ()) = request.into_parts();
        GrantToken::from_request_parts(&mut parts, &()).await.map(|GrantToken(token)| token)
    }

    #[tokio::test]
    async fn one_whole_number_is_a_token() {
        assert_eq!(token(&[]).await.expect("no header"), None);
        for good in ["1", "1795250253460884", "9007199254740991"] {
            let number = good.parse().expect("a number");
            assert_eq!(token(&[good.as_bytes()]).await.expect(good), FencingToken::new(number));
        }
    }

    #[tokio::test]
    async fn everything_else_is_refused_by_name() {
        let bad: &[&[&[u8]]] = &[
            &[b""],
            &[b"0"],
            &[b"-1"],
            &[b"+1"],
            &[b"1.0"],
            &[b"0x1"],
            &[b"1, 2"],
            &[b"9007199254740992"],
            &[b"99999999999999999999"],
            &[b"\xd9\xa1"],
            &[b"1", b"2"],
            &[b"1", b"1"],
        ];
        for values in bad {
            let problem = token(values).await.expect_err("no token");
            assert_eq!(problem.kind().slug, "invalid-header", "{values:?}");
            assert!(format!("{problem:?}").contains("\"/Fencing-Token\""), "{problem:?}");
        }
    }
}
