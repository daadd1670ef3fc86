//! JSON Web Tokens (RFC 7519): each key has one configured algorithm and issuer. Times are checked against [`Clock`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::Error as TokenError;
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation};
use serde::{Deserialize, Deserializer};

use super::principal::{Principal, Scopes};
use crate::clock::UnixMillis;
use crate::config::FieldError;
use crate::config::auth::{AuthConfig, IssuerConfig, TokenAlgorithm};
use crate::config::value::Secret;

/// The issuer of the platform's tokens; `auth.jwt_secret` is its key.
const PLATFORM_ISSUER: &str = "gridtokenx-iam-service";
/// RFC 7518, section 3.2: a key for HS256 is at least as long as the hash.
const MIN_SECRET: usize = 32;
/// Longer than any token with the platform's claims. Longer tokens are not verified.
const MAX_TOKEN: usize = 8 << 10;

/// The configured issuers, and the permissions of their tokens' roles.
#[derive(Debug)]
pub(super) struct Tokens {
    issuers: Vec<Issuer>,
    roles: HashMap<String, Scopes>,
}

struct Issuer {
    name: String,
    key: DecodingKey,
    validation: Validation,
    leeway_s: f64,
    organisation_claim: Option<String>,
}

/// The claims that the service reads; times are seconds since 1970, possibly with a fraction.
#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    /// One name (RFC 7519, section 4.1.1); the library would accept a list.
    #[expect(dead_code, reason = "only its type matters, the library compares it")]
    iss: String,
    exp: f64,
    #[serde(default, deserialize_with = "given")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    iat: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    #[expect(dead_code, reason = "only its type matters, the library compares it")]
    aud: Option<Audience>,
    role: Option<String>,
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

/// For whom a token is (RFC 7519, section 4.1.3).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its type matters")]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Reads a claim that may be absent, but not null.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Whether a token names extensions that its reader must support. The service supports none, so it must reject such a token
/// (RFC 7515, section 4.1.11), whatever the value of the name is.
pub fn demands_extensions(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&header).unwrap_or_default();
    members.contains_key("crit")
}

impl Tokens {
    /// Prepares every key.
    ///
    /// # Errors
    /// The entry whose key cannot be read, is malformed, or is too short.
    pub(super) fn new(config: &AuthConfig) -> Result<Self, FieldError> {
        let mut issuers = Vec::new();
        if let Some(secret) = &config.jwt_secret {
            let key = hmac_key(secret.expose()).map_err(|reason| FieldError::new("jwt_secret", reason))?;
            issuers.push(Issuer {
                name: PLATFORM_ISSUER.to_owned(),
                key,
                validation: validation(Algorithm::HS256, PLATFORM_ISSUER, None),
                leeway_s: 0.0,
                organisation_claim: None,
            });
        }
        for (at, issuer) in config.jwt.iter().enumerate() {
            let prepared =
                Issuer::new(issuer).map_err(|(field, reason)| FieldError::new(format!("jwt[{at}].{field}"), reason))?;
            issuers.push(prepared);
        }
        let roles = config.roles.iter().map(|(role, scopes)| (role.clone(), Scopes::from(scopes))).collect();
        Ok(Self { issuers, roles })
    }

    /// The caller with this token, if an issuer signed it and it is valid now.
    pub(super) fn verify(&self, token: &str, now: UnixMillis) -> Option<Arc<Principal>> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        self.issuers.iter().find_map(|issuer| issuer.verify(token, now, &self.roles)).map(Arc::new)
    }

    /// Whether an issuer signed the token and it has expired.
    pub(super) fn has_expired(&self, token: &str, now: UnixMillis) -> bool {
        let has_expired = |issuer: &Issuer| issuer.claims(token).is_some_and(|claims| issuer.is_over(&claims, now));
        token.len() <= MAX_TOKEN && self.issuers.iter().any(has_expired)
    }
}

impl Issuer {
    /// An error names the field and the reason.
    fn new(config: &IssuerConfig) -> Result<Self, (&'static str, String)> {
        let (algorithm, key) = match config.algorithm {
            TokenAlgorithm::HS256 => {
                let inline = config.secret.as_ref().map(Secret::expose);
                let (field, secret) = text("secret", inline, "secret_file", config.secret_file.as_deref())?;
                (Algorithm::HS256, hmac_key(&secret).map_err(|reason| (field, reason))?)
            }
            TokenAlgorithm::RS256 => (Algorithm::RS256, public_key(config, DecodingKey::from_rsa_pem)?),
            TokenAlgorithm::EdDSA => (Algorithm::EdDSA, public_key(config, DecodingKey::from_ed_pem)?),
        };
        Ok(Self {
            name: config.issuer.clone(),
            key,
            validation: validation(algorithm, &config.issuer, config.audience.as_deref()),
            leeway_s: config.leeway.duration().as_secs_f64(),
            organisation_claim: config.organisation_claim.clone(),
        })
    }

    /// The claims of a token that the issuer signed, whatever the time is.
    fn claims(&self, token: &str) -> Option<Claims> {
        let TokenData { claims, .. } = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation).ok()?;
        // The subject is the caller's name.
        Some(claims).filter(|claims| !claims.sub.is_empty() && !demands_extensions(token))
    }

    fn is_over(&self, claims: &Claims, now: UnixMillis) -> bool {
        seconds(now) >= claims.exp + self.leeway_s
    }

    fn verify(&self, token: &str, now: UnixMillis, roles: &HashMap<String, Scopes>) -> Option<Principal> {
        let claims = self.claims(token)?;
        let is_over = self.is_over(&claims, now);
        let Claims { sub, exp, nbf, iat, role, mut others, .. } = claims;
        if is_over || nbf.is_some_and(|nbf| seconds(now) < nbf - self.leeway_s) {
            return None;
        }
        let organisation = self.organisation_claim.as_ref().and_then(|claim| match others.remove(claim) {
            Some(serde_json::Value::String(name)) if !name.is_empty() => Some(name),
            _ => None,
        });
        let scopes = role.and_then(|role| roles.get(&role)).cloned().unwrap_or_default();
        // An issuer contains no spaces, so two issuers cannot produce the same caller name.
        let mut caller = Principal::new(format!("user:{sub} of {}", self.name), organisation, scopes);
        caller.issued = iat.map(milliseconds);
        Some(caller.until(milliseconds(exp + self.leeway_s)).with_subject(sub))
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Lets the library check signature, algorithm, issuer and audience. Times are checked here, against [`Clock`].
fn validation(algorithm: Algorithm, issuer: &str, audience: Option<&str>) -> Validation {
    let mut validation = Validation::new(algorithm);
    let mut required = vec!["exp", "iss", "sub"];
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_issuer(&[issuer]);
    match audience {
        Some(audience) => {
            required.push("aud");
            validation.set_audience(&[audience]);
        }
        None => validation.validate_aud = false,
    }
    validation.set_required_spec_claims(&required);
    validation
}

fn hmac_key(secret: &str) -> Result<DecodingKey, String> {
    if secret.len() < MIN_SECRET {
        return Err(format!("a secret for HS256 must have at least {MIN_SECRET} bytes, got {}", secret.len()));
    }
    Ok(DecodingKey::from_secret(secret.as_bytes()))
}

fn public_key(
    config: &IssuerConfig,
    parse: impl FnOnce(&[u8]) -> Result<DecodingKey, TokenError>,
) -> Result<DecodingKey, (&'static str, String)> {
    let (field, pem) =
        text("public_key", config.public_key.as_ref(), "public_key_file", config.public_key_file.as_deref())?;
    if pem.contains("PRIVATE KEY") {
        return Err((
            field,
            "this is a private key, which only the issuer may have: configure the public key".to_owned(),
        ));
    }
    parse(pem.as_bytes()).map_err(|_| {
        (field, format!("is not a public key for {:?} in PEM format (BEGIN PUBLIC KEY)", config.algorithm))
    })
}

/// The text of the one field that is set, and that field's name.
fn text(
    inline_field: &'static str,
    inline: Option<&String>,
    file_field: &'static str,
    file: Option<&Path>,
) -> Result<(&'static str, String), (&'static str, String)> {
    match (inline, file) {
        (Some(text), _) => Ok((inline_field, text.clone())),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| (file_field, text.trim_end().to_owned()))
            .map_err(|error| (file_field, format!("{} cannot be read: {error}", path.display()))),
        (None, None) => Err((inline_field, "is missing".to_owned())),
    }
}

/// A time that is too far for the type is the last one that it has.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn milliseconds(seconds: f64) -> UnixMillis {
    (seconds * 1_000.0) as UnixMillis
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit into 53 bits until the year 287396")]
pub fn seconds(at: UnixMillis) -> f64 {
    at as f64 / 1_000.0
}
