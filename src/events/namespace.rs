//! Namespaces: the rules of all channels whose names match a pattern.

use std::borrow::Borrow;
use std::fmt;

use serde::Deserialize;

use super::ChannelName;
use crate::config::value::{ByteSize, Secret, Span};
use crate::config::{FieldError, Section};

/// The most keys of a channel that keeps the latest messages.
pub(super) const MAX_KEYS: usize = 1_000;
/// The most bytes of these messages: they are read at once, and replicas keep them in memory.
pub const LATEST_BYTES: usize = 2 << 20;
/// The largest log, messages.
const MAX_HISTORY: usize = 10_000;
/// The shortest secret of channel tokens, bytes; RFC 7518, section 3.2 for HS256.
const MIN_SECRET: usize = 32;

/// `[pubsub]`: namespaces and limits of real-time connections.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PubSubConfig {
    /// The most real-time connections of one replica.
    pub max_sockets: usize,
    /// The most real-time connections of one credential at one replica.
    pub sockets_per_caller: usize,
    /// The most bytes of a message's data.
    pub message_limit: ByteSize,
    /// The time over which a stopping replica closes its connections.
    pub drain_spread: Span,
    /// Signs channel tokens. Without it there are none.
    #[serde(default)]
    pub token_secret: Option<Secret<String>>,
    pub namespaces: Vec<Namespace>,
}

/// What a channel stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The newest messages.
    Log,
    /// The newest message of each key.
    Latest,
    /// Nothing.
    None,
}

impl Keep {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Latest => "latest",
            Self::None => "none",
        }
    }
}

/// The rules of the channels that match a pattern.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    pub pattern: Pattern,
    pub keep: Keep,
    /// The most messages in the log.
    #[serde(default = "default_size")]
    pub history_size: usize,
    /// How long messages are kept.
    #[serde(default = "default_ttl")]
    pub history_ttl: Span,
    /// The family of events that the channel carries; absent: any JSON.
    #[serde(default)]
    pub schema: Option<String>,
    /// Who may subscribe and read the history: a caller that has one of these permissions.
    pub subscribe: Vec<Permission>,
    /// Who may publish.
    pub publish: Vec<Permission>,
    /// Whether subscribers see who else is subscribed.
    #[serde(default)]
    pub presence: bool,
    /// A channel on which every message appears as well.
    #[serde(default)]
    pub mirror: Option<ChannelName>,
}

const fn default_size() -> usize {
    100
}

const fn default_ttl() -> Span {
    Span::from_millis(600_000)
}

/// A permission to use a channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Permission {
    /// Everyone.
    Public,
    /// Every caller with a valid credential.
    Authenticated,
    /// The caller whose subject the segment `{user}` of the channel names.
    Owner,
    /// A caller with a channel token that names the channel.
    Token,
    /// A caller with this scope; one that is limited to keys must include the channel.
    Scope(String),
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Authenticated => f.write_str("authenticated"),
            Self::Owner => f.write_str("owner"),
            Self::Token => f.write_str("token"),
            Self::Scope(scope) => write!(f, "scope:{scope}"),
        }
    }
}

impl TryFrom<String> for Permission {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "public" => Ok(Self::Public),
            "authenticated" => Ok(Self::Authenticated),
            "owner" => Ok(Self::Owner),
            "token" => Ok(Self::Token),
            other => match other.strip_prefix("scope:") {
                Some(scope) if !scope.is_empty() => Ok(Self::Scope(scope.to_owned())),
                _ => Err(format!(
                    "`{other}` is not a permission: write public, authenticated, owner, token or scope:<scope>"
                )),
            },
        }
    }
}

/// A channel pattern: segments between colons, each either text or a parameter such as `{user}`, which matches any one
/// segment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    Parameter(String),
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let segment = |segment: &str| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                Ok(Segment::Parameter(name.to_owned()))
            }
            _ => ChannelName::parse(segment)
                .map(|_| Segment::Text(segment.to_owned()))
                .map_err(|rule| format!("the segment `{segment}` of `{text}` {rule}")),
        };
        let segments = text.split(':').map(segment).collect::<Result<Vec<_>, _>>()?;
        if segments.iter().all(|segment| matches!(segment, Segment::Text(_))) {
            ChannelName::parse(&text).map_err(|rule| format!("`{text}` {rule}"))?;
        }
        Ok(Self { text, segments })
    }
}

impl Pattern {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, channel: &ChannelName) -> bool {
        let mut names = channel.segments();
        let is_start = self.segments.iter().all(|segment| match (segment, names.next()) {
            (Segment::Text(text), Some(name)) => text == name,
            (Segment::Parameter(_), Some(_)) => true,
            (_, None) => false,
        });
        is_start && names.next().is_none()
    }

    /// Orders the patterns that match one channel: text is more specific than a parameter, and an earlier segment counts
    /// more than a later one.
    pub(super) fn specificity(&self) -> Vec<bool> {
        self.segments.iter().map(|segment| matches!(segment, Segment::Text(_))).collect()
    }

    /// Whether the patterns match the same channels, whatever the names of their parameters.
    fn is_equivalent(&self, other: &Self) -> bool {
        let same = |pair: (&Segment, &Segment)| match pair {
            (Segment::Text(one), Segment::Text(two)) => one == two,
            (Segment::Parameter(_), Segment::Parameter(_)) => true,
            _ => false,
        };
        self.segments.len() == other.segments.len() && self.segments.iter().zip(&other.segments).all(same)
    }

    /// The names of the parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Text(_) => None,
        })
    }

    /// The segment of the channel that a parameter matches.
    pub fn parameter<'a>(&self, name: &str, channel: &'a ChannelName) -> Option<&'a str> {
        let position = self.segments.iter().position(|segment| *segment == Segment::Parameter(name.to_owned()))?;
        channel.segments().nth(position)
    }
}

/// The namespace of a channel: the one with the most specific pattern.
pub(super) fn most_specific<'a, T: Borrow<Namespace>>(namespaces: &'a [T], channel: &ChannelName) -> Option<&'a T> {
    let matching = namespaces.iter().filter(|namespace| (*namespace).borrow().pattern.matches(channel));
    matching.max_by_key(|namespace| (*namespace).borrow().pattern.specificity())
}

impl Section for PubSubConfig {
    const NAME: &'static str = "pubsub";

    fn validate(&self) -> Result<(), FieldError> {
        FieldError::reject_zero([
            ("max_sockets", self.max_sockets == 0),
            ("sockets_per_caller", self.sockets_per_caller == 0),
            ("message_limit", self.message_limit.bytes() == 0),
        ])?;
        if self.token_secret.as_ref().is_some_and(|secret| secret.expose().len() < MIN_SECRET) {
            return Err(FieldError::new("token_secret", format!("must have at least {MIN_SECRET} bytes")));
        }
        for (at, namespace) in self.namespaces.iter().enumerate() {
            let refuse = |field: &str, rule: String| FieldError::new(format!("namespaces[{at}].{field}"), rule);
            let pattern = namespace.pattern.as_str();
            let mut earlier = self.namespaces.iter().take(at).map(|earlier| &earlier.pattern);
            if let Some(earlier) = earlier.find(|earlier| earlier.is_equivalent(&namespace.pattern)) {
                let rule = format!("the pattern `{pattern}` must not match the channels of `{}`", earlier.text);
                return Err(refuse("pattern", rule));
            }
            if !(1..=MAX_HISTORY).contains(&namespace.history_size) {
                return Err(refuse("history_size", format!("must be between 1 and {MAX_HISTORY}")));
            }
            if namespace.history_ttl.as_millis() == 0 || namespace.history_ttl >= super::META_TTL {
                return Err(refuse("history_ttl", "must be longer than 0s and shorter than 30d".to_owned()));
            }
            let is_owned = namespace.subscribe.iter().chain(&namespace.publish).any(|rule| *rule == Permission::Owner);
            if is_owned && !namespace.pattern.segments.contains(&Segment::Parameter("user".to_owned())) {
                return Err(refuse("subscribe", format!("`owner` needs a segment {{user}} in `{pattern}`")));
            }
            if let Some(mirror) = &namespace.mirror {
                let target = most_specific(&self.namespaces, mirror);
                if target.is_none_or(|target| target.mirror.is_some()) {
                    let rule = format!("`{mirror}` must be a channel of a namespace without a mirror");
                    return Err(refuse("mirror", rule));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::try_from(text.to_owned()).expect("a pattern")
    }

    fn channel(text: &str) -> ChannelName {
        ChannelName::parse(text).expect("a name")
    }

    #[test]
    fn a_parameter_matches_one_segment() {
        let orders = pattern("orders:{user}");
        assert!(orders.matches(&channel("orders:ann")));
        for other in ["orders", "orders:ann:1", "order:ann"] {
            assert!(!orders.matches(&channel(other)), "{other}");
        }
        assert_eq!(orders.parameter("user", &channel("orders:ann")), Some("ann"));
        assert_eq!(orders.parameter("symbol", &channel("orders:ann")), None);
    }

    #[test]
    fn text_is_more_specific_than_a_parameter() {
        assert!(pattern("market:events").specificity() > pattern("market:{kind}").specificity());
        assert!(pattern("market:{a}").specificity() > pattern("{a}:events").specificity());
    }

    #[test]
    fn invalid_patterns_and_permissions_are_rejected() {
        for bad in ["", ":", "a:", "a*", "{}", "{User}", "a:{b", "a:b}"] {
            assert!(Pattern::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        for bad in ["", "scope:", "everyone"] {
            assert!(Permission::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
