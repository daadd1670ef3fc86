//! Conditional requests: `ETag`, `If-Match` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13).

use std::fmt;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::problem::Problem;
use crate::random;

/// A strong entity tag: 128 bits derived from the representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ETag(pub u128);

/// Two quotes around 32 hexadecimal digits.
const ETAG_LENGTH: usize = 34;

impl ETag {
    fn text(self) -> [u8; ETAG_LENGTH] {
        let mut text = [b'"'; ETAG_LENGTH];
        let [_, digits @ .., _] = &mut text;
        *digits = random::hex_digits(self.0);
        text
    }

    pub fn header(self) -> HeaderValue {
        // Quotes and hexadecimal digits are always valid in a header.
        HeaderValue::from_bytes(&self.text()).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:032x}\"", self.0)
    }
}

/// The conditions of a request on the current state of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    if_match: Option<Candidates>,
    if_none_match: Option<Candidates>,
}

/// The value of one of the two headers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Candidates {
    /// `*`
    Any,
    /// The entity tags as sent, and whether each is weak.
    Tags(Vec<(bool, String)>),
}

/// Rejects the headers on a write that would ignore them: it must not happen if they are false (RFC 9110, section 13.1).
///
/// # Errors
/// `invalid-header` (422).
pub fn refuse_ignored(headers: &HeaderMap) -> Result<(), Problem> {
    let given = [("If-Match", header::IF_MATCH), ("If-None-Match", header::IF_NONE_MATCH)];
    match given.into_iter().find(|(_, header)| headers.contains_key(header)) {
        Some((name, _)) => Err(Problem::request_header(name, "is not supported by this operation")),
        None => Ok(()),
    }
}

impl Preconditions {
    /// Parses both headers.
    ///
    /// # Errors
    /// `invalid-header` (422), naming the header that is not a list of entity tags.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            if_match: candidates(headers, &header::IF_MATCH)?,
            if_none_match: candidates(headers, &header::IF_NONE_MATCH)?,
        })
    }

    /// Whether there is no condition.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Whether the only condition is that the resource does not exist.
    pub fn is_create_only(&self) -> bool {
        self.if_match.is_none() && self.if_none_match == Some(Candidates::Any)
    }

    /// Whether the only condition is that the resource exists.
    pub fn is_update_only(&self) -> bool {
        self.if_none_match.is_none() && self.if_match == Some(Candidates::Any)
    }

    /// `If-Match`: whether the current representation, if any, is among the listed ones (strong comparison).
    pub fn matches(&self, current: Option<ETag>) -> bool {
        match (&self.if_match, current) {
            (None, _) | (Some(Candidates::Any), Some(_)) => true,
            (Some(_), None) => false,
            (Some(Candidates::Tags(tags)), Some(current)) => {
                let current = current.to_string();
                tags.iter().any(|(weak, tag)| !weak && *tag == current)
            }
        }
    }

    /// `If-None-Match`: whether the client already has the current representation (weak comparison).
    pub fn already_has(&self, current: Option<ETag>) -> bool {
        match (&self.if_none_match, current) {
            (None, _) | (_, None) => false,
            (Some(Candidates::Any), Some(_)) => true,
            (Some(Candidates::Tags(tags)), Some(current)) => {
                let current = current.to_string();
                tags.iter().any(|(_, tag)| *tag == current)
            }
        }
    }

    /// Whether a write may replace the current state.
    pub fn allow_write(&self, current: Option<ETag>) -> bool {
        self.matches(current) && !self.already_has(current)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.headers)
    }
}

fn candidates(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Candidates>, Problem> {
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let refuse = || Problem::request_header(name.as_str(), "must be `*` or a list of quoted entity tags");
    let mut text = String::new();
    for line in lines {
        // Several header lines form one list.
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(line.to_str().map_err(|_| refuse())?);
    }
    if text.trim() == "*" {
        return Ok(Some(Candidates::Any));
    }
    entity_tags(&text).map(|tags| Some(Candidates::Tags(tags))).ok_or_else(refuse)
}

/// Parses `W/"a", "b"`. A tag may contain a comma. An empty list is valid and matches nothing.
fn entity_tags(text: &str) -> Option<Vec<(bool, String)>> {
    let mut tags = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let weak = rest.starts_with("W/");
        let quoted = if weak { rest.strip_prefix("W/")? } else { rest };
        let inner = quoted.strip_prefix('"')?;
        let end = inner.find('"')?;
        let (opaque, after) = inner.split_at(end);
        if opaque.contains(|c: char| c == ' ' || c.is_control()) {
            return None;
        }
        tags.push((weak, format!("\"{opaque}\"")));
        let after = after.strip_prefix('"')?.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches([' ', '\t', ',']);
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: ETag = ETag(0xAB);

    fn read(if_match: &[&str], if_none_match: &[&str]) -> Result<Preconditions, Problem> {
        let mut headers = HeaderMap::new();
        for (name, lines) in [(header::IF_MATCH, if_match), (header::IF_NONE_MATCH, if_none_match)] {
            for line in lines {
                headers.append(name.clone(), HeaderValue::from_str(line).expect("a header"));
            }
        }
        Preconditions::of(&headers)
    }

    #[test]
    fn an_etag_prints_the_same_in_both_forms() {
        for tag in [ETag(0), CURRENT, ETag(u128::MAX)] {
            assert_eq!(tag.header(), tag.to_string().as_str());
        }
    }

    #[test]
    fn lists_weak_tags_and_the_star_are_understood() {
        let tag = CURRENT.to_string();
        let listed = read(&[&format!("\"a,b\" , {tag}")], &[]).expect("valid");
        assert!(listed.matches(Some(CURRENT)) && !listed.matches(Some(ETag(1))) && !listed.matches(None));
        let lines = read(&["\"a\"", &tag], &[]).expect("valid");
        assert!(lines.matches(Some(CURRENT)));
        let weak = read(&[&format!("W/{tag}")], &[&format!("W/{tag}")]).expect("valid");
        assert!(!weak.matches(Some(CURRENT)), "If-Match compares strongly");
        assert!(weak.already_has(Some(CURRENT)), "If-None-Match compares weakly");
        let star = read(&["*"], &[]).expect("valid");
        assert!(star.matches(Some(CURRENT)) && !star.matches(None));
        let empty = read(&[""], &[","]).expect("valid");
        assert!(!empty.matches(Some(CURRENT)) && !empty.already_has(Some(CURRENT)));
        let create = read(&[], &["*"]).expect("valid");
        assert!(create.is_create_only() && create.allow_write(None) && !create.allow_write(Some(CURRENT)));
    }

    #[test]
    fn what_is_no_list_of_entity_tags_is_refused() {
        for bad in ["abc", "\"a", "\"a\" \"b\"", "W/a", "*, \"a\"", "\"a b\"", "w/\"a\""] {
            let problem = read(&[bad], &[]).expect_err(bad);
            assert_eq!(problem.kind().slug, "invalid-header", "{bad}");
        }
    }
}
