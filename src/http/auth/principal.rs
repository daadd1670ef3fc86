//! A caller: its name, its organisation and its scopes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::UnixMillis;
use crate::config::auth::{SUBJECT, Scope};
use crate::http::problem::{self, Problem};

/// The scope that includes every other scope.
pub const ADMIN: &str = "admin";

/// The id of every caller if no credential is required; those of credentials have a colon.
const ANONYMOUS: &str = "anonymous";

/// The permissions of a credential; all callers with one role share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Arc<Grants>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Grants {
    /// Scopes for all keys.
    complete: BTreeSet<Box<str>>,
    /// Scopes for some keys.
    by_key: Vec<(Box<str>, KeyPattern)>,
}

/// The keys to which a scope is limited.
#[derive(Debug, PartialEq, Eq)]
struct KeyPattern {
    head: Box<str>,
    /// What follows the subject of the token, if the pattern has one.
    after_subject: Option<Box<str>>,
    is_prefix: bool,
}

/// Whether the subject can select keys. One with a colon could reach into the keys of another subject.
fn is_selective(subject: &str) -> bool {
    !subject.is_empty() && !subject.contains(':')
}

/// Keys that a list may contain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VisibleKeys {
    pub prefix: String,
    /// Whether the prefix is the only key.
    pub is_one_key: bool,
}

impl KeyPattern {
    fn new(keys: &str) -> Self {
        let fixed = keys.strip_suffix('*');
        let is_prefix = fixed.is_some();
        let fixed = fixed.unwrap_or(keys);
        let (head, after) = fixed.split_once(SUBJECT).map_or((fixed, None), |(head, after)| (head, Some(after.into())));
        Self { head: head.into(), after_subject: after, is_prefix }
    }

    /// The text before the `*`, or the only key; `None` if the pattern matches nothing.
    fn fixed(&self, subject: Option<&str>) -> Option<String> {
        match (&self.after_subject, subject) {
            (None, _) => Some(self.head.to_string()),
            (Some(after), Some(subject)) if is_selective(subject) => Some(format!("{}{subject}{after}", self.head)),
            (Some(_), _) => None,
        }
    }

    fn matches(&self, key: &str, subject: Option<&str>) -> bool {
        let Some(rest) = key.strip_prefix(&*self.head) else { return false };
        let rest = match (&self.after_subject, subject) {
            (None, _) => Some(rest),
            (Some(after), Some(subject)) if is_selective(subject) => {
                rest.strip_prefix(subject).and_then(|rest| rest.strip_prefix(&**after))
            }
            (Some(_), _) => None,
        };
        rest.is_some_and(|rest| self.is_prefix || rest.is_empty())
    }
}

impl Scopes {
    /// Whether the scope is granted for all keys.
    pub fn contain(&self, scope: &str) -> bool {
        self.0.complete.contains(scope) || self.0.complete.contains(ADMIN)
    }
}

impl<'a> FromIterator<&'a str> for Scopes {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        let complete = scopes.into_iter().map(Box::from).collect();
        Self(Arc::new(Grants { complete, by_key: Vec::new() }))
    }
}

impl From<&BTreeSet<Scope>> for Scopes {
    fn from(scopes: &BTreeSet<Scope>) -> Self {
        let mut grants = Grants::default();
        for scope in scopes {
            match scope.keys() {
                None => _ = grants.complete.insert(scope.name().into()),
                Some(keys) => grants.by_key.push((scope.name().into(), KeyPattern::new(keys))),
            }
        }
        Self(Arc::new(grants))
    }
}

/// A verified caller. Handlers of guarded routes find it as `Arc<Principal>` in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Identifies the credential in logs, and separates the idempotency keys of callers. Never the credential itself.
    pub id: String,
    /// The organisation whose data the caller may see; it comes from the credential only.
    pub organisation: Option<String>,
    /// When the credential ends; `None` if it does not. Long-lived connections end with it.
    pub expires: Option<UnixMillis>,
    /// When the token was issued; `None` if the credential does not say so.
    pub issued: Option<UnixMillis>,
    /// The subject of the token; a key has none.
    subject: Option<String>,
    scopes: Scopes,
}

/// A verified caller of a route that needs no credential. It is not counted as a caller, but may see more than others.
#[derive(Clone, Debug)]
pub struct Visitor(pub Arc<Principal>);

impl Principal {
    pub fn new(id: impl Into<String>, organisation: Option<String>, scopes: Scopes) -> Self {
        Self { id: id.into(), organisation, expires: None, issued: None, subject: None, scopes }
    }

    /// The caller whose credential ends at `expires`, or earlier.
    #[must_use]
    pub fn until(mut self, expires: UnixMillis) -> Self {
        self.expires = Some(self.expires.map_or(expires, |earlier| earlier.min(expires)));
        self
    }

    /// When the credential ends on the clock of this process, if it is `now` on the service's.
    pub fn end(&self, now: UnixMillis) -> Option<Instant> {
        let left = u64::try_from(self.expires?.saturating_sub(now)).unwrap_or_default();
        Instant::now().checked_add(Duration::from_millis(left))
    }

    /// Names the subject of the caller's token.
    #[must_use]
    pub fn with_subject(mut self, subject: String) -> Self {
        self.subject = Some(subject);
        self
    }

    /// The subject of the caller's token.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Any caller, if no credential is required: it has every permission.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, None, [ADMIN].into_iter().collect())
    }

    /// Whether the service requires no credential, so that its callers are not distinguished.
    pub fn is_anonymous(&self) -> bool {
        self.id == ANONYMOUS
    }

    /// Whether the caller has the scope for all keys.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contain(scope)
    }

    /// All scopes of a caller some of whose scopes are limited to keys, each as a text that no other one has, in order; none of
    /// another caller.
    pub fn limits(&self) -> impl Iterator<Item = String> {
        let Grants { complete, by_key } = &*self.scopes.0;
        let limited = by_key.iter().map(|(scope, keys)| format!("{scope} {keys:?}"));
        let complete = complete.iter().filter(|_| !by_key.is_empty()).map(ToString::to_string);
        complete.chain(limited)
    }

    /// Whether the caller has the scope for this key.
    pub fn may_access(&self, scope: &str, key: &str) -> bool {
        self.may(scope) || self.grants(scope).any(|pattern| pattern.matches(key, self.subject.as_deref()))
    }

    /// Requires the scope for all keys.
    ///
    /// # Errors
    /// `forbidden` (403), naming the scope.
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        if self.may(scope) {
            return Ok(());
        }
        let whole = if self.grants(scope).next().is_some() { ", not limited to keys" } else { "" };
        Err(forbidden(format!("this operation requires the scope `{scope}`{whole}")))
    }

    /// Requires the scope for all keys or for some; the handler checks the keys.
    ///
    /// # Errors
    /// `forbidden` (403), naming the scope.
    pub fn require_some(&self, scope: &str) -> Result<(), Problem> {
        if self.may(scope) || self.grants(scope).next().is_some() { Ok(()) } else { self.require(scope) }
    }

    /// Requires the scope for this key.
    ///
    /// # Errors
    /// `forbidden` (403), naming scope and key.
    pub fn require_key(&self, scope: &str, key: &str) -> Result<(), Problem> {
        if self.may_access(scope, key) {
            return Ok(());
        }
        self.require_some(scope)?;
        Err(forbidden(format!("the scope `{scope}` of this credential does not include the key `{key}`")))
    }

    /// The keys that a list may contain, in order: those with the requested prefix, as far as the scope permits them.
    ///
    /// # Errors
    /// `forbidden` (403) if no key with the requested prefix is permitted.
    pub fn visible_keys(&self, scope: &str, requested: &str) -> Result<Vec<VisibleKeys>, Problem> {
        if self.may(scope) {
            return Ok(vec![VisibleKeys { prefix: requested.to_owned(), is_one_key: false }]);
        }
        let permitted = self.grants(scope).filter_map(|pattern| {
            let fixed = pattern.fixed(self.subject.as_deref())?;
            match pattern.is_prefix {
                _ if fixed.starts_with(requested) => {
                    Some(VisibleKeys { prefix: fixed, is_one_key: !pattern.is_prefix })
                }
                true if requested.starts_with(&fixed) => {
                    Some(VisibleKeys { prefix: requested.to_owned(), is_one_key: false })
                }
                _ => None,
            }
        });
        let mut visible: Vec<VisibleKeys> = permitted.collect();
        visible.sort_unstable();
        // A prefix sorts before the keys that have it.
        visible.dedup_by(|next, kept| !kept.is_one_key && next.prefix.starts_with(&kept.prefix) || next == kept);
        if visible.is_empty() {
            return Err(self.require_key(scope, requested).err().unwrap_or_else(|| forbidden(String::new())));
        }
        Ok(visible)
    }

    /// The keys of a scope that is limited to keys.
    fn grants(&self, scope: &str) -> impl Iterator<Item = &KeyPattern> {
        self.scopes.0.by_key.iter().filter(move |(name, _)| **name == *scope).map(|(_, pattern)| pattern)
    }
}

fn forbidden(detail: String) -> Problem {
    Problem::new(&problem::FORBIDDEN).detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scopes: &[&str], subject: &str) -> Principal {
        let scopes: BTreeSet<Scope> = scopes.iter().map(|scope| Scope::parse(scope).expect("a scope")).collect();
        Principal::new("a", None, Scopes::from(&scopes)).with_subject(subject.to_owned())
    }

    #[test]
    fn a_scope_with_keys_permits_these_keys_only() {
        let shop = caller(&["cache:write:orders:*", "cache:write:total", "cache:read"], "x");
        for (key, may) in [
            ("orders:1", true),
            ("orders:", true),
            ("orders", false),
            ("order", false),
            ("xorders:1", false),
            ("total", true),
            ("total:1", false),
            ("", false),
        ] {
            assert_eq!(shop.may_access("cache:write", key), may, "{key}");
            assert_eq!(shop.require_key("cache:write", key).is_ok(), may, "{key}");
            assert!(shop.may_access("cache:read", key) && !shop.may_access("json:write", key), "{key}");
        }
        assert!(shop.require("cache:write").is_err() && shop.require_some("cache:write").is_ok());
        assert!(caller(&["admin"], "x").may_access("cache:write", "orders:1"));
    }

    #[test]
    fn a_list_shows_the_keys_of_the_scope() {
        let visible = |scopes: &[&str], requested: &str| -> Result<Vec<(String, bool)>, &'static str> {
            let keys = caller(scopes, "ann").visible_keys("cache:read", requested);
            let keys = keys.map_err(|problem| problem.kind().slug)?;
            Ok(keys.into_iter().map(|keys| (keys.prefix, keys.is_one_key)).collect())
        };
        let of = |keys: &[(&str, bool)]| Ok(keys.iter().map(|(prefix, one)| ((*prefix).to_owned(), *one)).collect());
        assert_eq!(visible(&["cache:read"], "a"), of(&[("a", false)]));
        for (requested, prefix) in [("", "orders:"), ("ord", "orders:"), ("orders:1", "orders:1")] {
            assert_eq!(visible(&["cache:read:orders:*"], requested), of(&[(prefix, false)]));
        }
        assert_eq!(visible(&["cache:read:orders:*"], "other"), Err("forbidden"));
        assert_eq!(visible(&["cache:read:users:{sub}:*"], ""), of(&[("users:ann:", false)]));
        let several = ["cache:read:orders:*", "cache:read:orders:1:*", "cache:read:orders:2", "cache:read:origin"];
        assert_eq!(visible(&several, ""), of(&[("orders:", false), ("origin", true)]));
        assert_eq!(visible(&several, "origin:"), Err("forbidden"));
        assert_eq!(visible(&["json:read:orders:*"], ""), Err("forbidden"));
    }

    #[test]
    fn the_subject_of_a_token_selects_its_keys() {
        let scopes = ["json:read:users:{sub}:*", "users:read:{sub}"];
        let may = |subject: &str, key: &str| caller(&scopes, subject).may_access("json:read", key);
        assert!(may("ann", "users:ann:cart") && !may("ann", "users:anna:cart") && !may("ann", "users:bob:cart"));
        assert!(!may("ann", "users:ann"));
        for hostile in ["", "ann:cart", "*", "ann*"] {
            assert!(!may(hostile, "users:ann:cart") && !may(hostile, "users::cart"), "{hostile}");
        }
        assert!(caller(&scopes, "ann").may_access("users:read", "ann"));
        assert!(!caller(&scopes, "ann").may_access("users:read", "anna"));
        let key = Principal::new("key:a", None, Scopes::from(&BTreeSet::from([Scope::parse(scopes[0]).expect("one")])));
        assert!(!key.may_access("json:read", "users::cart") && !key.may_access("json:read", "users:{sub}:cart"));
    }
}
