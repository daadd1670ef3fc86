//! Channel tokens: they permit the bearer to subscribe to channels for a time. A service that knows who may see what issues
//! them for its users.

use std::fmt;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::error::PubSubError;
use crate::clock::UnixMillis;
use crate::events::ChannelName;
use crate::http::auth::{demands_extensions, given, seconds};

/// The issuer of every channel token; other tokens with the same secret are not channel tokens.
const ISSUER: &str = "gridtokenx-redis/channels";

/// Signs and verifies channel tokens.
pub(super) struct ChannelTokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

/// What a token permits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChannelToken {
    iss: String,
    /// The subject that may use the token; absent: any bearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// Names, or prefixes that end with `*`.
    pub channels: Vec<String>,
    /// Unix seconds.
    pub exp: u64,
    /// Unix seconds, before which the token is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    nbf: Option<f64>,
}

impl ChannelTokens {
    pub(super) fn new(secret: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "exp"]);
        validation.validate_aud = false;
        // Checked against the clock of the service.
        validation.validate_exp = false;
        let (signing, verifying) =
            (EncodingKey::from_secret(secret.as_bytes()), DecodingKey::from_secret(secret.as_bytes()));
        Self { signing, verifying, validation }
    }

    /// Signs a token. Its end is rounded up to a whole second.
    ///
    /// # Errors
    /// [`PubSubError::Invalid`] if it cannot be signed.
    pub(super) fn sign(
        &self,
        channels: Vec<String>,
        sub: Option<String>,
        now: UnixMillis,
        ttl: Duration,
    ) -> Result<(String, UnixMillis), PubSubError> {
        let ends = u64::try_from(now).unwrap_or_default() + u64::try_from(ttl.as_millis()).unwrap_or_default();
        let exp = ends.div_ceil(1_000);
        let token = ChannelToken { iss: ISSUER.to_owned(), sub, channels, exp, nbf: None };
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &token, &self.signing);
        let signed = signed.map_err(|error| PubSubError::invalid("/channels", error.to_string()))?;
        Ok((signed, UnixMillis::try_from(exp * 1_000).unwrap_or(UnixMillis::MAX)))
    }

    /// The token, if the service signed it and it is valid already; it may have ended.
    pub(super) fn verify(&self, token: &str, now: UnixMillis) -> Option<ChannelToken> {
        let verified: ChannelToken = jsonwebtoken::decode(token, &self.verifying, &self.validation).ok()?.claims;
        let has_begun = verified.nbf.is_none_or(|nbf| seconds(now) >= nbf);
        Some(verified).filter(|_| has_begun && !demands_extensions(token))
    }
}

impl ChannelToken {
    /// The time until the token ends; `None` if it has.
    pub(super) fn left(&self, now: UnixMillis) -> Option<Duration> {
        let left = self.exp.saturating_mul(1_000).checked_sub(u64::try_from(now).ok()?)?;
        Some(Duration::from_millis(left)).filter(|left| !left.is_zero())
    }

    /// Whether `subject` may subscribe to the channel with this token.
    pub(super) fn permits(&self, channel: &ChannelName, subject: &str) -> bool {
        let is_for = self.sub.as_deref().is_none_or(|sub| sub == subject);
        let names = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => channel.as_str().starts_with(prefix),
            None => channel.as_str() == pattern,
        };
        is_for && self.channels.iter().any(names)
    }
}

impl fmt::Debug for ChannelTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelTokens")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_permits_its_channels_until_it_ends() {
        let tokens = ChannelTokens::new("0123456789abcdef0123456789abcdef");
        let channels = vec!["market:events".to_owned(), "orders:team-*".to_owned()];
        let signed = tokens.sign(channels, Some("ann".to_owned()), 1_000, Duration::from_secs(2));
        let (text, ends) = signed.expect("signed");
        assert_eq!(ends, 3_000);
        let token = tokens.verify(&text, 1_000).expect("valid");
        let may = |channel: &str, subject: &str| token.permits(&ChannelName::parse(channel).expect("a name"), subject);
        assert!(may("market:events", "ann") && may("orders:team-7", "ann"));
        assert!(!may("market:events:x", "ann") && !may("market:events", "bob") && !may("orders:7", "ann"));
        assert_eq!((token.left(2_999), token.left(3_000)), (Some(Duration::from_millis(1)), None));
        for (header, nbf, is_valid) in [
            (json!({ "alg": "HS256" }), json!(1), true),
            (json!({ "alg": "HS256" }), json!(1.5), false),
            (json!({ "alg": "HS256" }), json!(null), false),
            (json!({ "alg": "HS256", "crit": ["x"] }), json!(1), false),
            (json!({ "alg": "HS256", "crit": null }), json!(1), false),
        ] {
            let claims = json!({ "iss": ISSUER, "channels": ["market:events"], "exp": 3, "nbf": nbf });
            let [head, claims] = [&header, &claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
            let signed = format!("{head}.{claims}");
            let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &tokens.signing, Algorithm::HS256);
            let text = format!("{signed}.{}", signature.expect("signed"));
            assert_eq!(tokens.verify(&text, 1_000).is_some(), is_valid, "{header} nbf {nbf}");
        }
        assert!(ChannelTokens::new("another secret of at least 32 bytes").verify(&text, 1_000).is_none());
    }
}
