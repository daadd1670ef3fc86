//! Credentials: which are accepted, which are rejected, and that responses do not help to guess them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Method};
use gridtokenx_redis::app::{App, check_config};
use gridtokenx_redis::clock::Clock;
use gridtokenx_redis::config::Config;
use gridtokenx_redis::config::auth::AuthConfig;
use gridtokenx_redis::http::auth::{Authenticator, api_key};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::support::{Reply, START, TestApp};

pub const READER: &str = "ak_0123456789abcdef0123456789abcdef";
pub const WRITER: &str = "ak_ffffffffffffffffffffffffffffffff";
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A `[[auth.keys]]` entry.
pub fn key(id: &str, key: &str, rest: &str) -> String {
    let digest = api_key::hex(&api_key::digest(key.as_bytes()));
    format!("[[auth.keys]]\nid = \"{id}\"\nsha256 = \"{digest}\"\n{rest}\n")
}

async fn with_keys() -> TestApp {
    let keys = key("reader", READER, "scopes = [\"metrics:read\"]\nexpires = \"2026-01-02T00:00:00Z\"")
        + &key("writer", WRITER, "scopes = [\"cache:write\"]");
    TestApp::builder().config(&keys).spawn().await
}

/// Calls a route that needs `metrics:read`.
async fn ask(app: &TestApp, headers: &[(&str, &str)]) -> Reply {
    app.send(Method::GET, "/metrics", headers, Body::empty()).await
}

async fn ask_with_token(app: &TestApp, token: &str) -> Reply {
    ask(app, &[("authorization", &format!("Bearer {token}"))]).await
}

/// The claims of a valid token; `changes` replaces claims, null removes one.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({ "iss": "gridtokenx-iam-service", "sub": "user-1", "username": "somchai", "role": "admin",
                             "iat": START / 1_000, "exp": START / 1_000 + 60 });
    for (name, value) in changes.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    claims.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    claims
}

fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).expect("a token")
}

pub fn platform_token(changes: &Value) -> String {
    sign(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), &claims(changes))
}

async fn with_platform_secret() -> TestApp {
    TestApp::builder().config(&format!("[auth]\njwt_secret = \"{SECRET}\"")).spawn().await
}

/// The body of a 401 response, without the request id.
fn refusal(reply: &Reply) -> Value {
    let mut problem = reply.expect_problem(401, "unauthenticated");
    let challenge = reply.header("www-authenticate").expect("a challenge");
    assert!(challenge.contains("Bearer") && challenge.contains("ApiKey"), "{challenge}");
    problem["request_id"] = Value::Null;
    problem
}

#[tokio::test]
async fn a_key_allows_only_the_operations_of_its_scopes() {
    let app = with_keys().await;
    ask(&app, &[("x-api-key", READER)]).await.expect(200);
    let forbidden = ask(&app, &[("x-api-key", WRITER)]).await.expect_problem(403, "forbidden");
    assert!(forbidden["detail"].as_str().is_some_and(|detail| detail.contains("metrics:read")), "{forbidden}");
    app.send(Method::GET, "/api/metrics", &[], Body::empty()).await.expect_problem(401, "unauthenticated");
    app.send(Method::HEAD, "/metrics", &[], Body::empty()).await.expect(401);
}

#[tokio::test]
async fn public_routes_need_no_credential() {
    let app = with_keys().await;
    for path in ["/health/live", "/openapi.json", "/problems/unauthenticated", "/swagger-ui/"] {
        app.get(path).await.expect(200);
    }
    app.send(Method::GET, "/health/live", &[("x-api-key", "wrong")], Body::empty()).await.expect(200);
}

#[tokio::test]
async fn all_authentication_errors_are_identical() {
    let app = with_keys().await;
    refusal(&ask(&app, &[]).await);
    let none = refusal(&ask(&app, &[("x-api-key", "nonsense")]).await);
    let upper = READER.to_uppercase();
    for wrong in [
        "",
        "ak_",
        "wrong",
        &READER[..34],
        &upper,
        "ak_0123456789abcdef0123456789abcdee",
        "Bearer x",
        &"a".repeat(5_000),
    ] {
        assert_eq!(refusal(&ask(&app, &[("x-api-key", wrong)]).await), none, "{wrong}");
    }
    for wrong in ["", "Bearer", "Bearer ", "Bearer a.b.c", "Basic dXNlcjpwYXNz", READER, "Bearer é"] {
        assert_eq!(refusal(&ask(&app, &[("authorization", wrong)]).await), none, "{wrong}");
    }
}

#[tokio::test]
async fn an_expired_key_is_rejected() {
    let app = with_keys().await;
    app.clock().advance(Duration::from_millis(86_399_999));
    ask(&app, &[("x-api-key", READER)]).await.expect(200);
    app.clock().advance(Duration::from_millis(1));
    refusal(&ask(&app, &[("x-api-key", READER)]).await);
}

#[tokio::test]
async fn if_two_credentials_are_sent_both_must_be_valid_and_the_key_applies() {
    let config = format!("[auth]\njwt_secret = \"{SECRET}\"\n") + &key("writer", WRITER, "scopes = [\"cache:write\"]");
    let app = TestApp::builder().config(&config).spawn().await;
    let (good, bad) = (format!("Bearer {}", platform_token(&json!({}))), "Bearer a.b.c".to_owned());
    ask(&app, &[("authorization", &good)]).await.expect(200);
    ask(&app, &[("authorization", &good), ("x-api-key", WRITER)]).await.expect_problem(403, "forbidden");
    refusal(&ask(&app, &[("authorization", &bad), ("x-api-key", WRITER)]).await);
    refusal(&ask(&app, &[("authorization", &good), ("x-api-key", READER)]).await);
    refusal(&ask(&app, &[("x-api-key", WRITER), ("x-api-key", WRITER)]).await);
    refusal(&ask(&app, &[("authorization", &good), ("authorization", &good)]).await);
}

#[tokio::test]
async fn a_platform_token_is_validated_by_its_claims_and_the_clock_of_the_service() {
    let app = with_platform_secret().await;
    let now = START / 1_000;
    for good in [
        json!({}),
        json!({ "aud": "other" }),
        json!({ "aud": ["a"] }),
        json!({ "nbf": now }),
        json!({ "exp": now + 1 }),
        json!({ "exp": 1_767_225_600.5 }),
    ] {
        let reply = ask_with_token(&app, &platform_token(&good)).await;
        assert!(reply.is(200), "{good}: {}", reply.text());
    }
    for bad in [
        json!({ "exp": null }),
        json!({ "exp": now }),
        json!({ "exp": "tomorrow" }),
        json!({ "nbf": now + 1 }),
        json!({ "nbf": "now" }),
        json!({ "iss": null }),
        json!({ "iss": "somebody-else" }),
        json!({ "sub": null }),
        json!({ "sub": 7 }),
        json!({ "sub": "" }),
        json!({ "aud": 5 }),
        json!({ "aud": { "a": "b" } }),
        json!({ "aud": ["a", 5] }),
        json!({ "role": ["admin"] }),
    ] {
        let reply = ask_with_token(&app, &platform_token(&bad)).await;
        assert!(reply.is(401), "{bad}: {}", reply.text());
    }
    for name in ["nbf", "iat", "aud"] {
        let mut claims = claims(&json!({}));
        claims[name] = Value::Null;
        let token = sign(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), &claims);
        refusal(&ask_with_token(&app, &token).await);
    }
    let token = platform_token(&json!({}));
    app.clock().advance(Duration::from_secs(59));
    ask_with_token(&app, &token).await.expect(200);
    app.clock().advance(Duration::from_secs(1));
    refusal(&ask_with_token(&app, &token).await);
}

#[tokio::test]
async fn a_role_that_is_not_configured_allows_nothing() {
    let app = with_platform_secret().await;
    for role in [json!("user"), json!("superuser"), json!(null)] {
        ask_with_token(&app, &platform_token(&json!({ "role": role }))).await.expect_problem(403, "forbidden");
    }
    ask_with_token(&app, &platform_token(&json!({ "role": "operator" }))).await.expect(200);
}

#[tokio::test]
async fn a_forged_token_is_rejected() {
    let app = with_platform_secret().await;
    let token = platform_token(&json!({}));
    let [head, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts: {token}") };
    // {"alg":"none"}, {"alg":"HS384"} with a correct HS384 signature, another secret, another payload.
    let unsigned = format!("eyJhbGciOiJub25lIn0.{payload}.");
    let other_algorithm = sign(Algorithm::HS384, &EncodingKey::from_secret(SECRET.as_bytes()), &claims(&json!({})));
    let other_secret = sign(Algorithm::HS256, &EncodingKey::from_secret(&[7; 32]), &claims(&json!({})));
    let other_payload = platform_token(&json!({ "sub": "user-2" }));
    let spliced = format!("{head}.{}.{signature}", other_payload.split('.').nth(1).expect("a payload"));
    for forged in [unsigned, other_algorithm, other_secret, spliced, format!("{token}A"), format!("{token}.x")] {
        refusal(&ask_with_token(&app, &forged).await);
    }
}

/// A new key pair, and the configuration of an issuer with its public key.
fn issuer(algorithm: &str, kind: &'static rcgen::SignatureAlgorithm, rest: &str) -> (KeyPair, String) {
    let pair = KeyPair::generate_for(kind).expect("a key pair");
    let config = format!(
        "[[auth.jwt]]\nissuer = \"https://id.example.org\"\nalgorithm = \"{algorithm}\"\npublic_key = \"\"\"\n{}\"\"\"\n{rest}\n",
        pair.public_key_pem()
    );
    (pair, config)
}

#[tokio::test]
async fn tokens_are_verified_with_public_keys_that_are_not_accepted_as_secrets() {
    let (rsa, rsa_config) = issuer("RS256", &rcgen::PKCS_RSA_SHA256, "leeway = \"5s\"");
    let (ed, ed_config) = issuer("EdDSA", &rcgen::PKCS_ED25519, "audience = \"redis\"\norganisation_claim = \"org\"");
    let app = TestApp::builder().config(&(rsa_config + &ed_config)).spawn().await;
    let from_issuer = |mut changes: Value| {
        changes["iss"] = json!("https://id.example.org");
        claims(&changes)
    };
    let rsa_key = EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).expect("an RSA key");
    let ed_key = EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).expect("an Ed25519 key");
    let now = START / 1_000;

    let rsa_token = |changes| sign(Algorithm::RS256, &rsa_key, &from_issuer(changes));
    ask_with_token(&app, &rsa_token(json!({}))).await.expect(200);
    ask_with_token(&app, &rsa_token(json!({ "exp": now - 4, "nbf": now + 5 }))).await.expect(200);
    ask_with_token(&app, &rsa_token(json!({ "exp": now - 5 }))).await.expect(401);
    ask_with_token(&app, &rsa_token(json!({ "nbf": now + 6 }))).await.expect(401);

    let ed_token = |changes| sign(Algorithm::EdDSA, &ed_key, &from_issuer(changes));
    ask_with_token(&app, &ed_token(json!({ "aud": "redis" }))).await.expect(200);
    ask_with_token(&app, &ed_token(json!({ "aud": ["other", "redis"] }))).await.expect(200);
    ask_with_token(&app, &ed_token(json!({ "aud": "other" }))).await.expect(401);
    ask_with_token(&app, &ed_token(json!({}))).await.expect(401);

    // The classic algorithm confusion: the public key as an HMAC secret.
    let confused = EncodingKey::from_secret(rsa.public_key_pem().as_bytes());
    ask_with_token(&app, &sign(Algorithm::HS256, &confused, &from_issuer(json!({})))).await.expect(401);
}

#[test]
fn the_organisation_comes_from_the_credential() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), format!("{SECRET}\n")).expect("written");
    let (ed, _) = issuer("EdDSA", &rcgen::PKCS_ED25519, "");
    let public = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(public.path(), ed.public_key_pem()).expect("written");
    let config = key("bridge", READER, "scopes = [\"cache:read\"]\norganisation = \"org-1\"")
        + &format!(
            "[[auth.jwt]]\nissuer = \"a\"\nalgorithm = \"HS256\"\nsecret_file = {:?}\norganisation_claim = \"org\"\n",
            secret.path()
        )
        + &format!("[[auth.jwt]]\nissuer = \"b\"\nalgorithm = \"EdDSA\"\npublic_key_file = {:?}\n", public.path());
    let auth: AuthConfig = Config::with_overrides(&config).expect("TOML").section().expect("valid");
    let authenticator = Authenticator::new(&auth, Clock::manual(START)).expect("usable keys");
    let organisation = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().expect("a value"))]);
        let caller = authenticator.authenticate(&mut headers).expect("a caller");
        (caller.id.clone(), caller.organisation.clone())
    };
    assert_eq!(organisation("x-api-key", READER), ("key:bridge".to_owned(), Some("org-1".to_owned())));
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    for (claim, expected) in [(json!("org-2"), Some("org-2".to_owned())), (json!(7), None), (json!(""), None)] {
        let token = sign(Algorithm::HS256, &secret, &claims(&json!({ "iss": "a", "org": claim })));
        let found = organisation("authorization", &format!("bearer {token}"));
        assert_eq!(found, ("user:user-1 of a".to_owned(), expected));
    }
    let private = EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).expect("an Ed25519 key");
    let token = sign(Algorithm::EdDSA, &private, &claims(&json!({ "iss": "b", "org": "org-3" })));
    assert_eq!(organisation("authorization", &format!("Bearer {token}")), ("user:user-1 of b".to_owned(), None));
}

fn refused(config: &str) -> String {
    let config = Config::with_overrides(config).expect("TOML");
    check_config(&config).expect_err("refused").to_string()
}

#[test]
fn a_configuration_error_names_the_field() {
    let scoped = "scopes = [\"cache:read\"]";
    let entry = |sha: &str| format!("[[auth.keys]]\nid = \"a\"\nsha256 = \"{sha}\"\n{scoped}");
    let jwt = |rest: &str| format!("[[auth.jwt]]\nissuer = \"i\"\n{rest}");
    for (config, field) in [
        (entry("abc"), "auth.keys[0].sha256"),
        (entry(&"x".repeat(64)), "auth.keys[0].sha256"),
        (key("a", READER, "scopes = []"), "auth.keys[0].scopes"),
        (key("a", READER, "scopes = [\"cache\"]"), "auth.keys[0].scopes"),
        (key("a", READER, "scopes = [\"Cache:Read\"]"), "auth.keys[0].scopes"),
        (key("a b", READER, scoped), "auth.keys[0].id"),
        (key("a", READER, scoped) + &key("a", WRITER, scoped), "auth.keys[1].id"),
        (key("a", READER, scoped) + &key("b", READER, scoped), "auth.keys[1].sha256"),
        (key("a", READER, &format!("{scoped}\nexpires = \"soon\"")), "auth.keys[0].expires"),
        (key("a", READER, &format!("{scoped}\norganisation = \"\"")), "auth.keys[0].organisation"),
        (key("a", READER, &format!("{scoped}\ncolour = \"red\"")), "auth.keys[0]"),
        ("[auth]\njwt_secret = \"short\"".to_owned(), "auth.jwt_secret"),
        ("[auth]\nmode = \"maybe\"".to_owned(), "auth.mode"),
        ("[auth]\nmode = \"required\"".to_owned(), "auth.mode"),
        ("[auth.roles]\nuser = [\"everything\"]".to_owned(), "auth.roles.user"),
        (jwt("algorithm = \"none\""), "auth.jwt[0].algorithm"),
        (jwt("algorithm = \"HS256\"\nsecret = \"short\""), "auth.jwt[0].secret"),
        (jwt("algorithm = \"HS256\"\nsecret_file = \"/nowhere\""), "auth.jwt[0].secret_file"),
        (jwt("algorithm = \"HS256\"\npublic_key = \"x\""), "auth.jwt[0].secret"),
        (jwt("algorithm = \"RS256\"\npublic_key = \"no PEM\""), "auth.jwt[0].public_key"),
        (jwt("algorithm = \"RS256\""), "auth.jwt[0].public_key"),
        (jwt(&format!("algorithm = \"HS256\"\nsecret = \"{SECRET}\"\nleeway = \"31s\"")), "auth.jwt[0].leeway"),
    ] {
        let error = refused(&config);
        assert!(error.contains(&format!("`{field}")) && error.contains("overrides"), "{config}: {error}");
        assert!(!error.contains(SECRET) && !error.contains("short\""), "the error contains the secret: {error}");
    }
}

#[test]
fn a_private_key_and_a_key_of_another_algorithm_are_rejected() {
    let (pair, config) = issuer("RS256", &rcgen::PKCS_ED25519, "");
    assert!(refused(&config).contains("auth.jwt[0].public_key"));
    let error = refused(&config.replace(&pair.public_key_pem(), &pair.serialize_pem()).replace("RS256", "EdDSA"));
    assert!(error.contains("private key"), "{error}");
}

#[test]
fn a_service_without_credentials_must_listen_on_loopback() {
    let open = "[http]\naddress = \"0.0.0.0\"\n";
    assert!(refused(open).contains("loopback"));
    assert!(refused(&format!("{open}[auth]\nmode = \"none\"")).contains("none_beyond_loopback"));
    for fine in [
        "[http]\naddress = \"::1\"\n".to_owned(),
        format!("{open}[auth]\nmode = \"none\"\nnone_beyond_loopback = true"),
        format!("{open}[auth]\njwt_secret = \"{SECRET}\""),
    ] {
        check_config(&Config::with_overrides(&fine).expect("TOML")).expect("accepted");
    }
}

#[test]
fn secrets_are_not_printed() {
    let config = format!("[auth]\njwt_secret = \"{SECRET}\"\n[redis]\nurl = \"redis://127.0.0.1\"");
    let config = Config::with_overrides(&config).expect("TOML");
    let auth: AuthConfig = config.section().expect("valid");
    assert!(!format!("{auth:?}").contains(SECRET), "{auth:?}");
    let app = App::build(config, Clock::System, 1).expect("builds");
    assert!(!format!("{:?}", app.router).contains(SECRET));
    assert_eq!(auth.summary(), "required: API keys 0, token issuers 1");
}
