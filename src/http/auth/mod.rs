//! Authentication: API keys for services and JSON Web Tokens for users, both verified without Redis.
//!
//! A caller that sends both needs both to be valid; the key then identifies it. A repeated header is rejected, and so
//! is an `Authorization` scheme other than `Bearer` with a token, and `Token` and `Basic` with an API key as the password,
//! which InfluxDB clients send. All rejections look alike, whatever was wrong.

pub mod api_key;
mod origin;
mod principal;
mod token;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub use origin::check_origin;
pub use principal::{ADMIN, Principal, Scopes, Visitor};
pub use token::{demands_extensions, given, seconds};

use super::problem::{self, Problem};
use crate::clock::{Clock, UnixMillis};
use crate::config::FieldError;
use crate::config::auth::AuthConfig;
use api_key::ApiKeys;
use token::Tokens;

static API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"gridtokenx\", ApiKey realm=\"gridtokenx\"");

/// Verifies credentials against the configuration.
#[derive(Debug)]
pub struct Authenticator {
    /// The identity of every caller, if no credential is required.
    everybody: Option<Arc<Principal>>,
    keys: ApiKeys,
    tokens: Tokens,
    clock: Clock,
}

impl Authenticator {
    /// # Errors
    /// The field of `[auth]` whose key is unusable.
    pub fn new(config: &AuthConfig, clock: Clock) -> Result<Self, FieldError> {
        Ok(Self {
            everybody: (!config.is_required()).then(|| Arc::new(Principal::anonymous())),
            keys: ApiKeys::new(&config.keys),
            tokens: Tokens::new(config)?,
            clock,
        })
    }

    /// Identifies the caller of a request.
    ///
    /// # Errors
    /// `unauthenticated` (401). It says whether a credential is missing, but not which part of one is wrong.
    pub fn authenticate(&self, headers: &mut HeaderMap) -> Result<Arc<Principal>, Problem> {
        if let Some(everybody) = &self.everybody {
            return Ok(Arc::clone(everybody));
        }
        hide_credentials(headers);
        self.identify(headers).map_err(unauthenticated)
    }

    /// Identifies the caller of a request, if the request has a credential.
    ///
    /// # Errors
    /// `unauthenticated` (401) if the credential is not valid.
    pub fn authenticate_if_present(&self, headers: &mut HeaderMap) -> Result<Option<Arc<Principal>>, Problem> {
        let has_credential = headers.contains_key(&API_KEY) || headers.contains_key(header::AUTHORIZATION);
        if self.everybody.is_some() || has_credential {
            return self.authenticate(headers).map(Some);
        }
        Ok(None)
    }

    /// Identifies the caller with a token or an API key that was not sent in a header; `None` if it is not valid.
    pub fn verify(&self, credential: &str) -> Option<Arc<Principal>> {
        let now = self.clock.now();
        let everybody = self.everybody.as_ref().map(Arc::clone);
        everybody.or_else(|| self.tokens.verify(credential, now)).or_else(|| self.keys.find(credential.as_bytes(), now))
    }

    /// Whether the credential is a token that is not valid only because it has expired.
    pub fn has_expired(&self, credential: &str) -> bool {
        self.tokens.has_expired(credential, self.clock.now())
    }

    fn identify(&self, headers: &HeaderMap) -> Result<Arc<Principal>, Refused> {
        let now = self.clock.now();
        let key = single(headers, &API_KEY)?;
        let by_token = match single(headers, &header::AUTHORIZATION)? {
            Some(value) => Some(self.authorized(value, now).ok_or(Refused::Invalid)?),
            None => None,
        };
        match key {
            Some(value) => {
                let by_key = self.keys.find(value.as_bytes(), now).ok_or(Refused::Invalid)?;
                // Both credentials must be valid.
                match by_token.and_then(|token| token.expires) {
                    Some(expires) => Ok(Arc::new(Principal::clone(&by_key).until(expires))),
                    None => Ok(by_key),
                }
            }
            None => by_token.ok_or(Refused::Missing),
        }
    }

    /// Identifies the caller from `<scheme> <credential>`; the scheme's name is case-insensitive (RFC 9110, 11.1).
    fn authorized(&self, value: &HeaderValue, now: UnixMillis) -> Option<Arc<Principal>> {
        let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
        let credential = credential.trim_start();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.tokens.verify(credential, now);
        }
        // Clients of Centrifugo's server API send `apikey`.
        if scheme.eq_ignore_ascii_case("token") || scheme.eq_ignore_ascii_case("apikey") {
            // Clients of InfluxDB 1 send `<user>:<password>`.
            return self.keys.find(credential.rsplit(':').next()?.as_bytes(), now);
        }
        if scheme.eq_ignore_ascii_case("basic") {
            // The user cannot contain a colon (RFC 7617, 2); the key identifies the caller.
            let pair = STANDARD.decode(credential).ok()?;
            let colon = pair.iter().position(|byte| *byte == b':')?;
            return self.keys.find(pair.get(colon + 1..)?, now);
        }
        None
    }
}

/// The caller of an operation with [`Guard::InBand`](super::access::Guard::InBand).
#[derive(Clone, Debug)]
pub struct Caller {
    /// Absent if the request has no credential.
    pub principal: Option<Arc<Principal>>,
    /// Verifies the credentials that the caller sends later.
    pub authenticator: Arc<Authenticator>,
}

/// The routes to which clients of `InfluxDB` 1 send their credential in the query, as `u` and `p`.
const QUERY_KEY_ROUTES: [&str; 2] = ["/write", "/query"];

/// Moves the API key in the parameter `p` to its header, unless a header already has a credential. Only for the routes
/// whose clients cannot send headers: proxies log addresses.
pub fn accept_key_in_query(route: &str, request: &mut Request) {
    let headers = request.headers();
    if !QUERY_KEY_ROUTES.contains(&route)
        || headers.contains_key(&API_KEY)
        || headers.contains_key(header::AUTHORIZATION)
    {
        return;
    }
    let query = request.uri().query().unwrap_or_default();
    let key = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "p");
    if let Some(Ok(key)) = key.map(|(_, key)| HeaderValue::from_str(&key)) {
        request.headers_mut().insert(API_KEY.clone(), key);
    }
}

/// Why a caller is not identified. What is wrong with a credential is not revealed.
#[derive(Clone, Copy)]
enum Refused {
    Missing,
    Invalid,
}

/// Marks the credentials as sensitive, so that the debug form of a request does not show them.
fn hide_credentials(headers: &mut HeaderMap) {
    for name in [&API_KEY, &header::AUTHORIZATION] {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
}

/// The header's value, if the header is there; twice is once too often.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Refused> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(Refused::Invalid) } else { Ok(first) }
}

fn unauthenticated(reason: Refused) -> Problem {
    let finding = match reason {
        Refused::Missing => "the request has no credential",
        Refused::Invalid => "the credential is not valid: it is unknown, has expired, or is not in the expected form",
    };
    let advice = "send an API key as `X-API-Key: <key>`, or a token as `Authorization: Bearer <token>`";
    let problem = Problem::new(&problem::UNAUTHENTICATED).detail(format!("{finding}; {advice}"));
    problem.header(header::WWW_AUTHENTICATE, CHALLENGE.clone())
}
