//! `[auth]`: the known credentials and their permissions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use serde::de::{self, Deserialize, Deserializer};

use super::value::{Secret, Span};
use super::{FieldError, Section};
use crate::clock::UnixMillis;

/// The largest clock difference between an issuer and the service that is tolerated.
const MAX_LEEWAY: Span = Span::from_millis(30_000);
/// Claims that name no organisation: with one of them, every caller or every token would be an organisation.
const NO_ORGANISATION: [&str; 5] = ["sub", "jti", "exp", "iat", "nbf"];

/// Whether callers need a credential.
#[derive(Clone, Copy, Debug, serde::Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Required as soon as one is configured; without one the service listens on loopback only.
    Auto,
    Required,
    None,
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    pub mode: AuthMode,
    /// Permits `mode = "none"` on an address that other machines can reach.
    pub none_beyond_loopback: bool,
    /// The secret of the HS256 tokens that the platform's identity service issues; `JWT_SECRET` sets it.
    pub jwt_secret: Option<Secret<String>>,
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    #[serde(default)]
    pub jwt: Vec<IssuerConfig>,
    /// What a token's `role` permits; a role that is not listed permits nothing.
    pub roles: BTreeMap<String, BTreeSet<Scope>>,
}

/// An API key, known by its digest only.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The key's name in logs.
    pub id: String,
    pub sha256: KeyDigest,
    pub scopes: BTreeSet<Scope>,
    pub organisation: Option<String>,
    pub expires: Option<Expiry>,
}

/// One key of an issuer; several entries may share an issuer while it rotates keys.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The `iss` claim of its tokens.
    pub issuer: String,
    pub algorithm: TokenAlgorithm,
    pub secret: Option<Secret<String>>,
    pub secret_file: Option<PathBuf>,
    /// PEM text.
    pub public_key: Option<String>,
    pub public_key_file: Option<PathBuf>,
    /// Tokens must name it in `aud`; if it is absent, a token issued for another service is valid here too.
    pub audience: Option<String>,
    #[serde(default = "no_leeway")]
    pub leeway: Span,
    /// The claim that names the caller's organisation.
    pub organisation_claim: Option<String>,
}

/// The one algorithm that a key signs with; every other algorithm is rejected, `none` included.
#[derive(Clone, Copy, Debug, serde::Deserialize, PartialEq, Eq)]
pub enum TokenAlgorithm {
    HS256,
    RS256,
    EdDSA,
}

const fn no_leeway() -> Span {
    Span::from_millis(0)
}

/// The SHA-256 of a key's complete text, as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDigest(pub [u8; 32]);

impl<'de> Deserialize<'de> for KeyDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let nibbles: Option<Vec<u8>> =
            text.chars().map(|digit| digit.to_digit(16).and_then(|nibble| u8::try_from(nibble).ok())).collect();
        let mut digest = [0; 32];
        match nibbles {
            Some(nibbles) if nibbles.len() == 2 * digest.len() => {
                for (byte, pair) in digest.iter_mut().zip(nibbles.chunks_exact(2)) {
                    *byte = pair.iter().fold(0, |high, low| high << 4 | low);
                }
                Ok(Self(digest))
            }
            _ => Err(de::Error::custom("must be 64 hexadecimal digits, the SHA-256 of the key")),
        }
    }
}

/// A permission: `<area>:<action>` such as `cache:read`, or `admin`, which contains all of them. A permission may be limited
/// to keys: `cache:read:orders:*` to those with a prefix, `users:read:{sub}` to the one that is the subject of the token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    text: String,
    /// The length of `<area>:<action>`.
    name: usize,
}

/// The placeholder for the subject of a token in the keys of a scope.
pub const SUBJECT: &str = "{sub}";

/// The areas whose operations have keys.
const AREAS_WITH_KEYS: &[&str] = &[
    "cache",
    "config",
    "forms",
    "hosts",
    "json",
    "locks",
    "market",
    "pubsub",
    "ratelimit",
    "streams",
    "timeseries",
    "trades",
    "users",
];

impl Scope {
    /// # Errors
    /// The rule that `text` violates.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        };
        let mut parts = text.splitn(3, ':');
        let name = match (parts.next(), parts.next()) {
            (Some("admin"), None) => text.len(),
            (Some(area), Some(action)) if is_word(area) && is_word(action) => area.len() + 1 + action.len(),
            _ => {
                return Err(format!(
                    "`{text}` is not a scope: write `admin`, or an area and an action such as `cache:read`"
                ));
            }
        };
        let scope = Self { text: text.to_owned(), name };
        match scope.keys() {
            None => Ok(scope),
            Some(_) if !AREAS_WITH_KEYS.iter().any(|area| text.split(':').next() == Some(area)) => {
                Err(format!("`{text}` names keys, but its area has none"))
            }
            Some(keys) => check_keys(keys).map(|()| scope).map_err(|rule| format!("the keys of `{text}` {rule}")),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `<area>:<action>`, or `admin`.
    pub fn name(&self) -> &str {
        self.text.get(..self.name).unwrap_or_default()
    }

    /// The keys to which the permission is limited: one key, or a prefix and `*`.
    pub fn keys(&self) -> Option<&str> {
        self.text.get(self.name + 1..)
    }
}

/// The rule that the keys of a scope violate. The subject is between colons: one without a colon behind it would be a
/// prefix of other subjects.
fn check_keys(keys: &str) -> Result<(), &'static str> {
    let fixed = keys.strip_suffix('*').unwrap_or(keys);
    if keys.is_empty() || fixed.contains('*') || fixed.chars().any(char::is_control) {
        return Err("must be a key, or a prefix that ends with `*`");
    }
    let Some((before, after)) = fixed.split_once(SUBJECT) else { return Ok(()) };
    let is_apart = before.is_empty() || before.ends_with(':');
    if !is_apart || !(after.starts_with(':') || after.is_empty() && fixed == keys) || after.contains(SUBJECT) {
        return Err("must have `{sub}` at most once, between colons or at the end");
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A moment in RFC 3339 format, such as `2027-01-31T00:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(pub UnixMillis);

impl Expiry {
    /// # Errors
    /// The reason why `text` is not a moment.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>()
            .map(|moment| Self(moment.as_millisecond()))
            .map_err(|_| format!("`{text}` is not a moment in RFC 3339 format, such as \"2027-01-31T00:00:00Z\""))
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Section for AuthConfig {
    const NAME: &'static str = "auth";

    fn validate(&self) -> Result<(), FieldError> {
        let mut ids = BTreeSet::new();
        for (at, key) in self.keys.iter().enumerate() {
            let refuse = |field: &str, reason: &str| Err(FieldError::new(format!("keys[{at}].{field}"), reason));
            if let Err(reason) = check_key_id(&key.id) {
                return refuse("id", reason);
            }
            if !ids.insert(key.id.as_str()) {
                return refuse("id", "another key has this id");
            }
            if self.keys.iter().take(at).any(|other| other.sha256 == key.sha256) {
                return refuse("sha256", "another entry has this digest");
            }
            if key.scopes.is_empty() {
                return refuse("scopes", "a key without scopes has no permissions");
            }
            if key.scopes.iter().any(|scope| scope.keys().is_some_and(|keys| keys.contains(SUBJECT))) {
                return refuse("scopes", "`{sub}` is the subject of a token; an API key has none");
            }
            if key.organisation.as_ref().is_some_and(String::is_empty) {
                return refuse("organisation", "must not be empty; omit it for a key without an organisation");
            }
        }
        self.jwt.iter().enumerate().try_for_each(|(at, issuer)| issuer.validate(at))
    }
}

/// Checks a key's name, which appears in logs and in TOML.
///
/// # Errors
/// The rule that the name violates.
pub fn check_key_id(id: &str) -> Result<(), &'static str> {
    let is_plain = id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if (1..=64).contains(&id.len()) && is_plain {
        return Ok(());
    }
    Err("must be 1 to 64 letters, digits, dots, dashes or underscores")
}

impl IssuerConfig {
    fn validate(&self, at: usize) -> Result<(), FieldError> {
        let refuse = |field: &str, reason: &str| Err(FieldError::new(format!("jwt[{at}].{field}"), reason));
        if self.issuer.is_empty() || self.issuer.contains(char::is_whitespace) {
            return refuse("issuer", "must be a name without spaces");
        }
        if self.audience.as_ref().is_some_and(String::is_empty) {
            return refuse("audience", "must not be empty; omit it to accept tokens for any audience");
        }
        if self.organisation_claim.as_deref().is_some_and(|claim| claim.is_empty() || NO_ORGANISATION.contains(&claim))
        {
            return refuse("organisation_claim", "must be a claim that names an organisation, such as \"org\"");
        }
        if self.leeway > MAX_LEEWAY {
            return refuse("leeway", "must not exceed 30s");
        }
        let secrets = usize::from(self.secret.is_some()) + usize::from(self.secret_file.is_some());
        let keys = usize::from(self.public_key.is_some()) + usize::from(self.public_key_file.is_some());
        match (self.algorithm, secrets, keys) {
            (TokenAlgorithm::HS256, 1, 0) | (TokenAlgorithm::RS256 | TokenAlgorithm::EdDSA, 0, 1) => Ok(()),
            (TokenAlgorithm::HS256, ..) => refuse("secret", "HS256 needs exactly one of secret and secret_file"),
            _ => refuse("public_key", "RS256 and EdDSA need exactly one of public_key and public_key_file"),
        }
    }
}

impl AuthConfig {
    /// Whether callers need a credential.
    pub fn is_required(&self) -> bool {
        match self.mode {
            AuthMode::Auto => self.has_credentials(),
            AuthMode::Required => true,
            AuthMode::None => false,
        }
    }

    /// The active mode, for the person who starts the service.
    pub fn summary(&self) -> String {
        if !self.is_required() {
            return "none: every caller may do everything".to_owned();
        }
        let issuers = self.jwt.len() + usize::from(self.jwt_secret.is_some());
        format!("required: API keys {}, token issuers {issuers}", self.keys.len())
    }

    /// Whether this configuration permits the service to listen on `address`.
    ///
    /// # Errors
    /// `mode`, if the service would be open to other machines without an explicit setting, or closed to all callers.
    pub fn check_address(&self, address: IpAddr) -> Result<(), FieldError> {
        let is_local = address.to_canonical().is_loopback();
        let reason = match self.mode {
            AuthMode::Required if !self.has_credentials() => {
                "credentials are required, but none is configured: every request would be rejected".to_owned()
            }
            AuthMode::Auto if !self.has_credentials() && !is_local => format!(
                "no credential is configured, so the service starts on loopback only, not on {address}: configure \
                 auth.keys, auth.jwt or JWT_SECRET, or set http.address to 127.0.0.1"
            ),
            AuthMode::None if !is_local && !self.none_beyond_loopback => format!(
                "\"none\" lets everybody do everything, so the service starts with it on loopback only, not on \
                 {address}, unless auth.none_beyond_loopback is true"
            ),
            _ => return Ok(()),
        };
        Err(FieldError::new("mode", reason))
    }

    fn has_credentials(&self) -> bool {
        !self.keys.is_empty() || !self.jwt.is_empty() || self.jwt_secret.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_may_be_limited_to_keys() {
        for (text, name, keys) in [
            ("admin", "admin", None),
            ("cache:read", "cache:read", None),
            ("cache:write:orders:*", "cache:write", Some("orders:*")),
            ("json:read:users:{sub}:*", "json:read", Some("users:{sub}:*")),
            ("users:read:{sub}", "users:read", Some("{sub}")),
            ("locks:write:token_minting:w1", "locks:write", Some("token_minting:w1")),
            ("cache:read:*", "cache:read", Some("*")),
        ] {
            let scope = Scope::parse(text).expect(text);
            assert_eq!((scope.as_str(), scope.name(), scope.keys()), (text, name, keys));
        }
        for bad in [
            "",
            "cache",
            "cache:",
            "admin:a*",
            "Cache:read",
            "cache:read:",
            "cache:read:a*b",
            "cache:read:**",
            "cache:read:a\n*",
            "metrics:read:a*",
            "json:read:{sub}*",
            "json:read:u{sub}",
            "json:read:{sub}:{sub}",
            "json:read:{sub}x",
        ] {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
    }
}
