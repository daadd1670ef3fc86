//! `Durability: replicated=<n>`: the caller's demand that replicas have a write before its response says that it was made.
//!
//! The configuration may demand a number of replicas for all writes of a capability; the larger number counts. See
//! [`Durability`] for how a write waits.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{OpenApi, RefOr, Required};

use super::access::Access;
use super::openapi::with_rows;
use super::openapi_responses;
use super::problem::{self, Problem};
use super::route_table::Route;
use crate::config::redis::MAX_REPLICAS;
use crate::redis::Outcome;
use crate::redis::durability::Durability;

const NAME: &str = "Durability";

/// When a replica may have caught up.
const RETRY: Duration = Duration::from_secs(1);

static HEADER: HeaderName = HeaderName::from_static("durability");

/// What the request demands of its writes. An operation that writes nothing rejects the header.
///
/// # Errors
/// `invalid-header` (422).
pub(super) fn demanded(headers: &HeaderMap, route: &Route) -> Result<Durability, Problem> {
    let mut values = headers.get_all(&HEADER).iter();
    let replicas = match (values.next(), values.next()) {
        (None, _) => 0,
        (Some(_), _) if !route.writes => {
            return Err(Problem::request_header(NAME, "is not supported by this route, which does not write to Redis"));
        }
        (Some(value), None) => replicas(value).ok_or_else(|| {
            let rule = format!("must be `replicated=<n>` with a number of replicas from 1 to {MAX_REPLICAS}");
            Problem::request_header(NAME, rule)
        })?,
        (Some(_), Some(_)) => return Err(Problem::request_header(NAME, "must be given once")),
    };
    Ok(Durability::new(replicas.max(route.min_replicas)))
}

fn replicas(value: &HeaderValue) -> Option<u8> {
    let digits = value.to_str().ok()?.strip_prefix("replicated=")?;
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?;
    number.filter(|number| (1..=MAX_REPLICAS).contains(number))
}

/// Tells the caller how many replicas have what was written. Too few are `replication-unmet` (503) instead of a success. A
/// response to writes of which none was made stays what it is.
pub(super) fn confirm(durability: Durability, mut response: Response) -> Response {
    let (required, Some(reached)) = (durability.required(), durability.reached()) else { return response };
    if !response.status().is_success() {
        return response;
    }
    if reached >= required {
        if let Ok(value) = HeaderValue::try_from(format!("replicated={reached}")) {
            response.headers_mut().insert(HEADER.clone(), value);
        }
        return response;
    }
    let outcome = if durability.has_failed() { Outcome::Unknown } else { Outcome::Applied };
    let detail = format!("{reached} of {required} replicas confirmed in time what the request wrote");
    Problem::new(&problem::REPLICATION_UNMET).detail(detail).outcome(outcome).retry_after(RETRY).into_response()
}

/// Documents the header and its problem in the operations that write.
pub fn describe(document: &mut OpenApi, rows: &[Access]) {
    for (operation, row) in with_rows(document, rows) {
        if row.writes() {
            operation.parameters.get_or_insert_default().push(RefOr::T(parameter()));
            openapi_responses::add(operation, "422", problem::INVALID_HEADER.slug);
            openapi_responses::add(operation, "503", problem::REPLICATION_UNMET.slug);
        }
    }
}

fn parameter() -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(format!("^replicated=[1-{MAX_REPLICAS}]$")));
    ParameterBuilder::new()
        .name(NAME)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Waits until this many Redis replicas have the write: `replicated=1`. With fewer, the write was made all the \
             same, and the response is `replication-unmet`; its `outcome` is `unknown` if a part of the write failed.",
        ))
        .schema(Some(text))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_of_replicas_is_a_demand() {
        let read = |text: &str| replicas(&HeaderValue::from_str(text).expect("a header"));
        assert_eq!(read("replicated=1"), Some(1));
        assert_eq!(read("replicated=9"), Some(9));
        for bad in
            ["", "1", "replicated", "replicated=", "replicated=0", "replicated=10", "replicated=+1", "replicated=1,"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
