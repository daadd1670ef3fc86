//! Who may do what with a channel: one decision for HTTP, WebSocket, SSE and Centrifugo.

use super::error::PubSubError;
use crate::events::{ChannelName, Namespace, Permission};
use crate::http::auth::Principal;

/// What a caller wants to do with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Subscribe, and read the history and who is present.
    Subscribe,
    Publish,
}

impl Verb {
    const fn text(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe to",
            Self::Publish => "publish to",
        }
    }
}

/// Checks one of the permissions of the channel's namespace. `has_token`: the caller showed a channel token that names the
/// channel.
///
/// # Errors
/// [`PubSubError::Forbidden`], or [`PubSubError::Unauthenticated`] for a caller without a credential.
pub(super) fn may(
    caller: Option<&Principal>,
    verb: Verb,
    channel: &ChannelName,
    namespace: &Namespace,
    has_token: bool,
) -> Result<(), PubSubError> {
    let permissions = match verb {
        Verb::Subscribe => &namespace.subscribe,
        Verb::Publish => &namespace.publish,
    };
    let grants = |permission: &Permission| match (permission, caller) {
        (Permission::Public, _) | (Permission::Authenticated, Some(_)) => true,
        (Permission::Token, _) => has_token,
        (_, None) => false,
        (Permission::Owner, Some(caller)) => {
            caller.subject().is_some_and(|subject| namespace.pattern.parameter("user", channel) == Some(subject))
        }
        (Permission::Scope(scope), Some(caller)) => {
            // The channel of an event stream has dots instead of the colons of the stream, whose name is the key.
            let stream = namespace.pattern.parameter("stream", channel).map(|name| name.replace('.', ":"));
            caller.may_access(scope, stream.as_deref().unwrap_or(channel.as_str()))
        }
    };
    if permissions.iter().any(grants) {
        return Ok(());
    }
    let (verb, channel) = (verb.text(), channel.clone());
    Err(match caller {
        Some(_) => PubSubError::Forbidden { verb, channel },
        None => PubSubError::Unauthenticated { verb, channel },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Config;
    use crate::config::auth::Scope;
    use crate::events::PubSubConfig;
    use crate::http::auth::Scopes;

    fn caller(scopes: &[&str], subject: &str) -> Principal {
        let scopes: BTreeSet<Scope> = scopes.iter().map(|scope| Scope::parse(scope).expect("a scope")).collect();
        Principal::new("a", None, Scopes::from(&scopes)).with_subject(subject.to_owned())
    }

    #[test]
    fn each_permission_admits_its_callers_only() {
        let config = Config::with_overrides("").and_then(|config| config.section::<PubSubConfig>()).expect("valid");
        let check = |caller: Option<&Principal>, verb, channel: &str| {
            let channel = ChannelName::parse(channel).expect("a name");
            let rules = config.namespaces.iter().find(|rules| rules.pattern.matches(&channel)).expect("a namespace");
            may(caller, verb, &channel, rules, false).is_ok()
        };
        let (ann, reader) = (caller(&[], "ann"), caller(&["pubsub:read"], "bob"));
        let writer = caller(&["pubsub:write:orders:*"], "svc");
        assert!(check(Some(&ann), Verb::Subscribe, "orders:ann") && !check(Some(&ann), Verb::Subscribe, "orders:bob"));
        assert!(check(Some(&reader), Verb::Subscribe, "orders:ann") && !check(None, Verb::Subscribe, "orders:ann"));
        assert!(check(Some(&ann), Verb::Subscribe, "market:events") && !check(None, Verb::Subscribe, "market:events"));
        assert!(check(Some(&writer), Verb::Publish, "orders:ann") && !check(Some(&writer), Verb::Publish, "user:ann"));
        assert!(!check(Some(&ann), Verb::Publish, "orders:ann") && !check(Some(&reader), Verb::Publish, "orders:ann"));
    }
}
